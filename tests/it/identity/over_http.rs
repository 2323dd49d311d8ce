//! The toolbox against JWTs (RFC 8725 and what the years added), each piece sent to a whole gateway: a
//! statement that would leave a row is refused with 401 and a code and leaves none, and the same token
//! without the one thing that is wrong with it leaves one. So no case passes for a reason of its own.

mod claims;
mod header;
mod key_sets;
mod requests;
mod signatures;

use hyper::Method;
use jsonwebtoken::Algorithm;
use rowgate::config::Config;
use serde_json::json;

use crate::harness::cluster;
use crate::harness::gateway::{TestAnswer, TestGateway};
use crate::harness::issuer::FakeIssuer;
use crate::harness::issuer::token::TokenBuilder;

/// What tokens must be meant for here.
const AUDIENCE: &str = "api";

/// One wrong token.
struct Case {
    name: String,
    token: String,
    /// The code of the refusal.
    code: &'static str,
    /// The same without what is wrong with it.
    twin: String,
}

fn case(name: impl Into<String>, token: String, code: &'static str, twin: String) -> Case {
    Case { name: name.into(), token, code, twin }
}

/// A token of alice that every gateway of [`gateway`] accepts.
fn token(issuer: &FakeIssuer) -> TokenBuilder {
    issuer.token("alice").audience(AUDIENCE)
}

fn believe_every_algorithm(config: &mut Config) {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    for issuer in &mut config.auth.issuers {
        issuer.audiences = vec![AUDIENCE.into()];
        issuer.algorithms = vec![RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA];
    }
}

/// A gateway that allows every algorithm it can, so that nothing is refused for the configuration's
/// sake, on a database where even strangers may write a line.
async fn gateway(issuer: FakeIssuer) -> TestGateway {
    gateway_with(issuer, |_| {}).await
}

async fn gateway_with(issuer: FakeIssuer, change: impl FnOnce(&mut Config)) -> TestGateway {
    let database = cluster::fresh_database().await;
    let table = "create table attempts (name text not null);
        alter table attempts enable row level security;
        create policy all_may on attempts using (true) with check (true);
        grant select, insert on attempts to authenticated, anonymous";
    database.superuser().await.batch_execute(table).await.unwrap();
    TestGateway::believing(issuer, database, |config| {
        believe_every_algorithm(config);
        change(config);
    })
    .await
}

/// Tries to leave a row called `name`.
async fn attempt(gateway: &TestGateway, name: &str, headers: &[(&str, &str)]) -> TestAnswer {
    let sql = "insert into attempts (name) values ($1) \
               returning current_user::text, (select auth.user_id())";
    let body = json!({ "query": sql, "params": [name], "arrayMode": true }).to_string();
    gateway.send(Method::POST, "/sql", headers, body).await
}

async fn attempt_with(gateway: &TestGateway, name: &str, token: &str) -> TestAnswer {
    attempt(gateway, name, &[("authorization", &format!("Bearer {token}"))]).await
}

/// The rows that were left, oldest first.
async fn rows_left(gateway: &TestGateway) -> Vec<String> {
    let superuser = gateway.database.superuser().await;
    let rows = superuser.query("select name from attempts order by ctid", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// A refusal as RFC 6750 §3 wants it, which repeats nothing of the token.
#[track_caller]
fn assert_refused(answer: &TestAnswer, name: &str, sent: &str, code: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.failure(), (401, code.to_owned()), "{name}: {text}");
    assert_eq!(
        answer.header("www-authenticate"),
        r#"Bearer error="invalid_token""#,
        "{name}: {text}"
    );
    let leaks =
        sent.split(['.', ' ']).filter(|part| part.len() > 8).any(|part| text.contains(part));
    assert!(!leaks, "{name}: {text}");
}

/// Sends every token and its twin.
async fn refuse_all(gateway: &TestGateway, cases: Vec<Case>) {
    let mut expected = Vec::new();
    for Case { name, token, code, twin } in cases {
        assert_ne!(token, twin, "{name}");
        let answer = attempt_with(gateway, &name, &token).await;
        assert_refused(&answer, &name, &token, code);
        let answer = attempt_with(gateway, &format!("twin of {name}"), &twin).await;
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 200, "twin of {name}: {text}");
        assert_eq!(answer.rows(), json!([["authenticated", "alice"]]), "twin of {name}");
        // What was refused is refused again: no memory took it for its twin.
        assert_refused(&attempt_with(gateway, &name, &token).await, &name, &token, code);
        expected.push(format!("twin of {name}"));
    }
    assert_eq!(rows_left(gateway).await, expected, "a refused request left a row");
}
