//! Tests of policies: statements run as callers of a gateway would run them, with sealed claims, and what must
//! come of each; in a transaction that is rolled back.
//!
//! Must never commit anything: whatever a test does, the database is left as it was.

mod expectation;
mod file;
mod ground;
mod mutant;
mod outcome;
mod report;
mod run;

pub use file::{FileError, TestFile};
pub use report::{BranchReport, MutantReport, Report, TestReport, Verdict, junit, tap};
pub use run::{Settings, TestError, run};
