//! What is wrong with a database's policies and grants, before anybody else finds out.
//!
//! The catalogue is read in one transaction, over the owner's connection: of the database as it is, or of
//! what the SQL files would make of it ([`crate::policy::rehearse`]). The transaction ends before the rules
//! are asked, so that no table is locked longer than it takes to read. Must never change anything, neither
//! in the database nor (but for [`fix`]) in a file.

pub mod catalogue;
mod files;
pub mod fix;
pub mod report;
pub mod rules;
pub mod sarif;
pub mod tree;

use std::path::PathBuf;
use std::thread;

use tokio_postgres::{Client, IsolationLevel, Transaction};

use crate::admit::gate::STACK;
use crate::pg::control;
use crate::policy::{self, PolicyError, SqlSource};
use catalogue::Catalogue;
pub use files::Files;
pub use rules::{Finding, Level, Object, RULES, Rule};

/// Why nothing could be found out.
#[derive(Debug, thiserror::Error)]
pub enum LintError {
    /// The catalogue could not be read.
    #[error("the catalogue cannot be read: {}", control::reason(.0))]
    Database(#[from] tokio_postgres::Error),
    /// The files could not be read or applied.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The thread that looks through the catalogue ended early.
    #[error("looking through the catalogue failed")]
    Stopped,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The database as it is. Takes no lock but those of reading.
    Live,
    /// What the files make: the database as it is, if they are applied.
    Files,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Counted from 1.
    pub line: usize,
}

/// A finding, where it was found, and why it may be so.
#[derive(Clone, Debug)]
pub struct Reported {
    /// The finding.
    pub finding: Finding,
    /// The statement in the files that it comes from.
    pub place: Option<Place>,
    /// The reason of the exception that excuses it.
    pub allowed: Option<String>,
}

/// What was found.
#[derive(Debug)]
pub struct Outcome {
    /// Whether the files were applied first, in a transaction that is gone.
    pub is_rehearsed: bool,
    /// Everything, ordered by file and line.
    pub reported: Vec<Reported>,
    /// The files that were looked at.
    pub files: Files,
}

impl Outcome {
    /// What no exception excuses.
    pub fn findings(&self) -> impl Iterator<Item = &Reported> {
        self.reported.iter().filter(|reported| reported.allowed.is_none())
    }

    /// How many of these are at least so bad.
    #[must_use]
    pub fn count_from(&self, level: Level) -> usize {
        self.findings().filter(|reported| reported.finding.rule.level >= level).count()
    }
}

/// Looks at everything. With [`Scope::Live`] the files only tell places and exceptions, and may be absent.
///
/// # Errors
///
/// No answer of the database, or files that cannot be read or applied.
pub async fn run(
    client: &mut Client,
    source: &SqlSource,
    scope: Scope,
) -> Result<Outcome, LintError> {
    let is_absent = scope == Scope::Live && !source.dir().exists();
    let texts = if is_absent { Vec::new() } else { source.texts()? };
    let (catalogue, is_rehearsed) = match scope {
        Scope::Live => (live(client).await?, false),
        Scope::Files => {
            let transaction = begin(client).await?;
            if policy::is_applied(&transaction, source).await? {
                (Catalogue::read(&transaction).await?, false)
            } else {
                drop(transaction);
                (rehearsed(client, source).await?, true)
            }
        }
    };
    judge(catalogue, texts, is_rehearsed).await
}

/// The findings of a catalogue, without any file. For tests of single rules.
///
/// # Errors
///
/// As [`run`].
pub async fn survey(transaction: &Transaction<'_>) -> Result<Vec<Finding>, LintError> {
    let catalogue = Catalogue::read(transaction).await?;
    let outcome = judge(catalogue, Vec::new(), false).await?;
    Ok(outcome.reported.into_iter().map(|reported| reported.finding).collect())
}

async fn begin(client: &mut Client) -> Result<Transaction<'_>, LintError> {
    let builder = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    Ok(builder.read_only(true).start().await?)
}

async fn live(client: &mut Client) -> Result<Catalogue, LintError> {
    let transaction = begin(client).await?;
    let catalogue = Catalogue::read(&transaction).await?;
    transaction.rollback().await?;
    Ok(catalogue)
}

async fn rehearsed(client: &mut Client, source: &SqlSource) -> Result<Catalogue, LintError> {
    policy::rehearse(client, source, async |transaction: &Transaction<'_>| {
        Catalogue::read(transaction).await
    })
    .await
}

/// Asks the rules. Conditions nest, and are gone through by recursion: on a thread with a large stack.
async fn judge(
    mut catalogue: Catalogue,
    texts: Vec<(PathBuf, String)>,
    is_rehearsed: bool,
) -> Result<Outcome, LintError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let work = move || {
        catalogue.parse();
        let files = Files::read(texts);
        let reported = files.place(rules::check(&catalogue));
        // Nobody waits any more if the command was interrupted.
        let _ = sender.send(Outcome { is_rehearsed, reported, files });
    };
    let thread = thread::Builder::new().name("lint".to_owned()).stack_size(STACK);
    thread.spawn(work).map_err(|_| LintError::Stopped)?;
    receiver.await.map_err(|_| LintError::Stopped)
}
