//! The threads that a command works on.

use std::future::Future;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;

use super::Failure;

/// How long work on blocking threads may hold up the end of the process.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);

/// Completes a command whose tasks run on `threads` threads.
///
/// # Errors
///
/// The command's own; the system has no thread to give.
pub fn block_on(
    threads: usize,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_timeout(SHUTDOWN_LIMIT);
    outcome
}

/// Half as many threads as there are cores, and one at least: a request costs the database several times what
/// it costs the gateway, and with more threads they wake each other for nothing (bench/PROFILE.md).
pub fn fitting_threads() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}
