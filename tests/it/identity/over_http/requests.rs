//! Where a token stands in a request, and how it is written there.

use hyper::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{assert_refused, attempt, gateway, gateway_with, rows_left, token};
use crate::harness::gateway::TestGateway;
use crate::harness::issuer::FakeIssuer;

const INSERT: &str = "insert into attempts (name) values ('x') \
                      returning current_user::text, (select auth.user_id())";

#[tokio::test]
async fn authorization_is_one_bearer_token_however_its_scheme_is_spelt() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let good = token(&gateway.issuer).sign();
    let other = token(&gateway.issuer).claim("n", 1).sign();
    let bearer = format!("Bearer {good}");
    let refused: Vec<(&str, Vec<String>)> = vec![
        ("nothing", vec![String::new()]),
        ("scheme only", vec!["Bearer".into()]),
        ("token only", vec![good.clone()]),
        ("Basic", vec![format!("Basic {good}")]),
        ("Basic credentials", vec!["Basic YWxpY2U6c2VjcmV0".into()]),
        ("Digest", vec![format!("Digest {good}")]),
        ("DPoP", vec![format!("DPoP {good}")]),
        ("JWT", vec![format!("JWT {good}")]),
        ("Token", vec![format!("Token {good}")]),
        ("no space", vec![format!("Bearer{good}")]),
        ("colon", vec![format!("Bearer: {good}")]),
        ("equals", vec![format!("Bearer={good}")]),
        ("tab between", vec![format!("Bearer\t{good}")]),
        ("quoted", vec![format!("Bearer \"{good}\"")]),
        ("parameter", vec![format!("Bearer token={good}")]),
        ("scheme twice", vec![format!("Bearer Bearer {good}")]),
        ("two tokens", vec![format!("Bearer {good} {other}")]),
        ("comma, two tokens", vec![format!("Bearer {good},{other}")]),
        ("comma, two schemes", vec![format!("Bearer {good}, Bearer {other}")]),
        ("Basic first", vec![format!("Basic eDp5, Bearer {good}")]),
        ("comma at the end", vec![format!("Bearer {good},")]),
        ("semicolon at the end", vec![format!("Bearer {good};")]),
        ("percent-encoded", vec![format!("Bearer {}", good.replace('.', "%2E"))]),
        ("too long", vec![format!("Bearer {}", "a".repeat(20_000))]),
        ("null", vec!["Bearer null".into()]),
        ("undefined", vec!["Bearer undefined".into()]),
        ("two headers, alike", vec![bearer.clone(), bearer.clone()]),
        ("two headers", vec![bearer.clone(), format!("Bearer {other}")]),
        ("two headers, one empty", vec![String::new(), bearer.clone()]),
        ("two headers, one Basic", vec![bearer.clone(), "Basic eDp5".into()]),
    ];
    for (name, values) in refused {
        let headers: Vec<(&str, &str)> =
            values.iter().map(|value| ("authorization", value.as_str())).collect();
        assert_refused(&attempt(&gateway, name, &headers).await, name, &good, "RG4011");
    }
    assert_eq!(rows_left(&gateway).await, [""; 0]);

    for scheme in ["Bearer ", "bearer ", "BEARER ", "bEaReR ", "Bearer  ", "Bearer     "] {
        let headers = [("authorization", &*format!("{scheme}{good}"))];
        let answer = attempt(&gateway, scheme, &headers).await;
        assert_eq!(answer.rows(), json!([["authenticated", "alice"]]), "{scheme:?}");
    }
}

#[tokio::test]
async fn token_anywhere_else_than_in_the_header_is_none() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let closed = gateway_with(FakeIssuer::start().await, |config| config.auth.anonymous = false);
    let closed = closed.await;
    for gateway in [&gateway, &closed] {
        let good = token(&gateway.issuer).sign();
        let bearer = format!("Bearer {good}");
        let url = format!("postgresql://authenticated:{good}@localhost/{}", gateway.database.name);
        let cookie = format!("access_token={good}");
        let headers = [
            ("cookie", cookie.as_str()),
            ("proxy-authorization", &bearer),
            ("x-authorization", &bearer),
            ("x-forwarded-authorization", &bearer),
            ("neon-connection-string", &url),
        ];
        let in_query =
            [format!("/sql?access_token={good}"), format!("/sql?authorization=Bearer%20{good}")];
        let body = json!({
            "query": INSERT, "arrayMode": true, "access_token": good, "authToken": bearer,
        });
        let mut answers = Vec::new();
        for header in headers {
            let answer = gateway.send(Method::POST, "/sql", &[header], body.to_string()).await;
            answers.push((header.0, answer));
        }
        for path in &in_query {
            let answer = gateway.send(Method::POST, path, &[], body.to_string()).await;
            answers.push(("query", answer));
        }
        for (name, answer) in answers {
            if gateway.address == closed.address {
                assert_eq!(answer.failure(), (401, "RG4010".to_owned()), "{name}");
                assert_eq!(answer.header("www-authenticate"), "Bearer", "{name}");
            } else {
                assert_eq!(answer.rows(), json!([["anonymous", null]]), "{name}");
            }
        }
    }
    assert_eq!(rows_left(&closed).await, [""; 0]);
}

/// Sends a request with this line as it is; the status, none if the connection was just closed.
async fn status_of(gateway: &TestGateway, line: &[u8]) -> Option<u16> {
    let body = json!({ "query": INSERT, "arrayMode": true }).to_string();
    let head = format!("POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
    let request =
        [head.as_bytes(), b"Connection: close\r\n", line, b"\r\n\r\n", body.as_bytes()].concat();
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    // The gateway need not read to the end what it refuses.
    let _ = stream.write_all(&request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer);
    text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

#[tokio::test]
async fn header_lines_that_are_no_header_are_refused_whole() {
    let gateway = gateway(FakeIssuer::start().await).await;
    let good = token(&gateway.issuer).sign();
    let (half, rest) = good.split_at(good.len() / 2);
    let huge = token(&gateway.issuer).kid(&"k".repeat(1 << 20)).sign();
    let lines: Vec<(&str, Vec<u8>, u16)> = vec![
        ("folded before the token", format!("Authorization: Bearer\r\n {good}").into(), 400),
        ("folded inside", format!("Authorization: Bearer {half}\r\n {rest}").into(), 400),
        ("line feed inside", format!("Authorization: Bearer {half}\n{rest}").into(), 400),
        ("carriage return inside", format!("Authorization: Bearer {half}\r{rest}").into(), 400),
        ("NUL inside", format!("Authorization: Bearer {half}\0{rest}").into(), 400),
        ("NUL at the end", format!("Authorization: Bearer {good}\0").into(), 400),
        ("space before the colon", format!("Authorization : Bearer {good}").into(), 400),
        ("no colon", format!("Authorization Bearer {good}").into(), 400),
        ("tab inside", format!("Authorization: Bearer {half}\t{rest}").into(), 401),
        ("vertical tab at the end", format!("Authorization: Bearer {good}\x0b").into(), 400),
        ("latin-1", [format!("Authorization: Bearer {good}").as_bytes(), b"\xe4"].concat(), 401),
        ("kid of a megabyte", format!("Authorization: Bearer {huge}").into(), 431),
    ];
    for (name, line, status) in lines {
        let answered = status_of(&gateway, &line).await;
        // A connection that is closed on somebody who still sends may lose the answer.
        assert!(
            answered == Some(status) || answered.is_none() && status == 431,
            "{name}: {answered:?}"
        );
    }
    assert_eq!(rows_left(&gateway).await, [""; 0]);

    // White space around a value is not part of it (RFC 9110 §5.5).
    for line in [
        format!("Authorization: \t Bearer {good} \t "),
        format!("authorization:Bearer {good}"),
        format!("AUTHORIZATION: Bearer {good}"),
    ] {
        assert_eq!(status_of(&gateway, line.as_bytes()).await, Some(200), "{line}");
    }
    assert_eq!(rows_left(&gateway).await.len(), 3);
}
