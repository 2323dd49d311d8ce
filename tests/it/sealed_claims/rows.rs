//! Seals and policies together: whose rows, and how often a seal is verified.

use super::*;

async fn owner_with_rows(caller: &Caller) -> Client {
    let superuser = caller.database.superuser().await;
    superuser
        .batch_execute(
            "insert into todos (user_id, task) select 'user' || i % 100, 'task ' || i \
               from generate_series(1, 20000) as i; \
             insert into todos (user_id, task) values ('alice', 'a'), ('bob', 'b'), ('alice', 'c'); \
             insert into user_messages (user_id, message) values ('alice', 'hello'), ('bob', 'hi'); \
             analyze todos",
        )
        .await
        .unwrap();
    superuser
}

const TASKS: &str = "select string_agg(task, ',' order by task) from todos";

#[tokio::test]
async fn everyone_sees_and_changes_their_own_rows_only() {
    let caller = Caller::new().await;
    let _superuser = owner_with_rows(&caller).await;
    assert_eq!(caller.sealed(ALICE, TASKS).await, Ok(Some("a,c".to_owned())));
    assert_eq!(caller.sealed(BOB, TASKS).await, Ok(Some("b".to_owned())));
    let changed =
        |verb: &str| format!("with x as ({verb} returning 1) select count(*)::text from x");
    for (verb, rows) in [
        ("update todos set task = 'x'", "2"),
        ("delete from todos", "2"),
        ("insert into todos (task) values ('mine')", "1"),
        ("update user_messages set message = 'x'", "1"),
        ("delete from user_messages where user_id = 'bob'", "0"),
    ] {
        assert_eq!(caller.sealed(ALICE, &changed(verb)).await, Ok(Some(rows.to_owned())), "{verb}");
    }
    let default = "insert into todos (task) values ('mine') returning user_id";
    assert_eq!(caller.sealed(ALICE, default).await, Ok(Some("alice".to_owned())));
    for verb in [
        "insert into todos (user_id, task) values ('bob', 'x')",
        "update todos set user_id = 'bob'",
        "insert into user_messages (user_id, message) values ('carol', 'x')",
        "truncate todos",
    ] {
        let refused = caller.sealed(ALICE, verb).await;
        assert_eq!(refused, Err(SqlState::INSUFFICIENT_PRIVILEGE), "{verb}");
    }
}

#[tokio::test]
async fn anonymous_may_ask_and_sees_nothing() {
    let caller = Caller::new().await;
    let _superuser = owner_with_rows(&caller).await;
    let anonymous = connect(&caller.database.anonymous_url).await;
    let pid = pid_of(&anonymous).await.to_string();
    let good = seal(&caller.key, &pid, &in_seconds(30), NOBODY);
    for table in ["todos", "user_messages"] {
        let count = format!("select count(*)::text from {table}");
        assert_eq!(ask(&anonymous, NOBODY, &good, &count).await, Ok(Some("0".to_owned())));
        for verb in ["delete from", "insert into", "update"] {
            let sql = match verb {
                "insert into" => format!("insert into {table} default values"),
                "update" => format!("update {table} set user_id = 'x'"),
                _ => format!("{verb} {table}"),
            };
            let refused = ask(&anonymous, NOBODY, &good, &sql).await;
            assert_eq!(refused, Err(SqlState::INSUFFICIENT_PRIVILEGE), "{sql}");
        }
    }
}

#[tokio::test]
async fn without_a_good_seal_there_are_no_rows_but_an_error() {
    let caller = Caller::new().await;
    let _superuser = owner_with_rows(&caller).await;
    let refused = Err(SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    assert_eq!(caller.ask(BOB, &caller.seal(ALICE), TASKS).await, refused);
    assert_eq!(caller.ask("", "", TASKS).await, Ok(None), "no request: no rows");
    let insert = "insert into todos (task) values ('x') returning task";
    assert_eq!(caller.ask("", "", insert).await, Err(SqlState::INSUFFICIENT_PRIVILEGE));
}

#[tokio::test]
async fn the_owner_of_the_tables_is_not_above_the_policies() {
    let caller = Caller::new().await;
    let _superuser = owner_with_rows(&caller).await;
    let owner = caller.database.owner().await;
    let count = "select count(*) from todos";
    assert_eq!(owner.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 0);
}

async fn plan(caller: &Caller, sql: &str) -> String {
    let claims = ALICE;
    caller.client.batch_execute("begin").await.unwrap();
    let settings = "select pg_catalog.set_config('request.jwt.claims', $1, true), \
                    pg_catalog.set_config('rowgate.seal', $2, true)";
    caller.client.execute(settings, &[&claims, &caller.seal(claims)]).await.unwrap();
    let explain = format!("explain (analyze, costs off, timing off, summary off) {sql}");
    let rows = caller.client.query(&explain, &[]).await.unwrap();
    let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    caller.client.batch_execute("rollback").await.unwrap();
    lines.join("\n")
}

#[tokio::test]
async fn a_seal_is_verified_once_for_a_statement_however_many_rows_there_are() {
    let caller = Caller::new().await;
    let _superuser = owner_with_rows(&caller).await;
    caller.client.batch_execute("set enable_indexscan = off; set enable_bitmapscan = off; set max_parallel_workers_per_gather = 0").await.unwrap();
    let plan = plan(&caller, "select count(*) from todos").await;
    let init = plan.split("InitPlan").nth(1).unwrap_or_else(|| panic!("{plan}"));
    assert!(init.contains("loops=1)"), "{plan}");
    assert!(plan.contains("Rows Removed by Filter: 20001"), "every row was looked at: {plan}");
}

#[tokio::test]
async fn plans_stay_parallel_and_workers_need_no_seal() {
    let caller = Caller::new().await;
    let _superuser = owner_with_rows(&caller).await;
    caller
        .client
        .batch_execute(
            "set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0; \
             set max_parallel_workers_per_gather = 2; set enable_indexscan = off; \
             set enable_bitmapscan = off; set enable_indexonlyscan = off",
        )
        .await
        .unwrap();
    let plan = plan(&caller, "select count(*) from todos").await;
    assert!(plan.contains("Gather") && plan.contains("Parallel Seq Scan"), "{plan}");
    assert_eq!(caller.sealed(ALICE, TASKS).await, Ok(Some("a,c".to_owned())));
    let joined = "select count(*)::text from todos a join todos b on a.user_id = b.user_id";
    assert_eq!(caller.sealed(ALICE, joined).await, Ok(Some("4".to_owned())));
}

#[tokio::test]
async fn own_rows_are_found_by_an_index() {
    let caller = Caller::new().await;
    let _superuser = owner_with_rows(&caller).await;
    let plan = plan(&caller, "select * from todos").await;
    assert!(plan.contains("todos_user_id_id_idx"), "{plan}");
}
