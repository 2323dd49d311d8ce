//! Seal keys while gateways serve: rotated, retired, read from a file, on replicas, behind a pooler.

mod commands;
mod pooler;
mod rotation;
mod standby;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Method;
use rowgate::config::Config;
use rowgate::policy::{self, Schedule, SealKeyRecord, SealKeyState};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::harness::cluster::{self, TestDatabase};
use crate::harness::gateway::{TestAnswer, TestGateway};

/// How often gateways of these tests look for keys.
const REFRESH: Duration = Duration::from_millis(100);
/// So seldom that nothing but a failure makes a gateway look.
const NEVER: Duration = Duration::from_hours(1);

const WHO: &str = "select auth.user_id()";

fn refreshing(interval: Duration) -> impl Fn(&mut Config) {
    move |config| config.seal.refresh = interval
}

async fn keys(database: &TestDatabase) -> Vec<SealKeyRecord> {
    policy::list_seal_keys(&database.owner().await).await.unwrap()
}

async fn newest(database: &TestDatabase) -> String {
    let newest = |key: &SealKeyRecord| key.state == SealKeyState::Newest && key.bound;
    keys(database).await.into_iter().find(newest).unwrap().kid
}

async fn rotate(database: &TestDatabase, lead: Duration, overlap: Duration) -> String {
    let schedule = Schedule { lead, overlap };
    policy::rotate_seal_key(&database.owner().await, schedule, true).await.unwrap()
}

/// Alice, who asks who she is for as long as she is not told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    /// The longest that an answer took, in milliseconds.
    slowest: Arc<AtomicUsize>,
    callers: Vec<JoinHandle<Vec<String>>>,
    began: Instant,
}

impl Load {
    fn on(gateways: &[&Arc<TestGateway>], callers: usize) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            answered: Arc::default(),
            slowest: Arc::default(),
            callers: Vec::new(),
            began: Instant::now(),
        };
        for gateway in gateways {
            load.add(gateway, callers);
        }
        load
    }

    fn add(&mut self, gateway: &Arc<TestGateway>, callers: usize) {
        for _ in 0..callers {
            let (gateway, stop) = (Arc::clone(gateway), Arc::clone(&self.stop));
            let (answered, slowest) = (Arc::clone(&self.answered), Arc::clone(&self.slowest));
            let token = format!("Bearer {}", gateway.token("alice"));
            self.callers.push(tokio::spawn(async move {
                let body = json!({"query": WHO, "params": [], "arrayMode": true}).to_string();
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let headers = [("authorization", token.as_str())];
                    let asked = Instant::now();
                    let answer = gateway.send(Method::POST, "/sql", &headers, body.clone()).await;
                    answered.fetch_add(1, Ordering::Relaxed);
                    let took = usize::try_from(asked.elapsed().as_millis()).unwrap();
                    slowest.fetch_max(took, Ordering::Relaxed);
                    if answer.status != 200 || answer.json()["rows"] != json!([["alice"]]) {
                        failures.push(String::from_utf8_lossy(&answer.body).into_owned());
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                failures
            }));
        }
    }

    /// What went wrong; prints how many requests there were.
    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for caller in self.callers {
            failures.extend(caller.await.unwrap());
        }
        let answered = self.answered.load(Ordering::Relaxed);
        let seconds = self.began.elapsed().as_secs_f64();
        println!(
            "{answered} requests in {seconds:.1} s ({:.0}/s), {} failed, the slowest took {} ms",
            f64::from(u32::try_from(answered).unwrap()) / seconds,
            failures.len(),
            self.slowest.load(Ordering::Relaxed)
        );
        assert!(answered > 50, "{answered} requests are no load");
        failures
    }
}

async fn who(gateway: &TestGateway) -> TestAnswer {
    gateway.sql(Some("alice"), WHO, json!([])).await
}
