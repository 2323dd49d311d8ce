//! Why SQL files could not be applied. Names the file and line, never a key or a password.

use std::path::PathBuf;

use crate::pg::control::{ControlError, reason};

/// Why migrations, policies, passwords or keys could not be dealt with. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// No connection as owner.
    #[error(transparent)]
    Connect(#[from] ControlError),
    /// A directory or file could not be read, or is no text.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The directory or file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A file whose name says nothing, and which would therefore never be applied.
    #[error("{} is not named as expected: {expected}", path.display())]
    FileName {
        /// The file.
        path: PathBuf,
        /// How files in this directory are named.
        expected: &'static str,
    },
    /// Two migrations with the same version.
    #[error("{} and {} have the same version; give the newer one the next free number", first.display(), second.display())]
    SameVersion {
        /// The first in the order of names.
        first: PathBuf,
        /// The second.
        second: PathBuf,
    },
    /// A file that would begin or end a transaction.
    #[error("{}:{line}: `{statement}` is not allowed: all files are applied in one transaction", path.display())]
    TransactionControl {
        /// The file.
        path: PathBuf,
        /// The line on which the statement begins.
        line: usize,
        /// The statement's first word or words.
        statement: String,
    },
    /// The server refused a statement of a file.
    #[error("{0}")]
    Statement(Box<StatementError>),
    /// A migration was edited after it had been applied.
    #[error(
        "{} was changed after it had been applied to this database; restore it and put the change into a new migration", path.display()
    )]
    Divergent {
        /// The file as it is now.
        path: PathBuf,
    },
    /// A migration that was applied has no file any more.
    #[error("{name}.sql was applied to this database but is not in {}", directory.display())]
    Missing {
        /// Version and name, as in `V1__todos`.
        name: String,
        /// Where it should be.
        directory: PathBuf,
    },
    /// A migration that was never applied, older than one that was.
    #[error(
        "{} was never applied, but newer migrations were; give it a version greater than theirs", path.display()
    )]
    OutOfOrder {
        /// The file.
        path: PathBuf,
    },
    /// The schema `auth` belongs to somebody else.
    #[error(
        "schema auth already contains {objects}; Rowgate needs this schema for itself, or shares it with nothing but the extension pg_session_jwt: rename the existing one (alter schema auth rename to …) or use another database"
    )]
    ForeignAuthSchema {
        /// Some of what is in it.
        objects: String,
    },
    /// The extension `pg_session_jwt` has the schema `auth`, and the roles cannot be let in.
    #[error(
        "the schema auth belongs to the extension pg_session_jwt, and {roles} may not use it; have a \
         superuser run: grant usage on schema auth to public"
    )]
    AuthSchemaClosed {
        /// Who may not.
        roles: String,
    },
    /// A database without Rowgate's roles and functions, or with those of an older version.
    #[error(
        "this database has not been migrated yet, or by an older version; run `rowgate migrate` (there are no \
         seal keys where the extension pg_session_jwt has the schema auth)"
    )]
    NotMigrated,
    /// Somebody changed policies or privileges in the database, and applying would take that back.
    #[error(
        "changed in the database by hand since the files were applied:\n  {}\nput it into the files, or take it back with --allow-drift; nothing was applied",
        .0.join("\n  ")
    )]
    ChangedByHand(
        /// Each change.
        Vec<String>,
    ),
    /// The files could not be tried, perhaps because they need migrations that have not run yet.
    #[error(
        "{error}\n{} not run yet; plan with --with-migrations to include them",
        match pending.as_slice() {
            [one] => format!("the migration {one} has"),
            all => format!("the migrations {} have", all.join(", ")),
        }
    )]
    Unmigrated {
        /// Their names.
        pending: Vec<String>,
        /// What went wrong.
        error: Box<PolicyError>,
    },
    /// A version that the history does not have, or has no files of.
    #[error(
        "there is no version {version} to go back to; `rowgate policies history` lists them, and those of earlier programs have no files"
    )]
    NoSuchVersion {
        /// The version.
        version: i32,
    },
    /// Another process holds a lock for too long.
    #[error("gave up waiting for a lock after {seconds} s while {doing}; try again when {holder}")]
    Locked {
        /// How long was waited.
        seconds: u64,
        /// For what.
        doing: &'static str,
        /// Who is in the way.
        holder: &'static str,
    },
    /// The server failed on a statement that comes from no file.
    #[error("{doing} failed: {}", reason(.source))]
    Database {
        /// What was being done.
        doing: &'static str,
        /// The driver's error.
        source: tokio_postgres::Error,
    },
    /// `refinery` refused the history or the files.
    #[error("the migration history cannot be used: {0}")]
    History(String),
    /// No key can be used.
    #[error("no seal key: {0}")]
    SealKey(&'static str),
    /// A login role without a password to give it.
    #[error("{0}")]
    Login(String),
}

/// What the server said about a statement of a file.
#[derive(Debug)]
pub struct StatementError {
    /// The file.
    pub path: PathBuf,
    /// The line that the server points at, otherwise the first one of the statement.
    pub line: usize,
    /// That line's text, shortened.
    pub text: String,
    /// The server's message.
    pub message: String,
    /// Five characters; `?????` if there was no answer from a server.
    pub sqlstate: String,
    /// The server's detail.
    pub detail: Option<String>,
    /// The server's hint.
    pub hint: Option<String>,
}

impl std::fmt::Display for StatementError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, line, text, message, sqlstate, .. } = self;
        write!(f, "{}:{line}: {message} ({sqlstate})\n  {line} | {text}", path.display())?;
        if let Some(detail) = &self.detail {
            write!(f, "\n  detail: {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl PolicyError {
    /// Whether trying again in a moment may help: a table was in use, or roles were changing.
    pub(crate) fn is_passing(&self) -> bool {
        super::apply::is_passing(self)
    }

    /// For `map_err`: the server failed while `doing` something.
    pub(crate) fn database(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Database { doing, source }
    }
}
