//! One logged-in connection: buffers, the backend's identity, the statements prepared on it.
//!
//! Owned by one request at a time. Requests write into [`Connection::outbox`], flush once, and read
//! frames until `ReadyForQuery`. A connection that is not [`Connection::is_idle`] must not be handed on.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::PgError;
use super::cancel::CancelKey;
use super::frame::{self, Frame, tag};
use super::server_error::ServerError;
use super::session_key::SessionKey;
use super::slots::Slot;
use super::sql::OwnSql;
use super::statements::Statements;
use super::stream::Stream;

/// What one read asks the kernel for, in bytes.
const READ_CHUNK: usize = 16 * 1024;
/// The longest message that is taken in before a request says what it may take: an answer to a statement
/// of our own, or an error, in bytes.
const LONGEST_OWN_MESSAGE: usize = 64 * 1024;
/// Buffers that grew beyond this many bytes are given back after the request.
const KEEP_BUFFER: usize = 256 * 1024;

/// Where a connection stands in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `ReadyForQuery` was read, outside a transaction.
    Idle,
    /// Something was sent whose `ReadyForQuery` is outstanding.
    InFlight,
    /// `ReadyForQuery` was read, inside a transaction.
    InTransaction,
    /// Fit for nothing but closing.
    Broken,
}

/// A connection past start-up.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    inbox: BytesMut,
    /// Bytes at the front of `inbox` that the caller of [`Self::next`] has seen.
    consumed: usize,
    outbox: BytesMut,
    /// Whether a part of the outbox, or of what TLS made of it, is not with the kernel yet.
    unsent: bool,
    phase: Phase,
    /// `ReadyForQuery` messages that are still to come.
    awaited: usize,
    cancel_key: CancelKey,
    statements: Statements,
    /// The name under which this program's own statement is prepared here.
    own_statement: Arc<str>,
    /// Whether a statement may have left something in the session.
    tainted: bool,
    /// The longest message that is taken in, in bytes.
    frame_limit: usize,
    connected_at: Instant,
    /// The login role that nobody else has meanwhile.
    slot: Option<Slot>,
    /// Whose public half the server got at start-up.
    session_key: Option<SessionKey>,
}

/// The transaction status in `ReadyForQuery` when no transaction is open.
const STATUS_IDLE: u8 = b'I';

impl Connection {
    /// Takes over a stream on which start-up has been completed up to `ReadyForQuery`.
    #[must_use]
    pub fn new(
        stream: Stream,
        inbox: BytesMut,
        cancel_key: CancelKey,
        statements: Statements,
    ) -> Self {
        Self {
            stream,
            inbox,
            consumed: 0,
            outbox: BytesMut::with_capacity(READ_CHUNK),
            unsent: false,
            phase: Phase::Idle,
            awaited: 0,
            cancel_key,
            statements,
            own_statement: Arc::from(""),
            tainted: false,
            frame_limit: LONGEST_OWN_MESSAGE,
            connected_at: Instant::now(),
            slot: None,
            session_key: None,
        }
    }

    /// Keeps the key whose public half was sent at start-up, and has the server fix it.
    pub(super) async fn fix_key(&mut self, key: SessionKey, fix: OwnSql) -> Result<(), PgError> {
        self.session_key = Some(key);
        frontend::query(fix.0, &mut self.outbox)?;
        self.flush(1).await?;
        self.until_ready().await
    }

    /// The key that belongs to this connection alone, if it has one.
    pub fn session_key(&mut self) -> Option<&mut SessionKey> {
        self.session_key.as_mut()
    }

    /// Keeps the slot that this connection logged in with until it is closed.
    pub fn hold(&mut self, slot: Slot) {
        self.slot = Some(slot);
    }

    /// Whether this connection's login role has no other connection.
    #[must_use]
    pub fn has_slot(&self) -> bool {
        self.slot.is_some()
    }

    /// The backend's process id: what a seal is bound to.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.cancel_key.pid
    }

    /// What it takes to cancel whatever runs here.
    #[must_use]
    pub fn cancel_key(&self) -> &CancelKey {
        &self.cancel_key
    }

    /// When the login was completed.
    #[must_use]
    pub fn connected_at(&self) -> Instant {
        self.connected_at
    }

    /// Whether the last thing read was `ReadyForQuery` outside a transaction.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// Whether a statement may be running that nobody waits for.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        self.phase == Phase::InFlight
    }

    /// Notes that what is about to run may leave something in the session, so that nobody gets the
    /// connection before it was reset.
    pub fn taint(&mut self) {
        self.tainted = true;
    }

    /// Whether [`Self::reset`] must come before the next request.
    #[must_use]
    pub fn is_tainted(&self) -> bool {
        self.tainted
    }

    /// Notes that a reset has succeeded.
    pub(super) fn note_clean(&mut self) {
        self.tainted = false;
    }

    /// Marks the connection as unfit for another request.
    pub fn condemn(&mut self) {
        self.phase = Phase::Broken;
    }

    /// Where frontend messages are assembled until [`Self::flush`].
    pub fn outbox(&mut self) -> &mut BytesMut {
        &mut self.outbox
    }

    /// The statements prepared here, by their text.
    pub fn statements(&mut self) -> &mut Statements {
        &mut self.statements
    }

    /// Prepares this program's own statement, under a name that nobody can guess.
    pub async fn prepare_own(&mut self, sql: OwnSql) -> Result<(), PgError> {
        self.own_statement = self.statements.fresh_name();
        frontend::parse(&self.own_statement, sql.0, [], &mut self.outbox)?;
        frontend::sync(&mut self.outbox);
        self.flush(1).await?;
        self.until_ready().await
    }

    /// The name that [`Self::prepare_own`] chose.
    #[must_use]
    pub fn own_statement(&self) -> Arc<str> {
        Arc::clone(&self.own_statement)
    }

    /// Refuses messages longer than `bytes` from now on.
    pub fn limit_frames(&mut self, bytes: usize) {
        self.frame_limit = bytes;
    }

    /// Ends the transaction that a failed statement left open.
    pub async fn roll_back(&mut self) -> Result<(), PgError> {
        frontend::query("rollback", &mut self.outbox)?;
        self.flush(1).await?;
        self.until_ready().await
    }

    /// Whether an idle connection still works as far as the socket tells, without waiting.
    ///
    /// The server may have sent notices or parameter changes meanwhile; anything else, and the end of
    /// the stream, means that it is gone.
    pub fn is_alive(&mut self) -> bool {
        if self.phase != Phase::Idle {
            return false;
        }
        self.inbox.reserve(READ_CHUNK);
        match self.stream.read_buf(&mut self.inbox).now_or_never() {
            None => true,
            Some(Ok(n)) if n > 0 => self.only_chatter_pending(),
            Some(_) => false,
        }
    }

    /// Whether what arrived unasked may have: whole messages or the beginning of one, all of them chatter.
    fn only_chatter_pending(&mut self) -> bool {
        while let Some(&tag) = self.inbox.first() {
            if !is_chatter(tag) {
                return false;
            }
            match frame::length(&self.inbox) {
                Ok(Some(length)) if length > self.frame_limit => return false,
                Ok(Some(length)) if length <= self.inbox.len() => self.inbox.advance(length),
                Ok(_) => break,
                Err(_) => return false,
            }
        }
        true
    }

    /// Begins to send the outbox, which the server will answer with `awaited` times `ReadyForQuery`.
    ///
    /// What the socket does not take at once is sent while answers are read: a long pipeline blocks
    /// neither side, and its answers are taken in no faster than somebody asks for them.
    pub async fn flush(&mut self, awaited: usize) -> Result<(), PgError> {
        self.phase = Phase::InFlight;
        self.awaited += awaited;
        self.unsent = true;
        poll_fn(|cx| match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.broken(error))),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
        })
        .await
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.outbox))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox.advance(sent);
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.outbox.clear();
        self.unsent = false;
        Poll::Ready(Ok(()))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inbox.reserve(READ_CHUNK);
        let read = pin!(self.stream.read_buf(&mut self.inbox));
        if ready!(read.poll(cx))? == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(()))
    }

    fn broken(&mut self, error: io::Error) -> PgError {
        self.phase = Phase::Broken;
        error.into()
    }

    /// The server does not keep to the protocol. What runs there can be cancelled still; a connection on
    /// which nothing runs is of no further use.
    fn out_of_step(&mut self, error: PgError) -> PgError {
        if self.phase != Phase::InFlight {
            self.phase = Phase::Broken;
        }
        error
    }

    /// The next message that concerns the request; notices and the like are passed over.
    ///
    /// The last awaited `ReadyForQuery` makes the connection idle, unless it comes inside a transaction:
    /// then the connection is not fit for the next request before [`Self::roll_back`].
    pub async fn next(&mut self) -> Result<Frame<'_>, PgError> {
        loop {
            self.inbox.advance(self.consumed);
            self.consumed = 0;
            let length = self.fill_frame().await?;
            self.consumed = length;
            if !is_chatter(self.inbox[0]) {
                break;
            }
            if self.client_encoding_left_utf8() {
                self.phase = Phase::Broken;
                return Err(PgError::Protocol("client_encoding was changed from UTF8"));
            }
        }
        if self.inbox[0] == tag::READY {
            let frame = frame::whole(&self.inbox[..self.consumed]);
            let Some(&status) = frame.body.first() else {
                return Err(self.out_of_step(PgError::Protocol("an empty ReadyForQuery")));
            };
            self.awaited = self.awaited.saturating_sub(1);
            self.phase = match status {
                _ if self.awaited > 0 => Phase::InFlight,
                STATUS_IDLE => Phase::Idle,
                _ => Phase::InTransaction,
            };
        }
        Ok(frame::whole(&self.inbox[..self.consumed]))
    }

    /// Takes in one whole message, sending what is still to be sent.
    async fn fill_frame(&mut self) -> Result<usize, PgError> {
        poll_fn(|cx| {
            loop {
                if self.unsent
                    && let Poll::Ready(Err(error)) = self.poll_send(cx)
                {
                    return Poll::Ready(Err(self.broken(error)));
                }
                let length = frame::length(&self.inbox).map_err(|error| self.out_of_step(error))?;
                if let Some(length) = length {
                    if length > self.frame_limit {
                        return Poll::Ready(Err(self.out_of_step(PgError::FrameTooLong)));
                    }
                    if length <= self.inbox.len() {
                        return Poll::Ready(Ok(length));
                    }
                    self.inbox.reserve(length - self.inbox.len());
                }
                if let Err(error) = ready!(self.poll_fill(cx)) {
                    return Poll::Ready(Err(self.broken(error)));
                }
            }
        })
        .await
    }

    /// Whether the message at the front of the inbox reports an encoding whose bytes are not UTF-8.
    fn client_encoding_left_utf8(&self) -> bool {
        let frame = frame::whole(&self.inbox[..self.consumed]);
        frame.tag == tag::PARAMETER_STATUS
            && frame.body.strip_prefix(b"client_encoding\0").is_some_and(|value| value != b"UTF8\0")
    }

    /// Reads up to the last awaited `ReadyForQuery`, for statements of our own whose rows do not matter.
    pub async fn until_ready(&mut self) -> Result<(), PgError> {
        let mut refused = None;
        while self.awaited > 0 {
            let frame = self.next().await?;
            if frame.tag == tag::ERROR {
                refused = Some(ServerError::parse(frame.body)?);
            }
        }
        refused.map_or(Ok(()), |error| Err(PgError::Server(Box::new(error))))
    }

    /// Gives back the memory that an unusually large request needed.
    pub fn trim(&mut self) {
        self.inbox.advance(self.consumed);
        self.consumed = 0;
        if self.inbox.is_empty() && self.inbox.capacity() > KEEP_BUFFER {
            self.inbox = BytesMut::with_capacity(READ_CHUNK);
        }
        if self.outbox.capacity() > KEEP_BUFFER {
            self.outbox = BytesMut::with_capacity(READ_CHUNK);
        }
    }
}

/// Messages that may arrive at any time and say nothing about a request (protocol chapter
/// "Asynchronous Operations").
fn is_chatter(tag: u8) -> bool {
    matches!(tag, tag::NOTICE | tag::NOTIFICATION | tag::PARAMETER_STATUS)
}
