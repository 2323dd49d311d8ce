//! Where keys come from: discovery, files, a shared secret.

use std::path::Path;
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use rowgate::auth::{AuthError, Authenticator, usable_keys};
use rowgate::config::{IssuerConfig, KeySource, KeysConfig, SharedSecret};
use rowgate::observe::Observer;
use serde_json::json;

use super::{
    READY_LIMIT, SUBJECT_KEY, accepted, auth_config, authenticate, authenticator,
    ready_authenticator, refusal,
};
use crate::harness::issuer::{Behaviour, FakeIssuer};

/// Files are looked at every second; a busy machine takes its time.
const FILE_LIMIT: Duration = Duration::from_secs(15);

#[tokio::test]
async fn keys_are_found_by_discovery_and_the_document_is_not_asked_for_each_time() {
    let issuer = FakeIssuer::start().await;
    issuer.move_keys("/elsewhere/keys.json");
    let config = issuer.config_by_discovery();
    let auth = ready_authenticator(std::slice::from_ref(&config)).await;
    accepted(&auth, &issuer.token("alice").sign()).await;
    assert_eq!(refusal(&auth, &issuer.token("x").kid("new").sign()).await, AuthError::UnknownKey);
    assert_eq!((issuer.documents(), issuer.fetches(), issuer.not_modified()), (1, 2, 1));

    let found = usable_keys(&config).await.unwrap();
    assert_eq!(found.count, 3);
    assert!(found.place.contains("/elsewhere/keys.json"), "{}", found.place);
    assert!(found.place.contains("/.well-known/openid-configuration"), "{}", found.place);
}

#[tokio::test]
async fn keys_that_moved_are_found_again() {
    let issuer = FakeIssuer::start().await;
    let auth = ready_authenticator(&[issuer.config_by_discovery()]).await;
    issuer.move_keys("/new.json");
    issuer.rotate();
    let new = issuer.token("alice").sign();
    // The old place fails, and the next attempt begins with the document.
    let began = Instant::now();
    while authenticate(&auth, &new).await.is_err() {
        assert!(began.elapsed() < READY_LIMIT);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(issuer.documents(), 2);
}

#[tokio::test]
async fn without_a_document_keys_are_where_they_usually_are() {
    let issuer = FakeIssuer::start().await;
    issuer.behave_about_document(Behaviour::Status(404));
    let auth = ready_authenticator(&[issuer.config_by_discovery()]).await;
    accepted(&auth, &issuer.token("alice").sign()).await;
    assert_eq!((issuer.documents(), issuer.fetches()), (1, 1));
}

#[tokio::test]
async fn documents_that_cannot_be_believed_lead_nowhere() {
    let document = |issuer: &str, jwks_uri: &str| {
        Behaviour::Body(json!({ "issuer": issuer, "jwks_uri": jwks_uri }).to_string())
    };
    let other = FakeIssuer::start().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let issuer = FakeIssuer::start().await;
        let (own, keys) = (issuer.url().to_owned(), issuer.jwks_url());
        let (behaviour, reason) = match n {
            0 => (document(other.url(), &keys), "is of the issuer"),
            1 => (document(&format!("{own}/"), &keys), "is of the issuer"),
            2 => (document(&own, "http://issuer.example/keys"), "must start with https://"),
            3 => (document(&own, "file:///etc/keys"), "expected https://"),
            4 => (Behaviour::Body("<html>".into()), "no discovery document"),
            5 => (Behaviour::Status(500), "500"),
            6 => (Behaviour::Endless, "larger than"),
            _ => (Behaviour::Redirect(format!("{}/x", other.url())), "redirect"),
        };
        issuer.behave_about_document(behaviour);
        tasks.spawn(async move {
            let auth = authenticator(&auth_config(&[issuer.config_by_discovery()]));
            let error = auth.wait_ready(Duration::from_millis(800)).await.unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            assert_eq!(refusal(&auth, &issuer.token("alice").sign()).await.code(), "RG5031");
            assert_eq!(issuer.fetches(), 0, "{reason}: keys were asked for");
        });
    }
    tasks.join_all().await;
    assert_eq!((other.fetches(), other.documents()), (0, 0));
}

fn config_with(issuer: &FakeIssuer, source: KeySource) -> IssuerConfig {
    IssuerConfig { keys: KeysConfig::new(source), ..issuer.config() }
}

/// Replaces a file as deployments do: whole.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, path).unwrap();
}

async fn until_accepted(auth: &Authenticator, token: &str) {
    let began = Instant::now();
    while authenticate(auth, token).await.is_err() {
        assert!(began.elapsed() < FILE_LIMIT);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn key_set_in_a_file_is_read_again_when_it_changes_and_damage_keeps_the_old_one() {
    let issuer = FakeIssuer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.json");
    std::fs::write(&file, issuer.key_set().to_string()).unwrap();
    let config = auth_config(&[config_with(&issuer, KeySource::JwksFile(file.clone()))]);
    let observer = Observer::default();
    let auth = Authenticator::new(&config, &SUBJECT_KEY, observer.clone()).unwrap();
    auth.wait_ready(READY_LIMIT).await.unwrap();
    let old = issuer.token("alice").sign();
    accepted(&auth, &old).await;

    std::fs::write(&file, &issuer.key_set().to_string()[..100]).unwrap();
    let began = Instant::now();
    while !observer.metrics().text().contains("rowgate_key_refresh_failures_total{") {
        assert!(began.elapsed() < FILE_LIMIT, "the damage is not reported");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    accepted(&auth, &old).await;
    accepted(&auth, &issuer.token("bob").sign()).await;

    issuer.rotate();
    replace(&file, &issuer.key_set().to_string());
    // Known keys only: nothing but the file's own change makes the gateway read it.
    let began = Instant::now();
    while authenticate(&auth, &old).await.is_ok() {
        assert!(began.elapsed() < FILE_LIMIT, "the change is not seen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(refusal(&auth, &old).await, AuthError::UnknownKey);
    accepted(&auth, &issuer.token("alice").sign()).await;
    assert_eq!(issuer.fetches(), 0);
}

#[tokio::test]
async fn missing_file_is_named_and_found_once_it_is_there() {
    let issuer = FakeIssuer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.json");
    let config = config_with(&issuer, KeySource::JwksFile(file.clone()));
    assert!(usable_keys(&config).await.unwrap_err().contains("keys.json"));
    let auth = authenticator(&auth_config(&[config]));
    let error = auth.wait_ready(Duration::from_millis(300)).await.unwrap_err().to_string();
    assert!(error.contains("keys.json"), "{error}");
    replace(&file, &issuer.key_set().to_string());
    until_accepted(&auth, &issuer.token("alice").sign()).await;
}

#[tokio::test]
async fn public_key_in_pem_verifies_tokens_whatever_they_call_it() {
    let issuer = FakeIssuer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("issuer.pem");
    std::fs::write(&file, issuer.keys().rsa_public_pem()).unwrap();
    let auth =
        ready_authenticator(&[config_with(&issuer, KeySource::PublicKeyFile(file.clone()))]).await;
    for token in [issuer.token("alice"), issuer.token("alice").without_kid()] {
        accepted(&auth, &token.sign()).await;
    }
    accepted(&auth, &issuer.token("alice").alg(Algorithm::PS256).sign()).await;
    let other_kind = issuer.token("alice").alg(Algorithm::ES256).sign();
    assert_eq!(refusal(&auth, &other_kind).await, AuthError::UnknownKey);
    let forged = issuer.token("alice").sign_with_public_key_as_secret();
    assert_eq!(refusal(&auth, &forged).await, AuthError::AlgorithmNotAllowed);

    issuer.rotate();
    let new = issuer.token("alice").sign();
    assert_eq!(refusal(&auth, &new).await, AuthError::BadSignature);
    replace(&file, issuer.keys().rsa_public_pem());
    until_accepted(&auth, &new).await;
    assert_eq!(issuer.fetches(), 0);
}

#[tokio::test]
async fn shared_secret_verifies_hmacs_of_its_own_issuer_only() {
    let (shared, public) = (FakeIssuer::start().await, FakeIssuer::start().await);
    let secret = b"a secret of sixty-four bytes, which is enough for all the hashes";
    let source = KeySource::Secret(SharedSecret::new(*secret).unwrap());
    let hmacs = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
    let config = IssuerConfig { algorithms: hmacs.to_vec(), ..config_with(&shared, source) };
    let auth = ready_authenticator(&[config, public.config()]).await;
    for algorithm in hmacs {
        let token = shared.token("alice");
        accepted(&auth, &token.sign_with_secret(algorithm, secret)).await;
        let token = shared.token("alice").without_kid();
        accepted(&auth, &token.sign_with_secret(algorithm, secret)).await;

        let wrong = shared.token("alice").sign_with_secret(algorithm, b"another secret");
        assert_eq!(refusal(&auth, &wrong).await, AuthError::BadSignature);
        let elsewhere = public.token("alice").sign_with_secret(algorithm, secret);
        assert_eq!(refusal(&auth, &elsewhere).await, AuthError::AlgorithmNotAllowed);
    }
    // Its server publishes keys, and nobody asks for them.
    let asymmetric = shared.token("alice").sign();
    assert_eq!(refusal(&auth, &asymmetric).await, AuthError::AlgorithmNotAllowed);
    assert_eq!((shared.fetches(), shared.documents()), (0, 0));
}

#[tokio::test]
async fn eddsa_is_accepted_under_its_new_name() {
    let issuer = FakeIssuer::start().await;
    let auth = ready_authenticator(&[issuer.config()]).await;
    let token = issuer.token("alice").alg(Algorithm::EdDSA).header("alg", "Ed25519");
    accepted(&auth, &token.sign()).await;
    let other = issuer.token("alice").header("alg", "Ed25519");
    assert_eq!(refusal(&auth, &other.sign()).await, AuthError::AlgorithmNotAllowed);
}
