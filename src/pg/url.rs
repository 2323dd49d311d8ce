//! A connection string, parsed once: where to connect, as whom, and how the wire is protected.

use std::fmt;

/// Why a connection string was refused. Never contains the string itself.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Not a connection string that libpq would understand.
    #[error("not a PostgreSQL connection URL: {0} (expected postgresql://user@host:5432/database?sslmode=verify-full)")]
    Syntax(String),
}

/// A parsed `postgresql://` URL.
#[derive(Clone)]
pub struct ConnectUrl {
    pub(crate) config: tokio_postgres::Config,
}

impl ConnectUrl {
    /// Parses a URL or a libpq key-value string.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let config = url.parse().map_err(|e: tokio_postgres::Error| UrlError::Syntax(e.to_string()))?;
        Ok(Self { config })
    }

    /// The role that logs in; empty if the URL names none.
    #[must_use]
    pub fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    /// The database; defaults to the user's name as in libpq.
    #[must_use]
    pub fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or_else(|| self.user())
    }

    /// Whether the URL carries a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }
}

impl fmt::Debug for ConnectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectUrl({self})")
    }
}

/// `user@host:port/database`: never the password.
impl fmt::Display for ConnectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@…/{}", self.user(), self.database())
    }
}
