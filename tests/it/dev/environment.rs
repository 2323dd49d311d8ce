//! `rowgate dev` as a whole: the real program, driven by what it prints.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::SOON;
use crate::harness::cluster::PrivateCluster;

/// What the last line of the guide begins with.
const END_OF_GUIDE: &str = "console.log";

const SELECT: &str = r#"{"query":"select user_id, is_complete from todos"}"#;

/// A project of its own, and the program that runs on it.
struct Dev {
    child: Child,
    lines: Receiver<String>,
    url: String,
    alice: String,
    dir: PathBuf,
}

impl Dev {
    /// Starts the program and reads what it prints up to the end of the guide.
    fn start(dir: &Path) -> Self {
        Self::spawn(&mut Self::command(dir), dir)
    }

    /// The program on a copy of the sample project in `dir`.
    fn command(dir: &Path) -> Command {
        let sql = dir.join("sql");
        if !sql.exists() {
            copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sql"), &sql);
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowgate"));
        command.args(["dev", "--listen", "127.0.0.1:0"]).current_dir(dir);
        command
    }

    fn spawn(command: &mut Command, dir: &Path) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut dev =
            Self { child, lines, url: String::new(), alice: String::new(), dir: dir.to_owned() };
        let guide = dev.read_until(END_OF_GUIDE);
        let value = |prefix: &str| {
            let line = guide.iter().find_map(|line| line.trim().strip_prefix(prefix));
            line.unwrap_or_else(|| panic!("no {prefix} in {guide:#?}")).trim().to_owned()
        };
        dev.url = value("Gateway");
        dev.alice = value("export ALICE=");
        dev
    }

    #[track_caller]
    fn read_until(&self, wanted: &str) -> Vec<String> {
        let mut read = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(SOON) else {
                panic!("no {wanted:?} in {read:#?}")
            };
            read.push(line);
            if read.last().is_some_and(|line| line.contains(wanted)) {
                return read;
            }
        }
    }

    /// Status and body of a `select` with a token, or with none.
    async fn select(&self, token: Option<&str>) -> (u16, Value) {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let mut request = Request::post(&self.url);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::<bytes::Bytes>::from(SELECT)).unwrap();
        let response = client.request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn database_port(&self) -> u16 {
        let pgpass = fs::read_to_string(self.dir.join(".rowgate/pgpass")).unwrap();
        pgpass.split(':').nth(1).unwrap().parse().unwrap()
    }

    /// SIGTERM, the program's word that all went well, and a look whether `PostgreSQL` is gone.
    fn stop(self) {
        let port = self.database_port();
        self.terminate();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "PostgreSQL still runs");
    }

    fn terminate(mut self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Has no effect on one that has ended; otherwise the test has failed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn rows_of(answer: &(u16, Value)) -> &Vec<Value> {
    assert_eq!(answer.0, 200, "{}", answer.1);
    answer.1["rows"].as_array().unwrap()
}

#[tokio::test]
async fn edits_are_applied_at_once_and_mistakes_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(dir.path());
    let alices = dev.select(Some(&dev.alice)).await;
    assert!(!rows_of(&alices).is_empty());
    assert!(rows_of(&alices).iter().all(|row| row["user_id"] == "alice"), "{}", alices.1);
    assert!(dev.select(None).await.1["rows"].as_array().is_none_or(Vec::is_empty));

    let file = dir.path().join("sql/policies/todos.sql");
    let policies = fs::read_to_string(&file).unwrap();
    let public = "create policy public_when_done on todos for select to anonymous using (is_complete);\n\
                  grant select on todos to anonymous;\n";
    fs::write(&file, format!("{policies}\n{public}")).unwrap();
    dev.read_until("✓ policies/todos.sql");
    assert!(!rows_of(&dev.select(None).await).is_empty());

    fs::write(&file, format!("{policies}\ncreate polcy oops;\n")).unwrap();
    let line = policies.lines().count() + 2;
    let told = dev.read_until("✗ not applied").pop().unwrap();
    assert!(told.contains(&format!("sql/policies/todos.sql:{line}: ")), "{told}");
    assert!(told.contains("polcy"), "{told}");
    assert!(!rows_of(&dev.select(None).await).is_empty(), "what was in force stays");

    let anyones = "create policy anyones on todos for insert to authenticated with check (true);";
    fs::write(&file, format!("{policies}\n{public}{anyones}\n")).unwrap();
    dev.read_until("+ public.todos: anyones: insert to authenticated with check true");
    let found = dev.read_until("RG-L010").pop().unwrap();
    assert!(found.starts_with("! ") && found.contains("policies/todos.sql:"), "{found}");
    dev.stop();
}

#[tokio::test]
async fn killed_environment_starts_again_with_its_data_and_its_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Dev::start(dir.path());
    let before = first.select(Some(&first.alice)).await;
    first.child.kill().unwrap();
    first.child.wait().unwrap();

    let second = Dev::start(dir.path());
    let after = second.select(Some(&first.alice)).await;
    assert_eq!(rows_of(&after), rows_of(&before));
    second.stop();
}

#[tokio::test]
async fn existing_server_is_used_but_logins_that_may_be_in_use_are_left_alone() {
    let server = PrivateCluster::start().await;
    let database = server.empty_database().await;
    let [ours, theirs] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let on_server = |dir: &Path| {
        let mut command = Dev::command(dir);
        command.arg("--database-url").env("DATABASE_URL", &database.owner_url);
        command
    };
    for run in ["first", "again, with the passwords kept"] {
        let dev = Dev::spawn(&mut on_server(ours.path()), ours.path());
        assert!(rows_of(&dev.select(Some(&dev.alice)).await).is_empty(), "{run}");
        dev.terminate();
    }

    let refused = on_server(theirs.path()).output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && told.contains("DATABASE_AUTHENTICATED_URL"), "{told}");
}

#[test]
fn token_command_prints_a_token_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let token = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowgate"));
        command.arg("token").args(arguments).current_dir(dir.path()).output().unwrap()
    };
    let missing = token(&["--sub", "alice"]);
    assert!(!missing.status.success() && missing.stdout.is_empty());
    assert!(String::from_utf8_lossy(&missing.stderr).contains("rowgate dev"));

    fs::create_dir(dir.path().join(".rowgate")).unwrap();
    let file = dir.path().join(".rowgate/issuer.json");
    rowgate::dev::issuer::Issuer::load_or_create(&file).unwrap();
    let printed = token(&["--sub", "alice", "--claim", "admin=true", "--expires-in", "5m"]);
    let text = String::from_utf8(printed.stdout).unwrap();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(text.trim().split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!((&claims["sub"], &claims["admin"]), (&"alice".into(), &true.into()));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
}
