//! Parses the command line, runs one command, prints errors.

use std::process::ExitCode;

use rowgate::cli::{self, Cli};

fn main() -> ExitCode {
    cli::run(Cli::from_process()).map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS)
}
