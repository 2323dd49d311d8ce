//! What the issuer's server can do to the gateway: rotate, fail, stall, flood.

use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use rowgate::auth::{AuthError, Authenticator};
use rowgate::observe::Observer;
use serde_json::json;

use super::{
    READY_LIMIT, SUBJECT_KEY, accepted, auth_config, authenticate, authenticator,
    issuer_and_authenticator, ready_authenticator, refusal,
};
use crate::harness::issuer::{Behaviour, FakeIssuer};

/// What is answered without waiting for the network takes no longer, even on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(500);

#[tokio::test]
async fn rotated_keys_count_at_once_and_the_old_ones_no_longer() {
    let (issuer, auth) = issuer_and_authenticator().await;
    let remembered = issuer.token("alice").sign();
    let not_yet_seen = issuer.token("bob").sign();
    accepted(&auth, &remembered).await;

    issuer.rotate();
    // Nobody told the gateway yet.
    accepted(&auth, &remembered).await;
    // The first token with a new key makes it ask.
    accepted(&auth, &issuer.token("alice").sign()).await;

    assert_eq!(refusal(&auth, &remembered).await, AuthError::UnknownKey);
    assert_eq!(refusal(&auth, &not_yet_seen).await, AuthError::UnknownKey);
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn refresh_that_changes_nothing_keeps_remembered_tokens() {
    let (issuer, auth) = issuer_and_authenticator().await;
    let token = issuer.token("alice").sign();
    let before = accepted(&auth, &token).await;
    assert_eq!(refusal(&auth, &issuer.token("x").kid("new").sign()).await, AuthError::UnknownKey);
    assert_eq!(issuer.fetches(), 2);
    assert!(std::sync::Arc::ptr_eq(&before, &accepted(&auth, &token).await));
}

#[tokio::test]
async fn outage_keeps_the_keys() {
    let outages = [
        Behaviour::Status(500),
        Behaviour::Status(404),
        Behaviour::Status(204),
        Behaviour::Redirect("http://127.0.0.1:1/".into()),
        Behaviour::Body("<html>maintenance</html>".into()),
        Behaviour::Body(json!({ "keys": [] }).to_string()),
        Behaviour::Body(json!({ "keys": [{ "kty": "oct", "k": "AA" }] }).to_string()),
        Behaviour::Endless,
        Behaviour::Hang,
    ];
    for outage in outages {
        let (issuer, auth) = issuer_and_authenticator().await;
        let remembered = issuer.token("alice").sign();
        accepted(&auth, &remembered).await;

        issuer.behave(outage.clone());
        let unknown = issuer.token("alice").kid("unknown").sign();
        let error = refusal(&auth, &unknown).await;
        assert_eq!((error.code(), error.status()), ("RG5031", 503), "{outage:?}");

        assert!(issuer.fetches() >= 2, "{outage:?}: the outage was not seen");
        accepted(&auth, &remembered).await;
        accepted(&auth, &issuer.token("bob").sign()).await;
        assert_eq!(auth.ready(), Ok(()));
    }
}

#[tokio::test]
async fn unusable_first_answers_are_named_and_nothing_is_accepted() {
    let elsewhere = FakeIssuer::start().await;
    let answers = [
        (Behaviour::Status(503), "503"),
        (Behaviour::Redirect(elsewhere.jwks_url()), "redirect"),
        (Behaviour::Body("{".into()), "no JWK set"),
        (Behaviour::Body(json!({ "keys": [] }).to_string()), "no key"),
        (Behaviour::Body(" ".repeat(64 * 1024 + 1)), "larger than"),
        (Behaviour::Endless, "larger than"),
        (Behaviour::Hang, "within 3 s"),
        (Behaviour::Slow(Duration::from_secs(5)), "within 3 s"),
    ];
    let mut tasks = tokio::task::JoinSet::new();
    for (behaviour, reason) in answers {
        tasks.spawn(async move {
            let issuer = FakeIssuer::start().await;
            issuer.behave(behaviour.clone());
            let auth = authenticator(&auth_config(&[issuer.config()]));

            let error = auth.wait_ready(Duration::from_millis(4500)).await.unwrap_err().to_string();
            assert!(
                error.contains(issuer.url()) && error.contains(reason),
                "{behaviour:?}: {error}"
            );
            assert_eq!(auth.ready(), Err(issuer.url().to_owned()));
            let error = refusal(&auth, &issuer.token("alice").sign()).await;
            assert_eq!((error.code(), error.status()), ("RG5031", 503), "{behaviour:?}");
        });
    }
    // Panics if one of them did.
    tasks.join_all().await;
    assert_eq!(elsewhere.fetches(), 0, "a redirect was followed");
}

#[tokio::test]
async fn waiting_for_keys_is_bounded_and_names_only_the_missing() {
    let (good, bad) = (FakeIssuer::start().await, FakeIssuer::start().await);
    bad.behave(Behaviour::Hang);
    let auth = authenticator(&auth_config(&[bad.config(), good.config()]));

    let started = Instant::now();
    let error = auth.wait_ready(Duration::from_millis(700)).await.unwrap_err().to_string();

    assert!(started.elapsed() < Duration::from_millis(700) + AT_ONCE);
    assert!(error.contains(bad.url()) && !error.contains(good.url()), "{error}");
    accepted(&auth, &good.token("alice").sign()).await;
}

#[tokio::test]
async fn issuer_that_comes_up_late_is_found_by_itself() {
    let issuer = FakeIssuer::start().await;
    issuer.behave(Behaviour::Status(502));
    let auth = authenticator(&auth_config(&[issuer.config()]));
    assert!(auth.wait_ready(Duration::from_millis(300)).await.is_err());

    issuer.behave(Behaviour::Normal);
    auth.wait_ready(READY_LIMIT).await.unwrap();

    assert_eq!(auth.ready(), Ok(()));
    accepted(&auth, &issuer.token("alice").sign()).await;
}

#[tokio::test]
async fn one_bad_key_does_not_spoil_the_set() {
    let issuer = FakeIssuer::start().await;
    let rsa = issuer.keys().for_algorithm(Algorithm::RS256).kid.clone();
    for bad in [
        json!({ "kty": "AKP", "alg": "ML-DSA-65", "kid": "future" }),
        json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": rsa }),
        json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" }),
        json!("not even an object"),
    ] {
        issuer.publish(bad);
    }
    let auth = ready_authenticator(&[issuer.config()]).await;
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        accepted(&auth, &issuer.token("alice").alg(algorithm).sign()).await;
    }
}

#[tokio::test]
async fn flood_of_unknown_key_ids_asks_the_issuer_once() {
    let (issuer, auth) = issuer_and_authenticator().await;
    let auth = std::sync::Arc::new(auth);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..200 {
        let token = issuer.token("alice").alg(Algorithm::EdDSA).kid(&format!("k{n}")).sign();
        let auth = std::sync::Arc::clone(&auth);
        tasks.spawn(async move { refusal(&auth, &token).await });
    }
    assert!(tasks.join_all().await.iter().all(|error| *error == AuthError::UnknownKey));

    let started = Instant::now();
    for n in 0..50 {
        let token = issuer.token("alice").alg(Algorithm::EdDSA).kid(&format!("l{n}")).sign();
        assert_eq!(refusal(&auth, &token).await, AuthError::UnknownKey);
    }
    assert!(started.elapsed() < AT_ONCE, "beyond the allowance nobody waits");
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn requests_with_the_new_key_share_the_fetch_under_way() {
    let (issuer, auth) = issuer_and_authenticator().await;
    issuer.rotate();
    issuer.behave(Behaviour::Slow(Duration::from_millis(300)));
    let tokens: Vec<String> =
        (0..20).map(|n| issuer.token(&format!("user-{n}")).alg(Algorithm::EdDSA).sign()).collect();
    let auth = std::sync::Arc::new(auth);
    let mut tasks = tokio::task::JoinSet::new();
    for token in tokens {
        let auth = std::sync::Arc::clone(&auth);
        tasks.spawn(async move { authenticate(&auth, &token).await.is_ok() });
    }
    assert!(tasks.join_all().await.into_iter().all(|accepted| accepted));
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn only_the_request_with_the_unknown_key_waits_and_not_for_ever() {
    let (issuer, auth) = issuer_and_authenticator().await;
    let auth = std::sync::Arc::new(auth);
    issuer.behave(Behaviour::Hang);
    let unknown = issuer.token("alice").kid("unknown").sign();
    let waiting = tokio::spawn({
        let auth = std::sync::Arc::clone(&auth);
        async move {
            let started = Instant::now();
            (refusal(&auth, &unknown).await, started.elapsed())
        }
    });
    while issuer.fetches() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let started = Instant::now();
    accepted(&auth, &issuer.token("bob").sign()).await;
    assert!(started.elapsed() < AT_ONCE);
    assert!(!waiting.is_finished());

    let (error, waited) = waiting.await.unwrap();
    assert_eq!(error.code(), "RG5031");
    assert!(waited < Duration::from_secs(3) + AT_ONCE, "{waited:?}");
}

#[tokio::test]
async fn whether_an_unknown_key_exists_is_answered_again_as_soon_as_the_issuer_is() {
    let (issuer, auth) = issuer_and_authenticator().await;
    issuer.behave(Behaviour::Status(500));
    let unknown = issuer.token("alice").kid("unknown").sign();
    assert_eq!(refusal(&auth, &unknown).await.status(), 503);
    // The allowance is used up, but what the issuer publishes is still not known.
    assert_eq!(refusal(&auth, &unknown).await.status(), 503);

    issuer.behave(Behaviour::Normal);
    issuer.rotate();
    let (deadline, new) = (Instant::now() + Duration::from_secs(8), issuer.token("alice").sign());
    while authenticate(&auth, &new).await.is_err() {
        assert!(Instant::now() < deadline, "the failed fetch is not repeated");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(refusal(&auth, &unknown).await, AuthError::UnknownKey);
}

/// That it is asked again after 30 s is a unit test's: `auth::pace`.
#[tokio::test]
async fn beyond_the_allowance_unknown_keys_are_refused_at_once_and_not_asked_about() {
    let (issuer, auth) = issuer_and_authenticator().await;
    let stranger = issuer.token("stranger").kid("made-up").sign();
    assert_eq!(refusal(&auth, &stranger).await, AuthError::UnknownKey);
    issuer.rotate();
    let new = issuer.token("alice").alg(Algorithm::EdDSA).sign();
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(refusal(&auth, &new).await, AuthError::UnknownKey);
    }
    assert!(began.elapsed() < AT_ONCE);
    assert_eq!(issuer.fetches(), 2, "one at the start, one for the stranger");
}

#[tokio::test]
async fn outage_ends_keys_after_the_configured_time_with_503_and_the_gateway_says_so() {
    let issuer = FakeIssuer::start().await;
    let kept = Duration::from_millis(1500);
    let observer = Observer::default();
    let config = auth_config(&[issuer.config_keeping_keys(kept)]);
    let auth = Authenticator::new(&config, &SUBJECT_KEY, observer.clone()).unwrap();
    auth.wait_ready(READY_LIMIT).await.unwrap();
    let (remembered, new) = (issuer.token("alice").sign(), issuer.token("bob").sign());
    accepted(&auth, &remembered).await;

    issuer.behave(Behaviour::Status(500));
    let began = Instant::now();
    assert_eq!(refusal(&auth, &issuer.token("x").kid("unknown").sign()).await.status(), 503);
    accepted(&auth, &remembered).await;
    while authenticate(&auth, &remembered).await.is_ok() {
        assert!(began.elapsed() < Duration::from_secs(10), "the keys never end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() >= kept);
    for token in [&remembered, &new] {
        let error = refusal(&auth, token).await;
        assert_eq!((error.code(), error.status()), ("RG5031", 503));
    }
    assert_eq!(auth.ready(), Err(issuer.url().to_owned()));
    let metrics = observer.metrics().text();
    assert!(
        metrics.contains(&format!("rowgate_keys{{issuer=\"{}\"}} 0", issuer.url())),
        "{metrics}"
    );

    issuer.behave(Behaviour::Normal);
    auth.wait_ready(READY_LIMIT).await.unwrap();
    accepted(&auth, &remembered).await;
    accepted(&auth, &new).await;
}

#[tokio::test]
async fn unchanged_key_set_is_not_sent_again() {
    let (issuer, auth) = issuer_and_authenticator().await;
    let token = issuer.token("alice").sign();
    accepted(&auth, &token).await;
    assert_eq!(refusal(&auth, &issuer.token("x").kid("new").sign()).await, AuthError::UnknownKey);
    assert_eq!((issuer.fetches(), issuer.not_modified()), (2, 1));
    accepted(&auth, &token).await;
    accepted(&auth, &issuer.token("bob").sign()).await;
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_server_only_and_not_for_ever() {
    for (location, is_followed) in [
        (FakeIssuer::MOVED_PATH, true),
        ("/.well-known/jwks.json", false),
        ("http://localhost:1/moved.json", false),
    ] {
        let issuer = FakeIssuer::start().await;
        issuer.behave(Behaviour::Redirect(location.into()));
        let auth = authenticator(&auth_config(&[issuer.config()]));
        let ready = auth.wait_ready(Duration::from_millis(400)).await;
        assert_eq!(ready.is_ok(), is_followed, "{location}: {ready:?}");
    }
}

#[tokio::test]
async fn dropped_authenticator_stops_asking() {
    let issuer = FakeIssuer::start().await;
    issuer.behave(Behaviour::Status(500));
    let auth = authenticator(&auth_config(&[issuer.config()]));
    assert!(auth.wait_ready(Duration::from_millis(300)).await.is_err());
    let before = issuer.fetches();
    assert!(before > 0);

    drop(auth);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(issuer.fetches(), before);
}
