//! Owns one issuer's keys and the task that keeps them fresh; must never let a failed refresh take
//! keys away, nor let tokens from strangers decide how often the issuer is asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::Uri;
use jsonwebtoken::Algorithm;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::error::AuthSetupError;
use super::jwks::{self, FetchError, Fetched, Fetcher};
use super::keys::KeySet;
use crate::observe::{Event, Observer};

/// The current keys of one issuer. Reading them takes no lock.
pub(super) struct KeyStore {
    shared: Arc<Shared>,
    refresher: AbortHandle,
}

/// Where and how one issuer's keys are fetched.
pub(super) struct KeySource {
    pub(super) issuer: Arc<str>,
    pub(super) uri: Uri,
    pub(super) algorithms: Vec<Algorithm>,
}

/// What requests and the refresher have in common.
struct Shared {
    source: KeySource,
    /// Empty until the first fetch that succeeds, never again afterwards.
    keys: ArcSwap<KeySet>,
    /// When the last fetch for an unknown key was asked for.
    last_demand: Mutex<Option<Instant>>,
    /// How many such fetches were asked for. A counter rather than a flag, so that a fetch that began
    /// before the question is not taken for its answer.
    demanded: watch::Sender<u64>,
    progress: watch::Sender<Progress>,
}

/// What the refresher has done so far.
#[derive(Default)]
struct Progress {
    /// The value of [`Shared::demanded`] before the last finished fetch.
    answered: u64,
    /// Why the last fetch failed, if it did.
    failure: Option<String>,
}

/// How asking for fresh keys ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refetch {
    /// The keys are what the issuer published a moment ago.
    Fresh,
    /// The issuer could not be asked: what it publishes now is not known.
    Failed,
}

impl Progress {
    fn verdict(&self) -> Refetch {
        if self.failure.is_some() { Refetch::Failed } else { Refetch::Fresh }
    }
}

impl KeyStore {
    /// Begins to fetch at once, in the background, until dropped.
    pub(super) fn start(
        source: KeySource,
        fetcher: Fetcher,
        observer: Observer,
    ) -> Result<Self, AuthSetupError> {
        let runtime = Handle::try_current().map_err(|_| AuthSetupError::NoRuntime)?;
        let shared = Arc::new(Shared {
            source,
            keys: ArcSwap::default(),
            last_demand: Mutex::new(None),
            demanded: watch::Sender::new(0),
            progress: watch::Sender::default(),
        });
        let task = runtime.spawn(refresh(Arc::clone(&shared), fetcher, observer));
        Ok(Self { shared, refresher: task.abort_handle() })
    }

    /// The keys in force now.
    pub(super) fn keys(&self) -> arc_swap::Guard<Arc<KeySet>> {
        self.shared.keys.load()
    }

    /// Waits for the first keys until `deadline`; the error says what the last attempt met.
    pub(super) async fn loaded(&self, deadline: Instant) -> Result<(), String> {
        let mut progress = self.shared.progress.subscribe();
        let loaded = progress.wait_for(|_| !self.keys().is_empty());
        if let Ok(Ok(_)) = tokio::time::timeout_at(deadline, loaded).await {
            return Ok(());
        }
        let failure = self.shared.progress.borrow().failure.clone();
        Err(failure.unwrap_or_else(|| "no answer yet".into()))
    }

    /// Has the keys fetched once more because a token named an unknown one, and waits for it, at most
    /// [`jwks::UNKNOWN_KEY_WAIT`]. Does not wait if the issuer was asked too recently.
    pub(super) async fn refetch(&self) -> Refetch {
        let mut progress = self.shared.progress.subscribe();
        let Some(demand) = self.demand() else { return progress.borrow().verdict() };
        let answered = progress.wait_for(|progress| progress.answered >= demand);
        match tokio::time::timeout(jwks::UNKNOWN_KEY_WAIT, answered).await {
            Ok(Ok(progress)) => progress.verdict(),
            _ => Refetch::Failed,
        }
    }

    /// The number of the fetch to wait for: the one that is under way, or a new one if the last was
    /// asked for long enough ago.
    fn demand(&self) -> Option<u64> {
        let mut last = self.shared.last_demand.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = *self.shared.demanded.borrow();
        if self.shared.progress.borrow().answered < latest {
            return Some(latest);
        }
        let now = Instant::now();
        if last.is_some_and(|last| now - last < jwks::UNKNOWN_KEY_INTERVAL) {
            return None;
        }
        *last = Some(now);
        self.shared.demanded.send_replace(latest + 1);
        Some(latest + 1)
    }
}

impl Drop for KeyStore {
    fn drop(&mut self) {
        self.refresher.abort();
    }
}

/// The only task that fetches for this issuer, one fetch after the other.
async fn refresh(shared: Arc<Shared>, fetcher: Fetcher, observer: Observer) {
    let mut demanded = shared.demanded.subscribe();
    let mut failures = 0;
    loop {
        let answers = *demanded.borrow_and_update();
        let result = fetcher.fetch(&shared.source.uri, &shared.source.algorithms).await;
        failures = if result.is_ok() { 0 } else { failures + 1 };
        let pause = shared.conclude(result, failures, answers, &observer);
        // Either is a reason to fetch again; the sender lives in `shared`, so changed() cannot fail.
        let _ = tokio::time::timeout(pause, demanded.changed()).await;
    }
}

impl Shared {
    /// Puts new keys in force (before anybody is told), reports, and says when to fetch again.
    fn conclude(
        &self,
        result: Result<Fetched, FetchError>,
        failures: u32,
        answered: u64,
        observer: &Observer,
    ) -> Duration {
        let issuer = Arc::clone(&self.source.issuer);
        let (event, failure, pause) = match result {
            Ok(Fetched { keys, refresh_in }) => {
                let event = Event::KeysRefreshed { issuer, keys: keys.len() };
                self.keys.store(Arc::new(keys));
                (event, None, refresh_in)
            }
            Err(error) => {
                let (reason, retry_in) = (error.to_string(), jwks::retry_in(failures));
                let failure = Some(reason.clone());
                (Event::KeysRefreshFailed { issuer, reason, retry_in }, failure, retry_in)
            }
        };
        observer.emit(&event);
        self.progress.send_replace(Progress { answered, failure });
        pause
    }
}
