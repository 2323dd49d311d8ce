//! Client connections: accepting, protocol, limits, and ending them.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::Config;
use crate::http::Answer;
use crate::observe::{Event, Observer};

/// How HTTP/2 with prior knowledge begins (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Requests in flight on one HTTP/2 connection.
const HTTP2_STREAMS: u32 = 128;
/// Resets a client may cause before it is cut off (CVE-2023-44487, "rapid reset").
const HTTP2_RESETS: usize = 64;
/// How long to wait for the rest of what may become a preface.
const PREFACE_PAUSE: Duration = Duration::from_millis(10);
/// The pause after a failed accept: the process is out of file descriptors, and a loop would not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// hyper refuses to work with a smaller buffer for a request's head, in bytes.
const SMALLEST_HEAD: usize = 8192;

/// What answers requests.
pub trait Answering:
    Service<Request<Incoming>, Response = Answer, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<T> Answering for T where
    T: Service<Request<Incoming>, Response = Answer, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// Accepts connections within the configured limits.
pub struct Acceptor {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    header_timeout: Duration,
    places: Arc<Semaphore>,
    observer: Observer,
}

/// The connections that were accepted and are still open.
pub struct Connections {
    tasks: JoinSet<()>,
    graceful: GracefulShutdown,
    /// Changes when draining begins, for connections that have not said anything yet.
    draining: watch::Sender<()>,
}

impl Acceptor {
    /// An acceptor with the limits of `config`.
    #[must_use]
    pub fn new(config: &Config, observer: Observer) -> Self {
        let mut http1 = http1::Builder::new();
        // Not `pipeline_flush`: with it hyper takes in any amount of an answer that nobody reads.
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(config.server.header_timeout)
            .max_buf_size(config.limits.header_bytes.max(SMALLEST_HEAD));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS)
            .max_pending_accept_reset_streams(HTTP2_RESETS)
            .max_header_list_size(u32::try_from(config.limits.header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(config.server.header_timeout)
            .keep_alive_timeout(config.server.header_timeout);
        Self {
            http1,
            http2,
            header_timeout: config.server.header_timeout,
            places: Arc::new(Semaphore::new(config.server.max_connections)),
            observer,
        }
    }

    /// Accepts until `shutdown` completes, then stops listening.
    pub async fn accept_until(
        self,
        listener: TcpListener,
        service: impl Answering,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Connections {
        let acceptor = Arc::new(self);
        let mut connections = Connections {
            tasks: JoinSet::new(),
            graceful: GracefulShutdown::new(),
            draining: watch::Sender::new(()),
        };
        let mut shutdown = pin!(shutdown);
        loop {
            let (stream, place) = tokio::select! {
                accepted = acceptor.accept(&listener) => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        acceptor.failed(&error);
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
                () = &mut shutdown => return connections,
            };
            let (acceptor, service) = (Arc::clone(&acceptor), service.clone());
            let watcher = connections.graceful.watcher();
            let mut draining = connections.draining.subscribe();
            connections.tasks.spawn(async move {
                let version = tokio::select! {
                    version = acceptor.version(&stream) => version,
                    // It has not sent a byte, or no more than the beginning of a preface.
                    _ = draining.changed() => return,
                };
                let served = match version {
                    Ok(Some(version)) => acceptor.serve(stream, version, service, watcher).await,
                    Ok(None) => Ok(()),
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = served {
                    acceptor.failed(&*error);
                }
                drop(place);
            });
            while connections.tasks.try_join_next().is_some() {}
        }
    }

    fn failed(&self, error: &dyn std::error::Error) {
        self.observer.emit(&Event::ConnectionFailed { reason: error.to_string() });
    }

    /// Waits for a free place, then for a connection to take it.
    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = listener.accept().await?;
        Ok((stream, place))
    }

    /// What the client speaks; `None` if it does not say in time.
    async fn version(&self, stream: &TcpStream) -> io::Result<Option<Version>> {
        stream.set_nodelay(true)?;
        match timeout(self.header_timeout, version_of(stream)).await {
            Ok(version) => version.map(Some),
            Err(_) => Ok(None),
        }
    }

    async fn serve(
        &self,
        stream: TcpStream,
        version: Version,
        service: impl Answering,
        watcher: Watcher,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let io = TokioIo::new(stream);
        match version {
            Version::Http1 => watcher.watch(self.http1.serve_connection(io, service)).await?,
            Version::Http2 => watcher.watch(self.http2.serve_connection(io, service)).await?,
        }
        Ok(())
    }
}

/// The protocols that are spoken on one port.
#[derive(Clone, Copy)]
enum Version {
    Http1,
    Http2,
}

/// Looks at the first bytes without taking them.
async fn version_of(stream: &TcpStream) -> io::Result<Version> {
    let mut seen = [0; HTTP2_PREFACE.len()];
    loop {
        let n = stream.peek(&mut seen).await?;
        if n == 0 || !HTTP2_PREFACE.starts_with(&seen[..n]) {
            return Ok(Version::Http1);
        }
        if n == HTTP2_PREFACE.len() {
            return Ok(Version::Http2);
        }
        sleep(PREFACE_PAUSE).await;
    }
}

impl Connections {
    /// Lets running requests finish for at most `limit`, then cuts the rest off; each cancels its
    /// statement as it goes.
    pub async fn drain(self, limit: Duration) {
        let Self { mut tasks, graceful, draining } = self;
        draining.send_replace(());
        if timeout(limit, graceful.shutdown()).await.is_err() {
            tasks.abort_all();
        }
        while tasks.join_next().await.is_some() {}
    }
}
