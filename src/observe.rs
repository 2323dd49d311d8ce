//! The only way in which code reports what happened: it emits an [`Event`].
//!
//! Turns events into log lines and metrics. Must never see a token, a claim's value, SQL text or a
//! parameter: the events have no field that could carry one.

use std::sync::Arc;
use std::time::Duration;

/// Something worth a log line or a metric.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// An issuer's key set was fetched; `keys` of it are usable.
    KeysRefreshed {
        /// The issuer's configured name.
        issuer: Arc<str>,
        /// How many keys can verify tokens now.
        keys: usize,
    },
    /// An issuer's key set could not be fetched; the keys known so far stay in force.
    KeysRefreshFailed {
        /// The issuer's configured name.
        issuer: Arc<str>,
        /// What went wrong, free of secrets.
        reason: String,
        /// When the next attempt is made.
        retry_in: Duration,
    },
}

/// Where events go. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Observer {}

impl Observer {
    /// Reports one event.
    pub fn emit(&self, event: &Event) {
        tracing::info!(?event);
    }
}
