//! `limits.concurrent_requests`: how much of the gateway one caller gets.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hyper::Method;
use rowgate::config::{ConcurrentRequests, Config, StatementKinds};
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::{PATIENCE, counted, let_callers_nap, raw, send};
use crate::harness::gateway::{TestAnswer, TestGateway};

const LIMIT: &str = "limits.concurrent_requests";

/// One place for each caller, and hardly any patience.
fn one_place(config: &mut Config) {
    config.limits.concurrent_requests = ConcurrentRequests::AtMost(1);
    config.limits.concurrent_waiting = 1;
    config.limits.concurrent_wait = Duration::from_millis(50);
}

async fn ask(gateway: &TestGateway, headers: &[(&str, &str)], query: &str) -> TestAnswer {
    let body = json!({"query": query, "arrayMode": true}).to_string();
    gateway.send(Method::POST, "/sql", headers, body).await
}

#[tokio::test]
async fn a_greedy_user_is_turned_away_and_others_do_not_notice() {
    // A pool of four: two for one user at most.
    let gateway = TestGateway::with(|config| {
        config.limits.concurrent_waiting = 4;
        config.limits.concurrent_wait = Duration::from_millis(200);
    })
    .await;
    let_callers_nap(&gateway).await;
    let greedy = join_all((0..30).map(|_| gateway.sql(Some("alice"), "select nap(4)", json!([]))));
    let others = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut slowest = Duration::ZERO;
        for caller in [Some("bob"), None].into_iter().cycle().take(20) {
            let began = Instant::now();
            assert_eq!(gateway.sql(caller, "select 1", json!([])).await.rows(), json!([[1]]));
            slowest = slowest.max(began.elapsed());
        }
        slowest
    };
    let (greedy, slowest) = tokio::join!(greedy, others);
    assert!(slowest < Duration::from_secs(3), "others waited for {slowest:?}");
    let (served, refused): (Vec<_>, Vec<_>) =
        greedy.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(served.len(), 2, "{refused:?}");
    for answer in &refused {
        assert_eq!(answer.failure(), (429, "RG4290".to_owned()));
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
    assert_eq!(counted(&gateway, LIMIT).await, refused.len());
    assert_eq!(gateway.sql(Some("alice"), "select 1", json!([])).await.rows(), json!([[1]]));
}

#[tokio::test]
async fn bursts_of_quick_requests_wait_their_turn_instead_of_failing() {
    // Even on a machine that is busy with other tests.
    let gateway = TestGateway::with(|config| config.limits.concurrent_wait = PATIENCE).await;
    let burst = (0..100).map(|_| gateway.sql(Some("alice"), "select 1", json!([])));
    let wrong = join_all(burst).await.into_iter().filter(|answer| answer.status != 200).count();
    assert_eq!(wrong, 0);
}

#[tokio::test]
async fn all_tokens_of_a_user_share_their_places_and_other_users_have_their_own() {
    let gateway = TestGateway::with(one_place).await;
    let_callers_nap(&gateway).await;
    let token = |subject: &str, device: &str| {
        format!("Bearer {}", gateway.issuer.token(subject).claim("device", device).sign())
    };
    let (phone, laptop, bob) =
        (token("alice", "phone"), token("alice", "laptop"), token("bob", "x"));
    let napping = [("authorization", phone.as_str())];
    let others = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let alice = ask(&gateway, &[("authorization", &laptop)], "select 1").await;
        (alice, ask(&gateway, &[("authorization", &bob)], "select 1").await)
    };
    let (nap, (alice, bob)) = tokio::join!(ask(&gateway, &napping, "select nap(1.5)"), others);
    assert_eq!((nap.status, bob.status), (200, 200));
    assert_eq!(alice.failure(), (429, "RG4290".to_owned()));
}

#[tokio::test]
async fn anonymous_callers_are_told_apart_by_the_address_that_a_trusted_proxy_names() {
    let gateway = TestGateway::with(one_place).await;
    let_callers_nap(&gateway).await;
    let from = |address| [("x-forwarded-for", address)];
    let others = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let same = ask(&gateway, &from("198.51.100.9, 192.0.2.1"), "select 1").await;
        let other = ask(&gateway, &from("192.0.2.2"), "select 1").await;
        (same, other, ask(&gateway, &[], "select 1").await)
    };
    let greedy = from("192.0.2.1");
    let (nap, (same, other, unknown)) =
        tokio::join!(ask(&gateway, &greedy, "select nap(1.5)"), others);
    assert_eq!(same.failure(), (429, "RG4290".to_owned()));
    assert_eq!((nap.status, other.status, unknown.status), (200, 200, 200));
}

#[tokio::test]
async fn who_hangs_up_gets_no_fresh_place_before_the_statement_has_ended() {
    let gateway = TestGateway::with(|config| {
        one_place(config);
        config.limits.statements = StatementKinds::All;
    })
    .await;
    let stubborn = "do $$ begin loop begin perform pg_sleep(5); exception when query_canceled then null; \
                    end; end loop; end $$";
    let authorization = format!("Authorization: Bearer {}\r\n", gateway.token("alice"));
    let stream = send(&gateway, raw(&authorization, stubborn).as_bytes()).await;
    let began = Instant::now();
    while gateway.running_statements().await == 0 {
        assert!(began.elapsed() < PATIENCE, "the statement never ran");
    }
    drop(stream);
    let refused = gateway.sql(Some("alice"), "select 1", json!([])).await;
    assert_eq!(refused.failure(), (429, "RG4290".to_owned()));
    let began = Instant::now();
    while gateway.sql(Some("alice"), "select 1", json!([])).await.status != 200 {
        assert!(began.elapsed() < PATIENCE, "the place never became free");
    }
    assert_eq!(
        gateway.running_statements().await,
        0,
        "a place was given before the statement ended"
    );
}

#[tokio::test]
async fn an_answer_that_is_still_being_streamed_keeps_its_place() {
    let gateway = TestGateway::with(one_place).await;
    let authorization = format!("Authorization: Bearer {}\r\n", gateway.token("alice"));
    let large = "select repeat('x', 1000) from generate_series(1, 60000)";
    let mut stream = send(&gateway, raw(&authorization, large).as_bytes()).await;
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    let refused = gateway.sql(Some("alice"), "select 1", json!([])).await;
    assert_eq!(refused.failure(), (429, "RG4290".to_owned()));
    drop(stream);
    let began = Instant::now();
    while gateway.sql(Some("alice"), "select 1", json!([])).await.status != 200 {
        assert!(began.elapsed() < PATIENCE, "the place never became free");
    }
}

/// Time that the slowest of a hundred requests, but one, took.
async fn p99(gateway: &TestGateway) -> Duration {
    let mut times = Vec::new();
    for _ in 0..100 {
        let began = Instant::now();
        assert_eq!(gateway.sql(Some("bob"), "select 1", json!([])).await.rows(), json!([[1]]));
        times.push(began.elapsed());
    }
    times.sort();
    times[98]
}

#[tokio::test]
async fn the_slowest_answers_of_a_quiet_user_stay_quick_next_to_a_greedy_one() {
    /// Other tests share the machine.
    const NOISE: Duration = Duration::from_millis(1500);
    const NAP: &str = "select nap(3)";
    let gateway = std::sync::Arc::new(TestGateway::start().await);
    let_callers_nap(&gateway).await;
    let quiet = p99(&gateway).await;
    let greedy: Vec<_> = (0..32)
        .map(|_| {
            let gateway = std::sync::Arc::clone(&gateway);
            tokio::spawn(async move {
                loop {
                    let answer = gateway.sql(Some("alice"), NAP, json!([])).await;
                    assert!([200, 429].contains(&answer.status), "{answer:?}");
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    // Behind naps on all four connections it would be three seconds at least.
    let loud = p99(&gateway).await;
    greedy.iter().for_each(tokio::task::JoinHandle::abort);
    assert!(loud < 2 * quiet + NOISE, "{loud:?} rather than {quiet:?}");
}
