//! Client connections: accepting, protocol, limits, and ending them.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::addresses::{Addresses, Visit};
use super::client_io::{ClientIo, whole_answer};
use super::traffic::{Quiet, Traffic};
use crate::config::Config;
use crate::error::ApiError;
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
/// How long a connection that is turned away may take to say what it wants and to read why.
const TURN_AWAY: Duration = Duration::from_millis(500);

/// What answers requests.
pub trait Answering:
    Service<Request<Incoming>, Response = Answer, Error = Infallible, Future: Send> + Send + 'static
{
}

impl<T> Answering for T where
    T: Service<Request<Incoming>, Response = Answer, Error = Infallible, Future: Send>
        + Send
        + 'static
{
}

/// Accepts connections within the configured limits.
pub struct Acceptor {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    header_timeout: Duration,
    write_timeout: Duration,
    places: Arc<Semaphore>,
    addresses: Addresses,
    observer: Observer,
}

/// The connections that were accepted and are still open.
pub struct Connections {
    tasks: JoinSet<()>,
    /// Changes when draining begins.
    draining: watch::Sender<()>,
}

/// What an open connection occupies.
struct Occupied {
    _place: OwnedSemaphorePermit,
    _visit: Option<Visit>,
}

impl Acceptor {
    /// With the limits for clients.
    #[must_use]
    pub fn for_clients(config: &Config, observer: Observer) -> Self {
        Self::new(config, Addresses::new(&config.server), observer)
    }

    /// For operators, who may have as many connections as they want from one address.
    #[must_use]
    pub fn for_operators(config: &Config, observer: Observer) -> Self {
        Self::new(config, Addresses::default(), observer)
    }

    fn new(config: &Config, addresses: Addresses, observer: Observer) -> Self {
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
            write_timeout: config.server.write_timeout,
            places: Arc::new(Semaphore::new(config.server.max_connections)),
            addresses,
            observer,
        }
    }

    /// Accepts until `shutdown` completes, then stops listening. `service` makes what answers the
    /// requests of one peer.
    pub async fn accept_until<S: Answering>(
        self,
        listener: TcpListener,
        service: impl Fn(IpAddr) -> S,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Connections {
        let acceptor = Arc::new(self);
        let mut connections =
            Connections { tasks: JoinSet::new(), draining: watch::Sender::new(()) };
        let mut shutdown = pin!(shutdown);
        loop {
            let (stream, peer, place) = tokio::select! {
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
            match acceptor.addresses.enter(peer) {
                Ok(visit) => {
                    let occupied = Occupied { _place: place, _visit: visit };
                    let draining = connections.draining.subscribe();
                    let served =
                        Arc::clone(&acceptor).serve(stream, service(peer), draining, occupied);
                    connections.tasks.spawn(served);
                }
                Err(limit) => {
                    let error = ApiError::too_many_connections(limit);
                    if let Some(limit) = error.limit {
                        acceptor.observer.emit(&Event::ConnectionRefused { limit });
                    }
                    connections.tasks.spawn(turn_away(stream, error, place));
                }
            }
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
    ) -> io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = listener.accept().await?;
        Ok((stream, peer.ip(), place))
    }

    /// Serves a connection to its end.
    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        service: impl Answering,
        mut draining: watch::Receiver<()>,
        _occupied: Occupied,
    ) {
        let version = tokio::select! {
            version = self.version(&stream) => version,
            // It has not sent a byte, or no more than the beginning of a preface.
            _ = draining.changed() => return,
        };
        let served = match version {
            Ok(Some(Version::Http1)) => self.http1(stream, service, draining).await,
            Ok(Some(Version::Http2)) => self.http2(stream, service, draining).await,
            Ok(None) => return,
            Err(error) => return self.failed(&error),
        };
        if let Err(error) = served {
            self.failed(&error);
        }
    }

    /// What the client speaks; `None` if it does not say in time.
    async fn version(&self, stream: &TcpStream) -> io::Result<Option<Version>> {
        stream.set_nodelay(true)?;
        match timeout(self.header_timeout, version_of(stream)).await {
            Ok(version) => version.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// hyper itself ends connections on which no head arrives in time.
    async fn http1(
        &self,
        stream: TcpStream,
        service: impl Answering,
        mut draining: watch::Receiver<()>,
    ) -> hyper::Result<()> {
        let traffic = Traffic::new();
        let io = TokioIo::new(ClientIo::new(stream, Arc::clone(&traffic), self.write_timeout));
        let mut connection = pin!(self.http1.serve_connection(io, tracked(service, traffic)));
        tokio::select! {
            served = connection.as_mut() => return served,
            _ = draining.changed() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }

    /// Ends connections without a request, whatever else they send: pings, settings, half a head. They
    /// are told (GOAWAY) before they are cut off.
    async fn http2(
        &self,
        stream: TcpStream,
        service: impl Answering,
        mut draining: watch::Receiver<()>,
    ) -> hyper::Result<()> {
        let traffic = Traffic::timed();
        let io = TokioIo::new(ClientIo::new(stream, Arc::clone(&traffic), self.write_timeout));
        let service = tracked(service, Arc::clone(&traffic));
        let mut connection = pin!(self.http2.serve_connection(io, service));
        let mut told = false;
        loop {
            tokio::select! {
                served = connection.as_mut() => return served,
                _ = draining.changed(), if !told => {}
                quiet = traffic.quiet(self.header_timeout, self.write_timeout) => {
                    if told || quiet == Quiet::Stalled {
                        return Ok(());
                    }
                    traffic.touch();
                }
            }
            told = true;
            connection.as_mut().graceful_shutdown();
        }
    }
}

/// The same service, with its requests and answers counted.
fn tracked<S: Answering>(
    service: S,
    traffic: Arc<Traffic>,
) -> impl Service<
    Request<Incoming>,
    Response = hyper::Response<super::traffic::TrackedBody>,
    Error = Infallible,
    Future: Send,
> {
    service_fn(move |request| {
        let working = traffic.request();
        let answer = service.call(request);
        async move { answer.await.map(|answer| answer.map(|body| working.answer(body))) }
    })
}

/// Says why a connection is not served, and closes it.
async fn turn_away(mut stream: TcpStream, error: ApiError, _place: OwnedSemaphorePermit) {
    let told = timeout(TURN_AWAY, async {
        // Closing a socket with unread data resets it, and the client may never see the answer.
        let mut said = [0; 4096];
        let _ = stream.read(&mut said).await?;
        stream.write_all(&whole_answer(&error)).await?;
        stream.shutdown().await?;
        while stream.read(&mut said).await? > 0 {}
        io::Result::Ok(())
    });
    // Whether it heard it or not, it is closed now.
    let _ = told.await;
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
        let Self { mut tasks, draining } = self;
        draining.send_replace(());
        if timeout(limit, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
            tasks.abort_all();
        }
        while tasks.join_next().await.is_some() {}
    }
}
