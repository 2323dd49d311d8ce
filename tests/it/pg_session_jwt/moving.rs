//! The steps of `docs/pg-session-jwt.md` for moving to Rowgate's own seal, in the same database.

use super::*;

/// What depends on the extension's functions, as the page asks for it.
const DEPENDENTS: &str = "\
    select pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) \
      from pg_catalog.pg_depend as d \
      join pg_catalog.pg_depend as member \
        on member.classid = d.refclassid and member.objid = d.refobjid and member.deptype = 'e' \
      join pg_catalog.pg_extension as e on e.oid = member.refobjid \
     where e.extname = 'pg_session_jwt' and d.deptype in ('n', 'a') \
       and not exists (select from pg_catalog.pg_depend as own \
                        where own.classid = d.classid and own.objid = d.objid and own.deptype = 'e') \
     group by 1 order by 1";

#[tokio::test]
async fn a_database_moves_to_our_own_seal_with_its_rows_and_policies() {
    let directory = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "migrations/V1__todos.sql",
        "create table todos (id int generated always as identity primary key, \
         user_id text not null default auth.user_id(), task text not null);",
    );
    write("grants/todos.sql", "grant select, insert on todos to authenticated;");
    write(
        "policies/todos.sql",
        "alter table todos enable row level security; \
         create policy own on todos to authenticated \
           using ((select auth.user_id()) = user_id) with check ((select auth.user_id()) = user_id);",
    );
    let project = SqlSource::new(directory.path());
    let database = with_extension().await;
    policy::migrate(&mut database.owner().await, &project, &policy::Options::default())
        .await
        .unwrap();
    database.enable_logins().await;
    let add = "insert into todos (task) values ($1)";
    let old = TestGateway::on(database.clone(), |_| {}).await;
    for (subject, task) in [("alice", "alice one"), ("bob", "bob one")] {
        assert_eq!(old.sql(Some(subject), add, json!([task])).await.status, 200);
    }
    assert_eq!(old.sql(Some("bob"), TASKS, json!([])).await.rows(), json!([["bob one"]]));

    // What stands in the way, and that it does.
    let superuser = database.superuser().await;
    let dependents: Vec<String> =
        superuser.query(DEPENDENTS, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(
        dependents,
        ["default value for column user_id of table todos", "policy own on table todos"]
    );
    let refused = superuser.batch_execute("drop extension pg_session_jwt").await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "2BP01");

    superuser.batch_execute("drop extension pg_session_jwt cascade").await.unwrap();
    // In between the table is closed rather than open.
    let authenticated = cluster::connect(&database.authenticated_url).await;
    let count = authenticated.query_one("select count(*) from todos", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 0);
    assert_eq!(old.sql(Some("bob"), TASKS, json!([])).await.failure().0, 503);

    // The default comes back with a migration, the policies by themselves.
    write(
        "migrations/V2__user_id_default.sql",
        "alter table todos alter column user_id set default auth.user_id();",
    );
    let report =
        policy::migrate(&mut database.owner().await, &project, &policy::Options::default())
            .await
            .unwrap();
    assert!(report.migrations.contains(&"auth/V5__seal_key_rotation".to_owned()), "{report}");
    assert!(!report.to_string().contains("pg_session_jwt"), "{report}");

    let new = TestGateway::on(database, |_| {}).await;
    assert_eq!(new.sql(Some("bob"), add, json!(["bob two"])).await.status, 200);
    let tasks = new.sql(Some("bob"), TASKS, json!([])).await.rows();
    assert_eq!(tasks, json!([["bob one"], ["bob two"]]));
    assert_eq!(new.sql(Some("alice"), TASKS, json!([])).await.rows(), json!([["alice one"]]));
}
