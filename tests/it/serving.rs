//! `rowgate serve` as a process: what it refuses, and what it never prints.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::harness::cluster::{self, TestDatabase};
use crate::harness::issuer::FakeIssuer;

/// The environment of a gateway that starts; a test changes what it is about.
fn environment(database: &TestDatabase, issuer: &FakeIssuer) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("DATABASE_URL", database.owner_url.clone()),
        ("DATABASE_AUTHENTICATED_URL", database.authenticated_url.clone()),
        ("DATABASE_ANONYMOUS_URL", database.anonymous_url.clone()),
        ("ROWGATE_ISSUER_URL", issuer.url().to_owned()),
        ("ROWGATE_SERVER_LISTEN", "127.0.0.1:0".to_owned()),
        ("ROWGATE_SERVER_ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
        ("ROWGATE_SERVER_STARTUP_TIMEOUT", "2s".to_owned()),
    ])
}

fn serve(environment: &BTreeMap<&'static str, String>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowgate"));
    command.arg("serve").current_dir(std::env::temp_dir()).env_clear().envs(environment);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a gateway that is expected not to start.
async fn refused(environment: BTreeMap<&'static str, String>) -> (Option<i32>, String) {
    let output: Output =
        tokio::task::spawn_blocking(move || serve(&environment).output().unwrap()).await.unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn it_refuses_logins_that_are_more_than_they_must_be() {
    let (database, issuer) = (cluster::fresh_database().await, FakeIssuer::start().await);
    for (login, word) in [(&database.superuser_url, "superuser"), (&database.owner_url, "own")] {
        for role in ["DATABASE_AUTHENTICATED_URL", "DATABASE_ANONYMOUS_URL"] {
            let mut environment = environment(&database, &issuer);
            environment.insert(role, login.clone());
            // Without the owner's URL beside it, so that only the database can tell.
            environment.remove("DATABASE_URL");
            environment.insert("ROWGATE_SEAL_KEY", format!("k1:{}", "07".repeat(32)));
            let (code, message) = refused(environment).await;
            assert_eq!(code, Some(1), "{message}");
            assert!(message.to_lowercase().contains(word), "{message}");
        }
    }
}

#[tokio::test]
async fn it_refuses_a_configuration_that_is_not_sound() {
    let (database, issuer) = (cluster::fresh_database().await, FakeIssuer::start().await);
    let sound = environment(&database, &issuer);
    let mut no_issuer = sound.clone();
    no_issuer.remove("ROWGATE_ISSUER_URL");
    let mut unknown_key = sound.clone();
    unknown_key.insert("ROWGATE_SERVER_LISTENN", "x".to_owned());
    let mut bad_value = sound.clone();
    bad_value.insert("ROWGATE_LIMITS_DEADLINE", "soon".to_owned());
    let mut swapped = sound.clone();
    swapped.insert("DATABASE_AUTHENTICATED_URL", database.anonymous_url.clone());
    swapped.insert("DATABASE_ANONYMOUS_URL", database.authenticated_url.clone());
    let cases = [
        (no_issuer, "issuer"),
        (unknown_key, "ROWGATE_SERVER_LISTENN"),
        (bad_value, "soon"),
        (swapped, "swapped"),
    ];
    for (environment, word) in cases {
        let (code, message) = refused(environment).await;
        assert_eq!(code, Some(2), "{message}");
        assert!(message.contains(word), "{message}");
    }
}

#[tokio::test]
async fn it_refuses_a_seal_key_that_the_database_does_not_believe() {
    let (database, issuer) = (cluster::fresh_database().await, FakeIssuer::start().await);
    let mut environment = environment(&database, &issuer);
    environment.insert("ROWGATE_SEAL_KEY", format!("k1:{}", "07".repeat(32)));
    let (code, message) = refused(environment).await;
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("does not believe"), "{message}");
    assert!(!message.contains("0707"), "{message}");
}

#[tokio::test]
async fn it_refuses_a_database_that_believes_claims_which_nobody_sealed() {
    let (database, issuer) = (cluster::fresh_database().await, FakeIssuer::start().await);
    // As an extension does that was given no key.
    let naive = "create or replace function auth.session() returns jsonb language sql stable as \
                 $$ select current_setting('request.jwt.claims', true)::jsonb $$";
    database.superuser().await.batch_execute(naive).await.unwrap();
    let (code, message) = refused(environment(&database, &issuer)).await;
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("nobody sealed"), "{message}");
}

#[tokio::test]
async fn it_waits_for_a_database_for_a_bounded_time_only() {
    let (database, issuer) = (cluster::fresh_database().await, FakeIssuer::start().await);
    let mut environment = environment(&database, &issuer);
    for role in ["authenticated", "anonymous"] {
        let nowhere = format!("postgresql://{role}:planted-password@127.0.0.1:1/app");
        let variable = if role == "anonymous" {
            "DATABASE_ANONYMOUS_URL"
        } else {
            "DATABASE_AUTHENTICATED_URL"
        };
        environment.insert(variable, nowhere);
    }
    let began = Instant::now();
    let (code, message) = refused(environment).await;
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("127.0.0.1:1"), "{message}");
    assert!(!message.contains("planted-password"), "{message}");
    let waited = began.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&waited), "{waited:?}");
}

/// A gateway process whose output is collected.
struct Process {
    child: Child,
    /// Standard output from the start, line by line.
    lines: std::sync::mpsc::Receiver<String>,
    seen: String,
}

impl Process {
    fn start(environment: &BTreeMap<&'static str, String>) -> Self {
        let mut child = serve(environment).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines, seen: String::new() }
    }

    /// The addresses of clients' and operators' listeners, from the line that says so.
    fn addresses(&mut self) -> Vec<String> {
        loop {
            let line =
                self.lines.recv_timeout(Duration::from_secs(20)).expect("serve printed nothing");
            self.seen += &line;
            if line.contains("serving") {
                let mut parts = line.split("127.0.0.1:").skip(1);
                let port =
                    |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
                return parts.by_ref().map(|part| format!("127.0.0.1:{}", port(part))).collect();
            }
        }
    }

    /// Ends it with SIGTERM, and returns everything it ever printed.
    fn end(mut self) -> String {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let output = self.child.wait_with_output().unwrap();
        assert!(output.status.success(), "{:?}", output.status);
        self.seen.extend(self.lines.iter());
        self.seen + &String::from_utf8(output.stderr).unwrap()
    }
}

async fn post(address: &str, authorization: &str, body: &str) -> (u16, String) {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = hyper::Request::post(format!("http://{address}/sql"))
        .header("authorization", authorization)
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    let (head, body) = client.request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_come_while_a_long_statement_is_sent_are_not_piled_up() {
    /// Of the gateway at its largest, in kB: far more than it needs, far less than it got.
    const MEMORY: u64 = 300_000;
    let (database, issuer) = (cluster::fresh_database().await, FakeIssuer::start().await);
    let mut environment = environment(&database, &issuer);
    environment.insert("ROWGATE_LIMITS_DEADLINE", "2s".to_owned());
    environment.insert("ROWGATE_LIMITS_STATEMENT_BYTES", "10MiB".to_owned());
    let mut process = Process::start(&environment);
    let addresses = process.addresses();
    let long = "y".repeat(9_000_000);
    let body = format!(
        r#"{{"queries":[{{"query":"select repeat('x', 1000000) from generate_series(1, 100000)"}},
            {{"query":"select '{long}'"}}]}}"#
    );
    let request = hyper::Request::post(format!("http://{}/sql", addresses[0]))
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request).await.unwrap();
    assert!(answer.into_body().collect().await.is_err(), "an answer of 100 GB was complete");
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < MEMORY, "{peak} kB");
    tokio::task::spawn_blocking(move || process.end()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_printed_by_a_run_that_meets_every_kind_of_request() {
    let (database, issuer) = (cluster::fresh_database().await, FakeIssuer::start().await);
    let mut environment = environment(&database, &issuer);
    environment.insert("ROWGATE_LOG_FILTER", "trace".to_owned());
    let mut process = Process::start(&environment);
    let addresses = process.addresses();
    let token = issuer.token("planted-subject").claim("email", "planted@claim.example").sign();
    let good = format!("Bearer {token}");
    let bad = format!("Bearer {token}planted");
    let cases = [
        (&good, r#"{"query":"select 'planted-literal', $1","params":["planted-parameter"]}"#, 200),
        (&good, r#"{"query":"select 'planted-literal'::int4"}"#, 400),
        (
            &good,
            r#"{"query":"select planted_column from todos where task = $1","params":["planted-parameter"]}"#,
            400,
        ),
        (&good, r#"{"query":"select set_config('a.b', 'planted-setting', false)"}"#, 403),
        (&good, r#"{"query":"select planted-literal"#, 400),
        (&bad, r#"{"query":"select 1"}"#, 401),
    ];
    for (authorization, body, expected) in cases {
        let (status, answer) = post(&addresses[0], authorization, body).await;
        assert_eq!(status, expected, "{answer}");
        if status != 200 && !body.contains("planted") {
            assert!(!answer.contains("planted"), "{answer}");
        }
    }
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let metrics =
        client.get(format!("http://{}/metrics", addresses[1]).parse().unwrap()).await.unwrap();
    let metrics = metrics.into_body().collect().await.unwrap().to_bytes();
    let printed = tokio::task::spawn_blocking(move || process.end()).await.unwrap();
    let everything = printed + &String::from_utf8_lossy(&metrics);

    assert!(everything.contains("\"route\":\"/sql\""), "requests were not logged at all");
    assert!(everything.contains("rowgate_requests_total"), "no metrics");
    let signature = token.rsplit('.').next().unwrap();
    for secret in ["planted", cluster::TEST_PASSWORD, &token, signature] {
        let at = everything.find(secret);
        let around =
            at.map(|at| &everything[at.saturating_sub(300)..(at + 100).min(everything.len())]);
        assert_eq!(around, None, "{secret} was printed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_leaves_one_line_unless_the_filter_drops_it() {
    let (database, issuer) = (cluster::fresh_database().await, FakeIssuer::start().await);
    let authorization = format!("Bearer {}", issuer.token("alice").sign());
    for (filter, expected) in [("info", 1), ("warn", 0), ("warn,rowgate=info", 1)] {
        let mut environment = environment(&database, &issuer);
        environment.insert("ROWGATE_LOG_FILTER", filter.to_owned());
        // Where the addresses are read from would be dropped, too.
        environment.insert("ROWGATE_SERVER_LISTEN", format!("127.0.0.1:{}", free_port()));
        let address = environment["ROWGATE_SERVER_LISTEN"].clone();
        let process = Process::start(&environment);
        await_listener(&address).await;
        for (number, status) in [(1, 200), (2, 400)] {
            let body = format!(r#"{{"query":"select {number} / (2 - {number})"}}"#);
            assert_eq!(post(&address, &authorization, &body).await.0, status);
        }
        let printed = tokio::task::spawn_blocking(move || process.end()).await.unwrap();
        let lines = printed.matches(r#""level":"INFO","message":"request","id":""#).count();
        assert_eq!(lines, 2 * expected, "{filter}: {printed}");
        for part in [r#""status":200,"rows":1,"#, r#""status":400,"code":"22012","rows":0,"#] {
            assert_eq!(printed.matches(part).count(), expected, "{filter}: {part}: {printed}");
        }
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

async fn await_listener(address: &str) {
    for _ in 0..400 {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody listens on {address}");
}
