//! HTTP itself: paths, methods, CORS, ids, limits, health, metrics, draining.

use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::cluster::PrivateCluster;
use crate::harness::gateway::TestGateway;

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_json() {
    let gateway = TestGateway::start().await;
    let nowhere = gateway.send(Method::GET, "/nowhere", &[], "").await;
    assert_eq!(nowhere.failure(), (404, "RG4040".to_owned()));
    let get = gateway.send(Method::GET, "/sql", &[], "").await;
    assert_eq!(get.failure(), (405, "RG4050".to_owned()));
    assert_eq!(get.header("allow"), "POST, OPTIONS");
    let metrics = gateway.send(Method::GET, "/metrics", &[], "").await;
    assert_eq!(metrics.status, 404, "metrics are for operators only");
}

#[tokio::test]
async fn browsers_may_read_every_answer_failures_included() {
    let gateway = TestGateway::start().await;
    let asked = "authorization,neon-array-mode,neon-connection-string,neon-raw-text-output";
    let preflight = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", asked),
    ];
    let answer = gateway.send(Method::OPTIONS, "/sql", &preflight, "").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("access-control-max-age"), "86400");
    let allowed = answer.header("access-control-allow-headers").to_lowercase();
    for name in asked.split(',') {
        assert!(allowed.contains(name), "{name}");
    }
    let origin = ("origin", "https://app.example");
    for (method, path, body) in
        [(Method::POST, "/sql", "{"), (Method::GET, "/sql", ""), (Method::GET, "/nowhere", "")]
    {
        let answer = gateway.send(method, path, &[origin], body).await;
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
    let unauthorized =
        gateway.send(Method::POST, "/sql", &[origin, ("authorization", "Bearer x")], "{}").await;
    assert_eq!(unauthorized.status, 401);
    assert_eq!(unauthorized.header("access-control-allow-origin"), "*");
}

#[tokio::test]
async fn listed_origins_only_may_read_answers() {
    let gateway = TestGateway::with(|config| {
        config.cors.allowed_origins = vec!["https://app.example".to_owned()];
    })
    .await;
    for (origin, expected) in
        [("https://app.example", "https://app.example"), ("https://evil.example", "")]
    {
        let answer = gateway.send(Method::OPTIONS, "/sql", &[("origin", origin)], "").await;
        assert_eq!(answer.header("access-control-allow-origin"), expected);
        assert_eq!(answer.header("vary"), "Origin");
    }
}

#[tokio::test]
async fn request_ids_are_echoed_or_made_up() {
    let gateway = TestGateway::start().await;
    let answer = gateway.send(Method::GET, "/health/live", &[("x-request-id", "abc-1")], "").await;
    assert_eq!(answer.header("x-request-id"), "abc-1");
    let made_up = gateway.send(Method::GET, "/health/live", &[("x-request-id", "a b{")], "").await;
    assert_eq!(made_up.header("x-request-id").len(), 24);
}

#[tokio::test]
async fn bodies_and_batches_have_limits() {
    let gateway = TestGateway::with(|config| {
        config.limits.request_bytes = 1000;
        config.limits.batch_statements = 3;
    })
    .await;
    let long = json!({"query": format!("select '{}'", "x".repeat(1000))}).to_string();
    let answer = gateway.send(Method::POST, "/sql", &[], long).await;
    assert_eq!(answer.failure(), (413, "RG4130".to_owned()));
    let batch = gateway.batch(None, &["select 1"; 4]).await;
    assert_eq!(batch.failure(), (400, "RG4004".to_owned()));
}

#[tokio::test]
async fn a_body_that_is_not_wanted_is_taken_in_so_that_its_sender_gets_the_answer() {
    let gateway = TestGateway::start().await;
    let body = "x".repeat(12 << 20);
    for (head, status) in [
        ("POST /sql HTTP/1.1", "413"),
        ("POST /nowhere HTTP/1.1", "404"),
        ("POST /sql HTTP/1.1\r\nAuthorization: Bearer x", "401"),
    ] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let head = format!("{head}\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}"));
    }
}

#[tokio::test]
async fn an_answer_beyond_the_limit_fails_or_breaks_off_but_never_looks_whole() {
    let gateway = TestGateway::with(|config| {
        config.limits.answer_bytes = 100_000;
        config.limits.stream_threshold = 50_000;
    })
    .await;
    let one_row = gateway.sql(None, "select repeat('x', 200000)", json!([])).await;
    assert_eq!(one_row.failure(), (507, "RG5070".to_owned()));
    let body =
        json!({"query": "select repeat('x', 1000) from generate_series(1, 1000)"}).to_string();
    let streamed = gateway.try_send(gateway.address, Method::POST, "/sql", &[], body).await;
    assert!(streamed.is_err(), "a broken-off body must not look complete");
    assert_eq!(gateway.sql(None, "select 1", json!([])).await.rows(), json!([[1]]));
}

#[tokio::test]
async fn large_answers_are_streamed_whole() {
    let gateway = TestGateway::start().await;
    let query = "select i, repeat('x', 100) from generate_series(1, 20000) i";
    let answer = gateway.sql(None, query, json!([])).await;
    let rows = answer.rows();
    assert_eq!(answer.header("content-length"), "");
    assert_eq!(rows.as_array().unwrap().len(), 20_000);
    assert_eq!(rows[19_999][0], 20_000);
}

#[tokio::test]
async fn a_connection_that_sends_no_whole_head_is_closed() {
    let gateway = TestGateway::with(|config| {
        config.server.header_timeout = Duration::from_millis(300);
        config.server.body_timeout = Duration::from_millis(300);
    })
    .await;
    for beginning in ["", "P", "PRI * HT", "POST /sql HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let closed =
            tokio::time::timeout(Duration::from_secs(3), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "still open after {beginning:?}");
    }
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream
        .write_all(b"POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        .await
        .unwrap();
    let mut answer = vec![0; 12];
    tokio::time::timeout(Duration::from_secs(3), stream.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn http2_with_prior_knowledge_works() {
    let gateway = TestGateway::start().await;
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::post(format!("http://{}/sql", gateway.address))
        .body(http_body_util::Full::new(bytes::Bytes::from(r#"{"query":"select 1"}"#)))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.version(), hyper::Version::HTTP_2);
}

#[tokio::test]
async fn readiness_needs_the_database_and_liveness_does_not() {
    let mut cluster = PrivateCluster::start().await;
    let gateway = TestGateway::on(cluster.fresh_database().await, |_| {}).await;
    assert_eq!(gateway.send(Method::GET, "/health/ready", &[], "").await.status, 200);
    cluster.stop();
    let away = gateway.send(Method::GET, "/health/ready", &[], "").await;
    assert_eq!((away.status, &away.json()["authenticated"]), (503, &json!("unreachable")));
    assert_eq!(gateway.send(Method::GET, "/health/live", &[], "").await.status, 200);
    let refused = gateway.sql(Some("alice"), "select 1", json!([])).await;
    assert_eq!(refused.failure(), (503, "RG5032".to_owned()));
    assert_eq!(refused.header("retry-after"), "1");
    cluster.start_again();
    assert_eq!(gateway.send(Method::GET, "/health/ready", &[], "").await.status, 200);
    assert_eq!(gateway.sql(Some("alice"), "select 1", json!([])).await.rows(), json!([[1]]));
}

#[tokio::test]
async fn metrics_count_requests_by_route_role_and_status() {
    let gateway = TestGateway::start().await;
    gateway.sql(Some("alice"), "select 1", json!([])).await;
    gateway.send(Method::GET, "/nowhere", &[], "").await;
    let text = String::from_utf8(gateway.admin("/metrics").await.body.to_vec()).unwrap();
    for line in [
        r#"rowgate_requests_total{route="/sql",role="authenticated",status="200"} 1"#,
        r#"rowgate_requests_total{route="unknown",role="none",status="404"} 1"#,
        r#"rowgate_connections{role="authenticated"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert_eq!(gateway.admin("/health/ready").await.status, 200);
    assert_eq!(gateway.admin("/sql").await.status, 404);
}

#[tokio::test]
async fn draining_finishes_what_runs_and_cancels_the_rest() {
    let mut gateway = TestGateway::with(|config| {
        config.server.drain_timeout = Duration::from_millis(1500);
    })
    .await;
    let short = tokio::spawn(run_raw(gateway.address, "select 'done' from pg_sleep(0.5)"));
    let long = tokio::spawn(run_raw(gateway.address, "select 'done' from pg_sleep(60)"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    gateway.shut_down().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(short.await.unwrap().contains("\"done\""), "a running request was not finished");
    assert_eq!(long.await.unwrap(), "", "a request past the drain limit was answered");
    assert!(TcpStream::connect(gateway.address).await.is_err());
    assert_eq!(gateway.running_statements().await, 0);
}

#[tokio::test]
async fn neither_silent_nor_idle_clients_hold_up_the_drain() {
    let mut gateway = TestGateway::with(|config| config.server.max_connections = 3).await;
    let mut clients = Vec::new();
    for beginning in ["", "PRI * HT", "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n", ""] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        clients.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    gateway.shut_down().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

async fn run_raw(address: std::net::SocketAddr, query: &str) -> String {
    let body = json!({ "query": query }).to_string();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}
