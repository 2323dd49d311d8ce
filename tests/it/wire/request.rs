//! Headers and body of a call.

use hyper::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{post, text};
use crate::harness::gateway::TestGateway;

const QUERY: &str = r#"{"query":"select 7::int4 as n"}"#;

#[tokio::test]
async fn boolean_headers_are_true_for_exactly_true() {
    let gateway = TestGateway::start().await;
    for (value, on) in [
        ("true", true),
        ("false", false),
        ("True", false),
        ("TRUE", false),
        ("1", false),
        ("yes", false),
        ("", false),
    ] {
        let raw = post(&gateway, &[("neon-raw-text-output", value)], QUERY).await;
        assert_eq!(raw.rows(), if on { json!([{"n": "7"}]) } else { json!([{"n": 7}]) }, "{value}");
        let arrays = post(&gateway, &[("neon-array-mode", value)], QUERY).await;
        assert_eq!(arrays.rows(), if on { json!([[7]]) } else { json!([{"n": 7}]) }, "{value}");
        assert_eq!(arrays.json()["rowAsArray"], json!(on), "{value}");
        let settings = r#"{"queries":[{"query":"select current_setting('transaction_read_only'), current_setting('transaction_deferrable')","arrayMode":true}]}"#;
        let headers = [("neon-batch-read-only", value), ("neon-batch-deferrable", value)];
        let expected = if on { json!([["on", "on"]]) } else { json!([["off", "off"]]) };
        let batch = post(&gateway, &headers, settings).await;
        assert_eq!(batch.json()["results"][0]["rows"], expected, "{value}");
    }
}

#[tokio::test]
async fn array_mode_of_a_query_wins_over_the_header() {
    let gateway = TestGateway::start().await;
    for (header, own, arrays) in [
        ("true", "false", false),
        ("false", "true", true),
        ("true", "null", true),
        ("false", "null", false),
    ] {
        let single = format!(r#"{{"query":"select 1 as n","arrayMode":{own}}}"#);
        let answer = post(&gateway, &[("neon-array-mode", header)], &single).await;
        assert_eq!(answer.json()["rowAsArray"], json!(arrays), "{header} {own}");
        let batch = format!(r#"{{"queries":[{single},{{"query":"select 1 as n"}}]}}"#);
        let results =
            post(&gateway, &[("neon-array-mode", header)], &batch).await.json()["results"].clone();
        assert_eq!(results[0]["rowAsArray"], json!(arrays), "{header} {own}");
        assert_eq!(results[1]["rowAsArray"], json!(header == "true"), "{header} {own}");
    }
}

#[tokio::test]
async fn the_content_type_of_a_request_does_not_matter() {
    let gateway = TestGateway::start().await;
    for content_type in [
        "",
        "Content-Type: application/json\r\n",
        "Content-Type: text/plain\r\n",
        "Content-Type: x\r\n",
    ] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let length = QUERY.len();
        let head = format!("POST /sql HTTP/1.1\r\nHost: any.example\r\n{content_type}");
        let rest = format!("Connection: close\r\nContent-Length: {length}\r\n\r\n{QUERY}");
        stream.write_all(format!("{head}{rest}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{content_type}: {answer}");
    }
}

#[tokio::test]
async fn user_password_and_host_of_the_connection_string_are_ignored() {
    let gateway = TestGateway::start().await;
    let database = &gateway.database.name;
    let query = r#"{"query":"select session_user::text, current_user::text","arrayMode":true}"#;
    for string in [
        format!("postgresql://postgres:secret@elsewhere.example/{database}"),
        format!("postgres://rowgate_owner@h/{database}?sslmode=require&application_name=x"),
        "postgresql://authenticated@h".to_owned(),
    ] {
        let answer = post(&gateway, &[("neon-connection-string", &string)], query).await;
        assert_eq!(answer.rows(), json!([["anonymous", "anonymous"]]), "{string}");
    }
    let bad = post(&gateway, &[("neon-connection-string", "mysql://u@h/x")], query).await;
    assert_eq!(bad.failure(), (400, "RG4001".to_owned()));
    let other =
        post(&gateway, &[("neon-connection-string", "postgresql://u@h/other")], query).await;
    assert_eq!(other.failure(), (400, "RG4003".to_owned()));
    let lax = TestGateway::with(|config| config.database.match_database_name = false).await;
    let other = post(&lax, &[("neon-connection-string", "postgresql://u@h/other")], query).await;
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn members_that_nobody_knows_are_ignored() {
    let gateway = TestGateway::start().await;
    let single = r#"{"x":{"y":[1]},"query":"select $1 as a","params":["1"],"fullResults":true}"#;
    assert_eq!(post(&gateway, &[], single).await.rows(), json!([{"a": "1"}]));
    let batch = format!(r#"{{"queries":[{single}],"isolationLevel":"Nonsense","arrayMode":true}}"#);
    let answer = post(&gateway, &[], &batch).await;
    assert_eq!(answer.json()["results"][0]["rows"], json!([{"a": "1"}]));
}

#[tokio::test]
async fn query_wins_over_queries() {
    let gateway = TestGateway::start().await;
    let both = r#"{"queries":[{"query":"select 1 as batch"}],"query":"select 2 as single"}"#;
    let headers = [("neon-batch-isolation-level", "Serializable")];
    let answer = post(&gateway, &headers, both).await;
    assert_eq!(answer.rows(), json!([{"single": 2}]));
    assert_eq!(answer.header("neon-batch-isolation-level"), "", "there was no batch");
}

#[tokio::test]
async fn bodies_of_another_shape_are_refused_with_a_hint() {
    let gateway = TestGateway::start().await;
    for body in [
        r#"{"query":null}"#,
        r#"{"query":["select 1"]}"#,
        r#"{"query":"select 1","params":"x"}"#,
        r#"{"queries":{"query":"select 1"}}"#,
        r#"{"queries":[{"query":"select 1","params":null}]}"#,
        r#"{"queries":[{"params":[]}]}"#,
        r#"{"queries":["select 1"]}"#,
        r#"{"queries":[null]}"#,
        r#"{"query":"select 1"} trailing"#,
    ] {
        let answer = post(&gateway, &[], body).await;
        assert_eq!(answer.failure(), (400, "RG4000".to_owned()), "{body}");
        assert!(answer.json()["hint"].as_str().unwrap().contains("query"), "{body}");
    }
    assert_eq!(post(&gateway, &[], r#"{"query":"select 1","params":[]}"#).await.status, 200);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_with_431() {
    let gateway = TestGateway::start().await;
    let long = "x".repeat(400_000);
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!("POST /sql HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 431");
}

#[tokio::test]
async fn a_preflight_names_every_header_and_needs_no_token() {
    let gateway = TestGateway::with(|config| config.auth.anonymous = false).await;
    let asked = "authorization,content-type,neon-array-mode,neon-batch-deferrable,\
                 neon-batch-isolation-level,neon-batch-read-only,neon-connection-string,\
                 neon-raw-text-output";
    let headers = [
        ("origin", "http://localhost:5173"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", asked),
    ];
    let answer = gateway.send(Method::OPTIONS, "/sql", &headers, "").await;
    assert_eq!((answer.status, text(&answer)), (204, ""));
    let allowed = answer.header("access-control-allow-headers").to_lowercase();
    let allowed: Vec<&str> = allowed.split(", ").collect();
    for name in asked.split(',') {
        assert!(allowed.contains(&name), "{name}");
    }
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    assert_eq!(answer.header("access-control-allow-credentials"), "", "no cookies are used");
    let refused = post(&gateway, &[("origin", "http://localhost:5173")], QUERY).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("access-control-allow-origin"), "*");
}

#[tokio::test]
async fn pages_may_read_answers_of_every_status() {
    let gateway = TestGateway::with(|config| {
        config.limits.deadline = std::time::Duration::from_millis(200);
        config.limits.request_bytes = 1000;
        config.limits.answer_bytes = 20_000;
    })
    .await;
    let long = format!(r#"{{"query":"select '{}'"}}"#, "x".repeat(1000));
    let headers = [("origin", "http://localhost:5173")];
    for (body, status) in [
        (QUERY, 200),
        (r#"{"query":"select nosuch"}"#, 400),
        (r#"{"query":"vacuum"}"#, 403),
        (long.as_str(), 413),
        (r#"{"query":"select pg_sleep(5)"}"#, 504),
        (r#"{"query":"select repeat('x', 30000)"}"#, 507),
    ] {
        let answer = post(&gateway, &headers, body).await;
        assert_eq!(answer.status, status, "{body}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{status}");
        assert_eq!(answer.header("content-type"), "application/json", "{status}");
    }
}

#[tokio::test]
async fn http_1_0_and_chunked_bodies_are_taken() {
    let gateway = TestGateway::start().await;
    let length = QUERY.len();
    for request in [
        format!("POST /sql HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{QUERY}"),
        format!(
            "POST /sql HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
             {length:x}\r\n{QUERY}\r\n0\r\n\r\n"
        ),
    ] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(r#""rows":[{"n":7}]"#), "{request}: {answer}");
    }
}
