//! The database of the development environment: on a private cluster, or on a server that exists.
//!
//! Either way it is used as on a managed service: its owner is no superuser. On a server that
//! exists, must never change a login that it did not set itself.

use std::io;
use std::path::Path;

use tokio_postgres::Client;

use super::home::Home;
use super::logins::Logins;
use super::postgres::{BinariesError, Cluster, ClusterError};
use crate::pg::control::{self, ControlError};
use crate::pg::url::{ConnectUrl, UrlError};
use crate::policy::{self, PolicyError};

mod existing;
mod private;

pub use existing::Existing;

/// Roles of requests with and without a token.
pub const LOGIN_ROLES: [&str; 2] = ["authenticated", "anonymous"];

/// Why there is no database to work with.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// No programs.
    #[error(transparent)]
    Binaries(#[from] BinariesError),
    /// The private cluster does not run.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A connection string of our own making is not one.
    #[error("{name}: {source}")]
    Url {
        /// What it is for.
        name: &'static str,
        /// What is wrong with it.
        source: UrlError,
    },
    /// The option without a value, and no variable either.
    #[error("--database-url without a value takes the URL from DATABASE_URL, which is not set")]
    NoUrl,
    /// Somebody else's login.
    #[error(
        "the role `{0}` can already log in on this server; its password may be in use, so it is not \
         changed. Set DATABASE_AUTHENTICATED_URL and DATABASE_ANONYMOUS_URL to use the logins as \
         they are"
    )]
    ForeignLogin(String),
    /// One of two variables that belong together.
    #[error("set both DATABASE_AUTHENTICATED_URL and DATABASE_ANONYMOUS_URL, or neither")]
    HalfOfLogins,
    /// The server cannot be reached or refuses.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The passwords cannot be set.
    #[error(transparent)]
    Passwords(#[from] PolicyError),
    /// A statement failed.
    #[error("cannot prepare the database: {}", control::reason(.0))]
    Statement(#[from] tokio_postgres::Error),
    /// The system refused something.
    #[error("cannot prepare the database: {0}")]
    Io(#[from] io::Error),
}

/// A database whose owner can log in. The login roles can after [`enable_logins`](Self::enable_logins).
#[derive(Debug)]
pub struct Database {
    /// Logs in as the owner.
    pub owner: ConnectUrl,
    /// Logs in as `authenticated`.
    pub authenticated: ConnectUrl,
    /// Logs in as `anonymous`.
    pub anonymous: ConnectUrl,
    /// In words, such as `PostgreSQL 17.6`.
    pub description: String,
    /// The private cluster it lives on.
    pub cluster: Option<Cluster>,
    /// What to set the login roles' passwords to; none: they log in as they are.
    logins: Option<Logins>,
}

impl Database {
    /// Starts the private cluster (made in the first run) and its database.
    pub async fn private(
        home: &Home,
        progress: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self, DatabaseError> {
        private::open(home, progress).await
    }

    /// Uses the database of a server that exists.
    pub async fn existing(home: &Home, existing: Existing) -> Result<Self, DatabaseError> {
        existing::open(home, existing).await
    }

    /// On the private cluster: a connection that no policy binds.
    pub async fn superuser(&self) -> Result<Option<Client>, DatabaseError> {
        let Some(cluster) = &self.cluster else { return Ok(None) };
        let url = private::url(&cluster.superuser_url_of(self.owner.database()))?;
        Ok(Some(control::connect(&url).await?))
    }

    /// Lets the login roles log in. They are made by the first migration.
    pub async fn enable_logins(&self, passwords_file: &Path) -> Result<(), DatabaseError> {
        let Some(logins) = &self.logins else { return Ok(()) };
        // Kept first: a login that was set and then forgotten would look like somebody else's.
        logins.save(passwords_file)?;
        let mut client = control::connect(&self.owner).await?;
        let [authenticated, anonymous] = LOGIN_ROLES;
        let passwords = [
            (authenticated, logins.authenticated.as_bytes()),
            (anonymous, logins.anonymous.as_bytes()),
        ];
        Ok(policy::set_login_passwords(&mut client, &passwords).await?)
    }
}
