//! `server.connections_per_address`.

use std::time::Instant;

use rowgate::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PATIENCE, counted, send, until_closed};
use crate::harness::gateway::TestGateway;

const LIVE: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";

/// Two connections from an address, and nobody is a proxy.
fn two(config: &mut Config) {
    config.server.connections_per_address = Some(2);
    config.server.trusted_proxies = Vec::new();
}

/// A connection on which a request was answered.
async fn open(gateway: &TestGateway) -> TcpStream {
    let mut stream = send(gateway, LIVE).await;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
}

#[tokio::test]
async fn further_connections_of_an_address_are_told_why_and_closed() {
    let gateway = TestGateway::with(two).await;
    let connections = [open(&gateway).await, open(&gateway).await];
    for request in [LIVE, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let answer = until_closed(&mut send(&gateway, request).await).await;
        assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["code"], "RG4291");
    }
    // Silent ones are closed, too.
    until_closed(&mut send(&gateway, b"").await).await;
    assert_eq!(counted(&gateway, "server.connections_per_address").await, 3);
    // Those that are open go on, and closing one makes room.
    let [mut first, second] = connections;
    first.write_all(LIVE).await.unwrap();
    drop(second);
    let began = Instant::now();
    loop {
        let mut status = [0; 12];
        let mut stream = send(&gateway, LIVE).await;
        if stream.read_exact(&mut status).await.is_ok() && &status == b"HTTP/1.1 200" {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the place never became free");
    }
}

#[tokio::test]
async fn a_trusted_proxy_may_have_any_number_of_connections() {
    let gateway = TestGateway::with(|config| {
        config.server.connections_per_address = Some(1);
    })
    .await;
    let connections = [open(&gateway).await, open(&gateway).await, open(&gateway).await];
    assert_eq!(counted(&gateway, "server.connections_per_address").await, 0);
    drop(connections);
}
