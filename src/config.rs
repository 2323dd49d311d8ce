//! `rowgate.toml` + environment + flags → one validated [`Config`].
//!
//! Everything past this module works with checked values: a `Config` that exists can be served. Must
//! never put a secret into an error; secrets come from the environment or from files only.

mod database;
mod defaults;
mod error;
mod file;
mod issuers;
mod key_source;
mod layers;
pub mod network;
mod presets;
mod reader;
mod roles;
mod secrets;
mod sections;
mod suggest;
mod token_rules;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::pg::url::ConnectUrl;
use network::Network;

pub use database::DatabaseUrls;
pub use defaults::{MOST_PARAMETERS, MOST_THREADS};
pub use error::{ConfigError, Origin, Problem};
pub use key_source::{KeySource, KeysConfig, SharedSecret};
pub use layers::{ConfigSources, Environment, Flag};
pub use presets::{EntraVersion, Preset};
pub use secrets::read_seal_key_file;
pub use token_rules::{ClaimPath, ClaimSelection, MOST_CLAIMS_BYTES, RequiredClaim, TokenRules};
pub use values::duration_of;

/// Everything `rowgate serve` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listening, connection limits, draining.
    pub server: ServerConfig,
    /// Where `PostgreSQL` is and how many connections may be held.
    pub database: DatabaseConfig,
    /// Whose tokens are accepted.
    pub auth: AuthConfig,
    /// Which browsers' pages may call.
    pub cors: CorsConfig,
    /// What a single request may cost.
    pub limits: LimitsConfig,
    /// The key that seals claims.
    pub seal: SealConfig,
    /// Tokens that no longer count.
    pub revocation: RevocationConfig,
    /// What is logged and how.
    pub log: LogConfig,
}

/// `[server]`
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where `/metrics` and the health endpoints are served for operators; none: not served.
    pub admin_listen: Option<SocketAddr>,
    /// Client connections held at once; more wait in the kernel's backlog.
    pub max_connections: usize,
    /// Client connections from one address, trusted proxies' excepted; none: any number.
    pub connections_per_address: Option<usize>,
    /// Who is believed about the client's address.
    pub trusted_proxies: Vec<Network>,
    /// A connection that has not sent a whole request head by then is closed.
    pub header_timeout: Duration,
    /// A request whose body is not complete by then is answered with 408.
    pub body_timeout: Duration,
    /// A client that takes no byte of its answer for this long is cut off.
    pub write_timeout: Duration,
    /// The smallest answer that is compressed for clients that accept it, in bytes; none: never.
    /// Streamed answers count as large.
    pub compress_from: Option<usize>,
    /// After SIGTERM: how long running requests may go on before they are cancelled.
    pub drain_timeout: Duration,
    /// How long `serve` waits at start for the database and the issuers' keys.
    pub startup_timeout: Duration,
    /// Threads that answer requests; none: half as many as the machine has cores.
    pub threads: Option<usize>,
}

/// `[database]`
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// Login of requests with a valid token.
    pub authenticated: ConnectUrl,
    /// Login of requests without a token.
    pub anonymous: ConnectUrl,
    /// Logins of the roles that claims are mapped to.
    pub roles: Vec<RoleLogin>,
    /// Login of the owner (`DATABASE_URL`): administrative commands, and the seal keys.
    pub owner: Option<ConnectUrl>,
    /// Login that reads `auth.revoked`; none: the owner's.
    pub revocation: Option<ConnectUrl>,
    /// Connections per role.
    pub pool_size: usize,
    /// How long a request waits for a free connection before it is answered with 503.
    pub acquire_timeout: Duration,
    /// Requests that may wait for a connection of one role; the next one is answered with 503 at once.
    pub max_waiting: usize,
    /// Limit on connecting and logging in.
    pub connect_timeout: Duration,
    /// A connection older than this is replaced when it is next idle.
    pub max_lifetime: Duration,
    /// The `search_path` of every session.
    pub search_path: String,
    /// How often the login roles are looked at again.
    pub recheck_interval: Duration,
    /// How many login roles each of the two roles has for its connections; none: they share one.
    pub slots: Option<usize>,
    /// Whether a `Neon-Connection-String` that names another database is refused.
    pub match_database_name: bool,
    /// What stands between the gateway and the server.
    pub pooler: Pooler,
}

impl DatabaseConfig {
    /// Every login that requests run as.
    pub fn logins(&self) -> impl Iterator<Item = &ConnectUrl> {
        [&self.authenticated, &self.anonymous]
            .into_iter()
            .chain(self.roles.iter().map(|role| &role.url))
    }

    /// Adds a role that claims can be mapped to: the one that this URL logs in as.
    pub fn add_role(&mut self, url: ConnectUrl) -> RoleId {
        // Few, and configured once for the life of the process: metrics and logs name it by reference.
        let name: &'static str = url.user().to_owned().leak();
        let id = RoleId { index: self.roles.len(), name };
        self.roles.push(RoleLogin { id, url });
        id
    }

    /// The names of those that requests with a token run as.
    #[must_use]
    pub fn logins_of_users(&self) -> Vec<String> {
        let mapped = self.roles.iter().map(|role| &role.url);
        std::iter::once(&self.authenticated)
            .chain(mapped)
            .map(|url| url.user().to_owned())
            .collect()
    }
}

/// Whether a connection of ours is a backend of the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooler {
    /// It is, for as long as it lives.
    None,
    /// Each transaction may run on another backend, as behind `PgBouncer` with `pool_mode = transaction`.
    Transaction,
}

/// `[auth]` and `[[issuer]]`
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// Whether requests without a token run as the anonymous role (otherwise 401).
    pub anonymous: bool,
    /// At least one.
    pub issuers: Vec<IssuerConfig>,
    /// Verified tokens remembered, so that each is verified once.
    pub token_cache_entries: usize,
    /// Bytes that they may take, all together.
    pub token_cache_bytes: u64,
    /// Which claims mean which role, in the order in which they are tried.
    pub roles: Vec<RoleRule>,
}

/// One of the roles that claims are mapped to: made when the configuration is read, and by nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleId {
    index: usize,
    name: &'static str,
}

impl RoleId {
    /// Its place in [`DatabaseConfig::roles`].
    #[must_use]
    pub fn index(self) -> usize {
        self.index
    }

    /// The database's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }
}

/// The login of such a role.
#[derive(Clone, Debug)]
pub struct RoleLogin {
    /// The role.
    pub id: RoleId,
    /// How to log in as it.
    pub url: ConnectUrl,
}

/// One `[[role]]`: tokens of this issuer with this claim run as this role.
#[derive(Clone, Debug)]
pub struct RoleRule {
    /// The issuer's `iss`.
    pub issuer: String,
    /// The claim's name, after those of the objects that it is nested in.
    pub claim: Vec<String>,
    /// What the claim must be, or contain as an element.
    pub value: String,
    /// The role.
    pub role: RoleId,
}

/// `[revocation]`: whether `auth.revoked` counts.
#[derive(Clone, Debug)]
pub struct RevocationConfig {
    /// Whether it is read at all.
    pub enabled: bool,
    /// How often.
    pub refresh: Duration,
    /// How long the last reading counts when no further one succeeds; then requests with a token are
    /// answered with 503.
    pub max_age: Duration,
    /// Rows held at most.
    pub rows: usize,
}

/// One issuer whose tokens are accepted.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// The provider, if it is a known one.
    pub preset: Preset,
    /// The `iss` that its tokens carry, byte for byte.
    pub url: String,
    /// Where its keys come from.
    pub keys: KeysConfig,
    /// The audiences of which a token must name at least one; empty: `aud` is not checked.
    pub audiences: Vec<String>,
    /// Signature algorithms accepted from this issuer.
    pub algorithms: Vec<jsonwebtoken::Algorithm>,
    /// Tolerated clock difference for `exp`, `nbf` and `iat`.
    pub leeway: Duration,
    /// What its tokens are held to besides.
    pub rules: TokenRules,
}

/// `[cors]`
#[derive(Clone, Debug)]
pub struct CorsConfig {
    /// Origins whose pages may read answers; `["*"]` means all.
    pub allowed_origins: Vec<String>,
}

/// `[limits]`
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// Bytes of a request's body (413 beyond).
    pub request_bytes: usize,
    /// Bytes of a request's head (431 beyond).
    pub header_bytes: usize,
    /// Bytes of an answer (507 beyond, or a broken-off body once streaming began).
    pub answer_bytes: u64,
    /// Answers up to this many bytes are sent whole with Content-Length, larger ones are streamed.
    pub stream_threshold: usize,
    /// Time in the database; then the statement is cancelled (504).
    pub deadline: Duration,
    /// Statements in one batch.
    pub batch_statements: usize,
    /// Parameters of one statement; the protocol counts to 65,535.
    pub parameters: usize,
    /// Rows of an answer; none: any number.
    pub rows: Option<u64>,
    /// Requests that one caller may have in flight (429 beyond).
    pub concurrent_requests: ConcurrentRequests,
    /// Requests of one caller that may wait for one of those to end.
    pub concurrent_waiting: usize,
    /// How long each of them waits.
    pub concurrent_wait: Duration,
    /// Which statements callers may send (403 for others).
    pub statements: StatementKinds,
    /// Kinds of statements that may be sent besides.
    pub allow_statements: Vec<ExtraKind>,
    /// Functions of the system that callers may use, lower-case, without a schema.
    pub allow_functions: Vec<String>,
    /// Relations of the system and sequences that callers may read, likewise.
    pub allow_relations: Vec<String>,
    /// Bytes of one statement.
    pub statement_bytes: usize,
}

pub use crate::admit::rules::ExtraKind;
/// How many requests one caller may have in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConcurrentRequests {
    /// Half of a pool's connections, rounded up.
    HalfThePool,
    /// This many.
    AtMost(usize),
    /// Any number: the pool alone is the limit.
    Unlimited,
}

/// Kinds of statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKinds {
    /// Those that read and change rows: SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, TABLE, EXPLAIN.
    Data,
    /// All but COPY and transaction control, as far as the role's privileges go. For callers who are
    /// trusted with the role itself: they can change its password.
    All,
}

/// `[seal]`: how claims are protected on their way into SQL.
#[derive(Clone, Debug)]
pub struct SealConfig {
    /// Who makes the database believe them.
    pub method: SealMethod,
    /// The best first; none: they are read over the owner's connection.
    pub keys: Vec<SealKeyConfig>,
    /// The file that they came from, which is read again while serving.
    pub key_file: Option<PathBuf>,
    /// How often the keys are read again.
    pub refresh: Duration,
}

/// Who makes the database believe claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealMethod {
    /// The extension `pg_session_jwt` where the functions of the schema `auth` are its own, otherwise Rowgate.
    Auto,
    /// Rowgate's functions, with a key that gateway and database share.
    Own,
    /// The extension, with a key of each connection's own.
    PgSessionJwt,
}

/// A seal key as configured: `<kid>:<64 hex digits>`, and `:unbound` if it is not bound to a backend.
#[derive(Clone)]
pub struct SealKeyConfig {
    /// Key id, `[0-9a-z]{1,16}`.
    pub kid: String,
    /// The HMAC key.
    pub key: [u8; 32],
    /// Whether its seals hold for one backend only; they must, unless a pooler hides the backends.
    pub bound: bool,
}

impl std::fmt::Debug for SealKeyConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealKeyConfig")
            .field("kid", &self.kid)
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// JSON lines, or text for people.
    pub format: LogFormat,
    /// A `tracing` filter such as `info` or `rowgate=debug`.
    pub filter: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Coloured text.
    Pretty,
}

impl Config {
    /// Reads all sources, the later ones winning: defaults, file, environment, flags.
    ///
    /// # Errors
    ///
    /// Every problem found, not only the first.
    pub fn load(sources: &ConfigSources) -> Result<Self, ConfigError> {
        sections::load(sources)
    }

    /// What a gateway with these databases and issuers runs with if nothing else is configured.
    #[must_use]
    pub fn with_defaults(
        authenticated: ConnectUrl,
        anonymous: ConnectUrl,
        issuers: Vec<IssuerConfig>,
    ) -> Self {
        Self {
            server: ServerConfig::default(),
            database: DatabaseConfig::new(authenticated, anonymous),
            auth: AuthConfig::new(issuers),
            cors: CorsConfig::default(),
            limits: LimitsConfig::default(),
            seal: SealConfig::default(),
            revocation: RevocationConfig::default(),
            log: LogConfig::default(),
        }
    }
}

/// The dotted path of every key that [`Config::load`] reads, in the order in which it reads them.
#[must_use]
pub fn known_keys() -> Vec<&'static str> {
    sections::known_keys()
}
