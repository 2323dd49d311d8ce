use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::*;
use crate::auth::token::Header;

/// Longer than any test.
const LIFETIME: Duration = Duration::from_mins(10);
const KEPT: Duration = Duration::from_hours(24);

/// What a fake issuer publishes, and what was asked of it.
struct Script {
    /// None: it fails.
    answer: Mutex<Option<KeySet>>,
    unchanged: std::sync::atomic::AtomicBool,
    delay: Mutex<Duration>,
    lifetime: Duration,
    fetches: AtomicUsize,
    running: AtomicUsize,
    change: Notify,
}

struct Fake(Arc<Script>);

impl Source for Fake {
    async fn obtain(&mut self) -> Result<Obtained, SourceError> {
        let script = &self.0;
        script.fetches.fetch_add(1, Ordering::SeqCst);
        assert_eq!(script.running.fetch_add(1, Ordering::SeqCst), 0, "two fetches at once");
        let delay = *script.delay.lock().unwrap();
        sleep(delay).await;
        script.running.fetch_sub(1, Ordering::SeqCst);
        if script.unchanged.load(Ordering::SeqCst) {
            return Ok(Obtained { keys: None, lifetime: script.lifetime });
        }
        match script.answer.lock().unwrap().take() {
            Some(keys) => Ok(Obtained { keys: Some(keys), lifetime: script.lifetime }),
            None => Err(SourceError::TimedOut),
        }
    }

    async fn changed(&mut self) {
        self.0.change.notified().await;
    }

    fn place(&self) -> String {
        "a script".into()
    }
}

/// A set with one key of this name.
fn keys(kid: &str) -> KeySet {
    let x = URL_SAFE_NO_PAD.encode(
        hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap(),
    );
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x });
    let set = json!({ "keys": [key] }).to_string();
    KeySet::parse(set.as_bytes(), &[Algorithm::EdDSA]).unwrap()
}

fn knows(store: &KeyStore, kid: &str) -> bool {
    let header = Header { algorithm: Algorithm::EdDSA, key_id: Some(kid.into()) };
    matches!(store.keys().select(&header), crate::auth::keys::Selection::Found(_))
}

impl Script {
    fn publish(&self, kid: &str) {
        *self.answer.lock().unwrap() = Some(keys(kid));
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

/// A store that has the key `one`, and its script.
async fn store(lifetime: Duration, kept: Duration) -> (KeyStore, Arc<Script>, Observer) {
    let script = Arc::new(Script {
        answer: Mutex::new(Some(keys("one"))),
        unchanged: false.into(),
        delay: Mutex::default(),
        lifetime,
        fetches: AtomicUsize::new(0),
        running: AtomicUsize::new(0),
        change: Notify::new(),
    });
    let observer = Observer::default();
    let fake = Fake(Arc::clone(&script));
    let store = KeyStore::start("https://a.example".into(), fake, kept, observer.clone()).unwrap();
    store.loaded(Instant::now() + Duration::from_secs(10)).await.unwrap();
    (store, script, observer)
}

/// Waits until something is so, which must happen some time even on a busy machine.
async fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "it never happens");
        sleep(Duration::from_millis(5)).await;
    }
}

fn gauge(observer: &Observer) -> String {
    let text = observer.metrics().text();
    text.lines().find(|line| line.starts_with("rowgate_keys{")).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn keys_are_fetched_anew_when_most_of_their_lifetime_has_passed() {
    let lifetime = Duration::from_millis(800);
    let began = Instant::now();
    let (store, script, _) = store(lifetime, KEPT).await;
    script.publish("two");
    until(|| knows(&store, "two")).await;
    assert!(began.elapsed() >= lifetime * 75 / 100);
    assert!(!knows(&store, "one"), "a key that left the set");
    assert_eq!(script.fetches(), 2);
}

#[tokio::test]
async fn keys_outlive_failures_for_the_configured_time_and_then_end() {
    let kept = Duration::from_millis(1500);
    let (store, script, observer) = store(Duration::from_millis(100), kept).await;
    // The first failure.
    until(|| script.fetches() >= 2).await;
    let began = Instant::now();
    assert!(knows(&store, "one"));
    until(|| store.keys().is_empty()).await;
    assert!(began.elapsed() + Duration::from_millis(20) >= kept, "{:?}", began.elapsed());
    assert!(script.fetches() >= 3, "it was tried again meanwhile");
    assert_eq!(gauge(&observer), r#"rowgate_keys{issuer="https://a.example"} 0"#);
    assert!(observer.metrics().text().contains("rowgate_keys_confirmed_timestamp_seconds{"));

    script.publish("two");
    until(|| knows(&store, "two")).await;
    assert_eq!(gauge(&observer), r#"rowgate_keys{issuer="https://a.example"} 1"#);
    let fetches = script.fetches();
    until(|| script.fetches() > fetches).await;
    assert!(knows(&store, "two"), "the time is counted from the next outage");
}

#[tokio::test]
async fn unchanged_keys_come_back_after_they_had_ended() {
    let (store, script, _) = store(Duration::from_millis(50), Duration::from_millis(100)).await;
    until(|| store.keys().is_empty()).await;
    script.unchanged.store(true, Ordering::SeqCst);
    until(|| knows(&store, "one")).await;
}

#[tokio::test]
async fn flood_of_unknown_keys_costs_one_fetch() {
    let (store, script, _) = store(LIFETIME, KEPT).await;
    script.publish("one");
    for _ in 0..1000 {
        assert_eq!(store.refetch().await, Refetch::Fresh);
    }
    assert_eq!(script.fetches(), 2);
}

#[tokio::test]
async fn requests_share_the_fetch_under_way_and_only_so_many_wait() {
    let (store, script, _) = store(LIFETIME, KEPT).await;
    let store = Arc::new(store);
    script.publish("two");
    let delay = Duration::from_millis(2500);
    *script.delay.lock().unwrap() = delay;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..pace::UNKNOWN_KEY_WAITING {
        let store = Arc::clone(&store);
        waiting.spawn(async move { store.refetch().await });
    }
    until(|| store.shared.waiting.available_permits() == 0).await;
    let began = Instant::now();
    assert_eq!(store.refetch().await, Refetch::Failed, "one too many");
    assert!(began.elapsed() < delay / 2);
    assert!(waiting.join_all().await.iter().all(|verdict| *verdict == Refetch::Fresh));
    assert!(knows(&store, "two"));
    assert_eq!(script.fetches(), 2);
}

#[tokio::test]
async fn nobody_waits_longer_than_three_seconds() {
    let (store, script, _) = store(LIFETIME, KEPT).await;
    *script.delay.lock().unwrap() = Duration::from_mins(1);
    let began = Instant::now();
    assert_eq!(store.refetch().await, Refetch::Failed);
    let waited = began.elapsed();
    assert!(waited >= pace::UNKNOWN_KEY_WAIT && waited < pace::UNKNOWN_KEY_WAIT * 2, "{waited:?}");
}

#[tokio::test]
async fn source_that_says_it_changed_is_read_at_once() {
    let (store, script, _) = store(LIFETIME, KEPT).await;
    script.publish("two");
    script.change.notify_one();
    until(|| knows(&store, "two")).await;
    assert_eq!(script.fetches(), 2);
}
