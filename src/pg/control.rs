//! The control plane's connections (migrations, policies, checks): plain `tokio-postgres`.
//!
//! Never used for a client's statements. The server's notices are read and dropped.

use std::error::Error as _;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::config::Host;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls::{self, TlsError, TlsMode};
use super::url::{ConnectUrl, SessionAttributes};

/// Limit on connecting and logging in to one host, unless the URL has a `connect_timeout`.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the server shows as the connection's `application_name`, unless the URL names one.
const APPLICATION_NAME: &str = "rowgate";

const MISSING_PASSWORD: &str = "the server asks for a password, and neither the URL, PGPASSWORD \
                                nor the password file has one";

/// Why a control connection could not be had or a control statement failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Could not connect or log in.
    #[error("cannot connect to {target}: {reason}")]
    Connect {
        /// `user@host:port/database`.
        target: String,
        /// The server's or the system's words.
        reason: String,
    },
    /// A server answered, and refused the login or has no such database: waiting will not help.
    #[error("cannot log in at {target}: {reason}")]
    Refused {
        /// `user@host:port/database`.
        target: String,
        /// The server's words.
        reason: String,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A statement failed.
    #[error("the database refused a control statement: {}", reason(.0))]
    Statement(#[from] tokio_postgres::Error),
}

/// Connects for administrative work. The connection lives as long as the client.
pub async fn connect(url: &ConnectUrl) -> Result<Client, ControlError> {
    connect_within(url, url.connect_timeout().unwrap_or(DEFAULT_CONNECT_TIMEOUT)).await
}

/// Like [`connect`], with an own limit for each host.
pub async fn connect_within(url: &ConnectUrl, limit: Duration) -> Result<Client, ControlError> {
    let mut reasons = Vec::new();
    let mut refused = false;
    for preferred_only in url.session_attributes().passes() {
        reasons.clear();
        for (host, port) in url.hosts() {
            match timeout(limit, attempt(url, &host, port, *preferred_only)).await {
                Ok(Ok(client)) => return Ok(client),
                Ok(Err(AttemptError::Tls(error))) => return Err(error.into()),
                Ok(Err(AttemptError::Refused(reason))) => {
                    refused = true;
                    reasons.push(at(url, &host, port, &reason));
                }
                Ok(Err(AttemptError::Failed(reason))) => {
                    reasons.push(at(url, &host, port, &reason));
                }
                Err(_) => {
                    let reason = format!("no answer within {} s", limit.as_secs_f32());
                    reasons.push(at(url, &host, port, &reason));
                }
            }
        }
    }
    let (target, reason) = (url.to_string(), reasons.join("; "));
    if refused {
        return Err(ControlError::Refused { target, reason });
    }
    Err(ControlError::Connect { target, reason })
}

/// A `tokio_postgres` error in words: the server's message and SQLSTATE, or the innermost causes.
#[must_use]
pub fn reason(error: &tokio_postgres::Error) -> String {
    if let Some(refusal) = error.as_db_error() {
        return format!("{} ({})", refusal.message(), refusal.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    if text.ends_with("password missing") { MISSING_PASSWORD.to_owned() } else { text }
}

enum AttemptError {
    Tls(TlsError),
    Refused(String),
    Failed(String),
}

impl From<tokio_postgres::Error> for AttemptError {
    fn from(error: tokio_postgres::Error) -> Self {
        let words = reason(&error);
        match error.code() {
            Some(code) if !is_temporary(code.code()) => Self::Refused(words),
            _ => Self::Failed(words),
        }
    }
}

/// Whether a server that refuses a login with this SQLSTATE may take it in a moment: it is starting,
/// stopping, or full (classes 53 and 57).
fn is_temporary(sqlstate: &str) -> bool {
    sqlstate.starts_with("53") || sqlstate.starts_with("57")
}

async fn attempt(
    url: &ConnectUrl,
    host: &Host,
    port: u16,
    preferred_only: bool,
) -> Result<Client, AttemptError> {
    let mut config = url.driver_config(host, port);
    if url.application_name().is_none() {
        config.application_name(APPLICATION_NAME);
    }
    let client = match host {
        Host::Tcp(_) if url.tls_mode() != TlsMode::Disable => {
            let tls = tls::client_config(url).map_err(AttemptError::Tls)?;
            let tls = MakeRustlsConnect::new(tls.as_ref().clone());
            let (client, connection) = config.connect(tls).await?;
            tokio::spawn(connection);
            client
        }
        // PostgreSQL has no TLS over Unix sockets; libpq ignores sslmode there, too.
        _ => {
            config.ssl_mode(tokio_postgres::config::SslMode::Disable);
            let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            client
        }
    };
    check_session(&client, url.session_attributes(), preferred_only).await?;
    Ok(client)
}

async fn check_session(
    client: &Client,
    wanted: SessionAttributes,
    preferred_only: bool,
) -> Result<(), AttemptError> {
    if wanted == SessionAttributes::Any {
        return Ok(());
    }
    let query = "select pg_catalog.pg_is_in_recovery(), \
                 pg_catalog.current_setting('default_transaction_read_only')::pg_catalog.bool";
    let row = client.query_typed_one(query, &[]).await?;
    if wanted.accepts(row.get(0), row.get(1), preferred_only) {
        return Ok(());
    }
    let reason = format!("the server is not what target_session_attrs={} asks for", wanted.word());
    Err(AttemptError::Failed(reason))
}

/// With several hosts, a reason says which one gave it.
fn at(url: &ConnectUrl, host: &Host, port: u16, reason: &str) -> String {
    if url.hosts().count() < 2 {
        return reason.to_owned();
    }
    match host {
        Host::Tcp(name) => format!("{name}:{port}: {reason}"),
        Host::Unix(directory) => format!("{}:{port}: {reason}", directory.display()),
    }
}
