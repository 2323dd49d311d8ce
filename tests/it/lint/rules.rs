//! For each rule a bad schema and its mended twin, in a transaction that is rolled back.

use std::collections::BTreeSet;

use rowgate::lint;
use tokio_postgres::Transaction;

use crate::harness::cluster::{self, OWNER};

/// A table without anything wrong with it, but that nobody has a policy for yet.
const TABLE: &str = "
    create table notes (
      id      bigint generated always as identity primary key,
      user_id text not null default auth.user_id(),
      body    text
    );
    create index notes_user_id_idx on notes (user_id);
    alter table notes enable row level security;
    alter table notes force row level security;";

/// Everything on it.
const GRANT: &str = "grant select, insert, update, delete on notes to authenticated;";

/// Everybody has his own rows.
const POLICY: &str = "
    create policy own on notes to authenticated
      using ((select auth.user_id()) = user_id) with check ((select auth.user_id()) = user_id);";

/// What mends a mistake.
enum Mend {
    /// What the rule itself says.
    Own,
    /// This.
    By(&'static str),
}

/// Two rules about the same thing may speak of one mistake only once; which are meant.
type Named = BTreeSet<(String, String)>;

async fn findings(transaction: &Transaction<'_>) -> (Named, Vec<lint::Finding>) {
    let findings = lint::survey(transaction).await.unwrap();
    let named = findings.iter().map(|f| (f.rule.id.to_owned(), f.object.to_string()));
    (named.collect(), findings)
}

async fn run(transaction: &Transaction<'_>, sql: &str) {
    let sql = format!("set local search_path to public; {sql}");
    transaction.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// Roles belong to the cluster, where other tests make logins at the same time.
fn own_only(found: Named, before: &Named, rule: &str) -> Named {
    let mine = |(id, object): &(String, String)| {
        rule == "RG-L051" && object.contains("lint_") || rule != "RG-L051" && id != "RG-L051"
    };
    found.difference(before).filter(|one| mine(one)).cloned().collect()
}

async fn check(rule: &str, object: &str, bad: &str, mend: Mend) {
    let database = cluster::fresh_database().await;
    let mut client = database.superuser().await;
    let transaction = client.transaction().await.unwrap();
    run(&transaction, &format!("set local role {OWNER}")).await;
    let (before, _) = findings(&transaction).await;

    run(&transaction, bad).await;
    let (after, all) = findings(&transaction).await;
    let expected = (rule.to_owned(), object.to_owned());
    let new = own_only(after, &before, rule);
    assert_eq!(new, Named::from([expected.clone()]), "{all:#?}");

    let finding = all.iter().find(|f| f.rule.id == rule && f.object.to_string() == object).unwrap();
    let sql = match mend {
        Mend::Own => finding.mend.as_deref().expect("the rule says how to mend it"),
        Mend::By(sql) => sql,
    };
    run(&transaction, sql).await;
    let (mended, _) = findings(&transaction).await;
    assert!(!mended.contains(&expected), "still there after {sql}");
}

/// A test for each rule, named for what it finds.
macro_rules! rules {
    ($($name:ident: $rule:literal, $object:literal, [$($bad:expr),+], $mend:expr;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                check($rule, $object, &[$($bad),+].join(";\n"), $mend).await;
            }
        )+
    };
}

use Mend::{By, Own};

rules! {
    a_table_without_rls_that_requests_may_use: "RG-L001", "public.notes",
        ["create table notes (id int); grant select (id) on notes to authenticated"], Own;
    policies_on_a_table_without_rls: "RG-L002", "public.notes",
        [TABLE, GRANT, POLICY, "alter table notes disable row level security"], Own;
    rls_without_a_policy: "RG-L003", "public.notes", [TABLE, GRANT], By(POLICY);
    an_owner_who_is_not_subject_to_policies: "RG-L004", "public.notes",
        [TABLE, GRANT, POLICY, "alter table notes no force row level security"], Own;
    only_restrictive_policies: "RG-L005", "public.notes",
        [TABLE, GRANT, "create policy r on notes as restrictive to authenticated
           using ((select auth.user_id()) = user_id) with check ((select auth.user_id()) = user_id)"],
        By(POLICY);
    a_grant_to_write_without_a_policy: "RG-L006", "public.notes",
        [TABLE, GRANT, "create policy p on notes for select to authenticated
           using ((select auth.user_id()) = user_id)"],
        By("revoke insert, update, delete on notes from authenticated");
    a_partition_that_can_be_named: "RG-L007", "public.events_a",
        ["create table events (user_id text not null) partition by list (user_id);
          create table events_a partition of events for values in ('a');
          create index on events (user_id);
          alter table events enable row level security; alter table events force row level security;
          create policy p on events for select to authenticated
            using ((select auth.user_id()) = user_id);
          grant select on events, events_a to authenticated"], Own;
    a_child_that_can_be_named: "RG-L007", "public.old_notes",
        [TABLE, GRANT, POLICY, "create table old_notes () inherits (notes);
          grant select on old_notes to authenticated"], Own;

    a_policy_that_lets_every_row_be_written: "RG-L010", "public.notes: policy own",
        [TABLE, GRANT, "create policy own on notes to authenticated using (true) with check (1 = 1)"],
        By("alter policy own on notes using ((select auth.user_id()) = user_id)
              with check ((select auth.user_id()) = user_id)");
    a_policy_that_lets_every_row_be_inserted: "RG-L010", "public.notes: policy p",
        [TABLE, "grant insert on notes to authenticated",
         "create policy p on notes for insert to authenticated with check (body = 'a' or not false)"],
        By("alter policy p on notes with check ((select auth.user_id()) = user_id)");
    a_policy_that_shows_every_row: "RG-L011", "public.notes: policy p",
        [TABLE, "grant select on notes to authenticated",
         "create policy p on notes for select to authenticated using (true)"],
        By("alter policy p on notes using ((select auth.user_id()) = user_id)");
    a_policy_without_with_check: "RG-L012", "public.notes: policy p",
        [TABLE, "grant select, update on notes to authenticated",
         "create policy s on notes for select to authenticated using ((select auth.user_id()) = user_id);
          create policy p on notes for update to authenticated using ((select auth.user_id()) = user_id)"],
        Own;
    an_insert_policy_without_with_check: "RG-L012", "public.notes: policy p",
        [TABLE, "grant insert on notes to authenticated",
         "create policy p on notes for insert to authenticated"],
        By("alter policy p on notes with check ((select auth.user_id()) = user_id)");
    a_check_that_forgets_the_owner: "RG-L013", "public.notes: policy own",
        [TABLE, GRANT, "create policy own on notes to authenticated
           using ((select auth.user_id()) = user_id) with check (body <> '')"], Own;
    a_check_that_is_always_true: "RG-L013", "public.notes: policy own",
        [TABLE, GRANT, "create policy own on notes to authenticated
           using ((select auth.user_id()) = user_id) with check (true)"], Own;
    a_check_with_fewer_conditions: "RG-L013", "public.notes: policy own",
        [TABLE, GRANT, "create policy own on notes to authenticated
           using ((select auth.user_id()) = user_id and body <> '')
           with check ((select auth.user_id()) = user_id)"], Own;
    a_policy_that_a_missing_token_satisfies: "RG-L014", "public.notes: policy p",
        [TABLE, "grant select on notes to authenticated, anonymous",
         "create policy p on notes for select to authenticated, anonymous
            using ((select auth.user_id()) is null or (select auth.user_id()) = user_id)"],
        By("alter policy p on notes using ((select auth.user_id()) = user_id)");
    a_policy_for_everybody: "RG-L015", "public.notes: policy p",
        [TABLE, GRANT, "create policy p on notes
           using ((select auth.user_id()) = user_id) with check ((select auth.user_id()) = user_id)"], Own;
    a_policy_for_a_role_that_no_request_runs_as: "RG-L016", "public.notes: policy p",
        [TABLE, GRANT, POLICY, "create policy p on notes for select to rowgate_owner using (true)"],
        By("drop policy p on notes");
    a_policy_that_looks_at_no_column: "RG-L017", "public.notes: policy p",
        [TABLE, "grant select on notes to authenticated",
         "create policy p on notes for select to authenticated using ((select auth.user_id()) is not null)"],
        By("alter policy p on notes using ((select auth.user_id()) = user_id)");
    a_policy_that_compares_with_current_user: "RG-L018", "public.notes: policy p",
        [TABLE, "grant select on notes to authenticated",
         "create policy p on notes for select to authenticated using (user_id = current_user)"],
        By("alter policy p on notes using ((select auth.user_id()) = user_id)");
    a_policy_that_believes_a_setting: "RG-L019", "public.notes: policy p",
        [TABLE, "grant select on notes to authenticated",
         "create policy p on notes for select to authenticated
            using (user_id = (select current_setting('app.user', true)))"],
        By("alter policy p on notes using ((select auth.user_id()) = user_id)");

    a_call_for_each_row: "RG-L020", "public.notes: policy p",
        [TABLE, GRANT, "create policy p on notes to authenticated
           using (auth.user_id() = user_id) with check (auth.session() ->> 'sub' = user_id)"], Own;
    a_call_in_a_correlated_query: "RG-L020", "public.notes: policy p",
        [TABLE, "create table members (note bigint, user_id text);
           grant select on notes to authenticated;
           create policy p on notes for select to authenticated using (exists (
             select from members m where m.note = notes.id and m.user_id = auth.user_id()))"], Own;
    a_volatile_function_in_a_policy: "RG-L021", "public.notes: policy p",
        [TABLE, "grant select on notes to authenticated",
         "create policy p on notes for select to authenticated
            using ((select auth.user_id()) = user_id and random() < 0.5)"],
        By("alter policy p on notes using ((select auth.user_id()) = user_id)");
    a_filter_without_an_index: "RG-L022", "public.notes",
        [TABLE, GRANT, POLICY, "drop index notes_user_id_idx"], Own;
    a_filter_that_wraps_its_column: "RG-L023", "public.notes",
        [TABLE, "grant select on notes to authenticated",
         "create policy p on notes for select to authenticated
            using (lower(user_id) = (select auth.user_id()))"],
        By("create index on notes (lower(user_id))");
    an_index_that_requests_cannot_search_by: "RG-L024", "public.notes",
        [TABLE, GRANT, POLICY, "alter table notes add tags jsonb;
           create index notes_tags_idx on notes using gin (tags)"],
        By("drop index notes_tags_idx");
    several_policies_for_one_command: "RG-L025", "public.notes",
        [TABLE, GRANT, POLICY,
         "create policy shared on notes for select to authenticated using (body = 'shared')"],
        By("drop policy shared on notes");
    a_policy_that_reads_its_own_table: "RG-L026", "public.notes: policy p",
        [TABLE, "grant select on notes to authenticated",
         "create policy p on notes for select to authenticated using (exists (
            select from notes n where n.id = notes.id and n.user_id = (select auth.user_id())))"],
        By("alter policy p on notes using ((select auth.user_id()) = user_id)");
    a_policy_that_believes_user_metadata: "RG-L027", "public.notes: policy p",
        [TABLE, "grant select on notes to authenticated",
         "create policy p on notes for select to authenticated
            using ((select auth.user_id()) = user_id
                   and (select auth.session() #>> '{user_metadata,role}') = 'admin')"],
        By("alter policy p on notes using ((select auth.user_id()) = user_id)");
    a_unique_index_that_tells_strangers: "RG-L028", "public.notes",
        [TABLE, GRANT, POLICY, "alter table notes add slug text;
           create unique index notes_slug_idx on notes (slug)"],
        By("drop index notes_slug_idx; create unique index on notes (user_id, slug)");
    a_foreign_key_that_tells_strangers: "RG-L029", "public.notes",
        [TABLE, GRANT, POLICY, "alter table notes add todo_id bigint references todos (id)"],
        By("alter policy own on notes with check ((select auth.user_id()) = user_id
              and exists (select from todos where todos.id = todo_id))");
    a_filter_column_that_may_be_null: "RG-L030", "public.notes",
        [TABLE, GRANT, POLICY, "alter table notes alter column user_id drop not null"], Own;
    a_pattern_from_the_caller: "RG-L031", "public.notes: policy p",
        [TABLE, "grant select on notes to authenticated",
         "create policy p on notes for select to authenticated using (user_id like (select auth.user_id()))"],
        By("alter policy p on notes using ((select auth.user_id()) = user_id)");
    a_query_about_nobody: "RG-L032", "public.notes: policy p",
        [TABLE, "create table settings (open boolean);
           grant select on notes to authenticated;
           create policy p on notes for select to authenticated
             using (exists (select from settings where open))"],
        By("alter policy p on notes using ((select auth.user_id()) = user_id)");
    a_policy_that_is_there_twice: "RG-L033", "public.notes: policy r2",
        [TABLE, GRANT, POLICY,
         "create policy r1 on notes as restrictive for select to authenticated using (body <> 'x');
          create policy r2 on notes as restrictive for select to authenticated using (body <> 'x')"], Own;
    a_policy_without_a_grant: "RG-L034", "public.notes: policy d",
        [TABLE, "grant select on notes to authenticated",
         "create policy s on notes for select to authenticated using ((select auth.user_id()) = user_id);
          create policy d on notes for delete to authenticated using ((select auth.user_id()) = user_id)"],
        By("grant delete on notes to authenticated");

    a_grant_to_public: "RG-L040", "public.notes",
        [TABLE, GRANT, POLICY, "grant select on notes to public"], Own;
    anonymous_requests_that_write: "RG-L041", "public.notes",
        [TABLE, GRANT, POLICY, "grant insert on notes to anonymous;
           create policy guest on notes for insert to anonymous with check (user_id = 'guest')"], Own;
    truncate_for_requests: "RG-L042", "public.notes",
        [TABLE, GRANT, POLICY, "grant truncate, references on notes to authenticated"], Own;
    a_sensitive_column_for_everybody: "RG-L043", "public.notes",
        [TABLE, GRANT, POLICY, "alter table notes add contact_email text;
           grant select on notes to anonymous;
           create policy guest on notes for select to anonymous using (body = 'public')"],
        By("revoke select on notes from anonymous; grant select (id, body) on notes to anonymous");
    a_sequence_that_requests_may_set: "RG-L044", "public.numbers",
        ["create sequence numbers; grant usage, select, update on sequence numbers to authenticated"], Own;
    defaults_that_give_new_tables_away: "RG-L045",
        "defaults of rowgate_owner in schema public: tables to anonymous",
        ["alter default privileges in schema public grant select on tables to anonymous"], Own;
    a_schema_in_which_requests_create: "RG-L046", "schema public",
        ["grant create on schema public to authenticated"], Own;

    a_role_that_escapes_the_policies: "RG-L050", "role authenticated",
        ["reset role; create role lint_boss bypassrls; grant lint_boss to authenticated"], Own;
    a_login_that_no_policy_binds: "RG-L051", "role lint_login",
        ["reset role; create role lint_login login bypassrls"], Own;

    a_view_with_its_owners_rights: "RG-L060", "public.titles",
        [TABLE, GRANT, POLICY, "create view titles as select body from notes;
           grant select on titles to authenticated"], Own;
    a_materialized_view_for_requests: "RG-L061", "public.titles",
        [TABLE, GRANT, POLICY, "create materialized view titles as select body from notes;
           grant select on titles to authenticated"], Own;
    a_foreign_table_for_requests: "RG-L062", "public.remote",
        ["reset role; create foreign data wrapper nothing; create server nowhere foreign data wrapper nothing;
          create foreign table remote (a int) server nowhere; grant select on remote to authenticated"], Own;
    a_definer_function_for_requests: "RG-L063", "public.total()",
        ["create function total() returns bigint language sql security definer
            set search_path = public, pg_temp as 'select count(*) from todos';
          grant execute on function total() to authenticated"], Own;
    a_definer_function_without_a_search_path: "RG-L064", "public.total(integer)",
        ["create function total(int) returns bigint language sql security definer
            as 'select count(*) from todos'"], Own;
    an_immutable_function_that_asks_who_is_calling: "RG-L065", "public.me()",
        ["create function me() returns text language sql immutable
            as $$ select current_setting('request.jwt.claims', true) $$"], Own;
    a_leakproof_function_of_the_application: "RG-L066", "public.harmless(text)",
        ["reset role; create function harmless(text) returns boolean language sql leakproof as 'select true'"],
        Own;
}

#[tokio::test]
async fn the_sample_schema_has_no_finding() {
    let database = cluster::fresh_database().await;
    let mut client = database.owner().await;
    let transaction = client.transaction().await.unwrap();
    let (found, all) = findings(&transaction).await;
    let found = own_only(found, &Named::new(), "");
    assert!(found.is_empty(), "{all:#?}");
}

/// The rule says beforehand what PostgreSQL says when it is too late.
#[tokio::test]
async fn a_circle_over_two_tables_is_found_and_fails_with_42p17() {
    let database = cluster::fresh_database().await;
    let mut client = database.superuser().await;
    let transaction = client.transaction().await.unwrap();
    let sql = "create table teams (id int); create table members (team int, user_id text);
        alter table teams enable row level security; alter table members enable row level security;
        create policy t on teams for select to authenticated
          using (exists (select from members m where m.team = teams.id));
        create policy m on members for select to authenticated
          using (exists (select from teams t where t.id = members.team));
        grant select on teams, members to authenticated";
    run(&transaction, sql).await;
    let (found, _) = findings(&transaction).await;
    for object in ["public.teams: policy t", "public.members: policy m"] {
        assert!(found.contains(&("RG-L026".to_owned(), object.to_owned())), "{found:?}");
    }
    run(&transaction, "set local role authenticated").await;
    let error = transaction.batch_execute("select from public.teams").await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42P17");
}

/// Reading by one column and writing by another is a model of its own, as is a check that looks up whether the
/// caller may.
#[tokio::test]
async fn a_check_that_binds_the_caller_in_another_way_is_no_finding() {
    let database = cluster::fresh_database().await;
    let mut client = database.superuser().await;
    let transaction = client.transaction().await.unwrap();
    let sql = "create table members (team text, user_id text);
        alter table notes add team text not null; create index on notes (team);
        create policy own on notes to authenticated
          using (team = (select auth.session() ->> 'team'))
          with check ((select auth.user_id()) = user_id);
        create policy other on notes as restrictive to authenticated
          using (team = (select auth.session() ->> 'team'))
          with check (exists (select from members m
                               where m.team = notes.team and m.user_id = (select auth.user_id())))";
    run(&transaction, &[TABLE, GRANT, sql].join(";\n")).await;
    let (found, all) = findings(&transaction).await;
    assert!(!found.iter().any(|(rule, _)| rule == "RG-L013"), "{all:#?}");
}

/// Requests also run as the roles that claims are mapped to, and policies for these are asked.
#[tokio::test]
async fn a_role_that_claims_are_mapped_to_is_a_role_of_requests() {
    let database = cluster::fresh_database().await;
    let mut client = database.superuser().await;
    let transaction = client.transaction().await.unwrap();
    let sql = "create role lint_editor; grant usage on schema public to lint_editor;
        create table plans (id int); grant select on plans to lint_editor;
        create policy e on todos for delete to lint_editor using (is_complete)";
    run(&transaction, sql).await;
    let of_role = |found: &Named| {
        let is = |rule: &str, object: &str| found.contains(&(rule.to_owned(), object.to_owned()));
        (is("RG-L001", "public.plans"), is("RG-L016", "public.todos: policy e"))
    };
    assert_eq!(of_role(&findings(&transaction).await.0), (false, true));
    run(&transaction, "insert into auth.api_roles (role_name) values ('lint_editor')").await;
    assert_eq!(of_role(&findings(&transaction).await.0), (true, false));
}

/// What the comment of an object says is respected, as `rowgate harden` does.
#[tokio::test]
async fn a_comment_that_says_exposed_excuses_a_view() {
    let database = cluster::fresh_database().await;
    let mut client = database.owner().await;
    let transaction = client.transaction().await.unwrap();
    let sql = "create view titles as select task from todos; grant select on titles to anonymous;
               comment on view titles is 'rowgate: exposed, a public list'";
    run(&transaction, sql).await;
    let (found, _) = findings(&transaction).await;
    assert!(!found.iter().any(|(rule, _)| rule == "RG-L060"), "{found:?}");
}
