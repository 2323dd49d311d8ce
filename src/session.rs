//! Identity + statements → one pipelined transaction.
//!
//! The only place that opens a session: whatever a caller sends runs behind a seal of the verified
//! claims, in the same transaction. Must never let a caller's statement run without one, nor hand on a
//! connection on which a statement may have left something.

pub mod keyring;
pub mod pipeline;
pub mod proof;
pub mod running;
pub mod seal;
pub mod sealing;
pub mod session_jwt;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::admit::{Admission, Gate, GateError};
use crate::auth::Identity;
use crate::json::answer::AnswerError;
use crate::json::params::ParamError;
use crate::pg::catalog::Catalog;
use crate::pg::pool::{AcquireError, Pool};
use crate::pg::sql::CallerSql;
use crate::pg::{PgError, ServerError};
use crate::places::Place;
use keyring::{NOT_BELIEVED, Verdict};
use pipeline::{Pooled, Sent};
pub use running::{Progress, Running};
use sealing::Sealing;

/// One statement of a request.
#[derive(Clone, Copy)]
pub struct Statement<'a> {
    /// What to run.
    pub sql: CallerSql<'a>,
    /// Its parameters, `$1` first, as the JSON that the client wrote.
    pub params: &'a [&'a serde_json::value::RawValue],
    /// Rows as arrays rather than objects.
    pub rows_as_arrays: bool,
}

/// Isolation levels, as clients name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// The same as read committed in `PostgreSQL`.
    ReadUncommitted,
    /// The default of `PostgreSQL`.
    ReadCommitted,
    /// Snapshot isolation.
    RepeatableRead,
    /// As if transactions ran one after the other.
    Serializable,
}

/// How the transaction of a batch is to be opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionOptions {
    /// Unset: the database's default.
    pub isolation: Option<Isolation>,
    /// READ ONLY
    pub read_only: bool,
    /// DEFERRABLE
    pub deferrable: bool,
}

/// What a caller wants done, in one transaction.
#[derive(Clone)]
pub struct Request<'a> {
    /// In the order in which they run.
    pub statements: Vec<Statement<'a>>,
    /// How the transaction is opened.
    pub options: TransactionOptions,
    /// Values as the text that the server prints, rather than typed JSON.
    pub raw_text: bool,
    /// Whether the answer is a list of results.
    pub batch: bool,
}

/// Why a request was not carried out, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The database said no.
    #[error("the database refused with {}", .0.code)]
    Server(Box<ServerError>),
    /// A statement that is not run, or could not be judged.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// A parameter without a text form.
    #[error("parameter ${index} of statement {statement}: {source}")]
    Parameter {
        /// 1-based position of the statement.
        statement: usize,
        /// 1-based position of the parameter.
        index: usize,
        /// What is wrong with it.
        source: ParamError,
    },
    /// The answer has more rows than it may have.
    #[error("the answer has more than {0} rows")]
    TooManyRows(u64),
    /// More parameters than the protocol can count.
    #[error("statement {0} has more than 65,535 parameters")]
    TooManyParameters(usize),
    /// No connection could be had.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The connection failed while the statement ran.
    #[error(transparent)]
    Connection(#[from] PgError),
    /// A value could not be sent as JSON.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The answer exceeds the limit.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
    /// Time was up. `confirmed`: the database has confirmed that the statement was cancelled.
    #[error("not done within {limit:?}")]
    Deadline {
        /// The limit.
        limit: Duration,
        /// Whether the cancellation was confirmed.
        confirmed: bool,
    },
    /// The database did not believe the seal, which was not the caller's doing.
    #[error("the database did not believe the seal")]
    NotBelieved,
    /// A statement that needs a connection that is clean before and closed afterwards, which a pooler
    /// does not give.
    #[error("the statement could leave something behind on a connection that others share")]
    NeedsOwnConnection,
    /// The statement ended the transaction, or left one open.
    #[error("the statement interfered with the request's transaction")]
    TransactionBroken,
}

/// What a request may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Time in the database.
    pub deadline: Duration,
    /// Bytes of the answer.
    pub answer_bytes: u64,
    /// Rows of the answer.
    pub rows: u64,
}

/// Opens sessions for all identities.
#[derive(Debug)]
pub struct Sessions {
    /// Connections that are logged in for callers with a valid token.
    pub authenticated: Pool,
    /// Connections that are logged in for callers without one.
    pub anonymous: Pool,
    /// Those of the roles that claims are mapped to, at the places of `database.roles`.
    pub mapped: Vec<(&'static str, Pool)>,
    /// Makes the database believe claims.
    pub sealing: Arc<Sealing>,
    /// What takes the place of start-up settings where connections lead to a pooler.
    pub pooled: Option<Pooled>,
    /// Knows how types print.
    pub catalog: Arc<Catalog>,
    /// Judges statements.
    pub gate: Arc<Gate>,
    /// What each request may cost.
    pub bounds: Bounds,
}

/// How often a request is sent: a second time only when the first could not have had any effect.
const ATTEMPTS: usize = 2;

impl Sessions {
    fn pool(&self, identity: &Identity) -> &Pool {
        match identity {
            Identity::Anonymous => &self.anonymous,
            Identity::Verified(token) => match token.role() {
                None => &self.authenticated,
                // invariant: one pool for each of the configured roles, of which a `RoleId` is one.
                Some(role) => &self.mapped[role.index()].1,
            },
        }
    }

    /// Every pool, with the name of the role that its requests run as.
    pub fn pools(&self) -> impl Iterator<Item = (&'static str, &Pool)> {
        [("authenticated", &self.authenticated), ("anonymous", &self.anonymous)]
            .into_iter()
            .chain(self.mapped.iter().map(|(name, pool)| (*name, pool)))
    }

    /// Closes idle connections and refuses further requests.
    pub fn close(&self) {
        self.pools().for_each(|(_, pool)| pool.close());
    }

    /// Runs a request until its answer is complete, or has reached `threshold` bytes.
    ///
    /// `queued` is set to the time spent waiting for a connection. `place` is held until nothing of the
    /// request runs any more, should it be abandoned.
    pub async fn run(
        &self,
        identity: &Identity,
        request: &Request<'_>,
        threshold: usize,
        place: Option<&Place>,
        queued: &mut Duration,
    ) -> Result<(Running, Progress), SessionError> {
        let admission = self.admit(request).await?;
        let needs_cleaning = matches!(admission, Admission::Tainting | Admission::Suspect);
        if self.pooled.is_some() && needs_cleaning {
            return Err(SessionError::NeedsOwnConnection);
        }
        let mut attempt = 1;
        loop {
            let generation = self.sealing.generation();
            let waiting_since = Instant::now();
            let mut lease = self.pool(identity).acquire().await?;
            let leased = Instant::now();
            *queued += leased - waiting_since;
            lease.hold(place.cloned());
            let sent = Sent::assemble(lease.connection(), self, identity, request, admission)?;
            let mut running = Running::start(lease, leased, sent, request, self, admission);
            match running.advance(threshold).await {
                Ok(progress) => return Ok((running, progress)),
                Err(error) if attempt < ATTEMPTS && running.may_try_again(&error, request) => {
                    attempt += 1;
                }
                Err(SessionError::Server(error)) if error.code == NOT_BELIEVED => {
                    // Others may have the connection while the key is looked at.
                    drop(running);
                    match Box::pin(self.sealing.doubt(generation)).await {
                        Verdict::Caller => return Err(SessionError::Server(error)),
                        // The error has undone everything.
                        Verdict::Replaced
                            if attempt < ATTEMPTS && admission == Admission::Plain =>
                        {
                            attempt += 1;
                        }
                        Verdict::Replaced | Verdict::Gateway => {
                            return Err(SessionError::NotBelieved);
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The worst of what the statements ask for counts for all of them.
    async fn admit(&self, request: &Request<'_>) -> Result<Admission, GateError> {
        let mut admission = Admission::Plain;
        for statement in &request.statements {
            admission = admission.max(self.gate.judge(statement.sql).await?);
        }
        Ok(admission)
    }
}
