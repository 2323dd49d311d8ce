//! From the `Authorization` header to an identity: which tokens count, and what the issuer's server
//! can do to the gateway.

mod key_sets;
mod key_sources;
mod over_http;
mod remembered;
mod tls;
mod tokens;

use std::time::Duration;

use hyper::HeaderMap;
use rowgate::auth::{AuthError, Authenticator, Identity, VerifiedToken};
use rowgate::config::{AuthConfig, IssuerConfig};
use rowgate::observe::Observer;

use crate::harness::issuer::FakeIssuer;

const SUBJECT_KEY: [u8; 32] = [7; 32];

/// Longer than any single fetch may take.
const READY_LIMIT: Duration = Duration::from_secs(10);

fn auth_config(issuers: &[IssuerConfig]) -> AuthConfig {
    AuthConfig { token_cache_entries: 1000, ..AuthConfig::new(issuers.to_vec()) }
}

/// An authenticator whose keys may not be there yet.
fn authenticator(config: &AuthConfig) -> Authenticator {
    Authenticator::new(config, &SUBJECT_KEY, Observer::default()).unwrap()
}

/// An authenticator that has the keys of these issuers.
async fn ready_authenticator(issuers: &[IssuerConfig]) -> Authenticator {
    let auth = authenticator(&auth_config(issuers));
    auth.wait_ready(READY_LIMIT).await.unwrap();
    auth
}

/// An issuer and an authenticator that has its keys.
async fn issuer_and_authenticator() -> (FakeIssuer, Authenticator) {
    let issuer = FakeIssuer::start().await;
    let auth = ready_authenticator(&[issuer.config()]).await;
    (issuer, auth)
}

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("authorization", value.parse().unwrap());
    }
    headers
}

async fn authenticate(auth: &Authenticator, token: &str) -> Result<Identity, AuthError> {
    auth.authenticate(&headers(&[&format!("Bearer {token}")])).await
}

/// The error of a token that must be refused.
async fn refusal(auth: &Authenticator, token: &str) -> AuthError {
    authenticate(auth, token).await.expect_err("the token must be refused")
}

/// What is known about a token that must be accepted.
async fn accepted(auth: &Authenticator, token: &str) -> std::sync::Arc<VerifiedToken> {
    match authenticate(auth, token).await {
        Ok(Identity::Verified(token)) => token,
        other => panic!("the token must be accepted: {other:?}"),
    }
}
