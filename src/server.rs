//! Listening, connection limits, graceful drain. Knows nothing of SQL or tokens.

mod accept;
mod addresses;
mod client_io;
pub mod revocations;
mod setup;
mod traffic;
mod watch;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::auth::AuthSetupError;
use crate::config::Config;
use crate::http::{Gateway, admin};
use crate::observe::{Event, Observer};
use crate::pg::PgError;
use crate::pg::control::ControlError;
use accept::Acceptor;

/// After the drain: how long cancelled statements may take to end in the database.
const CLEANUP_LIMIT: Duration = Duration::from_secs(3);

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The database stayed away for the whole of `server.startup_timeout`.
    #[error("the database could not be reached in {seconds} s: {source}")]
    Database {
        /// How long it was tried.
        seconds: u64,
        /// The last failure.
        source: ControlError,
    },
    /// The database answered, and refused the login.
    #[error(transparent)]
    Login(ControlError),
    /// A login role could do more than it must.
    #[error("refusing to serve: {0}")]
    Role(String),
    /// `rowgate migrate` was not run, or the key cannot be read.
    #[error("the seal key cannot be used: {0}")]
    SealKey(String),
    /// Claims cannot be sealed as configured, or the extension that is to verify them does not do so.
    #[error("claims cannot be sealed: {0}")]
    Sealing(String),
    /// The list of what was revoked is to be respected, and cannot be read.
    #[error("what was revoked cannot be read: {0}")]
    Revocations(String),
    /// The issuers are not usable as configured.
    #[error(transparent)]
    Issuers(#[from] AuthSetupError),
    /// The thread that reads statements could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// A pool could not be set up.
    #[error(transparent)]
    Pool(#[from] PgError),
}

/// A gateway that listens, and is ready to answer.
pub struct Server {
    gateway: Arc<Gateway>,
    public: TcpListener,
    admin: Option<TcpListener>,
    /// Yields `None` once every clean-up of an abandoned statement is done.
    cleanups: mpsc::Receiver<()>,
}

impl Server {
    /// Checks everything a gateway rests on (database, harmless roles, seal key, issuers' keys), then
    /// listens. Waits at most `server.startup_timeout` for what is not there yet.
    pub async fn bind(config: Config, observer: Observer) -> Result<Self, ServeError> {
        let public = listen(config.server.listen).await?;
        let admin = match config.server.admin_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let (gateway, cleanups) = Box::pin(setup::gateway(config, observer)).await?;
        Ok(Self { gateway: Arc::new(gateway), public, admin, cleanups })
    }

    /// What answers requests, for those who look at it while it serves.
    #[must_use]
    pub fn gateway(&self) -> Arc<Gateway> {
        Arc::clone(&self.gateway)
    }

    /// Where clients connect. The port is the real one, also where 0 was configured.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// Where operators connect.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Serves until `shutdown` completes; then finishes what runs, cancels what is left after
    /// `server.drain_timeout`, and returns.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let Self { gateway, public, admin, mut cleanups } = self;
        let observer = gateway.observer.clone();
        let server = gateway.config.server.clone();
        let acceptor = Acceptor::for_clients(&gateway.config, observer.clone());
        let operators =
            admin.map(|listener| tokio::spawn(serve_operators(listener, Arc::clone(&gateway))));

        let answering = Arc::clone(&gateway);
        let service = move |peer| {
            let answering = Arc::clone(&answering);
            service_fn(move |request: Request<Incoming>| {
                let gateway = Arc::clone(&answering);
                async move { Ok::<_, Infallible>(gateway.answer(peer, request).await) }
            })
        };
        let connections = acceptor.accept_until(public, service, shutdown).await;
        observer.emit(&Event::Draining { limit: server.drain_timeout });
        connections.drain(server.drain_timeout).await;

        if let Some(operators) = operators {
            operators.abort();
            let _ = operators.await;
        }
        gateway.sessions.close();
        drop(gateway);
        let _ = tokio::time::timeout(CLEANUP_LIMIT, cleanups.recv()).await;
        Ok(())
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

async fn serve_operators(listener: TcpListener, gateway: Arc<Gateway>) {
    let acceptor = Acceptor::for_operators(&gateway.config, gateway.observer.clone());
    let service = move |_| {
        let gateway = Arc::clone(&gateway);
        service_fn(move |request: Request<Incoming>| {
            let gateway = Arc::clone(&gateway);
            async move { Ok::<_, Infallible>(admin::answer(gateway, request).await) }
        })
    };
    acceptor.accept_until(listener, service, std::future::pending()).await;
}
