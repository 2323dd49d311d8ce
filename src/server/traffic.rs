//! Owns what one connection is busy with: requests being worked on, answers being sent, since when
//! nothing has moved. Must never look into any of them.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::sleep;

use crate::http::body::{AnswerBody, BrokenOff};

/// The state of one connection, shared by all who work for it.
#[derive(Debug)]
pub struct Traffic {
    /// None: nobody asks for how long nothing has moved, and so no clock is read.
    began: Option<Instant>,
    /// Milliseconds after `began` at which something moved last.
    moved: AtomicU64,
    /// Requests that are not answered yet.
    working: AtomicUsize,
    /// Answers whose body is not with the protocol yet.
    sending: AtomicUsize,
    /// Whether a part of our answers may be with the protocol and not with the kernel.
    unflushed: AtomicBool,
}

/// Why a connection should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// No request came for too long.
    Idle,
    /// The client does not take its answers.
    Stalled,
}

impl Traffic {
    /// A connection on which nothing happened yet. It is never [`Self::quiet`].
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::since(None)
    }

    /// The same, for those who ask whether it is quiet.
    #[must_use]
    pub fn timed() -> Arc<Self> {
        Self::since(Some(Instant::now()))
    }

    fn since(began: Option<Instant>) -> Arc<Self> {
        Arc::new(Self {
            began,
            moved: AtomicU64::new(0),
            working: AtomicUsize::new(0),
            sending: AtomicUsize::new(0),
            unflushed: AtomicBool::new(false),
        })
    }

    /// Something moved.
    pub fn touch(&self) {
        let Some(began) = self.began else { return };
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(millis, Ordering::Relaxed);
    }

    /// A request came.
    #[must_use]
    pub fn request(self: &Arc<Self>) -> Working {
        self.touch();
        self.unflushed.store(true, Ordering::Relaxed);
        self.working.fetch_add(1, Ordering::Relaxed);
        Working(Arc::clone(self))
    }

    fn is_busy(&self) -> bool {
        self.working.load(Ordering::Relaxed) + self.sending.load(Ordering::Relaxed) > 0
    }

    /// All that the protocol had to send is with the kernel.
    pub fn flushed(&self) {
        if !self.is_busy() {
            self.unflushed.store(false, Ordering::Relaxed);
        }
    }

    /// Whether what the protocol sends now cannot be a part of any answer of ours.
    #[must_use]
    pub fn is_all_sent(&self) -> bool {
        !self.unflushed.load(Ordering::Relaxed)
    }

    /// Completes when no request came for `idle`, or no answer moved for `stall`.
    pub async fn quiet(&self, idle: Duration, stall: Duration) -> Quiet {
        let Some(began) = self.began else { return pending().await };
        loop {
            let (limit, quiet) = match (self.working.load(Ordering::Relaxed), self.is_busy()) {
                (0, false) => (idle, Some(Quiet::Idle)),
                (0, true) => (stall, Some(Quiet::Stalled)),
                // The deadline of requests is others' business.
                _ => (idle.min(stall), None),
            };
            let moved = began + Duration::from_millis(self.moved.load(Ordering::Relaxed));
            let rest = limit.saturating_sub(moved.elapsed());
            match quiet {
                Some(quiet) if rest.is_zero() => return quiet,
                Some(_) => sleep(rest).await,
                None => sleep(limit).await,
            }
        }
    }
}

/// A request that is being worked on, until it is dropped.
#[derive(Debug)]
pub struct Working(Arc<Traffic>);

impl Working {
    /// Its answer, which counts as being sent until the protocol has taken all of it.
    #[must_use]
    pub fn answer(self, body: AnswerBody) -> TrackedBody {
        self.0.sending.fetch_add(1, Ordering::Relaxed);
        TrackedBody { body, traffic: Arc::clone(&self.0) }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.touch();
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer that counts as being sent.
#[derive(Debug)]
pub struct TrackedBody {
    body: AnswerBody,
    traffic: Arc<Traffic>,
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.traffic.touch();
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.traffic.touch();
        self.traffic.sending.fetch_sub(1, Ordering::Relaxed);
    }
}
