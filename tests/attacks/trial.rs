//! One entry of the corpus against one configuration: the verdict, and what it rests on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rowgate::config::StatementKinds;
use tokio_postgres::Client;

use crate::answer::{Answer, Layer, shortened};
use crate::corpus::{Attack, Control, Sql};
use crate::it::harness::issuer::FakeIssuer;
use crate::judge::{self, Breach, Knowledge};
use crate::replay::Replay;
use crate::residue::Inspector;
use crate::server::Server;
use crate::stage::{ANONYMOUS, Outgoing, Stage};

/// Settings in which the gateway keeps claims: what `$SETTING` stands for.
const CLAIM_SETTINGS: [&str; 2] = ["request.jwt.claims", "rowgate.seal"];

/// The entry that needs PostgreSQL 14's default says so like this.
const NEEDS_CREATE: &str = "create on schema public";

/// Any longer, and the trial itself is broken.
const LIMIT: Duration = Duration::from_secs(90);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Held,
    Succeeded,
    /// Succeeded, and is known not to be preventable.
    Residual,
}

/// How one entry ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub id: String,
    pub category: String,
    pub verdict: Verdict,
    pub layers: Vec<String>,
    pub details: Vec<String>,
    pub summary: Vec<String>,
    pub sessions_compared: usize,
}

impl Outcome {
    /// Whether this is no attack: a legitimate request, or a test of the runner. It must pass in any mode.
    pub fn is_about_us(&self) -> bool {
        matches!(self.category.as_str(), "control" | "runner")
    }
}

/// What entries are tried against.
pub struct Bench<'a> {
    pub server: &'a Server,
    pub issuer: Arc<FakeIssuer>,
    pub statements: StatementKinds,
}

impl Bench<'_> {
    /// Replays an attack, once more if a machine with other work to do may be why it succeeded.
    pub async fn attack(&self, attack: &Attack) -> Outcome {
        let (outcome, breaches) = self.attack_once(attack).await;
        if breaches.is_empty() || !breaches.iter().all(|breach| breach.may_be_load) {
            return outcome;
        }
        self.attack_once(attack).await.0
    }

    async fn attack_once(&self, attack: &Attack) -> (Outcome, Vec<Breach>) {
        let settings =
            if attack.is_per_setting() { &CLAIM_SETTINGS[..] } else { &CLAIM_SETTINGS[..1] };
        let mut breaches = Vec::new();
        let mut answers = Vec::new();
        let mut sessions_compared = 0;
        for setting in settings {
            let trial = tokio::time::timeout(LIMIT, self.replay(attack, setting));
            let Ok((found, own, sessions)) = trial.await else {
                panic!("{} did not end", attack.id);
            };
            breaches.extend(found);
            answers.extend(own);
            sessions_compared += sessions;
        }
        let verdict = match (breaches.is_empty(), attack.residual) {
            (true, _) => Verdict::Held,
            (false, true) => Verdict::Residual,
            (false, false) => Verdict::Succeeded,
        };
        let outcome = Outcome {
            id: attack.id.clone(),
            category: attack.category.clone(),
            verdict,
            layers: layers(&attack.category, &answers),
            details: breaches.iter().map(|breach| breach.what.clone()).collect(),
            summary: answers
                .iter()
                .map(|answer| format!("{:>6} ms  {}", answer.elapsed.as_millis(), answer.summary()))
                .collect(),
            sessions_compared,
        };
        (outcome, breaches)
    }

    async fn replay(&self, attack: &Attack, setting: &str) -> (Vec<Breach>, Vec<Answer>, usize) {
        let database = self.server.fresh_database().await;
        let superuser = database.superuser().await;
        if attack.requires.iter().any(|needed| needed.contains(NEEDS_CREATE)) {
            superuser.batch_execute("grant create on schema public to public").await.unwrap();
            self.server.harden(&database).await;
        }
        let measured = attack.check.iter().any(|check| check.attacker_max_bytes.is_some());
        let secrets = secrets(&superuser).await;
        let pattern = attack
            .check
            .iter()
            .find_map(|check| check.server_log_must_not_grow.as_ref())
            .map(|bound| bound.pattern.clone());
        let log_lines = || pattern.as_deref().map_or(0, |pattern| self.server.log_lines(pattern));
        let log_lines_before = log_lines();

        let stage =
            Stage::open(database, Arc::clone(&self.issuer), self.statements, measured).await;
        let stage = Arc::new(stage);
        let pools =
            [("authenticated", stage.pool(&attack.attacker)), ("anonymous", stage.pool(ANONYMOUS))];
        let inspector = Inspector::prepare(pools, &attack.text()).await;
        let mut replay = Replay::new(Arc::clone(&stage));
        replay.run(attack, setting).await;
        let mut breaches = judge::during(attack, &replay, &stage).await;
        replay.join().await;
        let mut sessions = 0;
        let mut sequence_positions = false;
        for (name, pool) in pools {
            let finding = inspector.look(name, pool, &superuser).await;
            sessions += finding.sessions;
            sequence_positions |= finding.sequence_positions;
            breaches.extend(finding.residue.into_iter().map(|residue| Breach {
                what: shortened(&format!("left on an {name} connection: {residue}")),
                may_be_load: false,
            }));
        }
        let known = Knowledge { secrets, log_lines_before, log_lines_after: log_lines() };
        breaches.extend(judge::afterwards(attack, &replay, &stage, &known).await);
        if sequence_positions {
            breaches.extend(positions_are_readable(&replay).await);
        }
        let own = replay.exchanges.into_iter().filter(|exchange| exchange.user == attack.attacker);
        let answers = own.map(|exchange| exchange.answer).collect();
        self.close(&stage).await;
        (breaches, answers, sessions)
    }

    /// A legitimate request: it must succeed, and leave its connection clean.
    pub async fn control(&self, control: &Control) -> Outcome {
        let stage = Arc::new(
            Stage::open(
                self.server.fresh_database().await,
                Arc::clone(&self.issuer),
                self.statements,
                false,
            )
            .await,
        );
        let superuser = stage.database.superuser().await;
        let pools = [("authenticated", stage.pool("alice")), ("anonymous", stage.pool(ANONYMOUS))];
        let inspector = Inspector::prepare(pools, "").await;
        let mut details = Vec::new();
        let answer = stage.send(&Outgoing::new(&control.user, control.sql.clone())).await;
        if answer.succeeded() == control.fails {
            details.push(answer.summary());
        } else if let Some(expected) = &control.rows
            && answer.rows().as_ref() != Some(expected)
        {
            details.push(answer.summary());
        }
        let mut sessions_compared = 0;
        for (name, pool) in pools {
            let finding = inspector.look(name, pool, &superuser).await;
            sessions_compared += finding.sessions;
            details.extend(
                finding
                    .residue
                    .iter()
                    .map(|residue| format!("left on an {name} connection: {residue}")),
            );
        }
        if let Some(then) = &control.then {
            let answer = stage.send(&Outgoing::new(&control.user, then.sql.clone())).await;
            if answer.rows().as_ref() != Some(&then.rows) {
                details.push(answer.summary());
            }
        }
        self.close(&stage).await;
        Outcome {
            id: control.id.clone(),
            category: "control".to_owned(),
            verdict: if details.is_empty() { Verdict::Held } else { Verdict::Succeeded },
            layers: Vec::new(),
            details,
            summary: vec![answer.summary()],
            sessions_compared,
        }
    }

    pub async fn close(&self, stage: &Stage) {
        stage.close();
        self.server.put_back(&stage.database).await;
    }
}

/// Sequence positions may stay on a connection only if the next caller cannot ask for them.
async fn positions_are_readable(replay: &Replay) -> Option<Breach> {
    let ask = Outgoing::new("carol", Sql::One("select lastval()".to_owned()));
    let answer = replay.send(&ask, false).await;
    answer.succeeded().then(|| Breach {
        what: format!("the next caller reads lastval(): {}", answer.summary()),
        may_be_load: false,
    })
}

/// The key as hexadecimal digits, and as the list of numbers in a dump of a plan.
async fn secrets(superuser: &Client) -> Vec<String> {
    let mut secrets = Vec::new();
    for row in superuser.query("select ipad, opad from auth.seal_keys", &[]).await.unwrap() {
        let ipad: Vec<u8> = row.get(0);
        let key = ipad.iter().map(|byte| byte ^ 0x36).take(32).collect();
        for bytes in [key, ipad, row.get::<_, Vec<u8>>(1)] {
            secrets.push(hex::encode(&bytes[..8]));
            let unsigned: Vec<String> = bytes[..8].iter().map(u8::to_string).collect();
            let signed: Vec<String> =
                bytes[..8].iter().map(|byte| byte.cast_signed().to_string()).collect();
            secrets.push(unsigned.join(" "));
            secrets.push(signed.join(" "));
        }
    }
    secrets
}

/// Which layers the attacker met, in the order in which requests meet them.
fn layers(category: &str, answers: &[Answer]) -> Vec<String> {
    let met: BTreeSet<Layer> = answers.iter().map(Answer::layer).collect();
    let ran = met.contains(&Layer::Ran) || met.contains(&Layer::NoRows);
    let mut named: Vec<String> = met.iter().filter_map(name).collect();
    if ran {
        named.push(
            match category {
                "session-contamination" | "victim-leftovers" => "cleaning",
                "claim-forging" | "misconfiguration" if named.is_empty() => "row-level security",
                _ if met.contains(&Layer::NoRows) && named.is_empty() => {
                    "row-level security, or no effect"
                }
                _ => "ran, without effect on others",
            }
            .to_owned(),
        );
    }
    named
}

fn name(layer: &Layer) -> Option<String> {
    Some(match layer {
        Layer::Http(code) => format!("HTTP ({code})"),
        Layer::Admission(code) => format!("admission ({code})"),
        Layer::Fairness => "per-identity limit (429)".to_owned(),
        Layer::Seal => "seal (28000)".to_owned(),
        Layer::Privileges => "privileges (42501)".to_owned(),
        Layer::Policy => "row-level security (42501)".to_owned(),
        Layer::Bounds(code) => format!("bounds ({code})"),
        Layer::Server(code) => format!("server ({code})"),
        Layer::Lost => "connection closed".to_owned(),
        Layer::Ran | Layer::NoRows => return None,
    })
}
