//! Parses the command line, runs one command, prints errors.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    rowgate::cli::run().await
}
