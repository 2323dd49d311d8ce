//! Sends the requests of one attack in order, and keeps what came back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rowgate::pg::pool::Lease;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::answer::Answer;
use crate::corpus::{Attack, FullStep, Sql};
use crate::stage::{Outgoing, Stage};

/// A pool that has nothing else to offer does not keep an attack waiting.
const LEASE_PATIENCE: Duration = Duration::from_millis(500);

/// One request and its answer.
pub struct Exchange {
    pub user: String,
    pub background: bool,
    pub answer: Answer,
}

/// What the requests of an attack have led to so far.
pub struct Replay {
    stage: Arc<Stage>,
    pub exchanges: Vec<Exchange>,
    captures: BTreeMap<String, String>,
    running: Vec<(String, JoinHandle<Answer>)>,
}

impl Replay {
    pub fn new(stage: Arc<Stage>) -> Self {
        Self { stage, exchanges: Vec::new(), captures: BTreeMap::new(), running: Vec::new() }
    }

    /// Sends all requests; those in the background may still be running afterwards. `setting` is what
    /// `$SETTING` stands for.
    pub async fn run(&mut self, attack: &Attack, setting: &str) {
        let neighbours = attack.note.contains("two backends");
        let last = attack.requests.len() - 1;
        for (index, step) in attack.requests.iter().enumerate() {
            let step = step.full();
            let other = step.other_connection || (neighbours && index == last);
            let user = step.user.clone().unwrap_or_else(|| attack.attacker.clone());
            let outgoing = self.outgoing(&step, user.clone(), setting);
            if step.background {
                let stage = Arc::clone(&self.stage);
                self.running.push((user, tokio::spawn(async move { stage.send(&outgoing).await })));
                sleep(Duration::from_millis(step.then_wait_ms)).await;
                continue;
            }
            let answer = self.send(&outgoing, other).await;
            if let Some(name) = &step.capture {
                self.captures.insert(name.clone(), captured(&answer));
            }
            self.exchanges.push(Exchange { user, background: false, answer });
        }
    }

    /// Waits for what runs in the background.
    pub async fn join(&mut self) {
        for (user, running) in self.running.drain(..) {
            let answer = running.await.unwrap_or_else(|_| Answer::lost());
            self.exchanges.push(Exchange { user, background: true, answer });
        }
    }

    /// One more request; with `other`, over another backend than the pool would choose.
    pub async fn send(&self, outgoing: &Outgoing, other: bool) -> Answer {
        let _held: Option<Lease> = match other {
            true => timeout(LEASE_PATIENCE, self.stage.pool(&outgoing.user).acquire())
                .await
                .ok()
                .and_then(Result::ok),
            false => None,
        };
        self.stage.send(outgoing).await
    }

    /// What a request was to remember; empty if it was refused.
    pub fn capture(&self, name: &str) -> &str {
        self.captures.get(name).map_or("", String::as_str)
    }

    fn outgoing(&self, step: &FullStep, user: String, setting: &str) -> Outgoing {
        let fill = |text: &String| {
            let mut text = text.replace("$SETTING", setting);
            for (name, value) in &self.captures {
                let literal = format!("'{}'", value.replace('\'', "''"));
                text = text.replace(&format!("${name}"), &literal);
            }
            text
        };
        let sql = match step.sql() {
            Sql::One(statement) => Sql::One(fill(&statement)),
            Sql::Several(statements) => Sql::Several(statements.iter().map(fill).collect()),
        };
        let headers = step.headers.clone().into_iter().collect();
        Outgoing { user, sql, params: step.params.clone(), headers }
    }
}

/// The first column, line by line.
fn captured(answer: &Answer) -> String {
    let rows = answer.rows().unwrap_or_default();
    let cells = rows.iter().map(|row| row.first().cloned().flatten().unwrap_or_default());
    cells.collect::<Vec<_>>().join("\n")
}
