//! The gateway inside the development environment.
//!
//! The only place of `rowgate dev` that knows how a gateway is configured and run.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::database::Database;
use super::issuer::Issuer;
use crate::config::{Config, LogFormat};
use crate::observe::Observer;
use crate::server::{ServeError, Server};

/// Somebody waits for Ctrl-C to have its effect.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

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
    let mut config = Config::with_defaults(
        database.authenticated.clone(),
        database.anonymous.clone(),
        vec![issuer.config()],
    );
    config.server.listen = listen;
    // Two environments side by side must not fight over a second port.
    config.server.admin_listen = None;
    config.server.drain_timeout = DRAIN_TIMEOUT;
    // A person reads along.
    config.log.format = LogFormat::Pretty;
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
