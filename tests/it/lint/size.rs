//! A large schema: 500 tables with 2,000 policies.

use std::time::{Duration, Instant};

use rowgate::lint::{self, Scope};
use rowgate::policy::SqlSource;

use crate::harness::cluster;

/// Four policies on each table, and one mistake among them all.
const LARGE: &str = "
do $make$
begin
  for n in 1 .. 500 loop
    execute format('create table big_%s (id bigint generated always as identity primary key,
      user_id text not null, team text not null, title text, body text, inserted_at timestamptz)', n);
    execute format('create index on big_%s (user_id)', n);
    execute format('alter table big_%s enable row level security', n);
    execute format('alter table big_%s force row level security', n);
    execute format('grant select, insert, update, delete on big_%s to authenticated', n);
    execute format('create policy s on big_%s for select to authenticated
      using ((select auth.user_id()) = user_id and (title is null or title <> ''x''))', n);
    execute format('create policy i on big_%s for insert to authenticated
      with check ((select auth.user_id()) = user_id)', n);
    execute format('create policy u on big_%s for update to authenticated
      using ((select auth.user_id()) = user_id) with check ((select auth.user_id()) = user_id)', n);
    execute format('create policy d on big_%s for delete to authenticated
      using ((select auth.user_id()) = user_id)', n);
  end loop;
  alter policy d on big_250 using (true);
end
$make$";

/// Several times what it takes in a debug build on a machine that does other things as well.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_large_schema_is_looked_through_and_its_one_mistake_found() {
    let database = cluster::fresh_database().await;
    let mut client = database.owner().await;
    client.batch_execute(LARGE).await.unwrap();
    let source = SqlSource::new("no-such-directory");
    let started = Instant::now();
    let outcome = lint::run(&mut client, &source, Scope::Live).await.unwrap();
    let took = started.elapsed();
    println!("500 tables, 2,000 policies: {took:?}");
    let found: Vec<_> = outcome
        .findings()
        .filter(|reported| reported.finding.rule.id != "RG-L051")
        .map(|reported| (reported.finding.rule.id, reported.finding.object.to_string()))
        .collect();
    assert_eq!(found, [("RG-L010", "public.big_250: policy d".to_owned())]);
    assert!(took < LIMIT, "{took:?}");
}
