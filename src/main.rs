//! Parses the command line, runs one command, prints errors.

use std::process::ExitCode;
use std::time::Duration;

use rowgate::cli::{self, Cli, Failure};

/// How long work on blocking threads may hold up the end of the process.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::from_process();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(error).report(),
    };
    let outcome = runtime.block_on(cli::run(cli));
    runtime.shutdown_timeout(SHUTDOWN_LIMIT);
    outcome.map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS)
}
