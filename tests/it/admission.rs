//! Which statements run, and that nothing is left of them for the next caller.

use std::time::{Duration, Instant};

use rowgate::config::ExtraKind;
use serde_json::{Value, json};

use crate::harness::cluster::fresh_database;
use crate::harness::gateway::TestGateway;

/// A gateway with a single connection, on a database with functions of the application's owner.
async fn with_functions() -> TestGateway {
    let database = fresh_database().await;
    database.owner().await.batch_execute(FUNCTIONS).await.unwrap();
    let gateway = TestGateway::on(database, |config| config.database.pool_size = 1).await;
    gateway.seed().await;
    gateway
}

const FUNCTIONS: &str = "
    create function session_state() returns text language sql as $$
      select concat_ws(';', pg_backend_pid(),
        (select string_agg(name || '=' || setting, ',' order by name) from pg_settings
          where source = 'session' and name not in ('request.jwt.claims', 'rowgate.seal')),
        (select count(*) from pg_prepared_statements where statement like '%smuggled%'),
        (select count(*) from pg_cursors where is_holdable),
        (select count(*) from pg_listening_channels()),
        (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
        (select count(*) from pg_class where relpersistence = 't' and pg_table_is_visible(oid)),
        current_user, session_user, current_setting('role'), nullif(current_setting('app.note', true), ''))
      $$;
    create function dirty(what text) returns void language plpgsql as $$ begin execute what; end $$;
    create function seed_generator() returns void language sql as $$ select setseed(0.42) $$;
    create function add_todo(t text) returns void language sql as $$ insert into todos (task) values (t) $$;
    create function note() returns trigger language plpgsql as $$
      begin perform set_config('app.note', new.task, false); return new; end $$;
    create function own_pid() returns int language sql as $$ select pg_backend_pid() $$;
    grant execute on all functions in schema public to authenticated, anonymous;";

async fn state(gateway: &TestGateway) -> Value {
    gateway.sql(Some("bob"), "select session_state()", json!([])).await.rows()[0][0].clone()
}

#[tokio::test]
async fn what_does_not_run_is_refused_with_a_code_and_a_way_out() {
    let gateway = TestGateway::start().await;
    for (sql, code, said) in [
        ("alter role current_user password 'x'", "RG4030", "only SELECT"),
        ("select 1 into x", "RG4030", "SELECT INTO"),
        ("select pg_terminate_backend(1)", "RG4031", "pg_terminate_backend"),
        ("select * from pg_stat_activity", "RG4032", "pg_stat_activity"),
        ("select 'todos'::regclass", "RG4033", "regclass"),
        ("explain analyze select 1", "RG4034", "COSTS OFF"),
    ] {
        for caller in [Some("alice"), None] {
            let answer = gateway.sql(caller, sql, json!([])).await;
            assert_eq!(answer.failure(), (403, code.to_owned()), "{sql}");
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(message.contains(said), "{sql}: {message}");
            assert!(answer.json()["hint"].as_str().is_some_and(|hint| hint.len() > 20));
        }
    }
    let long = format!("select '{}'", "x".repeat(128 * 1024));
    assert_eq!(gateway.sql(None, &long, json!([])).await.failure(), (403, "RG4035".to_owned()));
    let deep = format!("select 1{}", "+1".repeat(30_000));
    assert_eq!(gateway.sql(None, &deep, json!([])).await.failure(), (403, "RG4036".to_owned()));
    let slow = format!("select 1{}", "/**/".repeat(20_000));
    assert_eq!(gateway.sql(None, &slow, json!([])).await.failure(), (403, "RG4036".to_owned()));
    let value = "x".repeat(200 * 1024);
    let answer = gateway.sql(None, "select length($1)", json!([value])).await;
    assert_eq!(answer.rows(), json!([[200 * 1024]]), "parameters do not count");
}

#[tokio::test]
async fn one_refused_statement_keeps_a_whole_batch_from_running() {
    let gateway = TestGateway::start().await;
    let batch = ["insert into todos (task) values ('x')", "select pg_sleep_for('1 s')"];
    assert_eq!(gateway.batch(Some("alice"), &batch).await.failure(), (403, "RG4031".to_owned()));
    let broken = ["insert into todos (task) values ('x')", "selec"];
    assert_eq!(gateway.batch(Some("alice"), &broken).await.failure(), (400, "42601".to_owned()));
    let count = gateway.sql(Some("alice"), "select count(*)::int4 from todos", json!([])).await;
    assert_eq!(count.rows(), json!([[0]]));
}

#[tokio::test]
async fn mistakes_are_told_in_the_databases_own_words() {
    let gateway = TestGateway::start().await;
    for (sql, code, position) in [
        ("selec 1", "42601", "1"),
        ("select 1 fro todos", "42601", "14"),
        ("select 1; select 2", "42601", ""),
    ] {
        let answer = gateway.sql(Some("alice"), sql, json!([])).await;
        assert_eq!(answer.failure(), (400, code.to_owned()), "{sql}");
        let said = answer.json()["position"].as_str().unwrap_or_default().to_owned();
        assert_eq!(said, position, "{sql}");
    }
}

#[tokio::test]
async fn what_a_function_leaves_in_the_session_is_gone_for_the_next_caller() {
    let gateway = with_functions().await;
    let clean = state(&gateway).await;
    for what in [
        "set search_path = evil",
        "set statement_timeout = 1",
        "set role none",
        "set app.note = 'x'",
        "set session characteristics as transaction read only",
        "set client_min_messages = debug5",
        "prepare smuggled as select 'smuggled'",
        "listen spy",
        "create temp table todos (task text)",
        "declare c cursor with hold for select 'x'",
        "select pg_advisory_lock(42)",
    ] {
        let left = gateway.sql(Some("alice"), "select dirty($1)", json!([what])).await;
        let taken = left.status == 200;
        assert!(taken || what.starts_with("create temp") || what.contains("cursor"), "{what}");
        let text = gateway.sql(Some("bob"), "select task from todos", json!([])).await.rows();
        assert_eq!(text, json!([["bob one"]]), "{what}");
        // The same process, unless it holds a statement that is not ours.
        let state = state(&gateway).await;
        if what.starts_with("prepare") {
            assert_ne!(state, clean, "{what}");
            let rest =
                |state: &Value| state.as_str().unwrap().split_once(';').unwrap().1.to_owned();
            assert_eq!(rest(&state), rest(&clean), "{what}");
            break;
        }
        assert_eq!(state, clean, "{what}");
    }
}

#[tokio::test]
async fn what_a_function_did_before_it_failed_is_gone_as_well() {
    let gateway = with_functions().await;
    let clean = state(&gateway).await;
    let batch = ["select dirty('select pg_advisory_lock(7)')", "select 1 / 0"];
    assert_eq!(gateway.batch(Some("alice"), &batch).await.failure().1, "22012");
    assert_eq!(state(&gateway).await, clean);
}

#[tokio::test]
async fn a_functions_reset_cannot_be_sabotaged() {
    let gateway = with_functions().await;
    let sabotage = "set statement_timeout = '1ms'; set search_path = evil; set row_security = off";
    let answer = gateway.sql(Some("alice"), "select dirty($1)", json!([sabotage])).await;
    assert_eq!(answer.status, 200);
    let rows = gateway.sql(Some("bob"), "select task from todos", json!([])).await.rows();
    assert_eq!(rows, json!([["bob one"]]));
}

#[tokio::test]
async fn a_reset_that_fails_half_way_closes_the_connection() {
    let gateway = with_functions().await;
    let pid = gateway.sql(Some("alice"), "select own_pid()", json!([])).await.rows();
    // The last step reads what is prepared: now nobody may.
    let superuser = gateway.database.superuser().await;
    superuser
        .batch_execute("revoke execute on function pg_catalog.pg_prepared_statement() from public")
        .await
        .unwrap();
    let left = gateway.sql(Some("alice"), "select dirty('set app.note = 7')", json!([])).await;
    assert_eq!(left.status, 200);
    let sql = "select own_pid(), (select count(*)::int4 from todos)";
    let rows = gateway.sql(Some("bob"), sql, json!([])).await.rows();
    assert_ne!(rows[0][0], pid[0][0], "another process answers");
    assert_eq!(rows[0][1], 1, "the gateway goes on, and bob sees his row");
}

#[tokio::test]
async fn what_the_configuration_allows_runs_and_leaves_nothing() {
    const LOCK: &str = "select pg_advisory_lock(42)";
    let rest = |state: &Value| state.as_str().unwrap().split_once(';').unwrap().1.to_owned();
    let strict = with_functions().await;
    let refused = strict.sql(Some("alice"), LOCK, json!([])).await;
    assert_eq!(refused.failure(), (403, "RG4031".into()));

    let database = fresh_database().await;
    database.owner().await.batch_execute(FUNCTIONS).await.unwrap();
    let gateway = TestGateway::on(database, |config| {
        config.database.pool_size = 1;
        config.limits.allow_functions.push("pg_advisory_lock".into());
        config.limits.allow_relations.push("pg_enum".into());
        config.limits.allow_statements.push(ExtraKind::Set);
    })
    .await;
    let pid = gateway.sql(Some("alice"), "select own_pid()", json!([])).await.rows();
    let clean = rest(&state(&gateway).await);
    for sql in [LOCK, "select count(*) from pg_enum", "set statement_timeout = '7s'"] {
        let answer = gateway.sql(Some("alice"), sql, json!([])).await;
        assert_eq!(answer.status, 200, "{sql}: {}", answer.json());
        assert_eq!(rest(&state(&gateway).await), clean, "{sql}");
    }
    let after = gateway.sql(Some("alice"), "select own_pid()", json!([])).await.rows();
    assert_ne!(pid, after, "their connections are closed");
    for (sql, code) in [
        ("select pg_advisory_xact_lock(1)", "RG4031"),
        ("select * from pg_cursors", "RG4032"),
        ("show all", "RG4030"),
    ] {
        let answer = gateway.sql(Some("alice"), sql, json!([])).await;
        assert_eq!(answer.failure(), (403, code.to_owned()), "{sql}: only what is listed");
    }
}

#[tokio::test]
async fn functions_that_leave_nothing_cost_no_reset() {
    let gateway = with_functions().await;
    gateway.sql(Some("alice"), "select 1", json!([])).await.rows();
    assert_eq!(gateway.sql(Some("alice"), "selec 2", json!([])).await.failure().1, "42601");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let last = gateway.last_statement().await;
    assert!(!last.contains("pg_advisory_unlock_all"), "a statement that is only parsed: {last}");
    for plain in [
        "select add_todo('x')",
        "select own_pid()",
        "select task from todos limit 1",
        "select auth.user_id()",
    ] {
        gateway.sql(Some("alice"), plain, json!([])).await.rows();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(gateway.last_statement().await, plain);
    }
    gateway.sql(Some("alice"), "select random()", json!([])).await.rows();
    let began = Instant::now();
    while !gateway.last_statement().await.contains("pg_advisory_unlock_all") {
        assert!(began.elapsed() < Duration::from_secs(5), "never reset");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_trigger_that_leaves_something_is_cleaned_up_after() {
    let gateway = with_functions().await;
    let owner = gateway.database.owner().await;
    owner
        .batch_execute(
            "create trigger note before insert on todos for each row execute function note()",
        )
        .await
        .unwrap();
    gateway.learn().await;
    let clean = state(&gateway).await;
    for insert in ["insert into todos (task) values ('secret')", "select add_todo('secret')"] {
        gateway.sql(Some("alice"), insert, json!([])).await.rows();
        assert_eq!(state(&gateway).await, clean, "{insert}");
    }
}

#[tokio::test]
async fn a_function_that_nobody_has_heard_of_is_cleaned_up_after() {
    let gateway = with_functions().await;
    let clean = state(&gateway).await;
    let owner = gateway.database.owner().await;
    owner
        .batch_execute(
            "create function fresh() returns void language sql as $$ select set_config('app.note', 'x', false) $$;
             grant execute on function fresh() to authenticated",
        )
        .await
        .unwrap();
    gateway.sql(Some("alice"), "select fresh()", json!([])).await.rows();
    assert_eq!(state(&gateway).await, clean);
}

/// The generator goes on where the last caller left it, and four of its numbers give its state away.
#[tokio::test]
async fn a_callers_random_numbers_say_nothing_of_the_next_callers() {
    let gateway = with_functions().await;
    let pid = gateway.sql(Some("alice"), "select own_pid()", json!([])).await.rows();
    let mut drawn = Vec::new();
    for _ in 0..2 {
        gateway.sql(Some("alice"), "select seed_generator()", json!([])).await.rows();
        drawn.push(gateway.sql(Some("bob"), "select random()::text", json!([])).await.rows());
    }
    assert_ne!(drawn[0], drawn[1], "bob's numbers follow alice's seed");
    let after = gateway.sql(Some("alice"), "select own_pid()", json!([])).await.rows();
    assert_eq!(pid, after, "the connection is kept");
}

#[tokio::test]
async fn a_statement_is_read_once_and_judged_anew_when_the_catalogue_changes() {
    let gateway = with_functions().await;
    let sql = "select 1 from harmless_name limit 0";
    gateway
        .database
        .owner()
        .await
        .batch_execute(
            "create view harmless_name as select 1; grant select on harmless_name to authenticated",
        )
        .await
        .unwrap();
    gateway.learn().await;
    assert_eq!(gateway.sql(Some("alice"), sql, json!([])).await.status, 200);
    gateway
        .database
        .owner()
        .await
        .batch_execute("drop view harmless_name; create sequence harmless_name; grant select on harmless_name to authenticated")
        .await
        .unwrap();
    gateway.learn().await;
    assert_eq!(gateway.sql(Some("alice"), sql, json!([])).await.failure(), (403, "RG4032".into()));
}

/// Code that the application attached to its objects runs without being named by the caller.
#[tokio::test]
async fn what_attached_code_leaves_is_gone_for_the_next_caller() {
    const ATTACHED: [(&str, &str, &str); 9] = [
        (
            "a condition of a trigger",
            "create table a1 (x int);
             create trigger t before insert on a1 for each row when (leaks(new.x) > 0) execute function nothing()",
            "insert into a1 values (1)",
        ),
        ("an index", "create table a2 (x int); create index on a2 (leaks(x))", "insert into a2 values (1)"),
        (
            "a partition's check",
            "create table a3 (x int) partition by range (x);
             create table a3_p partition of a3 (check (leaks(x) > 0)) for values from (0) to (9)",
            "insert into a3 values (1)",
        ),
        (
            "a partition key",
            "create table a4 (x int) partition by range (leaks(x));
             create table a4_p partition of a4 for values from (0) to (9)",
            "insert into a4 values (1)",
        ),
        (
            "a cascade into a checked child",
            "create table a5 (x int primary key); insert into a5 values (1);
             create table a5_c (x int references a5 on update cascade check (leaks(x) > 0));
             insert into a5_c values (1)",
            "update a5 set x = 2",
        ),
        ("a domain in an array", "create domain d6 as int check (leaks(value) > 0)", "select '{1}'::d6[]"),
        ("an array type by its own name", "create domain d7 as int check (leaks(value) > 0)", "select '{1}'::_d7"),
        (
            "a domain in a composite type",
            "create domain d8 as int check (leaks(value) > 0); create type c8 as (x d8)",
            "select '(1)'::c8",
        ),
        (
            "the type of an argument",
            "create domain d9 as int check (leaks(value) > 0);
             create function f9(x d9) returns int language sql as 'select 1'",
            "select f9(1)",
        ),
    ];
    let database = fresh_database().await;
    let owner = database.owner().await;
    owner.batch_execute(FUNCTIONS).await.unwrap();
    let leaks = "create function leaks(x int) returns int language plpgsql immutable as $$
        begin perform set_config('app.note', 'secret', false); return x; end $$;
        create function nothing() returns trigger language plpgsql as 'begin return new; end'";
    owner.batch_execute(leaks).await.unwrap();
    for (_, objects, _) in ATTACHED {
        owner.batch_execute(objects).await.unwrap();
    }
    let grant = "grant all on all tables in schema public to authenticated;
                 grant execute on all functions in schema public to authenticated";
    owner.batch_execute(grant).await.unwrap();
    let gateway = TestGateway::on(database, |config| config.database.pool_size = 1).await;
    let clean = state(&gateway).await;
    for (what, _, sql) in ATTACHED {
        let answer = gateway.sql(Some("alice"), sql, json!([])).await;
        assert_eq!(answer.status, 200, "{what}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(state(&gateway).await, clean, "{what}");
    }
}

#[tokio::test]
async fn a_long_statement_is_read_although_short_ones_keep_coming() {
    let gateway = std::sync::Arc::new(TestGateway::start().await);
    let hog = tokio::spawn({
        let gateway = gateway.clone();
        async move {
            for round in 0.. {
                let texts: Vec<String> = (0..50)
                    .map(|n| format!("select 1{} as r{round}_{n}", ", 1".repeat(2500)))
                    .collect();
                let batch: Vec<&str> = texts.iter().map(String::as_str).collect();
                let _ = gateway.batch(Some("alice"), &batch).await;
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let long = format!("select length('{}')", "x".repeat(20_000));
    let began = Instant::now();
    assert_eq!(gateway.sql(Some("bob"), &long, json!([])).await.rows(), json!([[20_000]]));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    hog.abort();
}
