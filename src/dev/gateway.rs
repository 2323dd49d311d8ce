//! The gateway inside the development environment.
//!
//! The only place of `rowgate dev` that knows how a gateway is configured and run.

use std::future::Future;
use std::net::SocketAddr;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::database::Database;
use super::issuer::Issuer;
use crate::config::Config;
use crate::observe::Observer;
use crate::server::{ServeError, Server};

/// A gateway that serves from a task of its own.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    /// None once it has ended.
    task: Option<JoinHandle<Result<(), ServeError>>>,
}

/// The configuration of a gateway to `database` that trusts `issuer` alone.
#[must_use]
pub fn config(database: &Database, issuer: &Issuer, listen: SocketAddr) -> Config {
    let mut config = with_defaults(
        database.authenticated.clone(),
        database.anonymous.clone(),
        vec![issuer.config()],
    );
    config.server.listen = listen;
    // Two environments side by side must not fight over a second port.
    config.server.admin_listen = None;
    // The seal key is read over it.
    config.database.owner = Some(database.owner.clone());
    config
}

/// Checks database and issuer, listens, and serves until [`Gateway::stop`].
pub async fn serve_gateway(config: Config) -> Result<Gateway, ServeError> {
    let listen = config.server.listen;
    let server = Server::bind(config, Observer::default()).await?;
    let address =
        server.local_addr().map_err(|source| ServeError::Listen { address: listen, source })?;
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        // The sender being gone means the same.
        let _ = stopped.await;
    };
    Ok(Gateway { address, stop: Some(stop), task: Some(tokio::spawn(server.run(shutdown))) })
}

impl Gateway {
    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends when the gateway ends by itself, which it should not.
    pub async fn ended(&mut self) -> Result<(), ServeError> {
        let Some(task) = &mut self.task else { return Ok(()) };
        let outcome = flatten(task.await);
        self.task = None;
        outcome
    }

    /// Finishes what runs, and ends; at once if `hurry` completes first.
    pub async fn stop(mut self, hurry: impl Future<Output = ()>) -> Result<(), ServeError> {
        drop(self.stop.take());
        tokio::select! {
            ended = self.ended() => return ended,
            () = hurry => {}
        }
        if let Some(task) = &self.task {
            task.abort();
        }
        Ok(())
    }
}

/// A task that panicked has told so on standard error; one that was aborted has nothing to tell.
fn flatten(
    joined: Result<Result<(), ServeError>, tokio::task::JoinError>,
) -> Result<(), ServeError> {
    joined.unwrap_or(Ok(()))
}

/// Until `Config::with_defaults` is here.
fn with_defaults(
    authenticated: crate::pg::url::ConnectUrl,
    anonymous: crate::pg::url::ConnectUrl,
    issuers: Vec<crate::config::IssuerConfig>,
) -> Config {
    use crate::config as c;
    use std::time::Duration;
    Config {
        server: c::ServerConfig {
            listen: ([127, 0, 0, 1], 8787).into(),
            admin_listen: None,
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            startup_timeout: Duration::from_secs(30),
        },
        database: c::DatabaseConfig {
            authenticated,
            anonymous,
            owner: None,
            pool_size: 10,
            acquire_timeout: Duration::from_secs(5),
            max_waiting: 1000,
            connect_timeout: Duration::from_secs(5),
            max_lifetime: Duration::from_mins(30),
            search_path: "public".into(),
            match_database_name: true,
        },
        auth: c::AuthConfig { anonymous: true, issuers, token_cache_entries: 1000 },
        cors: c::CorsConfig { allowed_origins: vec!["*".into()] },
        limits: c::LimitsConfig {
            request_bytes: 10 << 20,
            header_bytes: 64 << 10,
            answer_bytes: 64 << 20,
            stream_threshold: 64 << 10,
            deadline: Duration::from_secs(30),
            batch_statements: 100,
        },
        seal: c::SealConfig::default(),
        log: c::LogConfig { format: c::LogFormat::Pretty, filter: "info".into() },
    }
}
