//! Owns one issuer's keys and the task that keeps them fresh; must never let a failed refresh take keys
//! away before the time that was configured for outages has passed, nor let tokens from strangers decide
//! how often the issuer is asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::error::AuthSetupError;
use super::keys::KeySet;
use super::pace::{self, Allowance};
use super::source::{Obtained, Source, SourceError};
use crate::observe::{Event, Observer};

/// The current keys of one issuer. Reading them takes no lock.
pub(super) struct KeyStore {
    shared: Arc<Shared>,
    refresher: AbortHandle,
}

/// What requests and the refresher have in common.
struct Shared {
    /// Empty until the first fetch that succeeds, and when an outage has lasted too long.
    keys: ArcSwap<KeySet>,
    /// For fetches for an unknown key. Locked by requests with such a key only.
    allowance: Mutex<Allowance>,
    /// Places for requests that wait for such a fetch.
    waiting: Semaphore,
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
    /// The issuer was not asked or did not answer: what it publishes now is not known.
    Failed,
}

impl Progress {
    fn verdict(&self) -> Refetch {
        if self.failure.is_some() { Refetch::Failed } else { Refetch::Fresh }
    }
}

impl KeyStore {
    /// Begins to fetch at once, in the background, until dropped. While `source` fails, the keys known last
    /// are kept for `kept`.
    pub(super) fn start(
        issuer: Arc<str>,
        source: impl Source,
        kept: Duration,
        observer: Observer,
    ) -> Result<Self, AuthSetupError> {
        let runtime = Handle::try_current().map_err(|_| AuthSetupError::NoRuntime)?;
        let shared = Arc::new(Shared {
            keys: ArcSwap::default(),
            allowance: Mutex::default(),
            waiting: Semaphore::new(pace::UNKNOWN_KEY_WAITING),
            demanded: watch::Sender::new(0),
            progress: watch::Sender::default(),
        });
        let refresher = Refresher {
            issuer,
            source,
            kept,
            observer,
            shared: Arc::clone(&shared),
            latest: Arc::default(),
            failures: 0,
            end: None,
        };
        let task = runtime.spawn(refresher.run());
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
        if let Ok(Ok(_)) = timeout_at(deadline, loaded).await {
            return Ok(());
        }
        let failure = self.shared.progress.borrow().failure.clone();
        Err(failure.unwrap_or_else(|| "no answer yet".into()))
    }

    /// Has the keys fetched once more because a token named an unknown one, and waits for it, at most
    /// [`pace::UNKNOWN_KEY_WAIT`]. Does not wait if the issuer was asked too recently, or if too many wait.
    pub(super) async fn refetch(&self) -> Refetch {
        let mut progress = self.shared.progress.subscribe();
        let Some(demand) = self.demand() else { return progress.borrow().verdict() };
        let Ok(_place) = self.shared.waiting.try_acquire() else { return Refetch::Failed };
        let answered = progress.wait_for(|progress| progress.answered >= demand);
        match timeout(pace::UNKNOWN_KEY_WAIT, answered).await {
            Ok(Ok(progress)) => progress.verdict(),
            _ => Refetch::Failed,
        }
    }

    /// The number of the fetch to wait for: the one that is under way, or a new one if the last was
    /// asked for long enough ago.
    fn demand(&self) -> Option<u64> {
        let mut allowance = self.shared.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = *self.shared.demanded.borrow();
        if self.shared.progress.borrow().answered < latest {
            return Some(latest);
        }
        allowance.take(Instant::now()).then(|| {
            self.shared.demanded.send_replace(latest + 1);
            latest + 1
        })
    }
}

impl Drop for KeyStore {
    fn drop(&mut self) {
        self.refresher.abort();
    }
}

/// The only task that fetches for this issuer, one fetch after the other.
struct Refresher<S> {
    issuer: Arc<str>,
    source: S,
    kept: Duration,
    observer: Observer,
    shared: Arc<Shared>,
    /// The last keys that were obtained, whether or not they are in force.
    latest: Arc<KeySet>,
    /// In a row.
    failures: u32,
    /// While the source fails: when the keys are in force no longer.
    end: Option<Instant>,
}

impl<S: Source> Refresher<S> {
    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut demanded = shared.demanded.subscribe();
        loop {
            let answers = *demanded.borrow_and_update();
            let outcome = self.source.obtain().await;
            let pause = self.conclude(outcome, answers);
            self.rest(Instant::now() + pause, &mut demanded).await;
        }
    }

    /// Puts new keys in force (before anybody is told), reports, and says when to fetch again.
    fn conclude(&mut self, outcome: Result<Obtained, SourceError>, answered: u64) -> Duration {
        let (failure, pause) = match outcome {
            Ok(obtained) => (None, self.succeed(obtained)),
            Err(error) => {
                let reason = error.to_string();
                (Some(reason.clone()), self.fail(reason))
            }
        };
        self.shared.progress.send_replace(Progress { answered, failure });
        pause
    }

    fn succeed(&mut self, obtained: Obtained) -> Duration {
        if let Some(keys) = obtained.keys {
            self.latest = Arc::new(keys);
        }
        self.shared.keys.store(Arc::clone(&self.latest));
        (self.failures, self.end) = (0, None);
        let issuer = Arc::clone(&self.issuer);
        self.observer.emit(&Event::KeysRefreshed { issuer, keys: self.latest.len() });
        pace::refresh_after(obtained.lifetime)
    }

    fn fail(&mut self, reason: String) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let now = Instant::now();
        if self.is_holding_keys() {
            let end = *self.end.get_or_insert(now + self.kept);
            if end <= now {
                self.expire();
            }
        }
        let retry_in = pace::retry_after(self.failures);
        self.observer.emit(&Event::KeysRefreshFailed {
            issuer: Arc::clone(&self.issuer),
            reason,
            retry_in,
            keys_left_for: self.end.map(|end| end - now),
        });
        retry_in
    }

    /// Waits for the time to fetch again, or for a reason to do so earlier. Keys end meanwhile, if theirs
    /// is the time.
    async fn rest(&mut self, until: Instant, demanded: &mut watch::Receiver<u64>) {
        let end = self.end;
        tokio::select! {
            () = sleep_until(until) => return,
            // The sender lives in `shared`, so this cannot fail.
            _ = demanded.changed() => return,
            () = self.source.changed() => return,
            () = sleep_until(end.unwrap_or(until)), if end.is_some() => {}
        }
        self.expire();
        Box::pin(self.rest(until, demanded)).await;
    }

    fn is_holding_keys(&self) -> bool {
        !self.shared.keys.load().is_empty()
    }

    /// The outage has lasted too long: what the issuer withdrew meanwhile must not count for ever.
    fn expire(&mut self) {
        self.shared.keys.store(Arc::default());
        self.end = None;
        let issuer = Arc::clone(&self.issuer);
        self.observer.emit(&Event::KeysExpired { issuer, kept: self.kept });
    }
}

#[cfg(test)]
mod tests;
