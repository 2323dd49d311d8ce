//! Which statements run, and what becomes of the connection afterwards.
//!
//! By default only statements that read and change rows run, and these call no function and name no
//! relation that shows or changes what belongs to others. This is decided on the tree that PostgreSQL's own
//! grammar makes of a statement ([`tree`]), by what the database's catalogue says of the names in it
//! ([`knowledge`]), once for each text ([`gate`]). It is no judge of what rows a caller may see: that is the
//! database's.
//!
//! What a statement leaves on its connection follows from the names, too ([`residue`]). A statement runs only
//! code that it names (functions, operators, types), code that is attached to what it names (policies,
//! defaults, triggers), and code that runs unnamed (casts). Of the server's own functions those that leave
//! something are volatile; of the application's, those whose text says so, or that name one that does.

pub mod gate;
pub mod knowledge;
mod refusal;
pub mod residue;
pub mod rules;
pub mod scan;
#[cfg(test)]
mod tests;
mod tree;

pub use gate::{Gate, GateError};
pub use refusal::Refusal;
pub use rules::Rules;

/// What is to be done around a statement that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Admission {
    /// Leaves nothing that outlives its transaction but its own plan and sequence positions.
    Plain,
    /// May leave something in the session: the connection is reset afterwards.
    Tainting,
    /// May show or leave anything: runs on a clean connection that is closed afterwards.
    Suspect,
    /// Cannot be read here: the database is asked what is wrong with it, and does not run it.
    Unread,
}

/// A statement's way in, or why there is none.
pub type Verdict = Result<Admission, Refusal>;
