//! Presets against tokens of exactly the shape that each provider makes, and against those that come close:
//! sent to a gateway that has all of the presets at once. `docs/issuer-shapes.md` is what it answered.

mod clouds;
mod hosted;
mod own;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use hyper::Method;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::issuers;
use crate::harness::cluster;
use crate::harness::gateway::{TestAnswer, TestGateway};
use crate::harness::issuer::FakeIssuer;
use crate::harness::issuer::keys::KeyRing;
use crate::harness::issuer::token::{TokenBuilder, unix_now};

/// Set, it makes the test write the table instead of comparing it.
const WRITE_VARIABLE: &str = "WRITE_ISSUER_SHAPES";

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/issuer-shapes.md");

const INTRODUCTION: &str = "\
# Presets and the tokens they accept

Written by `WRITE_ISSUER_SHAPES=1 cargo test --test it -- issuers::shapes`, which fails without the variable when a
gateway answers otherwise. Each token has the claims and the header that its provider makes, and was sent to one gateway
with all of these issuers. Besides what is shown, each has a `jwks_url` that leads to the keys of the test. Each
accepted token was also sent with a stranger's signature, and refused with `RG4015`. `docs/issuers.md` explains the
presets.
";

/// A configured provider and what is sent to it.
struct Provider {
    title: &'static str,
    /// The `[[issuer]]`, without `jwks_url`.
    toml: &'static str,
    /// The token that each of the others differs from.
    usual: Usual,
    shapes: Vec<Shape>,
}

/// A token of a provider.
#[derive(Clone)]
struct Usual {
    algorithm: Algorithm,
    header: Value,
    claims: Value,
}

/// A token that differs from the usual one in these members; null removes one.
struct Shape {
    what: &'static str,
    algorithm: Option<Algorithm>,
    header: Value,
    claims: Value,
    expected: Expected,
}

enum Expected {
    /// Accepted, as this user.
    User(&'static str),
    /// 401 with this code.
    Refused(&'static str),
}

fn accepted(what: &'static str, claims: Value, user: &'static str) -> Shape {
    let expected = Expected::User(user);
    Shape { what, algorithm: None, header: json!({}), claims, expected }
}

fn refused(what: &'static str, claims: Value, code: &'static str) -> Shape {
    let expected = Expected::Refused(code);
    Shape { what, algorithm: None, header: json!({}), claims, expected }
}

impl Shape {
    fn header(self, header: Value) -> Self {
        Self { header, ..self }
    }

    fn signed_with(self, algorithm: Algorithm) -> Self {
        Self { algorithm: Some(algorithm), ..self }
    }
}

/// Seconds since the Unix epoch, this many from now.
fn at(seconds: i64) -> i64 {
    unix_now() + seconds
}

impl Usual {
    /// The token with these changes, as the issuer would sign it.
    fn changed(&self, issuer: &FakeIssuer, shape: &Shape) -> TokenBuilder {
        let algorithm = shape.algorithm.unwrap_or(self.algorithm);
        let signing = if is_secret(algorithm) { Algorithm::RS256 } else { algorithm };
        let mut builder =
            issuer.token("").without("sub").without("exp").without("iss").alg(signing);
        let names = |left: &Value, right: &Value| -> Vec<String> {
            let members = [left, right].map(|value| value.as_object().unwrap().keys());
            members.into_iter().flatten().cloned().collect()
        };
        for name in names(&self.claims, &shape.claims) {
            let value = shape.claims.get(&name).unwrap_or(&self.claims[&name]);
            builder = match value {
                Value::Null => builder.without(&name),
                value => builder.claim(&name, value.clone()),
            };
        }
        builder = builder.without_header("typ");
        for name in names(&self.header, &shape.header) {
            let value = shape.header.get(&name).unwrap_or(&self.header[&name]);
            builder = match value {
                Value::Null => builder.without_header(&name),
                value => builder.header(&name, value.clone()),
            };
        }
        builder
    }
}

fn is_secret(algorithm: Algorithm) -> bool {
    algorithm == Algorithm::HS256
}

/// What every provider's tokens are refused for.
fn of_all() -> Vec<Shape> {
    vec![
        refused("expired an hour ago", json!({ "exp": at(-3600) }), "RG4016"),
        refused("without `exp`", json!({ "exp": null }), "RG4019"),
        refused("issued an hour from now", json!({ "iat": at(3600) }), "RG4017"),
        refused("without `iss`", json!({ "iss": null }), "RG4013"),
    ]
}

fn providers() -> Vec<Provider> {
    let mut providers = hosted::providers();
    providers.extend(clouds::providers());
    providers.extend(own::providers());
    for provider in &mut providers {
        provider.shapes.extend(of_all());
    }
    providers
}

async fn gateway(providers: &[Provider]) -> TestGateway {
    let issuer = FakeIssuer::start().await;
    let keys = issuer.jwks_url();
    let tables = providers
        .iter()
        .map(|Provider { toml, .. }| format!("[[issuer]]\n{toml}\njwks_url = {keys:?}\n"));
    let configured = issuers(&tables.collect::<String>()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(configured.len(), providers.len());
    let database = cluster::fresh_database().await;
    TestGateway::believing(issuer, database, |config| config.auth.issuers = configured).await
}

async fn send(gateway: &TestGateway, token: &str) -> TestAnswer {
    let sql = "select current_user::text, (select auth.user_id())";
    let body = json!({ "query": sql, "params": [], "arrayMode": true }).to_string();
    let authorization = format!("Bearer {token}");
    gateway.send(Method::POST, "/sql", &[("authorization", &authorization)], body).await
}

/// A cell of the table: what the gateway answered. Messages are collected by their code.
fn answer_cell(answer: &TestAnswer, messages: &mut Messages) -> String {
    if answer.status == 200 {
        let rows = answer.rows();
        return format!("accepted: `{}`", rows[0][1].as_str().unwrap().replace('|', "\\|"));
    }
    let (status, code) = answer.failure();
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    let cell = format!("{status} `{code}`");
    messages.entry(code).or_default().insert(message);
    cell
}

type Messages = BTreeMap<String, BTreeSet<String>>;

fn messages_table(messages: &Messages) -> String {
    let mut table = "\n## What the codes say\n\n| code | message |\n|---|---|\n".to_owned();
    for (code, messages) in messages {
        for message in messages {
            writeln!(table, "| `{code}` | {message} |").unwrap();
        }
    }
    table
}

#[tokio::test]
async fn each_preset_accepts_its_providers_tokens_and_refuses_those_that_come_close() {
    let providers = providers();
    let gateway = gateway(&providers).await;
    let stranger = KeyRing::generate(1);
    let (mut table, mut messages) = (INTRODUCTION.to_owned(), Messages::new());
    for Provider { title, toml, usual, shapes } in &providers {
        write!(table, "\n## {title}\n\n```toml\n[[issuer]]\n{toml}\n```\n\n").unwrap();
        table.push_str("| token | answer |\n|---|---|\n");
        let close = shapes.iter().filter(|shape| matches!(shape.expected, Expected::Refused(_)));
        assert!(close.count() >= 4 + of_all().len(), "{title}: too few near-misses");
        for shape in shapes {
            let name = format!("{title}: {}", shape.what);
            let build = || usual.changed(&gateway.issuer, shape);
            let secret = shape.algorithm.filter(|algorithm| is_secret(*algorithm));
            let token = match secret {
                Some(algorithm) => build().sign_with_secret(algorithm, &[7; 32]),
                None => build().sign(),
            };
            let answer = send(&gateway, &token).await;
            let cell = answer_cell(&answer, &mut messages);
            match shape.expected {
                Expected::User(user) => {
                    assert_eq!(answer.status, 200, "{name}: {cell}");
                    assert_eq!(answer.rows(), json!([["authenticated", user]]), "{name}");
                    // The same claims under somebody else's signature.
                    let forged = send(&gateway, &build().sign_with_foreign_key(&stranger)).await;
                    assert_eq!(forged.failure(), (401, "RG4015".to_owned()), "{name}, forged");
                }
                Expected::Refused(code) => {
                    assert_eq!(answer.failure(), (401, code.to_owned()), "{name}: {cell}");
                    let challenge = r#"Bearer error="invalid_token""#;
                    assert_eq!(answer.header("www-authenticate"), challenge, "{name}");
                }
            }
            writeln!(table, "| {} | {cell} |", shape.what).unwrap();
        }
    }
    table.push_str(&messages_table(&messages));
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        std::fs::write(TABLE, &table).unwrap();
    }
    let written = std::fs::read_to_string(TABLE).unwrap_or_default();
    assert!(written == table, "{TABLE} is not what the gateway answers; set {WRITE_VARIABLE}=1");
}
