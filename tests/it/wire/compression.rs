//! Compressed answers.

use std::io::Read;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::post;
use crate::harness::gateway::{TestAnswer, TestGateway};

const SMALL: &str = r#"{"query":"select 1"}"#;
/// Above the threshold, below streaming.
const WHOLE: &str = r#"{"query":"select i, 'row ' || i as t from generate_series(1, 1500) i"}"#;
const STREAMED: &str = r#"{"query":"select i, 'row ' || i as t from generate_series(1, 50000) i"}"#;

fn decoded(answer: &TestAnswer) -> Vec<u8> {
    let body = &answer.body[..];
    let mut out = Vec::new();
    match answer.header("content-encoding") {
        "" => out.extend_from_slice(body),
        "gzip" => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut out).unwrap()),
        "br" => drop(brotli::Decompressor::new(body, 4096).read_to_end(&mut out).unwrap()),
        "zstd" => out = zstd::stream::decode_all(body).unwrap(),
        other => panic!("{other} was not asked for"),
    }
    out
}

#[tokio::test]
async fn large_answers_are_compressed_as_the_client_accepts() {
    let gateway = TestGateway::start().await;
    for query in [WHOLE, STREAMED] {
        let plain = post(&gateway, &[], query).await;
        assert_eq!(plain.header("content-encoding"), "");
        for (accepted, coding) in [
            ("gzip, deflate", "gzip"),
            ("br", "br"),
            ("zstd", "zstd"),
            ("gzip;q=0.5, br;q=0.9, zstd;q=0.1", "br"),
            ("gzip, zstd;q=0", "gzip"),
            ("identity", ""),
            ("gzip;q=0", ""),
        ] {
            let answer = post(&gateway, &[("accept-encoding", accepted)], query).await;
            assert_eq!(
                (answer.status, answer.header("content-encoding")),
                (200, coding),
                "{accepted}"
            );
            assert_eq!(answer.header("vary"), "Accept-Encoding", "{accepted}");
            assert_eq!(answer.header("etag"), "");
            assert_eq!(answer.header("access-control-allow-origin"), "*");
            assert!(decoded(&answer) == plain.body, "{accepted}: another answer");
            if !coding.is_empty() {
                assert!(
                    answer.body.len() * 3 < plain.body.len(),
                    "{accepted}: {}",
                    answer.body.len()
                );
            }
            let length = answer.header("content-length");
            let expected = answer.body.len().to_string();
            assert_eq!(length, if query == WHOLE { expected.as_str() } else { "" }, "{accepted}");
        }
    }
}

#[tokio::test]
async fn small_answers_and_failures_are_sent_as_they_are() {
    let gateway = TestGateway::start().await;
    let accepts = [("accept-encoding", "gzip, br, zstd")];
    for body in [SMALL, r#"{"query":"select nosuch"}"#, "{", r#"{"queries":[]}"#] {
        let answer = post(&gateway, &accepts, body).await;
        assert_eq!((answer.header("content-encoding"), answer.header("vary")), ("", ""), "{body}");
        serde_json::from_slice::<Value>(&answer.body).unwrap();
    }
    let incompressible =
        r#"{"query":"select string_agg(md5(random()::text), '') from generate_series(1, 700)"}"#;
    let answer = post(&gateway, &accepts, incompressible).await;
    assert_eq!(answer.status, 200);
    serde_json::from_slice::<Value>(&decoded(&answer)).unwrap();
}

#[tokio::test]
async fn the_threshold_can_be_moved_and_compression_switched_off() {
    let off = TestGateway::with(|config| config.server.compress_from = None).await;
    let low = TestGateway::with(|config| config.server.compress_from = Some(1)).await;
    let accepts = [("accept-encoding", "gzip")];
    for query in [WHOLE, STREAMED] {
        let answer = post(&off, &accepts, query).await;
        assert_eq!((answer.header("content-encoding"), answer.header("vary")), ("", ""));
    }
    let two_lines = [("accept-encoding", "deflate"), ("accept-encoding", "gzip")];
    let answer = post(&low, &two_lines, r#"{"query":"select repeat('x', 1000)"}"#).await;
    assert_eq!(answer.header("content-encoding"), "gzip");
}

#[tokio::test]
async fn a_compressed_answer_that_fails_late_is_broken_off() {
    let gateway =
        TestGateway::with(|config| config.limits.deadline = Duration::from_secs(20)).await;
    let body = json!({"query": "select repeat('x', 1000), 1 / (20000 - i) from generate_series(1, 30000) i"});
    for coding in ["gzip", "br", "zstd"] {
        let headers = [("accept-encoding", coding)];
        let answer = gateway
            .try_send(gateway.address, Method::POST, "/sql", &headers, body.to_string())
            .await;
        assert!(answer.is_err(), "{coding}: a broken-off body must not look complete");
    }
    assert_eq!(gateway.sql(None, "select 1", json!([])).await.rows(), json!([[1]]));
}
