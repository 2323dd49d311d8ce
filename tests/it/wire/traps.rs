//! What other gateways stumbled over.

use std::time::{Duration, Instant};

use rowgate::config::{Config, StatementKinds};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{post, text};
use crate::harness::gateway::TestGateway;

/// One connection, so that every caller gets what the one before left; and every kind of statement.
fn shared_and_open(config: &mut Config) {
    config.database.pool_size = 1;
    config.limits.statements = StatementKinds::All;
}

#[tokio::test]
async fn after_reset_all_nobody_is_somebody() {
    let gateway = TestGateway::with(shared_and_open).await;
    let who = "select auth.user_id(), auth.uid(), auth.session()->>'role'";
    for reset in ["reset all", "discard all", "reset role", "reset session authorization"] {
        let _ = gateway.sql(Some("alice"), reset, json!([])).await;
        let _ = gateway.batch(Some("alice"), &["select 1", reset]).await;
        let nobody = gateway.sql(None, who, json!([])).await;
        assert_eq!(nobody.rows(), json!([[null, null, "anonymous"]]), "{reset}");
        let bob = gateway.sql(Some("bob"), "select auth.user_id()", json!([])).await;
        assert_eq!(bob.rows(), json!([["bob"]]), "{reset}");
    }
    let within = gateway.batch(Some("alice"), &["reset all", "select auth.user_id()"]).await;
    // Claims and seal are gone together: that is nobody, not an error, and not alice.
    assert_eq!(within.json()["results"][1]["rows"], json!([[null]]));
}

#[tokio::test]
async fn a_commit_in_code_does_not_split_the_transaction() {
    let gateway = TestGateway::with(shared_and_open).await;
    let owner = gateway.database.owner().await;
    owner
        .batch_execute(
            "create procedure hasty() language plpgsql as $$ begin commit; end $$;
             grant execute on procedure hasty() to authenticated",
        )
        .await
        .unwrap();
    for commit in ["call hasty()", "do $$ begin commit; end $$", "do $$ begin rollback; end $$"] {
        let insert = "insert into todos (task) values ('kept?')";
        let answer = gateway.batch(Some("alice"), &[insert, commit, "select 1/0"]).await;
        assert_eq!(answer.failure(), (400, "2D000".to_owned()), "{commit}");
        let single = gateway.sql(Some("alice"), commit, json!([])).await;
        assert_eq!(single.failure(), (400, "2D000".to_owned()), "{commit}");
    }
    let kept = gateway.sql(Some("alice"), "select count(*)::int4 from todos", json!([])).await;
    assert_eq!(kept.rows(), json!([[0]]));
}

#[tokio::test]
async fn notifications_do_not_get_between_the_rows() {
    let gateway = TestGateway::with(shared_and_open).await;
    let noisy = ["listen c", "select pg_notify('c', 'x')", "notify c", "select 1 as one"];
    let answer = gateway.batch(Some("alice"), &noisy).await;
    assert_eq!(answer.json()["results"][3]["rows"], json!([[1]]));
    let raised = "do $$ begin raise notice 'n'; raise warning 'w'; end $$";
    assert_eq!(gateway.sql(Some("alice"), raised, json!([])).await.json()["command"], "DO");
    assert_eq!(gateway.sql(None, "select 1", json!([])).await.rows(), json!([[1]]));
}

#[tokio::test]
async fn another_client_encoding_is_refused_and_does_not_last() {
    let gateway = TestGateway::with(shared_and_open).await;
    for change in ["set client_encoding = 'LATIN1'", "set names 'SJIS'"] {
        let answer = gateway.batch(Some("alice"), &[change, "select 'é'"]).await;
        assert_ne!(answer.status, 200, "{change}: {}", text(&answer));
        let after = gateway.sql(None, "select 'é漢'", json!([])).await;
        assert_eq!(after.rows(), json!([["é漢"]]), "{change}");
    }
}

#[tokio::test]
async fn deep_json_is_carried_or_refused_but_never_fatal() {
    let gateway = TestGateway::start().await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let object = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let param =
        |param: &str| format!(r#"{{"query":"select $1::jsonb is null","params":[{param}]}}"#);
    for (body, status, code) in [
        (nested(200_000), 400, "RG4000"),
        (format!(r#"{{"x":{},"query":"select 1"}}"#, nested(200_000)), 200, "none"),
        (param(&nested(200_000)), 400, "RG4005"),
        (param(&object(1000)), 200, "none"),
        (param(&object(200_000)), 400, "54001"),
        (format!(r#"{{"queries":{}}}"#, nested(200_000)), 400, "RG4000"),
    ] {
        let answer = post(&gateway, &[], &body).await;
        assert_eq!(answer.failure(), (status, code.to_owned()), "{}…", &body[..40]);
    }
    let from_server = "select (repeat('[', 2000) || repeat(']', 2000))::json";
    let answer = gateway.sql(None, from_server, json!([])).await;
    assert!(text(&answer).contains(&format!("\"rows\":[[{}]]", nested(2000))));
    let dimensions = gateway.sql(None, "select '{{{{{{1}}}}}}'::int4[]", json!([])).await;
    assert_eq!(dimensions.rows(), json!([[[[[[[[1]]]]]]]]));
}

/// How soon a statement is to be gone that nobody waits for.
const PROMPT: Duration = Duration::from_millis(200);
/// Other tests share the machine: each attempt may take this long, one of them must be prompt.
const PATIENCE: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 8;

#[tokio::test]
async fn an_aborted_request_is_cancelled_within_200_ms_and_its_connection_not_reused() {
    let gateway = TestGateway::with(|config| config.database.pool_size = 1).await;
    for statement in [
        "select pg_sleep(60)",
        // Cheap by the planner's guess: compiling it (JIT) could not be interrupted.
        "with recursive r(n) as (select 1 union all select n + 1 from r) select count(*) from r",
        "select repeat('x', 100), pg_sleep(0.001) from generate_series(1, 1000000)",
    ] {
        let mut fastest = PATIENCE;
        for _ in 0..ATTEMPTS {
            fastest = fastest.min(abort(&gateway, statement).await);
            if fastest < PROMPT {
                break;
            }
        }
        assert!(fastest < PROMPT, "{statement} went on for {fastest:?} at least");
    }
}

#[tokio::test]
async fn a_reset_http2_stream_cancels_its_statement_and_no_other() {
    let gateway = TestGateway::start().await;
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    let call = |query: &str| {
        let body = json!({ "query": query }).to_string();
        let request = hyper::Request::post(format!("http://{}/sql", gateway.address))
            .body(http_body_util::Full::new(bytes::Bytes::from(body)))
            .unwrap();
        tokio::spawn(sender.clone().send_request(request))
    };
    let goes = call("select 1 from pg_sleep(60)");
    while gateway.running_statements().await < 1 {}
    let stays = call("select 1 from pg_sleep(4)");
    while gateway.running_statements().await < 2 {
        assert!(!stays.is_finished(), "the two never ran at once");
    }
    goes.abort();
    let aborted = Instant::now();
    while gateway.running_statements().await > 1 {
        assert!(aborted.elapsed() < PATIENCE, "the statement runs on");
    }
    assert_eq!(stays.await.unwrap().unwrap().status(), 200);
}

/// Sends a statement and goes away; returns how long it ran on, once its connection is known to be gone.
async fn abort(gateway: &TestGateway, statement: &str) -> Duration {
    let superuser = gateway.database.superuser().await;
    let active = "select pid from pg_stat_activity where datname = current_database() \
                  and usename = 'anonymous' and state = 'active'";
    let body = json!({ "query": statement }).to_string();
    let head = format!("POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let running: i32 = loop {
        if let Some(row) = superuser.query_opt(active, &[]).await.unwrap() {
            break row.get(0);
        }
    };
    drop(stream);
    let aborted = Instant::now();
    while superuser.query_opt(active, &[]).await.unwrap().is_some() {
        assert!(aborted.elapsed() < PATIENCE, "{statement} runs on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let elapsed = aborted.elapsed();
    let next = gateway.sql(None, "select pg_backend_pid()", json!([])).await.rows();
    assert_ne!(next, json!([[running]]), "{statement}");
    elapsed
}
