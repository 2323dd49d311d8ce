//! Ends a server that a crashed run left on our data directory.
//!
//! Must never signal a process that is not the postmaster of exactly this data directory: process
//! ids are reused.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Written by the postmaster: its process id, its data directory, … (one per line).
pub(super) const PID_FILE: &str = "postmaster.pid";

/// Signals in the order in which they are tried, and how long each may take: fast shutdown,
/// immediate shutdown, the end.
const STEPS: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(15)),
    (Signal::SIGQUIT, Duration::from_secs(5)),
    (Signal::SIGKILL, Duration::from_secs(2)),
];

/// How often a process that is asked to end is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Stops what still runs on `data` and removes a pid file that nobody stands behind any more.
pub(super) fn clear(data: &Path) -> io::Result<()> {
    let Some(pid) = postmaster_pid(data)? else { return Ok(()) };
    if is_postmaster_of(pid, data) {
        stop(pid, || is_postmaster_of(pid, data))?;
    }
    match fs::remove_file(data.join(PID_FILE)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The process id in the pid file of `data`, if there is one.
pub(super) fn postmaster_pid(data: &Path) -> io::Result<Option<Pid>> {
    match fs::read_to_string(data.join(PID_FILE)) {
        Ok(text) => Ok(text.lines().next().and_then(|pid| pid.parse().ok()).map(Pid::from_raw)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Asks ever more firmly until `is_alive` says no.
pub(super) fn stop(pid: Pid, mut is_alive: impl FnMut() -> bool) -> io::Result<()> {
    for (signal, patience) in STEPS {
        let deadline = Instant::now() + patience;
        // A process that ended meanwhile makes this fail; the loop finds out.
        let _ = kill(pid, signal);
        while Instant::now() < deadline {
            if !is_alive() {
                return Ok(());
            }
            thread::sleep(POLL);
        }
    }
    Err(io::Error::other(format!(
        "a PostgreSQL server left by an earlier run (process {pid}) does not stop"
    )))
}

/// Whether `pid` lives and was started with `-D data`.
fn is_postmaster_of(pid: Pid, data: &Path) -> bool {
    let Some(arguments) = command_line(pid) else { return false };
    arguments.contains("postgres") && arguments.contains(&*data.to_string_lossy())
}

/// A process's arguments; none if it is gone or only a zombie.
fn command_line(pid: Pid) -> Option<String> {
    let bytes = if Path::new("/proc/self/cmdline").exists() {
        fs::read(format!("/proc/{pid}/cmdline")).ok()?
    } else {
        Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output().ok()?.stdout
    };
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    (!text.trim().is_empty()).then_some(text)
}
