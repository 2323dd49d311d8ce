//! `rowgate serve` as a process, whose memory can be told apart from the tests'.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::cluster::TestDatabase;
use crate::harness::issuer::FakeIssuer;

/// How long the statements in the database may take to become what is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway on a database of its own; killed when dropped.
pub struct Process {
    child: Child,
    /// Where clients connect.
    pub address: String,
    database: TestDatabase,
    _issuer: FakeIssuer,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts one, and waits until it serves.
    pub async fn start(
        database: TestDatabase,
        issuer: FakeIssuer,
        settings: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowgate"));
        command
            .arg("serve")
            .current_dir(std::env::temp_dir())
            .env_clear()
            .env("DATABASE_URL", &database.owner_url)
            .env("DATABASE_AUTHENTICATED_URL", &database.authenticated_url)
            .env("DATABASE_ANONYMOUS_URL", &database.anonymous_url)
            .env("ROWGATE_ISSUER_URL", issuer.url())
            .env("ROWGATE_SERVER_LISTEN", "127.0.0.1:0")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, found) = tokio::sync::oneshot::channel();
        // Reads on to the end, so that the process never waits for its log to be read.
        std::thread::spawn(move || {
            let mut lines = stdout.lines().map_while(Result::ok);
            let address = lines.by_ref().find(|line| line.contains("serving")).and_then(address);
            let _ = sender.send(address);
            lines.for_each(drop);
        });
        let address = found.await.unwrap().expect("serve did not say where it listens");
        Self { child, address, database, _issuer: issuer }
    }

    /// The most that was ever resident, in KiB (`VmHWM`, proc(5)).
    pub fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// Waits until exactly `wanted` statements of callers run.
    pub async fn wait_for_statements(&self, wanted: i64) {
        let superuser = self.database.superuser().await;
        let began = Instant::now();
        let running = "select count(*) from pg_stat_activity where datname = current_database() \
                       and state = 'active' and usename in ('authenticated', 'anonymous')";
        while superuser.query_one(running, &[]).await.unwrap().get::<_, i64>(0) != wanted {
            assert!(began.elapsed() < PATIENCE, "there were never {wanted} statements");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The first address in the line that says where the gateway listens.
fn address(line: String) -> Option<String> {
    let (_, rest) = line.split_once("127.0.0.1:")?;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(format!("127.0.0.1:{port}"))
}
