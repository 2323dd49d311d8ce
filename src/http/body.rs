//! Bodies: reading a request's within bounds, sending an answer whole or in pieces.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::error::ApiError;

/// Pieces of a streamed answer that may wait for the client.
const PIECES_WAITING: usize = 2;

/// After a failure: this much of a body that nobody wants is taken in, in bytes …
const DISCARD_LIMIT: usize = 64 * 1024 * 1024;
/// … and for no longer than this.
const DISCARD_PATIENCE: Duration = Duration::from_secs(5);

/// Takes in the rest of a body whose request has failed already. Closing a socket with unread data
/// resets it, and many clients then report a network error in place of the answer (RFC 9112 §9.6).
///
/// A client that expects `100 Continue` has sent nothing yet, and is spared the sending.
pub async fn discard(headers: &HeaderMap, body: &mut Incoming) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let rest = Limited::new(body, DISCARD_LIMIT);
    let drained = timeout(DISCARD_PATIENCE, async {
        let mut rest = std::pin::pin!(rest);
        while let Some(Ok(_)) = rest.frame().await {}
    });
    // Whether it came to an end or not, the answer is sent now.
    let _ = drained.await;
}

/// Reads a whole body, at most `limit` bytes and for at most `patience`.
pub async fn read(
    body: &mut Incoming,
    limit: usize,
    patience: Duration,
) -> Result<Bytes, ApiError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(ApiError::body_too_large(limit));
    }
    match timeout(patience, Limited::new(body, limit).collect()).await {
        Err(_) => Err(ApiError::body_too_slow()),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::body_too_large(limit)),
        Ok(Err(_)) => Err(ApiError::body_broken()),
    }
}

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// Complete, with its length known.
    Whole(Option<Bytes>),
    /// Sent as it comes; `None` once the last piece was sent.
    Streamed(Option<mpsc::Receiver<Piece>>),
}

/// A piece of a streamed answer.
#[derive(Debug)]
pub enum Piece {
    /// More will follow.
    More(Bytes),
    /// The answer is complete with this.
    Last(Bytes),
}

/// The rest of an answer will not come: the body is broken off, so that the client cannot take a part
/// for the whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer was broken off")]
pub struct BrokenOff;

impl AnswerBody {
    /// A body that is complete.
    #[must_use]
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
    }

    /// A body that is still being made. It is broken off if the sender is dropped before
    /// [`Piece::Last`].
    #[must_use]
    pub fn streamed() -> (mpsc::Sender<Piece>, Self) {
        let (sender, receiver) = mpsc::channel(PIECES_WAITING);
        (sender, Self::Streamed(Some(receiver)))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        let pieces = match this {
            Self::Whole(bytes) => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            Self::Streamed(None) => return Poll::Ready(None),
            Self::Streamed(Some(pieces)) => pieces,
        };
        let bytes = match ready!(pieces.poll_recv(cx)) {
            None => return Poll::Ready(Some(Err(BrokenOff))),
            Some(Piece::More(bytes)) => bytes,
            Some(Piece::Last(bytes)) => {
                *this = Self::Streamed(None);
                bytes
            }
        };
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None) | Self::Streamed(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Streamed(_) => SizeHint::default(),
        }
    }
}
