//! Events as counters, in Prometheus' text format.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Event, RequestRecord};

/// Labels of a request: all from short lists, so that no client can make the series grow.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    role: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabels {
    issuer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    role: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StopLabels {
    terminated: &'static str,
}

/// Keys of the configuration, of which there are few.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

/// Upper bounds of the histogram's buckets, in seconds.
const BUCKETS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// All counters.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Histogram,
    queue_seconds: Histogram,
    rows: Counter,
    bytes: Counter,
    refreshes: Family<IssuerLabels, Counter>,
    refresh_failures: Family<IssuerLabels, Counter>,
    keys: Family<IssuerLabels, Gauge>,
    verifications: Counter,
    revocations: Gauge,
    revocation_failures: Counter,
    revocations_stale: Gauge,
    keys_confirmed: Family<IssuerLabels, Gauge>,
    stopped: Family<StopLabels, Counter>,
    catalog_failures: Counter,
    seal_keys_taken: Counter,
    seal_key_failures: Counter,
    session_jwt_refusals: Counter,
    connection_failures: Counter,
    harmful_roles: Gauge,
    role_check_failures: Counter,
    limits: Family<LimitLabels, Counter>,
    connections: Family<PoolLabels, Gauge<i64>>,
    waiting: Family<PoolLabels, Gauge<i64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("rowgate"),
            requests: Family::default(),
            seconds: Histogram::new(BUCKETS),
            queue_seconds: Histogram::new(BUCKETS),
            rows: Counter::default(),
            bytes: Counter::default(),
            refreshes: Family::default(),
            refresh_failures: Family::default(),
            keys: Family::default(),
            verifications: Counter::default(),
            revocations: Gauge::default(),
            revocation_failures: Counter::default(),
            revocations_stale: Gauge::default(),
            keys_confirmed: Family::default(),
            stopped: Family::default(),
            catalog_failures: Counter::default(),
            seal_keys_taken: Counter::default(),
            seal_key_failures: Counter::default(),
            session_jwt_refusals: Counter::default(),
            connection_failures: Counter::default(),
            harmful_roles: Gauge::default(),
            role_check_failures: Counter::default(),
            limits: Family::default(),
            connections: Family::default(),
            waiting: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("requests", "Requests answered", self.requests.clone());
        r.register_with_unit("request", "Time to answer", Unit::Seconds, self.seconds.clone());
        r.register_with_unit(
            "queue",
            "Time spent waiting for a connection",
            Unit::Seconds,
            self.queue_seconds.clone(),
        );
        r.register("rows", "Rows sent", self.rows.clone());
        r.register("answer_bytes", "Bytes of answers", self.bytes.clone());
        r.register("key_refreshes", "Key sets fetched", self.refreshes.clone());
        r.register("key_refresh_failures", "Key sets not fetched", self.refresh_failures.clone());
        r.register("keys", "Usable keys of each issuer", self.keys.clone());
        r.register_with_unit(
            "keys_confirmed_timestamp",
            "When the keys of each issuer were last obtained, since the Unix epoch",
            Unit::Seconds,
            self.keys_confirmed.clone(),
        );
        r.register(
            "token_verifications",
            "Tokens whose signature was verified, rather than remembered",
            self.verifications.clone(),
        );
        r.register("revocations", "Rows of auth.revoked that count", self.revocations.clone());
        r.register(
            "revocation_failures",
            "Failures to read auth.revoked",
            self.revocation_failures.clone(),
        );
        r.register(
            "revocations_stale",
            "1 while requests with a token are refused because auth.revoked cannot be read",
            self.revocations_stale.clone(),
        );
        r.register(
            "statements_stopped",
            "Statements cancelled or terminated",
            self.stopped.clone(),
        );
        r.register(
            "catalog_failures",
            "Failures to read the catalogue",
            self.catalog_failures.clone(),
        );
        r.register("seal_keys_taken", "Seal keys taken into use", self.seal_keys_taken.clone());
        r.register(
            "seal_key_failures",
            "Rounds in which no believed seal key was found",
            self.seal_key_failures.clone(),
        );
        r.register(
            "session_jwt_refusals",
            "Requests not run because the database did not believe their JWT",
            self.session_jwt_refusals.clone(),
        );
        r.register(
            "client_connection_failures",
            "Connections of clients that could not be served, malformed HTTP among them",
            self.connection_failures.clone(),
        );
        r.register(
            "login_roles_harmful",
            "1 while requests are refused because a login role is not harmless",
            self.harmful_roles.clone(),
        );
        r.register(
            "role_check_failures",
            "Failures to look at the login roles again",
            self.role_check_failures.clone(),
        );
        r.register(
            "limits_met",
            "Requests and connections that a configured limit cut off",
            self.limits.clone(),
        );
        r.register("connections", "Open database connections", self.connections.clone());
        r.register("waiting", "Requests waiting for a connection", self.waiting.clone());
    }

    /// Counts one event.
    pub fn count(&self, event: &Event) {
        match event {
            Event::RequestFinished(record) => self.count_request(record),
            Event::TokenVerified => {
                self.verifications.inc();
            }
            Event::RevocationsRead { rows } => {
                self.revocations.set(i64::try_from(*rows).unwrap_or(i64::MAX));
                self.revocations_stale.set(0);
            }
            Event::RevocationsUnread { stale, .. } => {
                self.revocation_failures.inc();
                self.revocations_stale.set(i64::from(*stale));
            }
            Event::KeysRefreshed { issuer, keys } => {
                let labels = IssuerLabels { issuer: issuer.to_string() };
                self.refreshes.get_or_create(&labels).inc();
                self.keys.get_or_create(&labels).set(i64::try_from(*keys).unwrap_or(i64::MAX));
                self.keys_confirmed.get_or_create(&labels).set(unix_seconds());
            }
            Event::KeysRefreshFailed { issuer, .. } => {
                let labels = IssuerLabels { issuer: issuer.to_string() };
                self.refresh_failures.get_or_create(&labels).inc();
                // Where there never were any, the series must show that.
                drop(self.keys.get_or_create(&labels));
            }
            Event::KeysExpired { issuer, .. } => {
                self.keys.get_or_create(&IssuerLabels { issuer: issuer.to_string() }).set(0);
            }
            Event::StatementStopped { terminated } => {
                let terminated = if *terminated { "true" } else { "false" };
                self.stopped.get_or_create(&StopLabels { terminated }).inc();
            }
            Event::CatalogRefreshFailed { .. } => {
                self.catalog_failures.inc();
            }
            Event::SealKeyTaken { .. } => {
                self.seal_keys_taken.inc();
            }
            Event::SealKeysUnusable { .. } => {
                self.seal_key_failures.inc();
            }
            Event::SessionJwtRefused { .. } => {
                self.session_jwt_refusals.inc();
            }
            Event::ConnectionFailed { .. } => {
                self.connection_failures.inc();
            }
            Event::RolesHarmful { .. } => {
                self.harmful_roles.set(1);
            }
            Event::RolesMended => {
                self.harmful_roles.set(0);
            }
            Event::RoleCheckFailed { .. } => {
                self.role_check_failures.inc();
            }
            Event::ConnectionRefused { limit } => self.count_limit(limit),
            Event::RoleWarning { .. }
            | Event::SessionJwtInForce { .. }
            | Event::WaitingForDatabase { .. }
            | Event::Draining { .. } => {}
        }
    }

    fn count_limit(&self, limit: &'static str) {
        self.limits.get_or_create(&LimitLabels { limit }).inc();
    }

    fn count_request(&self, record: &RequestRecord) {
        let labels = RequestLabels {
            route: record.route.name(),
            role: record.role.unwrap_or("none"),
            status: record.status,
        };
        self.requests.get_or_create(&labels).inc();
        if let Some(limit) = record.limit {
            self.count_limit(limit);
        }
        self.seconds.observe(record.total.as_secs_f64());
        self.queue_seconds.observe(record.queued.as_secs_f64());
        self.rows.inc_by(record.rows);
        self.bytes.inc_by(record.bytes);
    }

    /// Sets how busy the pool of `role` is.
    pub fn pool(&self, role: &'static str, connections: usize, waiting: usize) {
        let labels = PoolLabels { role };
        let set = |family: &Family<PoolLabels, Gauge<i64>>, value: usize| {
            family.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.connections, connections);
        set(&self.waiting, waiting);
    }

    /// Everything in Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn unix_seconds() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}
