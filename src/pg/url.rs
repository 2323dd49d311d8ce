//! A connection string, parsed once: where to connect, as whom, and how the wire is protected.
//!
//! Understands what libpq understands where it can be honoured and refuses the rest by name; a
//! setting that protects something is never ignored. Must never print a password: neither its
//! errors nor `Debug` nor `Display` contain the string it was parsed from.

mod parameters;
mod password;
mod syntax;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, Host};

pub use super::tls::TlsMode;

/// The port of a host that names none.
pub const DEFAULT_PORT: u16 = 5432;

/// Why a connection string was refused. Never contains the string itself.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UrlError {
    /// Not a connection string that libpq would understand.
    #[error(
        "not a PostgreSQL connection URL: {0} (expected postgresql://user@host:5432/database?sslmode=verify-full)"
    )]
    Syntax(String),
    /// A parameter that libpq does not know either.
    #[error("unknown connection parameter `{0}`")]
    Unknown(String),
    /// A parameter of libpq that cannot be honoured here.
    #[error("connection parameter `{key}` is not supported: {advice}")]
    Unsupported {
        /// The parameter.
        key: String,
        /// What to do instead.
        advice: &'static str,
    },
    /// A parameter's value has the wrong form.
    #[error("connection parameter `{key}` has a bad value: expected {expected}")]
    Value {
        /// The parameter.
        key: String,
        /// The expected form.
        expected: &'static str,
    },
}

/// Which of several servers is wanted (libpq's `target_session_attrs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionAttributes {
    /// Any server.
    #[default]
    Any,
    /// One whose transactions may write by default.
    ReadWrite,
    /// One whose transactions may not write by default.
    ReadOnly,
    /// One that is not in hot standby.
    Primary,
    /// One in hot standby.
    Standby,
    /// One in hot standby; if no host is, any.
    PreferStandby,
}

impl SessionAttributes {
    /// The rounds to make over the hosts; in a round marked `true` only the preferred kind counts.
    #[must_use]
    pub fn passes(self) -> &'static [bool] {
        match self {
            Self::PreferStandby => &[true, false],
            _ => &[false],
        }
    }

    /// Whether a server fits. `read_only` is its `default_transaction_read_only`.
    #[must_use]
    pub fn accepts(self, in_hot_standby: bool, read_only: bool, preferred_only: bool) -> bool {
        match self {
            Self::Any => true,
            Self::ReadWrite => !in_hot_standby && !read_only,
            Self::ReadOnly => in_hot_standby || read_only,
            Self::Primary => !in_hot_standby,
            Self::Standby => in_hot_standby,
            Self::PreferStandby => in_hot_standby || !preferred_only,
        }
    }

    /// The word that libpq has for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::PreferStandby => "prefer-standby",
        }
    }
}

/// Whose signature makes a server's certificate good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootCertificates {
    /// The operating system's store.
    System,
    /// A PEM file.
    File(PathBuf),
}

/// What the URL says about TLS.
#[derive(Debug, Default)]
pub(super) struct TlsSettings {
    pub(super) mode: TlsMode,
    pub(super) roots: Option<RootCertificates>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    /// Made by [`super::tls::client_config`] on first use: files are read once, and connections of
    /// one URL share TLS sessions.
    pub(super) client: OnceLock<Arc<rustls::ClientConfig>>,
}

/// A parsed `postgresql://` URL or libpq key-value string. Cheap to clone.
#[derive(Clone)]
pub struct ConnectUrl {
    /// Everything but hosts and ports.
    base: tokio_postgres::Config,
    hosts: Arc<[(Host, u16)]>,
    session: SessionAttributes,
    tls: Arc<TlsSettings>,
    password_file: Option<PathBuf>,
}

impl ConnectUrl {
    /// Parses a URL or a libpq key-value string.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        match parameters::build(syntax::parameters(text)?) {
            Err(UrlError::Unknown(_)) if may_cut_a_password(text) => Err(UrlError::Syntax(
                "it has an unknown parameter; a value with spaces needs quotes, and `?` and `@` in a \
                 password must be percent-encoded"
                    .to_owned(),
            )),
            built => built,
        }
    }

    /// The servers in the order in which they are tried; at least one.
    pub fn hosts(&self) -> impl Iterator<Item = (Host, u16)> + '_ {
        self.hosts.iter().cloned()
    }

    /// The role that logs in; empty if the URL names none.
    #[must_use]
    pub fn user(&self) -> &str {
        self.base.get_user().unwrap_or_default()
    }

    /// The database; defaults to the user's name as in libpq.
    #[must_use]
    pub fn database(&self) -> &str {
        self.base.get_dbname().unwrap_or_else(|| self.user())
    }

    /// The password, if the URL or a fallback carries one.
    #[must_use]
    pub fn password(&self) -> Option<&[u8]> {
        self.base.get_password()
    }

    /// Whether the URL carries a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password().is_some()
    }

    /// How the wire is protected.
    #[must_use]
    pub fn tls_mode(&self) -> TlsMode {
        self.tls.mode
    }

    /// Whether the password exchange must be bound to the TLS channel.
    #[must_use]
    pub fn channel_binding(&self) -> ChannelBinding {
        self.base.get_channel_binding()
    }

    /// Which of several servers is wanted.
    #[must_use]
    pub fn session_attributes(&self) -> SessionAttributes {
        self.session
    }

    /// The `application_name` of the URL.
    #[must_use]
    pub fn application_name(&self) -> Option<&str> {
        self.base.get_application_name()
    }

    /// The command-line options for the server (`options=-c …`).
    #[must_use]
    pub fn options(&self) -> Option<&str> {
        self.base.get_options()
    }

    /// The limit on connecting and logging in to one host, if the URL sets one.
    #[must_use]
    pub fn connect_timeout(&self) -> Option<Duration> {
        self.base.get_connect_timeout().copied()
    }

    /// The same URL for another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        let mut other = self.clone();
        other.base.dbname(database);
        other
    }

    /// The same URL for another login.
    #[must_use]
    pub fn with_login(&self, user: &str, password: &[u8]) -> Self {
        let mut other = self.clone();
        other.base.user(user).password(password);
        other
    }

    /// The same URL for another role with the same password.
    #[must_use]
    pub fn with_user(&self, user: &str) -> Self {
        let mut other = self.clone();
        other.base.user(user);
        other
    }

    /// The same URL with one more setting at the session's start; the value has no spaces or backslashes.
    #[must_use]
    pub fn with_setting(&self, name: &str, value: &str) -> Self {
        let mut other = self.clone();
        // The last one wins (postgres.c, process_postgres_switches).
        let before = self.options().map(|options| format!("{options} ")).unwrap_or_default();
        other.base.options(format!("{before}-c {name}={value}"));
        other
    }

    /// Fills in a missing password from `PGPASSWORD` or the password file, as libpq does.
    #[must_use]
    pub fn or_password_from(self, environment: &dyn Fn(&str) -> Option<String>) -> Self {
        if self.has_password() {
            return self;
        }
        let file = self.password_file.as_deref().map(Path::to_path_buf);
        match password::find(&self, file, environment) {
            Some(password) => {
                let mut filled = self;
                filled.base.password(password);
                filled
            }
            None => self,
        }
    }

    pub(super) fn tls_settings(&self) -> &TlsSettings {
        &self.tls
    }

    /// What `tokio_postgres` needs to connect to one of the hosts.
    pub(super) fn driver_config(&self, host: &Host, port: u16) -> tokio_postgres::Config {
        let mut config = self.base.clone();
        match host {
            Host::Tcp(name) => config.host(name),
            Host::Unix(directory) => config.host_path(directory),
        };
        config.port(port);
        config
    }
}

/// Whether what looks like a parameter's name may be the rest of a password: between unquoted values,
/// and where an `@` comes late.
fn may_cut_a_password(text: &str) -> bool {
    let late_at = text.split_once('?').is_some_and(|(_, query)| query.contains('@'));
    late_at || !text.contains("://")
}

impl fmt::Debug for ConnectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectUrl({self})")
    }
}

/// `user@host:port,host:port/database`: never the password.
impl fmt::Display for ConnectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.user().is_empty() {
            write!(f, "{}@", self.user())?;
        }
        for (index, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match host {
                Host::Tcp(name) if name.contains(':') => write!(f, "{comma}[{name}]:{port}")?,
                Host::Tcp(name) => write!(f, "{comma}{name}:{port}")?,
                Host::Unix(directory) => write!(f, "{comma}{}:{port}", directory.display())?,
            }
        }
        write!(f, "/{}", self.database())
    }
}

#[cfg(test)]
mod tests;
