//! The only way in which code reports what happened: it emits an [`Event`].
//!
//! Turns events into log lines and metrics. Must never see a token, a claim's value, SQL text or a
//! parameter: the events have no field that could carry one.

pub mod lines;
pub mod log;
pub mod metrics;
mod request_line;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;

use crate::auth::VerifiedToken;
use metrics::Metrics;

/// What a request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// `POST /sql`
    Sql,
    /// `OPTIONS /sql`
    Preflight,
    /// `/health/…`
    Health,
    /// Anything else.
    Unknown,
}

impl Route {
    /// As it stands in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sql => "/sql",
            Self::Preflight => "preflight",
            Self::Health => "/health",
            Self::Unknown => "unknown",
        }
    }
}

/// How one request went.
#[derive(Debug)]
pub struct RequestRecord {
    /// Its `x-request-id`.
    pub id: HeaderValue,
    /// Which route it took.
    pub route: Route,
    /// The database role it ran as, if it came that far.
    pub role: Option<&'static str>,
    /// Its verified token: only the issuer's name and the hash of `sub` are ever reported.
    pub token: Option<Arc<VerifiedToken>>,
    /// Rows in the answer.
    pub rows: u64,
    /// Bytes in the answer's body.
    pub bytes: u64,
    /// Time spent waiting for a connection.
    pub queued: Duration,
    /// Time spent sending to and reading from the database.
    pub database: Duration,
    /// Time from the request's head to the end of the answer.
    pub total: Duration,
    /// HTTP status; 499 if the client did not wait.
    pub status: u16,
    /// SQLSTATE or the gateway's own code, if it failed.
    pub code: Option<Cow<'static, str>>,
    /// The key of the configured limit that it met.
    pub limit: Option<&'static str>,
}

impl RequestRecord {
    /// Nothing is known yet but the id.
    #[must_use]
    pub fn new(id: HeaderValue) -> Self {
        Self {
            id,
            route: Route::Unknown,
            role: None,
            token: None,
            rows: 0,
            bytes: 0,
            queued: Duration::ZERO,
            database: Duration::ZERO,
            total: Duration::ZERO,
            status: 0,
            code: None,
            limit: None,
        }
    }
}

/// Something worth a log line or a metric.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A request was answered, or given up by its client.
    RequestFinished(RequestRecord),
    /// A token's signature and claims were verified, rather than remembered.
    TokenVerified,
    /// The list of what was revoked was read.
    RevocationsRead {
        /// How many rows count.
        rows: usize,
    },
    /// The list of what was revoked could not be read, or not wholly; what is known stays in force.
    RevocationsUnread {
        /// What went wrong, free of secrets.
        reason: String,
        /// Whether it is too old by now: requests with a token are refused.
        stale: bool,
    },
    /// An issuer's keys were obtained; `keys` of them are usable.
    KeysRefreshed {
        /// The issuer's configured name.
        issuer: Arc<str>,
        /// How many keys can verify tokens now.
        keys: usize,
    },
    /// An issuer's keys could not be obtained; those known so far stay in force for a while.
    KeysRefreshFailed {
        /// The issuer's configured name.
        issuer: Arc<str>,
        /// What went wrong, free of secrets.
        reason: String,
        /// When the next attempt is made.
        retry_in: Duration,
        /// How long the known keys stay in force if all further attempts fail; none: there are none.
        keys_left_for: Option<Duration>,
    },
    /// An issuer's keys could not be obtained for so long that those known last are given up: its tokens
    /// are answered with 503 until a refresh succeeds.
    KeysExpired {
        /// The issuer's configured name.
        issuer: Arc<str>,
        /// For how long they were kept.
        kept: Duration,
    },
    /// A statement was abandoned by its client or ran out of time, and was stopped.
    StatementStopped {
        /// Whether its backend had to be terminated.
        terminated: bool,
    },
    /// The catalogue could not be read again; what was known stays in force.
    CatalogRefreshFailed {
        /// What went wrong, free of secrets.
        reason: String,
    },
    /// A login role is no longer harmless: no request is run until it is mended.
    RolesHarmful {
        /// Which, why, and what to do.
        reason: String,
    },
    /// The login roles are harmless again: requests are run.
    RolesMended,
    /// The login roles could not be looked at again; what was found last stays in force.
    RoleCheckFailed {
        /// What went wrong, free of secrets.
        reason: String,
    },
    /// Something about a login role that somebody should know.
    RoleWarning {
        /// What.
        warning: String,
    },
    /// Claims are sealed with this key from now on.
    SealKeyTaken {
        /// Its id.
        kid: String,
    },
    /// No seal key could be read, or none that was read is believed by the database.
    SealKeysUnusable {
        /// What went wrong, free of secrets.
        reason: String,
        /// Whether the key in use is known to be believed still.
        in_force: bool,
    },
    /// Claims are sealed as JWTs, which the extension `pg_session_jwt` verifies.
    SessionJwtInForce {
        /// The extension's.
        version: String,
    },
    /// The database did not believe the JWT of a request, which was not run.
    SessionJwtRefused {
        /// The server's words.
        reason: String,
    },
    /// The database is not there yet, and is waited for.
    WaitingForDatabase {
        /// What went wrong, free of secrets.
        reason: String,
        /// For how long.
        limit: Duration,
    },
    /// A connection of a client could not be served: malformed HTTP, mostly.
    ConnectionFailed {
        /// What went wrong, free of secrets.
        reason: String,
    },
    /// A connection of a client was turned away.
    ConnectionRefused {
        /// The key of the configured limit that it met.
        limit: &'static str,
    },
    /// Shutting down: no new connections are taken.
    Draining {
        /// How long running requests may go on.
        limit: Duration,
    },
}

/// Where events go. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    metrics: Arc<Metrics>,
}

impl Observer {
    /// Reports one event.
    pub fn emit(&self, event: &Event) {
        self.metrics.count(event);
        log::write(event);
    }

    /// The counters, for `/metrics`.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// Microseconds, for a log line.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
