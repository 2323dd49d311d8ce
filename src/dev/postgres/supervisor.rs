//! Keeps a server's life tied to ours, whatever way we end.
//!
//! A small shell script starts the server and reads from a pipe of which this process holds the
//! other end. When this process ends, be it by SIGKILL, the kernel closes the pipe and the script
//! asks the server for a fast shutdown. Must never write to that pipe or hand it to another child.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::leftover;
use super::place::Place;

/// `$1` names a directory to remove in the end (or is empty); the rest is the server's command.
///
/// Job control is off, so the server starts with SIGINT ignored until it installs its own handler:
/// the signal is therefore repeated until the server is gone.
const SCRIPT: &str = r#"
exec 3<&0 </dev/null
remove=$1
shift
"$@" 3<&- &
server=$!
(
  while read -r line <&3; do :; done
  tries=0
  while [ $tries -lt 60 ] && kill -INT "$server" 2>/dev/null; do
    tries=$((tries + 1))
    sleep 1
  done
) &
watcher=$!
exec 3<&-
wait "$server"
status=$?
kill "$watcher" 2>/dev/null
if [ -n "$remove" ]; then cd / && rm -rf "$remove"; fi
exit "$status"
"#;

/// How often we look whether the server is ready, or gone.
const POLL: Duration = Duration::from_millis(10);

/// Lines of a log that are quoted in an error.
const QUOTED_LINES: usize = 12;

/// Where the postmaster writes its state into its pid file (`LOCK_FILE_LINE_PM_STATUS`).
const STATUS_LINE: usize = 7;

/// A server and the script that watches over it.
#[derive(Debug)]
pub(super) struct Supervisor {
    script: Child,
    lifeline: Option<ChildStdin>,
    data: PathBuf,
}

impl Supervisor {
    /// Starts `postgres` with `arguments` on `data`; its output goes to `log`. When the server
    /// has ended, the script removes the directory `remove_after`.
    pub(super) fn spawn(
        place: &Place,
        postgres: &Path,
        data: &Path,
        arguments: &[String],
        log: File,
        remove_after: Option<&Path>,
    ) -> io::Result<Self> {
        let mut script = place
            .command(Path::new("/bin/sh"))
            .arg("-c")
            .arg(SCRIPT)
            .arg("rowgate-supervisor")
            .arg(remove_after.unwrap_or(Path::new("")))
            .arg(postgres)
            .arg("-D")
            .arg(data)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in the terminal reaches us alone; we decide in which order things stop.
            .process_group(0)
            .spawn()?;
        let lifeline = script.stdin.take();
        Ok(Self { script, lifeline, data: data.to_owned() })
    }

    /// Waits until the server takes connections. `Ok(Some(_))`: it ended instead.
    pub(super) fn wait_until_ready(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.script.try_wait()? {
                return Ok(Some(status));
            }
            if self.is_ready() {
                return Ok(None);
            }
            if Instant::now() >= deadline {
                let message = format!("not ready after {} seconds", limit.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            thread::sleep(POLL);
        }
    }

    fn is_ready(&self) -> bool {
        fs::read_to_string(self.data.join(leftover::PID_FILE))
            .is_ok_and(|text| text.lines().nth(STATUS_LINE).is_some_and(|s| s.trim() == "ready"))
    }

    /// Whether the server still runs.
    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.script.try_wait(), Ok(None))
    }

    /// The postmaster's process id, while it runs.
    pub(super) fn server_pid(&self) -> Option<Pid> {
        leftover::postmaster_pid(&self.data).ok().flatten()
    }

    /// Lets go of the pipe and waits for the server's end, ever less patiently.
    pub(super) fn stop(&mut self) -> io::Result<()> {
        drop(self.lifeline.take());
        if !self.is_running() {
            return Ok(());
        }
        match self.server_pid() {
            Some(pid) => leftover::stop(pid, || self.is_running()),
            None => self.script.wait().map(drop),
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // Nobody is left to be told; the next start finds and ends what remains.
        let _ = self.stop();
    }
}

/// The end of a log, as an error message quotes it.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_log_is_quoted() {
        let log = ["line\n\n"; 39].concat() + "the last line";
        let quoted = last_lines(&log);
        assert_eq!(quoted.lines().count(), QUOTED_LINES);
        assert!(quoted.ends_with("the last line"), "{quoted}");
    }
}
