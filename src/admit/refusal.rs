//! Why a statement does not run, in words that say what to do about it.

use std::sync::Arc;

/// A statement that is not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// BEGIN, COMMIT and their kin: the gateway opens and ends transactions.
    #[error("transaction control is not available: each request is one transaction")]
    TransactionControl,
    /// COPY speaks a protocol of its own.
    #[error("COPY is not available over HTTP")]
    Copy,
    /// Not one of the kinds that are run here.
    #[error(
        "only SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, TABLE and EXPLAIN of these are run here"
    )]
    Kind,
    /// SELECT … INTO makes a table.
    #[error("SELECT INTO makes a table, which is not available here")]
    SelectInto,
    /// EXPLAIN with estimates or counts, which tell of rows that policies hide.
    #[error("EXPLAIN is available without ANALYZE and with COSTS OFF only")]
    Explain,
    /// A function that shows or changes what is not the caller's.
    #[error("the function {0} is not available here")]
    Function(Arc<str>),
    /// A relation of the system, or a sequence.
    #[error("the relation {0} is not available here")]
    Relation(Arc<str>),
    /// A type whose values are looked up in the catalogue.
    #[error("the type {0} is not available here")]
    Type(Arc<str>),
    /// Longer than the limit, which is given in bytes.
    #[error("the statement is longer than {0} bytes")]
    TooLong(usize),
    /// Nested deeper than the grammar takes in.
    #[error("the statement is nested too deeply")]
    TooDeep,
    /// A text made to keep a scanner busy.
    #[error("the statement holds runs of operator characters that take too long to read")]
    TooSlow,
    /// The database can read it, and this program cannot.
    #[error("the statement could not be read here, although the database can")]
    Unreadable,
}
