//! Slow, oversized, malformed and ambiguous HTTP/1: cut off in time, and each answered once.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PATIENCE, raw, send, until_closed};
use crate::harness::gateway::TestGateway;

/// What a second request, smuggled behind the first, would be answered with.
const SMUGGLED: &str = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";

/// A gateway that waits for nobody.
async fn impatient() -> TestGateway {
    TestGateway::with(|config| {
        config.server.header_timeout = Duration::from_millis(500);
        config.server.body_timeout = Duration::from_millis(500);
        config.server.write_timeout = Duration::from_millis(500);
    })
    .await
}

/// Status and `code` of the only answer in `text`.
fn only_answer(text: &str) -> (u16, String) {
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}"));
    let status = head[9..12].parse().unwrap();
    (status, body["code"].as_str().unwrap_or("none").to_owned())
}

#[tokio::test]
async fn what_is_no_http_is_refused_in_json_and_the_connection_closed() {
    let gateway = impatient().await;
    let post = "POST /sql HTTP/1.1\r\nHost: x\r\n";
    let body = "\r\n\r\n{\"query\":\"select 1\"}";
    for (what, request) in [
        ("two lengths", format!("{post}Content-Length: 20\r\nContent-Length: 5{body}")),
        ("a list of lengths", format!("{post}Content-Length: 20, 5{body}")),
        ("a negative length", format!("{post}Content-Length: -1{body}")),
        ("a signed length", format!("{post}Content-Length: +20{body}")),
        ("a length beyond 64 bits", format!("{post}Content-Length: 99999999999999999999{body}")),
        ("no length", format!("{post}Content-Length: {body}")),
        ("an unknown coding", format!("{post}Transfer-Encoding: gzip{body}")),
        ("chunked not last", format!("{post}Transfer-Encoding: chunked, identity{body}")),
        ("chunked misspelt", format!("{post}Transfer-Encoding: xchunked{body}")),
        ("chunked in HTTP/1.0", format!("POST /sql HTTP/1.0\r\nTransfer-Encoding: chunked{body}")),
        ("a folded field", format!("{post}X-A: b\r\n c: d{body}")),
        ("white space before the colon", format!("{post}Content-Length : 20{body}")),
        ("NUL in a value", format!("{post}X-A: a\0b{body}")),
        ("NUL in a name", format!("{post}X\0A: b{body}")),
        ("a bare CR in a value", format!("{post}X-A: a\rb{body}")),
        ("a field without a name", format!("{post}: b{body}")),
        ("no version", "GET /health/live\r\n\r\n".to_owned()),
        ("another version", "GET /health/live HTTP/3.0\r\n\r\n".to_owned()),
        ("no target", "GET  HTTP/1.1\r\n\r\n".to_owned()),
        ("noise", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".to_owned()),
    ] {
        let answer = until_closed(&mut send(&gateway, request.as_bytes()).await).await;
        assert_eq!(only_answer(&answer), (400, "RG4006".to_owned()), "{what}");
    }
    assert_eq!(gateway.sql(None, "select 1", json!([])).await.rows(), json!([[1]]));
}

#[tokio::test]
async fn what_is_no_http_is_refused_in_json_on_a_used_connection_too() {
    let gateway = impatient().await;
    let mut stream = send(&gateway, raw("", "select 1").as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    stream.write_all(b"nonsense\r\n\r\n").await.unwrap();
    let answers = until_closed(&mut stream).await;
    let (first, second) = answers.split_at(answers.rfind("HTTP/1.1 ").unwrap());
    assert!(first.starts_with("HTTP/1.1 200") && first.ends_with('}'), "{answers}");
    assert_eq!(only_answer(second), (400, "RG4006".to_owned()));
}

#[tokio::test]
async fn a_length_beside_chunks_does_not_hide_a_second_request() {
    let gateway = impatient().await;
    let chunks = "14\r\n{\"query\":\"select 1\"}\r\n0\r\n\r\n";
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
    ] {
        let request =
            format!("POST /sql HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n{chunks}{SMUGGLED}");
        let answer = until_closed(&mut send(&gateway, request.as_bytes()).await).await;
        assert_eq!(
            only_answer(&answer).0,
            200,
            "RFC 9112 §6.3: the chunks count, then it is closed"
        );
    }
}

#[tokio::test]
async fn broken_chunks_are_refused_and_nothing_after_them_is_taken_for_a_request() {
    let gateway = impatient().await;
    let head = "POST /sql HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extensions = format!("1;{}\r\n{{\r\n", "x".repeat(1 << 20));
    let trailers = format!("1\r\n{{\r\n0\r\n{}", "X-A: b\r\n".repeat(100_000));
    for (what, chunks) in [
        ("a size beyond 64 bits", "fffffffffffffffff\r\n"),
        ("no size", "\r\n"),
        ("a negative size", "-1\r\n"),
        ("a size with 0x", "0x14\r\n"),
        ("no end of a chunk", "1\r\n{}\r\n"),
        ("huge extensions", extensions.as_str()),
        ("endless trailers", trailers.as_str()),
    ] {
        let request = format!("{head}{chunks}{SMUGGLED}");
        let answer = until_closed(&mut send(&gateway, request.as_bytes()).await).await;
        assert_eq!(only_answer(&answer), (400, "RG4002".to_owned()), "{what}");
    }
    // One byte for each chunk: as good as any other body.
    let bytes: String =
        "{\"query\":\"select 1\"}".chars().map(|c| format!("1\r\n{c}\r\n")).collect();
    let request = format!("{head}{bytes}0\r\n\r\n");
    let answer = until_closed(&mut send(&gateway, request.as_bytes()).await).await;
    assert_eq!(only_answer(&answer).0, 200);
    assert_eq!(gateway.sql(None, "select 1", json!([])).await.rows(), json!([[1]]));
}

#[tokio::test]
async fn oversized_heads_are_refused_in_json() {
    let gateway = impatient().await;
    let long = "x".repeat(1 << 20);
    let many: String = (0..3000).map(|n| format!("X-{n}: y\r\n")).collect();
    for (head, status, code) in [
        (format!("POST /sql HTTP/1.1\r\nX-Long: {long}\r\n\r\n"), 431, "RG4310"),
        (format!("POST /sql HTTP/1.1\r\n{many}\r\n"), 431, "RG4310"),
        (format!("POST /{long} HTTP/1.1\r\n\r\n"), 431, "RG4310"),
        (format!("POST /sql HTTP/1.1\r\n{long}"), 431, "RG4310"),
    ] {
        let answer = until_closed(&mut send(&gateway, head.as_bytes()).await).await;
        assert_eq!(only_answer(&answer), (status, code.to_owned()), "{}", &head[..40]);
        assert!(answer.contains("access-control-allow-origin: *\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn methods_and_targets_that_proxies_take_are_not_taken_here() {
    let gateway = impatient().await;
    for (request, expected) in [
        ("GET http://elsewhere.example/ HTTP/1.1\r\nHost: x", (404, "RG4040")),
        ("CONNECT db.example:5432 HTTP/1.1\r\nHost: x", (404, "RG4040")),
        ("TRACE /sql HTTP/1.1\r\nHost: x", (405, "RG4050")),
        ("OPTIONS * HTTP/1.1\r\nHost: x", (404, "RG4040")),
        ("PRI * HTTP/1.1\r\nHost: x", (404, "RG4040")),
    ] {
        let request = format!("{request}\r\nConnection: close\r\n\r\n");
        let answer = until_closed(&mut send(&gateway, request.as_bytes()).await).await;
        assert_eq!(only_answer(&answer), (expected.0, expected.1.to_owned()), "{request}");
    }
}

#[tokio::test]
async fn slow_senders_are_cut_off_in_time_and_hold_up_nobody() {
    let gateway = impatient().await;
    let dribble = |text: &'static str| {
        let address = gateway.address;
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let began = Instant::now();
            let mut answer = Vec::new();
            for byte in text.bytes().cycle() {
                if stream.write_all(&[byte]).await.is_err() {
                    break;
                }
                let pause = Duration::from_millis(20);
                let read = tokio::time::timeout(pause, stream.read_buf(&mut answer)).await;
                if matches!(read, Ok(Ok(0) | Err(_))) {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "still open: {text:?}");
            }
        })
    };
    let slow: Vec<_> = (0..30)
        .flat_map(|_| {
            [
                dribble("POST /sql HTTP/1.1\r\nX-A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"),
                dribble("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\u{4}\u{1}"),
            ]
        })
        .collect();
    let idle: Vec<_> =
        futures_util::future::join_all((0..100).map(|_| TcpStream::connect(gateway.address))).await;
    assert_eq!(gateway.sql(None, "select 1", json!([])).await.rows(), json!([[1]]));
    for slow in slow {
        slow.await.unwrap();
    }
    for idle in idle {
        until_closed(&mut idle.unwrap()).await;
    }
    let mut body = send(&gateway, b"POST /sql HTTP/1.1\r\nContent-Length: 1000\r\n\r\n").await;
    let began = Instant::now();
    let mut status = [0; 12];
    loop {
        let _ = body.write_all(b" ").await;
        let read = body.read_exact(&mut status);
        match tokio::time::timeout(Duration::from_millis(20), read).await {
            Ok(read) => break assert!(read.is_ok()),
            Err(_) => assert!(began.elapsed() < PATIENCE, "a body may take for ever"),
        }
    }
    assert_eq!(&status, b"HTTP/1.1 408");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_never_at_once() {
    let gateway = TestGateway::start().await;
    let requests: String = (0..50).map(|n| raw("", &format!("select {n} as n"))).collect();
    let mut stream = send(&gateway, requests.as_bytes()).await;
    stream.write_all(b"GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n").await.unwrap();
    let answers = until_closed(&mut stream).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 51, "{answers}");
    let seen: Vec<usize> =
        (0..50).map(|n| answers.find(&format!("\"rows\":[{{\"n\":{n}}}]")).unwrap()).collect();
    assert!(seen.is_sorted());
}

#[tokio::test]
async fn who_takes_no_answer_is_cut_off() {
    let gateway = impatient().await;
    // Each answer is small enough to be sent whole; nobody reads them.
    let query = "select repeat('x', 60000) as t";
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(gateway.address).await.unwrap();
    let request = raw("Accept-Encoding: identity\r\n", query);
    let began = Instant::now();
    while stream.write_all(request.as_bytes()).await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "requests are taken for ever");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
