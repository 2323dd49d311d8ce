//! Whether the runner itself can be trusted: what it looks for is planted, and must be found.

use std::sync::Arc;

use crate::corpus::Sql;
use crate::residue::{self, Inspector};
use crate::stage::{ANONYMOUS, Outgoing, Stage};
use crate::trial::{Bench, Outcome, Verdict};

/// One of each kind of state that a session can carry on, and what its residue is called.
const PLANTED: [(&str, &str); 14] = [
    ("set work_mem = '8MB'", "setting work_mem"),
    ("set search_path = nowhere", "setting search_path"),
    ("set statement_timeout = '1h'", "setting statement_timeout"),
    ("select set_config('app.note', 'x', false)", "setting app.note"),
    ("set session characteristics as transaction read only", "default_transaction_read_only"),
    ("prepare planted as select 1", "prepared statements"),
    ("declare planted cursor with hold for select 1", "cursors"),
    ("listen planted", "listens"),
    ("create temp table planted ()", "temporary relations"),
    (
        "create function pg_temp.planted() returns int language sql as 'select 1'",
        "temporary functions",
    ),
    ("create domain pg_temp.uuid as text", "temporary types"),
    ("select pg_advisory_lock(1)", "advisory"),
    ("select setseed(0.25)", "random() is seeded"),
    ("begin; select 1", "idle in transaction"),
];

/// Numbers of the planted stream that are compared.
const STREAM: usize = 20;

impl Bench<'_> {
    /// Plants each kind of residue on a pooled connection: the comparison must find it.
    pub async fn comparison_is_sharp(&self) -> Outcome {
        let mut details = Vec::new();
        let mut sessions_compared = 0;
        for (sql, residue) in PLANTED {
            let stage = self.open_stage().await;
            let superuser = stage.database.superuser().await;
            let pools =
                [("authenticated", stage.pool("alice")), ("anonymous", stage.pool(ANONYMOUS))];
            let inspector = Inspector::prepare(pools, sql).await;
            let mut lease = pools[0].1.acquire().await.unwrap();
            residue::raw(&mut lease, sql).await.unwrap();
            let finding = inspector.compare_lease(&mut lease, "authenticated", &superuser).await;
            sessions_compared += 1;
            if !finding.residue.iter().any(|found| found.contains(residue)) {
                details.push(format!("{sql}: not found, but {:?}", finding.residue));
            }
            drop(lease);
            self.close(&stage).await;
        }
        outcome("runner-finds-planted-residue", "runner", details, sessions_compared)
    }

    /// Whoever has drawn random numbers must not thereby know those of the next user: the generator of
    /// the session that the pool hands out next is set to a known state, alice draws, then bob must not go on in that stream.
    pub async fn random_stream_ends_with_its_user(&self) -> Outcome {
        let stage = self.open_stage().await;
        let stream = {
            let mut first = stage.pool("alice").acquire().await.unwrap();
            let _second = stage.pool("alice").acquire().await.unwrap();
            let drawn = format!(
                "select setseed(0.125); select array_agg(random()) from generate_series(1, {STREAM})"
            );
            let stream = residue::raw(&mut first, &drawn).await.unwrap().unwrap();
            residue::raw(&mut first, "select setseed(0.125)").await.unwrap();
            String::from_utf8(stream).unwrap()
        };
        let draw = |user: &str| Outgoing::new(user, Sql::One("select random()".to_owned()));
        let mut details = Vec::new();
        let alice = stage.send(&draw("alice")).await;
        for _ in 0..3 {
            let bob = stage.send(&draw("bob")).await;
            let number = bob.rows().and_then(|rows| rows.first()?.first()?.clone());
            match number {
                Some(number) if !stream.contains(&number) => {}
                _ if !alice.succeeded() => {}
                _ => details.push(format!("bob continues alice's stream: {}", bob.summary())),
            }
        }
        self.close(&stage).await;
        outcome("own-left-random-stream", "victim-leftovers", details, 0)
    }

    async fn open_stage(&self) -> Arc<Stage> {
        let database = self.server.fresh_database().await;
        Arc::new(Stage::open(database, Arc::clone(&self.issuer), self.statements, false).await)
    }
}

fn outcome(id: &str, category: &str, details: Vec<String>, sessions_compared: usize) -> Outcome {
    Outcome {
        id: id.to_owned(),
        category: category.to_owned(),
        verdict: if details.is_empty() { Verdict::Held } else { Verdict::Succeeded },
        layers: Vec::new(),
        details,
        summary: Vec::new(),
        sessions_compared,
    }
}
