//! A client's socket with two promises of ours that hyper does not make: a client that takes nothing is
//! cut off, and what is no HTTP is answered with a JSON body and a code, too.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::traffic::Traffic;
use crate::error::ApiError;

/// After a refusal: how long the rest of what the client sends is taken in. Closing a socket with unread
/// data resets it, and the client may never see the answer (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(1);
/// Taken in at a time, in bytes.
const SCRATCH: usize = 16 * 1024;
/// How hyper's own answers begin; all of them are empty and end the connection.
const OWN_ANSWER: &[u8] = b"HTTP/1.1 4";

/// A client's socket.
#[derive(Debug)]
pub struct ClientIo {
    stream: TcpStream,
    traffic: Arc<Traffic>,
    write_timeout: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What is left to send of an answer in place of hyper's.
    refusal: Option<Bytes>,
    /// Runs while a refused client may finish sending.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl ClientIo {
    /// Watches over `stream`; `traffic` tells our answers from hyper's.
    #[must_use]
    pub fn new(stream: TcpStream, traffic: Arc<Traffic>, write_timeout: Duration) -> Self {
        Self { stream, traffic, write_timeout, stalled: None, refusal: None, lingering: None }
    }

    /// The outcome of a write, or an error if none had one for too long.
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no answer")))
    }

    /// Sends an answer of ours in place of `own`, which hyper made.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, own: &[u8]) -> Poll<io::Result<usize>> {
        let mut refusal = self.refusal.take().unwrap_or_else(|| refusal(own));
        while refusal.has_remaining() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &refusal);
            match self.in_time(cx, written) {
                Poll::Ready(Ok(written)) => refusal.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.refusal = Some(refusal);
                    return Poll::Pending;
                }
            }
        }
        self.lingering = Some(Box::pin(sleep(LINGER)));
        Poll::Ready(Ok(own.len()))
    }

    fn is_own_answer(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(OWN_ANSWER) && self.traffic.is_all_sent()
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(lingering) = &mut self.lingering else { return Poll::Ready(Ok(())) };
        let mut scratch = [0; SCRATCH];
        while lingering.as_mut().poll(cx).is_pending() {
            let mut scratch = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut scratch))?;
            if scratch.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The whole of an answer to what is no request, in HTTP/1.1. Pages may read it like every other.
fn refusal(own: &[u8]) -> Bytes {
    let status = own.get(9..12).and_then(|digits| StatusCode::from_bytes(digits).ok());
    let error = match status {
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => ApiError::head_too_large(),
        Some(StatusCode::URI_TOO_LONG) => ApiError::target_too_long(),
        _ => ApiError::not_http(),
    };
    whole_answer(&error)
}

/// An answer as it goes over the wire, for connections that are closed with it.
#[must_use]
pub fn whole_answer(error: &ApiError) -> Bytes {
    let body = error.to_json();
    let retry = error.retry_after.map_or_else(String::new, |s| format!("retry-after: {s}\r\n"));
    let mut answer = format!(
        "HTTP/1.1 {}\r\nconnection: close\r\ncontent-type: application/json\r\n{retry}\
         access-control-allow-origin: *\r\ncontent-length: {}\r\n\r\n",
        error.status,
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    answer.into()
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_own_answer(bytes) {
            return self.poll_refuse(cx, bytes);
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(first) = slices.first()
            && self.is_own_answer(first)
        {
            return self.poll_refuse(cx, first);
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.traffic.flushed();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        self.poll_linger(cx)
    }
}
