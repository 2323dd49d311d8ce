//! Which tokens count.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use rowgate::auth::{AuthError, Identity};
use rowgate::config::IssuerConfig;
use serde_json::{Value, json};

use super::{
    accepted, auth_config, authenticate, authenticator, headers, issuer_and_authenticator,
    ready_authenticator, refusal,
};
use crate::harness::issuer::FakeIssuer;
use crate::harness::issuer::keys::KeyRing;
use crate::harness::issuer::token::{TokenBuilder, unix_now};

#[tokio::test]
async fn tokens_of_every_key_are_accepted_with_their_claims() {
    let (issuer, auth) = issuer_and_authenticator().await;
    for algorithm in [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA] {
        let token = issuer.token("zoë").alg(algorithm).claim("role", "editor").sign();
        let verified = accepted(&auth, &token).await;

        assert!(verified.claims().is_ascii());
        let claims: Value = serde_json::from_str(verified.claims()).unwrap();
        assert_eq!((&claims["sub"], &claims["role"]), (&json!("zoë"), &json!("editor")));
        assert_eq!(&**verified.issuer(), issuer.url());
        assert_eq!(json!(verified.expires_at()), claims["exp"]);
        assert_eq!(verified.subject_hash().len(), 16);
        assert!(!format!("{verified:?}").contains("editor"));
    }
}

#[tokio::test]
async fn second_request_with_a_token_gets_the_same_verified_token() {
    let (issuer, auth) = issuer_and_authenticator().await;
    let token = issuer.token("alice").sign();
    let (first, second) = (accepted(&auth, &token).await, accepted(&auth, &token).await);
    assert!(std::sync::Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn without_a_cache_every_token_is_verified_anew() {
    let issuer = FakeIssuer::start().await;
    let mut config = auth_config(&[issuer.config()]);
    config.token_cache_entries = 0;
    let auth = authenticator(&config);
    auth.wait_ready(super::READY_LIMIT).await.unwrap();
    let token = issuer.token("alice").sign();
    let (first, second) = (accepted(&auth, &token).await, accepted(&auth, &token).await);
    assert!(!std::sync::Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn request_without_header_is_anonymous_only_where_allowed() {
    let issuer = FakeIssuer::start().await;
    let mut config = auth_config(&[issuer.config()]);
    let allowed = authenticator(&config);
    config.anonymous = false;
    let forbidden = authenticator(&config);

    assert!(matches!(allowed.authenticate(&headers(&[])).await, Ok(Identity::Anonymous)));
    let error = forbidden.authenticate(&headers(&[])).await.unwrap_err();
    assert_eq!((error.code(), error.status()), ("RG4010", 401));
}

#[tokio::test]
async fn unusable_header_is_refused_never_anonymous() {
    let (issuer, auth) = issuer_and_authenticator().await;
    let good = issuer.token("alice").sign();
    let bearer = format!("Bearer {good}");
    let nested = issuer.token("alice").header("cty", "JWT").sign();
    let critical = issuer.token("alice").header("crit", vec!["exp"]).sign();
    let long = issuer.token("alice").claim("x", "x".repeat(16 * 1024)).sign();
    let unusable: &[&[&str]] = &[
        &[""],
        &["Bearer"],
        &[&good],
        &[&format!("Basic {good}")],
        &[&format!("Bearer {good} {good}")],
        &[&format!("Bearer {good}=")],
        &["Bearer garbage"],
        &["Bearer a.b.c"],
        &[&format!("Bearer {good}.a.b")],
        &[&bearer, &bearer],
        &[&bearer, "Basic eDp5"],
        &[&format!("Bearer {nested}")],
        &[&format!("Bearer {critical}")],
        &[&format!("Bearer {long}")],
    ];
    for values in unusable {
        let error = auth.authenticate(&headers(values)).await.unwrap_err();
        assert_eq!((error.code(), error.status()), ("RG4011", 401), "{values:?}");
    }
    assert!(auth.authenticate(&headers(&[&bearer])).await.is_ok());
}

/// A token that must be refused: what is wrong with it, the token, the code.
type Case = (&'static str, String, &'static str);

fn forged(issuer: &FakeIssuer) -> Vec<Case> {
    let stranger = KeyRing::generate(1);
    let token = || issuer.token("planted-secret").claim("aud", "api");
    let tampered = {
        let (good, other) = (token().sign(), token().claim("admin", true).sign());
        let payload = other.split('.').nth(1).unwrap();
        let mut parts: Vec<&str> = good.split('.').collect();
        parts[1] = payload;
        parts.join(".")
    };
    let own_key = stranger.for_algorithm(Algorithm::RS256).public();
    let rsa_kid = issuer.keys().for_algorithm(Algorithm::RS256).kid.clone();
    vec![
        ("alg none", token().unsigned(), "RG4012"),
        ("public key as a secret", token().sign_with_public_key_as_secret(), "RG4012"),
        ("algorithm not allowed", token().header("alg", "RS512").sign(), "RG4012"),
        ("key of another kind", token().alg(Algorithm::ES256).kid(&rsa_kid).sign(), "RG4012"),
        ("unknown key", token().kid("unknown").sign(), "RG4014"),
        ("no key id, two keys fit", token().without_kid().sign(), "RG4014"),
        ("foreign key", token().sign_with_foreign_key(&stranger), "RG4015"),
        (
            "key in the header",
            token().header("jwk", own_key).sign_with_foreign_key(&stranger),
            "RG4015",
        ),
        ("another algorithm's signature", token().header("alg", "PS256").sign(), "RG4015"),
        ("tampered payload", tampered, "RG4015"),
        ("no signature", token().sign().rsplit_once('.').unwrap().0.to_owned() + ".", "RG4015"),
    ]
}

fn unacceptable(issuer: &FakeIssuer) -> Vec<Case> {
    let token = || issuer.token("planted-secret").claim("aud", "api");
    let cases: Vec<(&str, TokenBuilder, &str)> = vec![
        ("no issuer", token().without("iss"), "RG4013"),
        ("foreign issuer", token().issuer("https://other.example"), "RG4013"),
        ("issuer with a slash", token().issuer(&format!("{}/", issuer.url())), "RG4013"),
        ("issuer in an array", token().claim("iss", vec![issuer.url()]), "RG4013"),
        ("expired", token().expires_in(-1), "RG4016"),
        ("expires now", token().expires_in(0), "RG4016"),
        ("not yet valid", token().not_before_in(60), "RG4017"),
        ("issued in the future", token().issued_in(60), "RG4017"),
        ("no audience", token().without("aud"), "RG4018"),
        ("foreign audience", token().audience("other"), "RG4018"),
        ("foreign audiences", token().audience(vec!["other", "another"]), "RG4018"),
        ("no exp", token().without("exp"), "RG4019"),
        ("exp as a string", token().claim("exp", "9999999999"), "RG4019"),
        ("negative nbf", token().claim("nbf", -1), "RG4019"),
        ("no sub", token().without("sub"), "RG4019"),
        ("empty sub", token().claim("sub", ""), "RG4019"),
        ("sub is a number", token().claim("sub", 7), "RG4019"),
        ("NUL in a claim", token().claim("x", json!({ "y": ["planted-secret\0"] })), "RG4019"),
        ("claims too large", token().claim("x", "ä".repeat(3000)), "RG4019"),
    ];
    cases.into_iter().map(|(name, token, code)| (name, token.sign(), code)).collect()
}

#[tokio::test]
async fn every_wrong_token_is_refused_with_its_code_and_without_its_content() {
    let issuer = FakeIssuer::start().await;
    // A second RSA key, so that a token without key id fits more than one.
    let mut second = KeyRing::generate(1).for_algorithm(Algorithm::RS256).public();
    second["kid"] = json!("second");
    issuer.publish(second);
    let config = IssuerConfig { audiences: vec!["api".into(), "x".into()], ..issuer.config() };
    let auth = ready_authenticator(&[config]).await;
    accepted(&auth, &issuer.token("alice").audience(vec!["y", "api"]).sign()).await;

    for (name, token, code) in forged(&issuer).into_iter().chain(unacceptable(&issuer)) {
        let error = refusal(&auth, &token).await;
        assert_eq!((error.code(), error.status()), (code, 401), "{name}: {error}");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("planted-secret"), "{name}: {text}");
        let leaks =
            token.split('.').filter(|part| !part.is_empty()).any(|part| text.contains(part));
        assert!(!leaks, "{name}: {text}");
        // What was refused once stays refused: errors are not remembered as successes.
        assert_eq!(refusal(&auth, &token).await.code(), code, "{name}, second time");
    }
}

#[tokio::test]
async fn token_without_kid_is_accepted_if_one_key_fits() {
    let (issuer, auth) = issuer_and_authenticator().await;
    accepted(&auth, &issuer.token("alice").without_kid().sign()).await;
}

#[tokio::test]
async fn dates_may_be_fractions() {
    let (issuer, auth) = issuer_and_authenticator().await;
    let now = f64::from(u32::try_from(unix_now()).unwrap());
    let token = issuer.token("alice").claim("exp", now + 60.5).claim("nbf", now - 0.5);
    accepted(&auth, &token.sign()).await;
}

#[tokio::test]
async fn leeway_is_tolerated_and_counts_into_the_end() {
    let issuer = FakeIssuer::start().await;
    let config = IssuerConfig { leeway: Duration::from_secs(30), ..issuer.config() };
    let auth = ready_authenticator(&[config]).await;

    let verified = accepted(&auth, &issuer.token("alice").expires_in(-10).sign()).await;
    assert!(i64::try_from(verified.expires_at()).unwrap() > unix_now());
    accepted(&auth, &issuer.token("alice").not_before_in(10).issued_in(10).sign()).await;
    assert_eq!(
        refusal(&auth, &issuer.token("alice").expires_in(-31).sign()).await.code(),
        "RG4016"
    );
}

#[tokio::test]
async fn remembered_token_expires_all_the_same() {
    let (issuer, auth) = issuer_and_authenticator().await;
    let token = issuer.token("alice").expires_in(2).sign();
    accepted(&auth, &token).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(refusal(&auth, &token).await, AuthError::Expired);
}

#[tokio::test]
async fn key_of_one_issuer_never_vouches_for_another() {
    let (one, two) = (FakeIssuer::start().await, FakeIssuer::start().await);
    two.rotate();
    let auth = ready_authenticator(&[one.config(), two.config()]).await;

    let own = accepted(&auth, &one.token("alice").sign()).await;
    let other = accepted(&auth, &two.token("alice").sign()).await;
    assert_ne!(own.subject_hash(), other.subject_hash());
    assert_ne!(own.issuer(), other.issuer());

    // Signed by one, in the name of the other, under either's key id.
    let forged = one.token("alice").issuer(two.url());
    assert_eq!(refusal(&auth, &forged.sign()).await, AuthError::UnknownKey);
    let kid = two.keys().for_algorithm(Algorithm::RS256).kid.clone();
    let forged = one.token("alice").issuer(two.url()).kid(&kid);
    assert_eq!(refusal(&auth, &forged.sign()).await, AuthError::BadSignature);
}

#[tokio::test]
async fn only_configured_algorithms_are_accepted() {
    let issuer = FakeIssuer::start().await;
    let config = IssuerConfig { algorithms: vec![Algorithm::ES256], ..issuer.config() };
    let auth = ready_authenticator(&[config]).await;
    accepted(&auth, &issuer.token("alice").alg(Algorithm::ES256).sign()).await;
    for algorithm in [Algorithm::RS256, Algorithm::EdDSA] {
        let token = issuer.token("alice").alg(algorithm).sign();
        assert_eq!(refusal(&auth, &token).await, AuthError::AlgorithmNotAllowed);
    }
}

#[tokio::test]
async fn many_requests_with_many_tokens_get_their_own_identity() {
    let (issuer, auth) = issuer_and_authenticator().await;
    let auth = std::sync::Arc::new(auth);
    let mut tasks = tokio::task::JoinSet::new();
    for request in 0..400 {
        let name = format!("user-{}", request % 20);
        let token = issuer.token(&name).alg(Algorithm::EdDSA).sign();
        let auth = std::sync::Arc::clone(&auth);
        tasks.spawn(async move {
            let Ok(Identity::Verified(token)) = authenticate(&auth, &token).await else {
                return false;
            };
            let claims: Value = serde_json::from_str(token.claims()).unwrap();
            claims["sub"] == json!(name)
        });
    }
    assert!(tasks.join_all().await.into_iter().all(|own| own));
}
