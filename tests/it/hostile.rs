//! Callers who may send any SQL: they cannot become somebody else, leave anything behind, or run for ever.

use std::time::{Duration, Instant};

use hyper::Method;
use rowgate::config::StatementKinds;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::gateway::TestGateway;

const TASKS: &str = "select task from todos order by id";

/// A gateway with a single connection, so that every caller gets what the one before left; and with
/// every kind of statement let through, so that what holds is seal and cleaning alone.
async fn one_connection() -> TestGateway {
    let gateway = TestGateway::with(|config| {
        config.database.pool_size = 1;
        config.limits.statements = StatementKinds::All;
    })
    .await;
    gateway.seed().await;
    gateway
}

#[tokio::test]
async fn statements_that_do_not_read_or_change_rows_are_forbidden() {
    let gateway = TestGateway::start().await;
    for sql in [
        "alter role current_user password 'x'",
        "do $$ begin end $$",
        "set role none",
        "create table x ()",
        "/* select */ call p()",
        "listen x",
    ] {
        let answer = gateway.sql(Some("alice"), sql, json!([])).await;
        assert_eq!(answer.failure(), (403, "RG4030".to_owned()), "{sql}");
    }
    let batch =
        gateway.batch(Some("alice"), &["insert into todos (task) values ('x')", "vacuum"]).await;
    assert_eq!(batch.failure(), (403, "RG4030".to_owned()));
    let count = gateway.sql(Some("alice"), "select count(*)::int4 from todos", json!([])).await;
    assert_eq!(count.rows(), json!([[0]]));
    let explained =
        gateway.sql(Some("alice"), "explain (costs off) select * from todos", json!([])).await;
    assert_eq!(explained.json()["command"], "EXPLAIN");
}

#[tokio::test]
async fn claims_that_the_callers_sql_writes_are_not_believed() {
    let gateway = one_connection().await;
    let forged = r#"{"sub":"bob","role":"authenticated"}"#;
    for setting in ["request.jwt.claims", "rowgate.seal", "request.jwt.claim.sub"] {
        for local in ["true", "false"] {
            let set = format!("select set_config('{setting}', '{forged}', {local})");
            let answer = gateway.batch(Some("alice"), &[&set, TASKS]).await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!text.contains("bob one"), "{setting} {local}: {text}");
            let later = gateway.sql(Some("alice"), TASKS, json!([])).await;
            assert_eq!(later.rows(), json!([["alice one"], ["alice two"]]), "{setting} {local}");
        }
    }
    let unsealed = format!("select set_config('request.jwt.claims', '{forged}', true)");
    let answer = gateway.batch(Some("alice"), &[&unsealed, TASKS]).await;
    assert_eq!(answer.failure(), (400, "28000".to_owned()));
}

#[tokio::test]
async fn a_stolen_seal_is_worth_nothing_on_another_connection() {
    let gateway = TestGateway::with(|config| config.limits.statements = StatementKinds::All).await;
    gateway.seed().await;
    let query = "select current_setting('request.jwt.claims'), current_setting('rowgate.seal'), \
                 pg_backend_pid() from pg_sleep(0.3)";
    // Two at once, so that they run on different backends.
    let (bob, _) = tokio::join!(
        gateway.sql(Some("bob"), query, json!([])),
        gateway.sql(Some("x"), query, json!([]))
    );
    let stolen = bob.rows()[0].clone();
    let text = |value: &Value| value.as_str().unwrap().replace('\'', "''");
    let replay = format!(
        "select set_config('request.jwt.claims', '{}', true), set_config('rowgate.seal', '{}', true)",
        text(&stolen[0]),
        text(&stolen[1])
    );
    let answer = gateway.batch(Some("alice"), &[&replay, TASKS]).await;
    assert_eq!(answer.failure(), (400, "28000".to_owned()));
}

/// Everything about a session that a caller can change and the next one could notice.
const RESIDUE: &str = "select
    (select string_agg(name || '=' || setting, ';' order by name) from pg_settings
      where source = 'session' and name not like 'request.%' and name not like 'rowgate.%'),
    (select count(*) from pg_prepared_statements where statement not like '%rowgate.seal%'
      and statement not like '%pg_prepared_statements%'),
    (select count(*) from pg_cursors where is_holdable),
    (select count(*) from pg_listening_channels()),
    (select count(*) from pg_locks where locktype = 'advisory'),
    (select count(*) from pg_class where relpersistence = 't'),
    current_user, session_user, current_setting('role')";

#[tokio::test]
async fn nothing_that_a_caller_does_is_there_for_the_next_one() {
    let gateway = one_connection().await;
    let clean = gateway.sql(Some("bob"), RESIDUE, json!([])).await.rows();
    let attacks = [
        "set search_path = evil",
        "set statement_timeout = 1",
        "select set_config('search_path', 'evil', false)",
        "update pg_settings set setting = 'evil' where name = 'search_path'",
        "prepare p as select 1",
        "select pg_advisory_lock(42)",
        "listen spy",
        "declare c cursor with hold for select 1",
        "set role none",
        "set session characteristics as transaction read only",
        "create temp table todos (task text)",
        "select 1 into temp table spy",
        "set client_encoding = 'LATIN1'",
        "deallocate all",
        "discard all",
        "select setseed(0.5)",
        "do $$ begin perform set_config('search_path', 'evil', false); end $$",
        "load 'auto_explain'",
    ];
    for attack in attacks {
        let _ = gateway.sql(Some("alice"), attack, json!([])).await;
        let _ = gateway.batch(Some("alice"), &["select 1", attack, "select 2"]).await;
        let after = gateway.sql(Some("bob"), RESIDUE, json!([])).await.rows();
        assert_eq!(after, clean, "left by {attack}");
        assert_eq!(
            gateway.sql(Some("bob"), TASKS, json!([])).await.rows(),
            json!([["bob one"]]),
            "after {attack}"
        );
    }
}

#[tokio::test]
async fn a_suspect_statement_sees_nothing_of_earlier_callers() {
    let gateway = one_connection().await;
    let secret = "select 'a secret of bob' where $1";
    for _ in 0..3 {
        gateway.sql(Some("bob"), secret, json!([true])).await.rows();
    }
    gateway.sql(Some("bob"), "insert into todos (task) values ('x')", json!([])).await.rows();
    let spied =
        gateway.sql(Some("alice"), "select statement from pg_prepared_statements", json!([])).await;
    assert!(!String::from_utf8_lossy(&spied.body).contains("secret"));
    let sequence = gateway.sql(Some("alice"), "select lastval()", json!([])).await;
    assert_eq!(sequence.failure(), (400, "55000".to_owned()));
}

#[tokio::test]
async fn a_statement_is_cancelled_at_the_deadline() {
    let gateway = TestGateway::with(|config| {
        config.limits.deadline = Duration::from_millis(400);
        config.database.pool_size = 1;
    })
    .await;
    for query in ["select pg_sleep(60)", "select count(*) from generate_series(1, 1e12::int8)"] {
        let mut messages = Vec::new();
        // A busy machine may take its time over a cancellation, but not always.
        while messages.len() < 5 && !messages.iter().any(|m: &String| m.contains("was cancelled")) {
            let began = Instant::now();
            let answer = gateway.sql(Some("alice"), query, json!([])).await;
            assert_eq!(answer.failure(), (504, "RG5040".to_owned()), "{query}");
            assert!(began.elapsed() < Duration::from_secs(4));
            messages.push(answer.json()["message"].as_str().unwrap().to_owned());
        }
        assert!(messages.last().unwrap().contains("was cancelled"), "{query}: {messages:?}");
    }
    assert_eq!(gateway.running_statements().await, 0);
    assert_eq!(gateway.sql(Some("bob"), "select 1", json!([])).await.rows(), json!([[1]]));
}

#[tokio::test]
async fn a_statement_that_swallows_its_cancellation_is_terminated() {
    let gateway = TestGateway::with(|config| {
        config.limits.deadline = Duration::from_millis(300);
        config.database.pool_size = 1;
        config.limits.statements = StatementKinds::All;
    })
    .await;
    let stubborn = "do $$ begin loop begin perform pg_sleep(5); exception when query_canceled then null; \
                    end; end loop; end $$";
    let answer = gateway.sql(Some("alice"), stubborn, json!([])).await;
    assert_eq!(answer.failure(), (504, "RG5040".to_owned()));
    assert_eq!(gateway.sql(Some("bob"), "select 1", json!([])).await.rows(), json!([[1]]));
    assert_eq!(gateway.running_statements().await, 0);
}

#[tokio::test]
async fn a_backend_that_answers_its_cancellation_with_too_much_is_terminated() {
    let gateway = TestGateway::with(|config| {
        config.limits.deadline = Duration::from_millis(500);
        config.limits.answer_bytes = 100 * 1024;
        config.limits.statements = StatementKinds::All;
    })
    .await;
    let stubborn = "do $$ begin set client_connection_check_interval = 0; \
                    raise notice '%', repeat('x', 150000); \
                    loop begin perform pg_sleep(1000); exception when query_canceled then null; end; \
                    end loop; end $$";
    let answer = gateway.sql(Some("alice"), stubborn, json!([])).await;
    assert_eq!(answer.failure(), (507, "RG5070".to_owned()));
    let began = Instant::now();
    while gateway.running_statements().await > 0 {
        assert!(began.elapsed() < Duration::from_secs(5), "the statement runs on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_statement_with_it() {
    let gateway = one_connection().await;
    let body = json!({"query": "select pg_sleep(60)"}).to_string();
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!("POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(gateway.running_statements().await, 1);
    drop(stream);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(gateway.running_statements().await, 0);
    assert_eq!(gateway.sql(None, "select 1", json!([])).await.rows(), json!([[1]]));
}

#[tokio::test]
async fn a_slow_reader_is_cut_off_and_its_statement_stopped() {
    let gateway = TestGateway::with(|config| {
        config.server.write_timeout = Duration::from_millis(300);
        config.limits.answer_bytes = 1 << 30;
    })
    .await;
    let query = "select repeat('x', 1000) from generate_series(1, 1000000)";
    let body = json!({ "query": query }).to_string();
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!("POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let began = Instant::now();
    while gateway.running_statements().await == 0 {
        assert!(began.elapsed() < Duration::from_secs(3), "the statement never ran");
    }
    while gateway.running_statements().await > 0 {
        assert!(began.elapsed() < Duration::from_secs(5), "the statement runs on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_slow_reader_holds_no_connection_past_the_deadline() {
    let gateway = TestGateway::with(|config| {
        config.limits.deadline = Duration::from_secs(1);
        config.database.pool_size = 1;
    })
    .await;
    let query = "select repeat('x', 1000) from generate_series(1, 60000)";
    let body = json!({"queries": [{"query": "select 1"}, {"query": query}]}).to_string();
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!("POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let reader = tokio::spawn(async move {
        let mut piece = vec![0; 64 * 1024];
        while stream.read(&mut piece).await.is_ok_and(|n| n > 0) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    assert_eq!(gateway.sql(None, "select 1", json!([])).await.rows(), json!([[1]]));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    reader.abort();
}

#[tokio::test]
async fn alternating_callers_on_few_connections_never_meet() {
    // 25 requests of each at once, on a machine that is busy with other tests.
    let gateway = TestGateway::with(|config| {
        config.limits.concurrent_wait = Duration::from_secs(30);
        config.database.acquire_timeout = Duration::from_secs(30);
    })
    .await;
    gateway.seed().await;
    let tokens = [("alice", gateway.token("alice")), ("bob", gateway.token("bob"))];
    let mut workers = tokio::task::JoinSet::new();
    let gateway = std::sync::Arc::new(gateway);
    for worker in 0..50 {
        let (gateway, tokens) = (gateway.clone(), tokens.clone());
        workers.spawn(async move {
            for round in 0..40 {
                let (subject, token) = &tokens[(worker + round) % 2];
                let authorization = format!("Bearer {token}");
                let body = json!({"query": "select distinct user_id, auth.user_id() from todos",
                                  "arrayMode": true});
                let answer = gateway
                    .send(
                        Method::POST,
                        "/sql",
                        &[("authorization", &authorization)],
                        body.to_string(),
                    )
                    .await;
                assert_eq!(answer.rows(), json!([[subject, subject]]));
            }
        });
    }
    let answered: usize = workers.join_all().await.len();
    assert_eq!(answered, 50);
}

#[tokio::test]
async fn too_many_waiting_requests_are_turned_away_with_a_hint() {
    let gateway = TestGateway::with(|config| {
        config.database.pool_size = 1;
        config.database.max_waiting = 1;
        config.database.acquire_timeout = Duration::from_millis(300);
    })
    .await;
    let slow = || gateway.sql(None, "select pg_sleep(1)", json!([]));
    let (a, b, c) = tokio::join!(slow(), slow(), slow());
    let mut statuses = [a.status, b.status, c.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503, 503]);
    let refused = [a, b, c].into_iter().find(|answer| answer.status == 503).unwrap();
    assert_eq!(refused.failure().1, "RG5030");
    assert_eq!(refused.header("retry-after"), "1");
}
