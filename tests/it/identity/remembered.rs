//! What a remembered token saves, and that it saves no check.

use std::sync::Arc;
use std::time::Duration;

use rowgate::auth::Authenticator;
use rowgate::observe::Observer;

use super::{READY_LIMIT, SUBJECT_KEY, accepted, auth_config, authenticate};
use crate::harness::issuer::{Behaviour, FakeIssuer};

/// Threads of the runtimes here.
const THREADS: u64 = 4;

/// How many signatures were verified so far.
fn verified(observer: &Observer) -> u64 {
    let text = observer.metrics().text();
    let line = text.lines().find(|line| line.starts_with("rowgate_token_verifications_total "));
    line.unwrap_or_else(|| panic!("{text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

async fn observed(issuer: &FakeIssuer) -> (Arc<Authenticator>, Observer) {
    let observer = Observer::default();
    let config = auth_config(&[issuer.config()]);
    let auth = Authenticator::new(&config, &SUBJECT_KEY, observer.clone()).unwrap();
    auth.wait_ready(READY_LIMIT).await.unwrap();
    (Arc::new(auth), observer)
}

async fn all_at_once(auth: &Arc<Authenticator>, token: &str, count: usize) {
    let start = Arc::new(tokio::sync::Barrier::new(count));
    let requests: Vec<_> = (0..count)
        .map(|_| {
            let (auth, start, token) = (Arc::clone(auth), Arc::clone(&start), token.to_owned());
            tokio::spawn(async move {
                start.wait().await;
                authenticate(&auth, &token).await.map(drop)
            })
        })
        .collect();
    for request in requests {
        request.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_requests_with_one_new_token_verify_it_no_more_often_than_there_are_threads() {
    let issuer = FakeIssuer::start().await;
    let (auth, observer) = observed(&issuer).await;
    all_at_once(&auth, &issuer.token("alice").sign(), 1000).await;
    let times = verified(&observer);
    println!("1,000 requests, {THREADS} threads: {times} verifications");
    assert!((1..=THREADS).contains(&times), "{times}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn that_holds_for_requests_that_waited_for_the_tokens_key_together() {
    let issuer = FakeIssuer::start().await;
    let (auth, observer) = observed(&issuer).await;
    issuer.rotate();
    issuer.behave(Behaviour::Slow(Duration::from_millis(300)));
    all_at_once(&auth, &issuer.token("alice").sign(), 1000).await;
    let times = verified(&observer);
    println!("1,000 requests after a rotation, {THREADS} threads: {times} verifications");
    assert!((1..=THREADS).contains(&times), "{times}");
}

#[tokio::test]
async fn only_what_passed_is_remembered() {
    let issuer = FakeIssuer::start().await;
    let (auth, observer) = observed(&issuer).await;
    let good = issuer.token("alice").sign();
    for _ in 0..3 {
        accepted(&auth, &good).await;
    }
    assert_eq!(verified(&observer), 1);
    let bad = issuer.token("alice").expires_in(-1).sign();
    for _ in 0..3 {
        assert!(authenticate(&auth, &bad).await.is_err());
    }
    assert_eq!(verified(&observer), 1, "a refused token counts as verified");
}

#[tokio::test]
async fn a_remembered_token_ends_with_its_exp() {
    let issuer = FakeIssuer::start().await;
    let (auth, _) = observed(&issuer).await;
    let token = issuer.token("alice").expires_in(2).sign();
    accepted(&auth, &token).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert!(authenticate(&auth, &token).await.is_err());
}
