//! Reading the answers of one flush, and turning them into the bytes of one answer.

use std::sync::Arc;

use tokio::time::{Instant, timeout, timeout_at};

use super::pipeline::{CallerUnit, Sent, Unit};
use super::sealing::Sealing;
use super::{Bounds, Request, SessionError, Sessions};
use crate::admit::{Admission, GateError, Refusal};
use crate::json::answer::{AnswerError, AnswerWriter};
use crate::pg::PgError;
use crate::pg::catalog::Catalog;
use crate::pg::connection::Connection;
use crate::pg::description::Description;
use crate::pg::frame::tag;
use crate::pg::pool::Lease;
use crate::pg::server_error::ServerError;
use crate::pg::statements::{LARGEST_KEPT_DESCRIPTION, Prepared};

/// How far an answer has come.
#[derive(Debug)]
pub enum Progress {
    /// Committed; these are its last bytes (all of them, if nothing was taken before).
    Complete(Vec<u8>),
    /// More will follow.
    Partial(Vec<u8>),
}

/// A request whose statements were sent.
///
/// Dropping it before it is complete cancels what runs and closes the connection.
#[derive(Debug)]
pub struct Running {
    lease: Lease,
    units: Vec<Unit>,
    current: usize,
    flushed: bool,
    begun: bool,
    streamed: bool,
    refused: Option<Box<ServerError>>,
    writer: AnswerWriter,
    admission: Admission,
    catalog: Arc<Catalog>,
    sealing: Arc<Sealing>,
    bounds: Bounds,
    deadline: Instant,
}

impl Running {
    /// Takes over a connection, leased at `began`, whose outbox holds what `sent` describes.
    #[must_use]
    pub fn start(
        mut lease: Lease,
        began: Instant,
        sent: Sent,
        request: &Request<'_>,
        sessions: &Sessions,
        admission: Admission,
    ) -> Self {
        let bounds = sessions.bounds;
        let frame_limit = usize::try_from(bounds.answer_bytes).unwrap_or(usize::MAX);
        lease.connection().limit_frames(frame_limit.max(SMALLEST_FRAME_LIMIT));
        if matches!(admission, Admission::Tainting | Admission::Suspect) {
            lease.connection().taint();
        }
        Self {
            lease,
            units: sent.units,
            current: 0,
            flushed: false,
            begun: false,
            streamed: false,
            refused: None,
            writer: AnswerWriter::new(request.raw_text, request.batch, bounds.answer_bytes),
            admission,
            catalog: Arc::clone(&sessions.catalog),
            sealing: Arc::clone(&sessions.sealing),
            bounds,
            deadline: began + bounds.deadline,
        }
    }

    /// Rows and bytes of the answer so far.
    #[must_use]
    pub fn volume(&self) -> (u64, u64) {
        (self.writer.rows(), self.writer.bytes())
    }

    /// When time is up, whoever holds up the answer.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Reads until the answer is complete or `threshold` bytes of it are waiting.
    pub async fn advance(&mut self, threshold: usize) -> Result<Progress, SessionError> {
        // `timeout_at` notices only when nothing is there to be read. The first time, the deadline was set just now.
        if self.flushed && Instant::now() >= self.deadline {
            return Box::pin(self.overdue(threshold)).await;
        }
        match timeout_at(self.deadline, self.read(threshold)).await {
            Ok(result) => result,
            Err(_) => Box::pin(self.overdue(threshold)).await,
        }
    }

    /// Whether sending the request once more may succeed, the failure having undone everything.
    pub fn may_try_again(&mut self, error: &SessionError, request: &Request<'_>) -> bool {
        let SessionError::Server(error) = error else { return false };
        // What a statement did to the session outlives its transaction, so only the first one may fail.
        let repeatable = match self.admission {
            Admission::Plain => true,
            Admission::Tainting => request.statements.len() == 1,
            Admission::Suspect | Admission::Unread => false,
        };
        if self.streamed || !repeatable {
            return false;
        }
        if error.is_lost_statement() {
            self.lease.connection().condemn();
            return true;
        }
        if error.is_stale_plan() {
            let statements = self.lease.connection().statements();
            for statement in &request.statements {
                statements.forget(statement.sql.text());
            }
            return true;
        }
        false
    }

    /// Time is up: cancels, and reads how it ended. A statement that made it after all is answered.
    async fn overdue(&mut self, threshold: usize) -> Result<Progress, SessionError> {
        let limit = self.bounds.deadline;
        self.lease.cancel().await;
        match timeout(Lease::cancel_grace(), self.read(threshold)).await {
            Ok(ended) => {
                // The cancel may still be on its way to this backend. What has not come to its end is left
                // in flight: then dropping the lease sees to it that it does.
                if !self.lease.connection().is_in_flight() {
                    self.lease.connection().condemn();
                }
                match ended {
                    Err(SessionError::Server(error)) if error.is_cancelled() => {
                        Err(SessionError::Deadline { limit, confirmed: true })
                    }
                    Ok(Progress::Partial(_)) => {
                        Err(SessionError::Deadline { limit, confirmed: false })
                    }
                    ended => ended,
                }
            }
            Err(_) => Err(SessionError::Deadline { limit, confirmed: false }),
        }
    }

    async fn read(&mut self, threshold: usize) -> Result<Progress, SessionError> {
        if !self.flushed {
            self.flushed = true;
            let discards = self.units.iter().filter(|unit| matches!(unit, Unit::Discard)).count();
            self.lease.connection().flush(discards + 1).await?;
        }
        loop {
            match self.step().await? {
                Step::Ended => return self.settle().await,
                Step::Describe(body) => Box::pin(self.describe_after_refresh(&body)).await?,
                Step::More => {}
            }
            if self.writer.bytes() > self.bounds.answer_bytes {
                return Err(SessionError::TooLarge(self.bounds.answer_bytes));
            }
            if self.writer.rows() > self.bounds.rows {
                return Err(SessionError::TooManyRows(self.bounds.rows));
            }
            if self.writer.pending() >= threshold {
                self.streamed = true;
                return Ok(Progress::Partial(self.writer.take()));
            }
        }
    }

    /// Reads and deals with one message.
    async fn step(&mut self) -> Result<Step, SessionError> {
        let connection = self.lease.connection();
        let frame = connection.next().await.map_err(|error| self.bounds.too_large(error))?;
        match (frame.tag, self.units.get_mut(self.current)) {
            (tag::READY, Some(Unit::Discard)) if self.refused.is_none() => self.current += 1,
            (tag::READY, _) => return Ok(Step::Ended),
            (tag::ERROR, Some(Unit::Discard)) => {
                return Err(PgError::Protocol("a connection could not be cleaned").into());
            }
            (tag::ERROR, _) => {
                let mut error = ServerError::parse(frame.body)?;
                error.hide_names(connection.statements().prefix());
                if error.is_fatal() {
                    connection.condemn();
                    return Err(SessionError::Server(Box::new(error)));
                }
                self.refused.get_or_insert(Box::new(error));
            }
            (tag::DATA_ROW, Some(Unit::Caller(unit))) => {
                let Some(description) = &unit.description else {
                    return Err(PgError::Protocol("a row before its description").into());
                };
                if !self.begun {
                    self.writer.begin(description);
                    self.begun = true;
                }
                self.writer
                    .row(frame.body, description, unit.rows_as_arrays)
                    .map_err(|error| self.bounds.row(error))?;
            }
            (tag::ROW_DESCRIPTION, Some(Unit::Caller(unit))) => {
                let description = Description::parse(frame.body, &self.catalog.types)?;
                if !description.unknown_types.is_empty() {
                    return Ok(Step::Describe(frame.body.into()));
                }
                unit.describe(description.into(), connection);
            }
            (tag::NO_DATA, Some(Unit::Caller(unit))) => {
                unit.describe(Description::none(), connection);
            }
            (tag::COMMAND_COMPLETE | tag::EMPTY_QUERY, Some(Unit::Caller(unit))) => {
                let command = command_tag(frame.tag, frame.body);
                if !self.begun {
                    self.writer
                        .begin(unit.description.as_deref().unwrap_or(&Description::default()));
                }
                self.writer.end(command, unit.rows_as_arrays);
                self.begun = false;
                self.current += 1;
            }
            (tag::COMMAND_COMPLETE, Some(Unit::Own | Unit::Open)) => self.current += 1,
            (tag::COPY_IN | tag::COPY_OUT | tag::COPY_BOTH, _) => {
                return Err(GateError::from(Refusal::Copy).into());
            }
            _ => {}
        }
        Ok(Step::More)
    }

    /// A type that was created after the catalogue was read: reads the catalogue and tries once more.
    async fn describe_after_refresh(&mut self, body: &[u8]) -> Result<(), SessionError> {
        self.catalog.refresh_or_report().await;
        let description = Description::parse(body, &self.catalog.types)?;
        if let Some(Unit::Caller(unit)) = self.units.get_mut(self.current) {
            unit.describe(description.into(), self.lease.connection());
        }
        Ok(())
    }

    /// `ReadyForQuery`: the transaction has ended, one way or the other.
    async fn settle(&mut self) -> Result<Progress, SessionError> {
        let connection = self.lease.connection();
        let open = !connection.is_idle();
        if self.admission == Admission::Suspect {
            connection.condemn();
        } else if open {
            connection.roll_back().await?;
        }
        if let Some(error) = self.refused.take() {
            if let (Some(Unit::Open), Sealing::PgSessionJwt(jwts)) =
                (self.units.get(self.current), &*self.sealing)
                && jwts.refused(&error)
            {
                // Nothing of the caller's ran. The next connection has another key.
                connection.condemn();
                return Err(SessionError::NotBelieved);
            }
            return Err(SessionError::Server(error));
        }
        if self.admission == Admission::Unread {
            return Err(GateError::from(Refusal::Unreadable).into());
        }
        if open || self.current < self.units.len() {
            connection.condemn();
            return Err(SessionError::TransactionBroken);
        }
        self.writer.finish();
        Ok(Progress::Complete(self.writer.take()))
    }
}

/// Room for an error message even where answers are limited to less, in bytes.
const SMALLEST_FRAME_LIMIT: usize = 64 * 1024;

/// What one message led to.
enum Step {
    More,
    /// The body of a `RowDescription` that names types nobody knows yet.
    Describe(Box<[u8]>),
    Ended,
}

impl CallerUnit {
    fn describe(&mut self, description: Arc<Description>, connection: &mut Connection) {
        let large = description.fields_json.len() > LARGEST_KEPT_DESCRIPTION;
        if let Some((name, _)) = self.keep.take_if(|_| large) {
            connection.statements().give_up(name);
        }
        if let Some((name, sql)) = self.keep.take() {
            let prepared = Prepared { name, description: Arc::clone(&description) };
            connection.statements().keep(sql, prepared);
        }
        self.description = Some(description);
    }
}

impl Bounds {
    fn row(&self, error: AnswerError) -> SessionError {
        match error {
            AnswerError::TooLarge => SessionError::TooLarge(self.answer_bytes),
            other => other.into(),
        }
    }

    fn too_large(&self, error: PgError) -> SessionError {
        match error {
            PgError::FrameTooLong => SessionError::TooLarge(self.answer_bytes),
            other => other.into(),
        }
    }
}

/// The command tag; none for an empty statement.
fn command_tag(tag: u8, body: &[u8]) -> &str {
    let body = if tag == tag::EMPTY_QUERY { &[] } else { body };
    std::str::from_utf8(body.strip_suffix(&[0]).unwrap_or(body)).unwrap_or_default()
}
