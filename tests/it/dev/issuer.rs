//! The demo issuer: what it signs verifies against what it publishes.

use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rowgate::config::KeySource;
use rowgate::dev::issuer::{AUDIENCE, DEFAULT_LIFETIME, Endpoint, Issuer};
use serde_json::{Map, Value, json};

async fn get(url: &str) -> (u16, Value) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let response = client.get(url.parse().unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a verifier that is not the gateway's must agree")]
async fn token_verifies_against_the_published_keys() {
    let dir = tempfile::tempdir().unwrap();
    let issuer = Issuer::load_or_create(&dir.path().join("issuer.json")).unwrap();
    let _endpoint = Endpoint::start(&issuer).await.unwrap();
    let claims = Map::from_iter([("org".to_owned(), json!("acme"))]);
    let token = issuer.mint("alice", &claims, DEFAULT_LIFETIME).unwrap();

    let KeySource::JwksUrl(jwks_url) = issuer.config().keys.source else { panic!("no URL") };
    let (_, jwks) = get(&jwks_url).await;
    let jwks: JwkSet = serde_json::from_value(jwks).unwrap();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(jwks.find(&kid).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[issuer.url()]);
    validation.set_audience(&[AUDIENCE]);
    let verified = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap().claims;

    assert_eq!(verified["sub"], "alice");
    assert_eq!(verified["org"], "acme");
    let lifetime = verified["exp"].as_u64().unwrap() - verified["iat"].as_u64().unwrap();
    assert_eq!(Duration::from_secs(lifetime), DEFAULT_LIFETIME);
}

#[tokio::test]
async fn published_documents_name_the_issuer_and_hold_no_private_key() {
    let dir = tempfile::tempdir().unwrap();
    let issuer = Issuer::load_or_create(&dir.path().join("issuer.json")).unwrap();
    let _endpoint = Endpoint::start(&issuer).await.unwrap();

    let base = issuer.url().replace("localhost", "127.0.0.1");
    let (status, discovery) = get(&format!("{base}/.well-known/openid-configuration")).await;
    assert_eq!(status, 200);
    assert_eq!(discovery["issuer"], issuer.url());
    assert_eq!(discovery["jwks_uri"], format!("{}/.well-known/jwks.json", issuer.url()));
    let (_, jwks) = get(&format!("{base}/.well-known/jwks.json")).await;
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 1);
    assert!(jwks["keys"][0].get("d").is_none(), "the private part of the key is published");
    assert_eq!(get(&format!("{base}/")).await.0, 404);
}

#[test]
fn key_file_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("issuer.json");
    Issuer::load_or_create(&file).unwrap();
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
}
