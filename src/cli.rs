//! The command line: one file per command.

use std::process::ExitCode;

pub mod token;

/// Runs the command that the arguments name.
pub async fn run() -> ExitCode {
    ExitCode::SUCCESS
}
