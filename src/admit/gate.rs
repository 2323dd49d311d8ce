//! A statement's text → its verdict: remembered, or worked out on a thread of its own.
//!
//! Trees nest as deeply as statements do, and are gone through by recursion, so the grammar runs on threads
//! with a large stack (it refuses what nests deeper than about 4,500 levels, which is what the stack is
//! sized for). One thread reads short statements and one long ones, so that neither waits for the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::knowledge::Knowledge;
use super::residue::Definition;
use super::rules::Rules;
use super::scan::takes_too_long;
use super::{Admission, Refusal, Verdict};
use crate::config::StatementKinds;
use crate::pg::sql::CallerSql;

/// The parser's stack in bytes; only what a statement really needs of it becomes memory.
pub const STACK: usize = 256 * 1024 * 1024;
/// Statements that may wait for each of the two threads. More are refused, rather than kept in memory.
const WAITING: usize = 256;
/// Statements longer than this many bytes are long: reading 100 kB may take as long as reading a thousand
/// statements of the usual length.
const LONG: usize = 8 * 1024;
/// How long a statement may wait to be read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The statement does not run.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too many new statements at once.
    #[error("too many statements wait to be read")]
    Busy,
}

/// Judges statements.
#[derive(Debug)]
pub struct Gate {
    rules: Arc<Rules>,
    knowledge: ArcSwap<Knowledge>,
    short: mpsc::Sender<Job>,
    long: mpsc::Sender<Job>,
}

/// A statement to be read, and who waits for it.
struct Job {
    text: Box<str>,
    knowledge: Arc<Knowledge>,
    answer: oneshot::Sender<Verdict>,
}

impl Gate {
    /// Starts the parser's threads, which end with the gate.
    pub fn start(rules: Rules) -> io::Result<Self> {
        let rules = Arc::new(rules);
        let (short, long) = (reader(&rules)?, reader(&rules)?);
        Ok(Self { rules, knowledge: ArcSwap::default(), short, long })
    }

    /// Takes in what the database's catalogue says now. If it says something new, all that was found out
    /// before is forgotten.
    pub fn learn(&self, definitions: Vec<Definition>) {
        if !self.knowledge.load().rests_on(&definitions) {
            self.knowledge.store(Arc::new(Knowledge::new(definitions)));
        }
    }

    /// Judges one statement. Waits only for one that was not seen lately.
    pub async fn judge(&self, sql: CallerSql<'_>) -> Result<Admission, GateError> {
        let text = sql.text();
        if text.len() > self.rules.statement_bytes {
            return Ok(self.too_long(text)?);
        }
        let knowledge = self.knowledge.load();
        if let Some(verdict) = knowledge.verdicts.get(text) {
            return Ok(verdict?);
        }
        self.read(text, knowledge).await
    }

    async fn read(
        &self,
        text: &str,
        knowledge: Guard<Arc<Knowledge>>,
    ) -> Result<Admission, GateError> {
        let knowledge = Guard::into_inner(knowledge);
        let (answer, verdict) = oneshot::channel();
        let job = Job { text: text.into(), knowledge: Arc::clone(&knowledge), answer };
        let queue = if text.len() > LONG { &self.long } else { &self.short };
        queue.try_send(job).map_err(|_| GateError::Busy)?;
        let verdict = timeout(PATIENCE, verdict).await.map_err(|_| GateError::Busy)?;
        // A parser that dropped the job has panicked over it: not read, not run.
        let verdict = verdict.unwrap_or(Err(Refusal::Unreadable));
        knowledge.verdicts.insert(text.into(), verdict.clone());
        Ok(verdict?)
    }

    fn too_long(&self, text: &str) -> Verdict {
        match self.rules.kinds {
            StatementKinds::Data => Err(Refusal::TooLong(self.rules.statement_bytes)),
            StatementKinds::All if takes_too_long(text) => Err(Refusal::TooSlow),
            StatementKinds::All => Ok(Admission::Suspect),
        }
    }
}

/// Starts a thread that reads statements until the gate is gone.
fn reader(rules: &Arc<Rules>) -> io::Result<mpsc::Sender<Job>> {
    let (queue, mut jobs) = mpsc::channel::<Job>(WAITING);
    let rules = Arc::clone(rules);
    let read = move || {
        while let Some(job) = jobs.blocking_recv() {
            if job.answer.is_closed() {
                continue;
            }
            let verdict =
                catch_unwind(AssertUnwindSafe(|| judge(&job.text, &rules, &job.knowledge)));
            if let Ok(verdict) = verdict {
                let _ = job.answer.send(verdict);
            }
        }
    };
    thread::Builder::new().name("admission".to_owned()).stack_size(STACK).spawn(read)?;
    Ok(queue)
}

/// Judges one statement on the caller's own stack, which must be large.
pub fn judge(text: &str, rules: &Rules, knowledge: &Knowledge) -> Verdict {
    if takes_too_long(text) {
        return Err(Refusal::TooSlow);
    }
    match pg_query::parse(text, 0) {
        Ok(parsed) => rules.judge(&parsed.protobuf, knowledge),
        Err(error) if is_too_deep(&error) && rules.kinds == StatementKinds::Data => {
            Err(Refusal::TooDeep)
        }
        Err(_) => Ok(rules.unread()),
    }
}

/// The three ways in which `libpg_query` says that it went out of depth: its stack (`check_stack_depth`),
/// that of its parser (`YYMAXDEPTH`), and that of the tree's encoding.
fn is_too_deep(error: &pg_query::Error) -> bool {
    match error {
        pg_query::Error::Parse(message) => {
            ["stack depth limit", "memory exhausted", "nested too deeply"]
                .iter()
                .any(|sign| message.contains(sign))
        }
        pg_query::Error::Decode(_) => true,
        _ => false,
    }
}
