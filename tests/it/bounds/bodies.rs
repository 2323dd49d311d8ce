//! Deep, huge and odd JSON: a clear 4xx, in bounded time.

use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::json;

use crate::harness::gateway::{TestAnswer, TestGateway};

/// Far more than any of them takes, in a debug build on a busy machine.
const BOUNDED: Duration = Duration::from_secs(15);

async fn post(gateway: &TestGateway, body: impl Into<Vec<u8>>) -> TestAnswer {
    let began = Instant::now();
    let answer = gateway.send(Method::POST, "/sql", &[], body.into()).await;
    assert!(began.elapsed() < BOUNDED, "{:?}", began.elapsed());
    answer
}

#[tokio::test]
async fn odd_bodies_are_refused_with_a_code() {
    let gateway = TestGateway::start().await;
    let bodies: [(&str, &[u8]); 12] = [
        ("query twice", br#"{"query":"select 1","query":"select 2"}"#),
        ("params twice", br#"{"query":"select 1","params":[],"params":[1]}"#),
        ("queries twice", br#"{"queries":[],"queries":[{"query":"select 1"}]}"#),
        ("twice in a batch", br#"{"queries":[{"query":"select 1","query":"select 2"}]}"#),
        ("byte order mark", b"\xef\xbb\xbf{\"query\":\"select 1\"}"),
        ("UTF-16", b"{\0\"\0q\0u\0e\0r\0y\0\"\0"),
        ("no UTF-8", b"{\"query\":\"select '\xff\xfe'\"}"),
        ("an overlong form", b"{\"query\":\"select '\xc0\xaf'\"}"),
        ("NUL in the statement", br#"{"query":"select 1\u0000"}"#),
        ("a raw control character", b"{\"query\":\"select\x001\"}"),
        ("a lone surrogate", br#"{"query":"select '\ud800'"}"#),
        ("something after the end", br#"{"query":"select 1"} {"query":"select 2"}"#),
    ];
    for (what, body) in bodies {
        assert_eq!(post(&gateway, body).await.failure(), (400, "RG4000".to_owned()), "{what}");
    }
    assert_eq!(gateway.sql(None, "select 1", json!([])).await.rows(), json!([[1]]));
}

#[tokio::test]
async fn invalid_text_in_parameters_is_refused_too() {
    let gateway = TestGateway::start().await;
    let invalid = b"{\"query\":\"select $1::text\",\"params\":[\"\xff\"]}";
    assert_eq!(post(&gateway, invalid.as_slice()).await.status, 400);
    let nested = json!({"query": "select $1::jsonb", "params": [{"a": {"b": [1, {"c": null}]}}]});
    assert_eq!(
        post(&gateway, nested.to_string()).await.json()["rows"],
        json!([{"jsonb": {"a": {"b": [1, {"c": null}]}}}])
    );
}

#[tokio::test]
async fn huge_numbers_and_deep_lists_cost_no_more_than_their_size() {
    let gateway = TestGateway::start().await;
    let digits = "9".repeat(1 << 20);
    let number = |param: &str| format!(r#"{{"query":"select $1::numeric","params":[{param}]}}"#);
    assert_eq!(post(&gateway, number(&digits)).await.failure(), (400, "22003".to_owned()));
    assert_eq!(post(&gateway, number("1e999999999")).await.failure(), (400, "22003".to_owned()));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(post(&gateway, number(&deep)).await.failure(), (400, "RG4005".to_owned()));
    let in_object = format!(r#"{{"a":{deep}}}"#);
    assert_eq!(post(&gateway, number(&in_object)).await.status, 400);
    let name = "x".repeat(5 << 20);
    let unknown = format!(r#"{{"{name}":1,"query":"select 1"}}"#);
    assert_eq!(post(&gateway, unknown).await.status, 200);
    assert_eq!(gateway.sql(None, "select 1", json!([])).await.rows(), json!([[1]]));
}

#[tokio::test]
async fn millions_of_items_are_counted_and_not_collected() {
    let gateway = TestGateway::start().await;
    let list = |item: &str, n: usize| format!("[{}{item}]", format!("{item},").repeat(n - 1));
    let statements = format!(r#"{{"queries":{}}}"#, list("{}", 1_000_000));
    assert_eq!(post(&gateway, statements).await.failure(), (400, "RG4004".to_owned()));
    let empty = format!(r#"{{"queries":{}}}"#, list(r#"{"query":""}"#, 700_000));
    assert_eq!(post(&gateway, empty).await.failure(), (400, "RG4004".to_owned()));
    let params = format!(r#"{{"query":"select 1","params":{}}}"#, list("0", 4_000_000));
    assert_eq!(post(&gateway, params).await.failure(), (400, "RG4005".to_owned()));
    let members = format!(r#"{{{}"query":"select 1"}}"#, r#""a":0,"#.repeat(1_000_000));
    assert_eq!(post(&gateway, members).await.status, 200);
}
