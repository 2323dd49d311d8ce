//! A steady load on a whole gateway: requests are sent when they are due, whether or not earlier ones were
//! answered, and each is timed from when it was due.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use jsonwebtoken::Algorithm;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Fault, Strangers};
use crate::harness::cluster;
use crate::harness::gateway::TestGateway;
use crate::harness::issuer::FakeIssuer;

/// Users, each with one token that is sent again and again.
const USERS: usize = 50;
/// One request in so many has a token that was signed just now.
const NEW_TOKEN_EVERY: usize = 10;
/// Nobody's first request, from which on the gateway is warm.
const WARM_UP: Duration = Duration::from_millis(500);

/// How much is sent, before and after the fault begins.
#[derive(Clone, Copy)]
pub struct Load {
    per_second: u32,
    quiet: Duration,
    fault: Duration,
}

impl Load {
    /// For a busy machine.
    pub const SMALL: Self =
        Self { per_second: 40, quiet: Duration::from_millis(700), fault: Duration::from_secs(3) };
    /// For measuring.
    pub const FULL: Self =
        Self { per_second: 1000, quiet: Duration::from_secs(5), fault: Duration::from_secs(10) };
}

/// How it went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Sent after the fault began, without those of strangers.
    pub requests: usize,
    /// Status and code of those that failed, and how many each.
    pub failed: BTreeMap<String, usize>,
    /// After the fault began: when the first of them was due.
    pub first_failure: Option<Duration>,
    /// Key sets asked for after the fault began.
    pub fetches: usize,
    quiet: Vec<Duration>,
    during: Vec<Duration>,
}

/// One request, answered.
struct Answered {
    /// None: before the fault.
    since_fault: Option<Duration>,
    took: Duration,
    failure: Option<String>,
}

impl Outcome {
    /// A line of the table.
    pub fn row(&self, name: &str) -> String {
        let failed = match self.failed.iter().next() {
            None => "0".to_owned(),
            Some((code, count)) => format!("{count} ({code})"),
        };
        let (quiet, during) = (p99(&self.quiet), p99(&self.during));
        let added = (during.as_secs_f64() - quiet.as_secs_f64()) * 1e3;
        format!(
            "| {name} | {} | {failed} | {} | {:.2} ms | {added:+.2} ms |\n",
            self.requests,
            self.fetches,
            quiet.as_secs_f64() * 1e3,
        )
    }
}

fn p99(latencies: &[Duration]) -> Duration {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() * 99 / 100).copied().unwrap_or_default()
}

/// Runs a gateway whose issuer goes wrong under load.
pub async fn run(fault: &Fault, load: Load) -> Outcome {
    let issuer = FakeIssuer::start().await;
    let database = cluster::fresh_database().await;
    let gateway = TestGateway::believing(issuer, database, |config| {
        config.limits.concurrent_requests = rowgate::config::ConcurrentRequests::Unlimited;
        (fault.configure)(config);
    })
    .await;
    let gateway = Arc::new(gateway);
    let tokens: Arc<Vec<String>> =
        Arc::new((0..USERS).map(|user| token(&gateway, user, 0)).collect());
    for token in tokens.iter() {
        assert_eq!(send(&gateway, token).await, None);
    }
    tokio::time::sleep(WARM_UP).await;

    let (mut answers, mut strangers) = (JoinSet::new(), JoinSet::new());
    let start = Instant::now();
    let fault_at = start + load.quiet;
    let total = load.quiet + load.fault;
    let mut fetches_before = None;
    for n in 0.. {
        let due = start + Duration::from_secs(1) * n / load.per_second;
        if due >= start + total {
            break;
        }
        sleep_until(due).await;
        let since_fault = (due >= fault_at).then(|| due - fault_at);
        let n = usize::try_from(n).unwrap();
        let begins = since_fault.is_some() && fetches_before.is_none();
        if begins {
            fetches_before = Some(gateway.issuer.fetches());
            (fault.begin)(&gateway.issuer);
        }
        let comes_stranger = match fault.strangers {
            Strangers::None => false,
            Strangers::One => begins,
            Strangers::Flood => since_fault.is_some(),
        };
        if comes_stranger {
            strangers.spawn(stranger(Arc::clone(&gateway), n));
        }
        let ahead = if since_fault.is_some() { fault.clock_ahead } else { 0 };
        let (gateway, tokens) = (Arc::clone(&gateway), Arc::clone(&tokens));
        answers.spawn(async move {
            let failure = if n.is_multiple_of(NEW_TOKEN_EVERY) {
                send(&gateway, &token(&gateway, n, ahead)).await
            } else {
                send(&gateway, &tokens[n % USERS]).await
            };
            Answered { since_fault, took: due.elapsed(), failure }
        });
    }
    let answered = answers.join_all().await;
    let fetches = gateway.issuer.fetches() - fetches_before.unwrap();
    for code in strangers.join_all().await {
        assert!(matches!(code.as_deref(), Some("401 RG4014" | "503 RG5031")), "{code:?}");
    }
    summary(answered, fetches)
}

fn summary(answered: Vec<Answered>, fetches: usize) -> Outcome {
    let mut outcome = Outcome { fetches, ..Outcome::default() };
    for Answered { since_fault, took, failure } in answered {
        let Some(since_fault) = since_fault else {
            assert_eq!(failure, None, "before the fault");
            outcome.quiet.push(took);
            continue;
        };
        outcome.requests += 1;
        outcome.during.push(took);
        if let Some(failure) = failure {
            *outcome.failed.entry(failure).or_default() += 1;
            let first = outcome.first_failure.unwrap_or(since_fault).min(since_fault);
            outcome.first_failure = Some(first);
        }
    }
    outcome
}

/// As an issuer makes it whose clock runs ahead by so many seconds.
fn token(gateway: &TestGateway, user: usize, ahead: i64) -> String {
    let builder = gateway.issuer.token(&format!("user-{user}")).alg(Algorithm::EdDSA);
    builder.issued_in(ahead).not_before_in(ahead).expires_in(300 + ahead).sign()
}

async fn stranger(gateway: Arc<TestGateway>, n: usize) -> Option<String> {
    let token = gateway.issuer.token("stranger").alg(Algorithm::EdDSA).kid(&format!("k{n}"));
    send(&gateway, &token.sign()).await
}

/// Status and code, if the request fails.
async fn send(gateway: &TestGateway, token: &str) -> Option<String> {
    let bearer = format!("Bearer {token}");
    let body = json!({ "query": "select 1" }).to_string();
    let answer = gateway.send(Method::POST, "/sql", &[("authorization", &bearer)], body).await;
    (answer.status != 200).then(|| {
        let (status, code) = answer.failure();
        format!("{status} {code}")
    })
}

/// Writes `bench/FAULTS.md`.
pub fn write_table(machine_load: &str, rows: &str) {
    let Load { per_second, quiet, fault } = Load::FULL;
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut text = String::from("# When an issuer fails\n\n");
    let _ = write!(
        text,
        "Written by `bench/faults`: {build} build, {cores} cores shared by load generator, gateway, issuer and \
         PostgreSQL; load average of the machine before: {machine_load}.\n\
         {per_second} requests a second (`POST /sql`, `select 1`, {USERS} users; every {NEW_TOKEN_EVERY}th \
         request with a token signed just now), {} s quiet, then {} s from the beginning of the fault. Requests \
         are sent when they are due and timed from then. When the fault begins, one token with an unknown `kid` \
         makes the gateway ask (a rotation does that by itself); *fetches* are the key sets asked for from then \
         on. Requests of strangers are not counted among the failed: each is refused with 401 or 503.\n\n\
         | fault | requests | failed | fetches | p99 quiet | added p99 |\n|---|---:|---:|---:|---:|---:|\n{rows}",
        quiet.as_secs(),
        fault.as_secs(),
    );
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/FAULTS.md");
    std::fs::write(path, text).unwrap();
}
