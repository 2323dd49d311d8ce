//! Connections of one role, handed to one request at a time.
//!
//! A [`Lease`] that is dropped in the middle of a statement cancels it in the database and closes the
//! connection: a late cancel must not hit the next user, nor may half an answer wait for them.

use std::time::Duration;

use deadpool::managed::{self, Metrics, Object, PoolError, RecycleError, RecycleResult};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::PgError;
use super::connect::Connector;
use super::connection::Connection;
use super::reset::RESET_TIMEOUT;
use crate::observe::{Event, Observer};
use crate::places::Place;

/// How long a cancelled statement may take to end before its backend is terminated.
const CANCEL_GRACE: Duration = Duration::from_millis(500);
/// Limit on delivering a cancel request.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);
/// Limit on terminating a backend that ignores its cancellation.
const TERMINATE_TIMEOUT: Duration = Duration::from_secs(2);

/// How a pool behaves.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// Connections held at most.
    pub size: usize,
    /// Requests that may wait for one.
    pub max_waiting: usize,
    /// How long each waits.
    pub acquire_timeout: Duration,
    /// Age at which an idle connection is replaced.
    pub max_lifetime: Duration,
}

/// Why no connection could be had.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// Too many are waiting already, or this one waited too long.
    #[error("all connections are busy")]
    Busy,
    /// The database cannot be reached or refuses the login.
    #[error(transparent)]
    Connect(#[from] PgError),
}

/// Opens and vets the connections of a pool.
#[derive(Debug)]
pub struct Manager {
    connector: Connector,
    max_lifetime: Duration,
}

impl managed::Manager for Manager {
    /// Boxed: it is moved at each step between pool and request.
    type Type = Box<Connection>;
    type Error = PgError;

    async fn create(&self) -> Result<Box<Connection>, PgError> {
        // Boxed, so that requests do not carry the state of a login around that few of them need.
        Box::pin(self.connector.connect()).await.map(Box::new)
    }

    async fn recycle(
        &self,
        connection: &mut Box<Connection>,
        _: &Metrics,
    ) -> RecycleResult<PgError> {
        if connection.connected_at().elapsed() > self.max_lifetime {
            return Err(RecycleError::message("reached its maximal age"));
        }
        if !connection.is_alive() {
            return Err(RecycleError::message("closed by the server, or not idle"));
        }
        Ok(())
    }
}

/// The pool of one role.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: managed::Pool<Manager>,
    options: PoolOptions,
    /// Every clean-up in progress holds a clone, so that shutting down can wait for them.
    cleanups: mpsc::Sender<()>,
    observer: Observer,
}

impl Pool {
    /// An empty pool; connections are opened on demand. `cleanups` is cloned into every clean-up task.
    pub fn new(
        connector: Connector,
        options: PoolOptions,
        cleanups: mpsc::Sender<()>,
        observer: Observer,
    ) -> Result<Self, PgError> {
        let manager = Manager { connector, max_lifetime: options.max_lifetime };
        let inner = managed::Pool::builder(manager)
            .max_size(options.size)
            .queue_mode(managed::QueueMode::Lifo)
            .runtime(deadpool::Runtime::Tokio1)
            .wait_timeout(Some(options.acquire_timeout))
            .build()
            .map_err(|_| PgError::Protocol("the pool's time limits need a runtime"))?;
        Ok(Self { inner, options, cleanups, observer })
    }

    /// Takes a connection, waiting for one if all are busy.
    pub async fn acquire(&self) -> Result<Lease, AcquireError> {
        if self.inner.status().waiting >= self.options.max_waiting {
            return Err(AcquireError::Busy);
        }
        match self.inner.get().await {
            Ok(object) => Ok(self.lease(object)),
            Err(PoolError::Backend(PgError::NoSlot(_))) => Err(AcquireError::Busy),
            Err(PoolError::Backend(error)) => {
                if let PgError::SessionKey(_) = error {
                    self.observer.emit(&Event::SessionJwtRefused { reason: error.to_string() });
                }
                Err(AcquireError::Connect(error))
            }
            Err(_) => Err(AcquireError::Busy),
        }
    }

    fn lease(&self, object: Object<Manager>) -> Lease {
        Lease {
            object: Some(object),
            place: None,
            cleanups: self.cleanups.clone(),
            observer: self.observer.clone(),
        }
    }

    /// Whether every connection is in use.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        let status = self.inner.status();
        status.size >= status.max_size && status.available == 0
    }

    /// Connections open, and requests waiting for one.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        let status = self.inner.status();
        (status.size, status.waiting)
    }

    /// Closes idle connections and refuses further requests.
    pub fn close(&self) {
        self.inner.close();
    }
}

/// A connection for the time of one request.
#[derive(Debug)]
pub struct Lease {
    object: Option<Object<Manager>>,
    /// Of the caller for whom it works, until nothing of theirs runs here.
    place: Option<Place>,
    cleanups: mpsc::Sender<()>,
    observer: Observer,
}

impl Lease {
    /// The connection.
    #[expect(clippy::missing_panics_doc, reason = "it cannot: the invariant holds")]
    pub fn connection(&mut self) -> &mut Connection {
        // invariant: `object` is taken only in `drop`.
        self.object.as_mut().expect("invariant: a lease holds its connection until it ends")
    }

    /// Keeps a place of the caller until the connection is free of what they run on it.
    pub fn hold(&mut self, place: Option<Place>) {
        self.place = place;
    }

    /// Cancels what is running and waits for the backend to notice, at most for the grace period.
    /// Reading on after this tells how the statement ended.
    pub async fn cancel(&mut self) {
        let key = self.connection().cancel_key().clone();
        let _ = timeout(CANCEL_TIMEOUT, key.send()).await;
    }

    /// How long a cancelled statement may take to end.
    #[must_use]
    pub fn cancel_grace() -> Duration {
        CANCEL_GRACE
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut object) = self.object.take() else { return };
        if object.is_idle() && !object.is_tainted() {
            object.trim();
            return;
        }
        let unfinished = object.is_idle() || object.is_in_flight();
        if !unfinished || tokio::runtime::Handle::try_current().is_err() {
            drop(Object::take(object));
        } else if object.is_idle() {
            tokio::spawn(clean(object, self.cleanups.clone()));
        } else {
            let place = self.place.take();
            tokio::spawn(abandon(object, place, self.cleanups.clone(), self.observer.clone()));
        }
    }
}

/// Resets a session in which a statement may have left something. Whoever caused it does not wait for it;
/// the connection keeps its place in the pool until it is clean or closed.
async fn clean(mut object: Object<Manager>, _cleanup: mpsc::Sender<()>) {
    match timeout(RESET_TIMEOUT, object.reset()).await {
        Ok(Ok(())) => object.trim(),
        _ => drop(Object::take(object)),
    }
}

/// Stops what runs on a connection nobody waits for. It keeps its place in the pool until its backend
/// is gone, so that abandoned statements count against the role's limit, and against their caller's.
async fn abandon(
    mut object: Object<Manager>,
    _place: Option<Place>,
    _cleanup: mpsc::Sender<()>,
    observer: Observer,
) {
    let key = object.cancel_key().clone();
    let delivered = timeout(CANCEL_TIMEOUT, key.send()).await;
    let ended = timeout(CANCEL_GRACE, object.until_ready()).await;
    // Only these say that the statement is over; a message that is not understood does not.
    let over = matches!(ended, Ok(Ok(()) | Err(PgError::Server(_) | PgError::Io(_))));
    let terminated = !over || !matches!(delivered, Ok(Ok(())));
    if terminated {
        terminate(&object).await;
    }
    observer.emit(&Event::StatementStopped { terminated });
    drop(Object::take(object));
}

/// Ends a backend that ignores its cancellation. A role may do that to backends of its own; a slot's role
/// has its one connection already, and nobody else may. Closing the socket does the same a second later
/// at most (`client_connection_check_interval`), also where EXECUTE on the function was revoked.
async fn terminate(object: &Object<Manager>) {
    if object.has_slot() {
        return;
    }
    let Some(pool) = Object::pool(object) else { return };
    let connector = &pool.manager().connector;
    // A pooler makes process ids up. It ends the backend's connection when ours is closed in the middle.
    if connector.prepare.is_none() {
        return;
    }
    let url = &connector.url;
    let _ = timeout(TERMINATE_TIMEOUT, async {
        let client = super::control::connect(url).await.ok()?;
        client.execute("select pg_catalog.pg_terminate_backend($1)", &[&object.pid()]).await.ok()
    })
    .await;
}
