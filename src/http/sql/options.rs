//! The `Neon-*` headers of a call.

use hyper::header::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use crate::config::Config;
use crate::error::ApiError;
use crate::session::{Isolation, TransactionOptions};

const CONNECTION_STRING: HeaderName = HeaderName::from_static("neon-connection-string");
const RAW_TEXT: HeaderName = HeaderName::from_static("neon-raw-text-output");
const ARRAY_MODE: HeaderName = HeaderName::from_static("neon-array-mode");
const ISOLATION_LEVEL: HeaderName = HeaderName::from_static("neon-batch-isolation-level");
const READ_ONLY: HeaderName = HeaderName::from_static("neon-batch-read-only");
const DEFERRABLE: HeaderName = HeaderName::from_static("neon-batch-deferrable");

/// The headers that concern the transaction of a batch.
pub const BATCH_HEADERS: [HeaderName; 3] = [ISOLATION_LEVEL, READ_ONLY, DEFERRABLE];

/// What the headers ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Values as the text that Postgres prints.
    pub raw_text: bool,
    /// Rows as arrays, unless a query says otherwise.
    pub array_mode: bool,
    /// For batches.
    pub transaction: TransactionOptions,
}

impl Options {
    /// Reads them. Who may do what does not depend on any of these: user, password and host of the
    /// connection string are ignored.
    pub fn read(headers: &HeaderMap, config: &Config) -> Result<Self, ApiError> {
        if config.database.match_database_name {
            check_database(headers, config.database.authenticated.database())?;
        }
        Ok(Self {
            raw_text: is_true(headers, &RAW_TEXT),
            array_mode: is_true(headers, &ARRAY_MODE),
            transaction: TransactionOptions {
                isolation: isolation(headers)?,
                read_only: is_true(headers, &READ_ONLY),
                deferrable: is_true(headers, &DEFERRABLE),
            },
        })
    }
}

/// Only exactly `true` is true: clients do send `false`.
fn is_true(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get(name).is_some_and(|value| value == "true")
}

fn isolation(headers: &HeaderMap) -> Result<Option<Isolation>, ApiError> {
    let Some(value) = headers.get(ISOLATION_LEVEL) else { return Ok(None) };
    match value.as_bytes() {
        b"ReadUncommitted" => Ok(Some(Isolation::ReadUncommitted)),
        b"ReadCommitted" => Ok(Some(Isolation::ReadCommitted)),
        b"RepeatableRead" => Ok(Some(Isolation::RepeatableRead)),
        b"Serializable" => Ok(Some(Isolation::Serializable)),
        _ => Err(ApiError::bad_header(
            "Neon-Batch-Isolation-Level",
            "send ReadUncommitted, ReadCommitted, RepeatableRead or Serializable",
        )),
    }
}

fn check_database(headers: &HeaderMap, served: &str) -> Result<(), ApiError> {
    let Some(value) = headers.get(CONNECTION_STRING) else { return Ok(()) };
    let named = value.to_str().ok().and_then(database_of).ok_or_else(|| {
        ApiError::bad_header("Neon-Connection-String", "send postgresql://user@host/database")
    })?;
    let matches = named.is_empty() || percent_decode_str(named).eq(served.bytes());
    if matches { Ok(()) } else { Err(ApiError::other_database()) }
}

/// The path of a connection string, still percent-encoded; empty if it names no database.
fn database_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("postgresql://").or_else(|| url.strip_prefix("postgres://"))?;
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    // A password may hold a slash only percent-encoded, so the first one begins the path.
    Some(rest.split_once('/').map_or("", |(_, database)| database))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_what_follows_the_host() {
        assert_eq!(database_of("postgresql://u:p@h.example:5432/app?sslmode=require"), Some("app"));
        assert_eq!(database_of("postgres://u@h/a%20b"), Some("a%20b"));
        assert_eq!(database_of("postgresql://u@h"), Some(""));
        assert_eq!(database_of("mysql://u@h/app"), None);
    }
}
