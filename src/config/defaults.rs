//! What holds where nothing is configured. `rowgate.example.toml` shows the same values; a test
//! compares the two.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use jsonwebtoken::Algorithm;

use super::network::Network;
use super::{
    AuthConfig, ConcurrentRequests, CorsConfig, DatabaseConfig, IssuerConfig, KeysConfig,
    LimitsConfig, LogConfig, LogFormat, Pooler, Preset, RevocationConfig, SealConfig, SealMethod,
    ServerConfig, StatementKinds, TokenRules,
};
use crate::pg::control;
use crate::pg::url::ConnectUrl;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Parameters of one statement that the protocol can count (Int16 in Bind).
pub const MOST_PARAMETERS: usize = u16::MAX as usize;
/// More threads than this serve nobody, whatever the machine.
pub const MOST_THREADS: usize = 256;

/// Where clients connect: from this machine only, until somebody decides otherwise.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Clocks that are kept in step differ by less.
pub(super) const LEEWAY: Duration = Duration::from_secs(30);

/// What identity providers sign with.
pub(super) const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: LISTEN,
            admin_listen: None,
            max_connections: 10_000,
            connections_per_address: Some(1000),
            trusted_proxies: Network::PRIVATE.to_vec(),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            compress_from: Some(16 * KIB),
            drain_timeout: Duration::from_secs(20),
            startup_timeout: Duration::from_secs(30),
            threads: None,
        }
    }
}

impl DatabaseConfig {
    /// The defaults for these two logins, without an owner.
    #[must_use]
    pub fn new(authenticated: ConnectUrl, anonymous: ConnectUrl) -> Self {
        Self {
            authenticated,
            anonymous,
            roles: Vec::new(),
            owner: None,
            revocation: None,
            pool_size: 10,
            acquire_timeout: Duration::from_secs(5),
            max_waiting: 1000,
            connect_timeout: control::DEFAULT_CONNECT_TIMEOUT,
            max_lifetime: Duration::from_mins(30),
            search_path: "public".to_owned(),
            recheck_interval: Duration::from_mins(5),
            slots: None,
            match_database_name: true,
            pooler: Pooler::None,
        }
    }
}

impl AuthConfig {
    /// The defaults for these issuers.
    #[must_use]
    pub fn new(issuers: Vec<IssuerConfig>) -> Self {
        Self {
            anonymous: true,
            issuers,
            token_cache_entries: 20_000,
            token_cache_bytes: 32 * MIB as u64,
            roles: Vec::new(),
        }
    }
}

impl IssuerConfig {
    /// The defaults for an issuer with this `iss`; its keys are found by discovery below its URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            preset: Preset::Oidc,
            url: url.into(),
            keys: KeysConfig::default(),
            audiences: Vec::new(),
            algorithms: ALGORITHMS.to_vec(),
            leeway: LEEWAY,
            rules: TokenRules::default(),
        }
    }
}

impl Default for CorsConfig {
    fn default() -> Self {
        Self { allowed_origins: vec!["*".to_owned()] }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            request_bytes: 10 * MIB,
            header_bytes: 32 * KIB,
            answer_bytes: 64 * MIB as u64,
            stream_threshold: 64 * KIB,
            deadline: Duration::from_secs(30),
            batch_statements: 100,
            parameters: MOST_PARAMETERS,
            rows: None,
            concurrent_requests: ConcurrentRequests::HalfThePool,
            concurrent_waiting: 256,
            concurrent_wait: Duration::from_secs(2),
            statements: StatementKinds::Data,
            allow_statements: Vec::new(),
            allow_functions: Vec::new(),
            allow_relations: Vec::new(),
            statement_bytes: 128 * KIB,
        }
    }
}

impl Default for SealConfig {
    fn default() -> Self {
        Self {
            method: SealMethod::Auto,
            keys: Vec::new(),
            key_file: None,
            refresh: Duration::from_secs(10),
        }
    }
}

impl Default for RevocationConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            refresh: Duration::from_secs(5),
            max_age: Duration::from_mins(5),
            rows: 100_000,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Json, filter: "info".to_owned() }
    }
}
