//! Runs test files: everything in one transaction that is rolled back, each test behind a savepoint of its own.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, Transaction};

use super::file::{FileError, Test, TestFile};
use super::ground::{self, Ground, role_of};
use super::mutant::{self, Mutant};
use super::outcome::Outcome;
use super::report::{Report, TestReport, Verdict};
use crate::pg::control::reason;
use crate::policy::{self, PolicyError, SqlSource, Stage, Wanted};
use crate::session::seal::Sealer;
use crate::session::sealing::{self, Installed};

/// Between two attempts, others have the tables to themselves for this long.
const PAUSE: Duration = Duration::from_millis(400);

/// How tests are run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What the database is brought to first.
    pub stage: Stage,
    /// Whether to find out which parts of policies no test exercises.
    pub coverage: bool,
    /// Whether to find out which weakened policies no test notices.
    pub mutate: bool,
    /// For how long tables in use are waited for.
    pub patience: Duration,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// A test file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The files cannot be applied, or the database failed.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Claims cannot be sealed.
    #[error(
        "tests need seals that Rowgate makes, and auth.session() is the extension pg_session_jwt's: its key \
         belongs to a connection, and it verifies claims only there; docs/policy-tests.md says what to do"
    )]
    Extension,
}

/// Runs all tests of `files`.
///
/// # Errors
///
/// No result at all; a test that fails is a result.
pub async fn run(
    client: &mut Client,
    source: &SqlSource,
    files: &[TestFile],
    settings: Settings,
) -> Result<Report, TestError> {
    let installed = sealing::installed(client).await;
    let installed = installed.map_err(PolicyError::database("looking for the extension"))?;
    if installed != Installed::Other {
        return Err(TestError::Extension);
    }
    let wanted = Wanted { bound: true, coming: false };
    let keys = policy::read_seal_keys(client, wanted).await?;
    let began = Instant::now();
    loop {
        // invariant: there is at least one key.
        let sealer = Sealer::new(&keys[0]);
        match attempt(client, source, files, settings, sealer).await {
            Err(error) if error.is_passing() && began.elapsed() + PAUSE < settings.patience => {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}

async fn attempt(
    client: &mut Client,
    source: &SqlSource,
    files: &[TestFile],
    settings: Settings,
    sealer: Sealer,
) -> Result<Report, PolicyError> {
    let began = Instant::now();
    let transaction =
        client.transaction().await.map_err(PolicyError::database("beginning a transaction"))?;
    let tests = files.iter().flat_map(|file| &file.tests);
    let roles: BTreeSet<String> = tests.map(|test| role_of(test).to_owned()).collect();
    // Before any table is locked: another database's tests may be in the way, and take their time.
    let wait = format!("set local lock_timeout = {}", settings.patience.as_millis());
    transaction.batch_execute(&wait).await.map_err(PolicyError::database("setting a timeout"))?;
    ground::become_able(&transaction, &roles).await?;
    policy::rehearse_in(&transaction, source, settings.stage).await?;
    let ground = Ground::prepare(&transaction, sealer, &roles).await?;

    let (mutants, equivalent) = if settings.coverage || settings.mutate {
        mutant::read(&transaction).await?
    } else {
        (Vec::new(), Vec::new())
    };
    let wanted = |mutant: &Mutant| {
        settings.mutate && mutant.is_judged || settings.coverage && mutant.branch.is_some()
    };
    let trials = mutants.into_iter().filter(wanted).map(Trial::new).collect();
    let mut run = Run { transaction: &transaction, ground, settings, trials, reports: Vec::new() };
    for file in files {
        run.file(file).await?;
    }
    let Run { trials, reports, .. } = run;
    transaction.rollback().await.map_err(PolicyError::database("undoing everything"))?;
    Ok(Report::new(reports, trials, equivalent, settings, began.elapsed()))
}

/// What is known of a mutant.
pub(super) struct Trial {
    pub mutant: Mutant,
    /// The first test whose statement has another outcome.
    pub exercised_by: Option<String>,
    /// The first test that fails.
    pub noticed_by: Option<String>,
    /// Why it could not be made.
    pub error: Option<String>,
}

impl Trial {
    fn new(mutant: Mutant) -> Self {
        Self { mutant, exercised_by: None, noticed_by: None, error: None }
    }

    fn is_settled(&self, settings: Settings) -> bool {
        let exercised =
            self.exercised_by.is_some() || !settings.coverage || self.mutant.branch.is_none();
        let noticed = self.noticed_by.is_some() || !settings.mutate || !self.mutant.is_judged;
        self.error.is_some() || exercised && noticed
    }
}

struct Run<'t> {
    transaction: &'t Transaction<'t>,
    ground: Ground,
    settings: Settings,
    trials: Vec<Trial>,
    reports: Vec<TestReport>,
}

/// A test that passes, and what its statement answers.
struct Passing<'f> {
    test: &'f Test,
    outcome: Outcome,
    /// Whether a second run answers with the same values; ids from sequences do not.
    is_stable: bool,
}

impl Run<'_> {
    async fn file(&mut self, file: &TestFile) -> Result<(), PolicyError> {
        self.execute("savepoint rowgate_file").await?;
        let given = match &file.given {
            Some(sql) => self.give(file, sql).await?,
            None => Ok(()),
        };
        let mut passing = Vec::new();
        for test in &file.tests {
            let began = Instant::now();
            let outcome = match &given {
                Ok(()) => self.outcome(file, test).await?,
                Err(reason) => Err(reason.clone()),
            };
            let verdict = outcome.and_then(|outcome| {
                check(test, &outcome)?;
                passing.push(Passing { test, outcome, is_stable: true });
                Ok(())
            });
            self.reports.push(TestReport {
                file: file.path.display().to_string(),
                line: test.line,
                name: test.name.clone(),
                seconds: began.elapsed().as_secs_f64(),
                verdict: verdict
                    .map_or_else(|reason| Verdict::Failed { reason }, |()| Verdict::Passed),
            });
        }
        if given.is_ok() && !self.trials.is_empty() {
            for known in &mut passing {
                let again = self.outcome(file, known.test).await?;
                known.is_stable = again.is_ok_and(|again| again.agrees(&known.outcome, true, true));
            }
            self.try_mutants(file, &passing).await?;
        }
        self.execute("rollback to savepoint rowgate_file; release savepoint rowgate_file").await
    }

    async fn try_mutants(
        &mut self,
        file: &TestFile,
        passing: &[Passing<'_>],
    ) -> Result<(), PolicyError> {
        for number in 0..self.trials.len() {
            if self.trials[number].is_settled(self.settings) {
                continue;
            }
            let mutant = self.trials[number].mutant.clone();
            self.execute("savepoint rowgate_mutant").await?;
            let sql = format!("reset role; set local search_path to pg_catalog; {}", mutant.sql);
            match self.transaction.batch_execute(&sql).await {
                Ok(()) => self.try_mutant(number, file, passing).await?,
                Err(error) if error.as_db_error().is_some() => {
                    self.trials[number].error = Some(reason(&error));
                }
                Err(error) => return Err(PolicyError::database("changing a policy")(error)),
            }
            let back = "rollback to savepoint rowgate_mutant; release savepoint rowgate_mutant";
            self.execute(back).await?;
        }
        Ok(())
    }

    async fn try_mutant(
        &mut self,
        number: usize,
        file: &TestFile,
        passing: &[Passing<'_>],
    ) -> Result<(), PolicyError> {
        // Tests that name the table are the likeliest to notice.
        let table = self.trials[number].mutant.table.clone();
        let table = table.rsplit('.').next().unwrap_or(&table).to_owned();
        let (near, far): (Vec<_>, Vec<_>) =
            passing.iter().partition(|known| known.test.statement.contains(&table));
        for known in near.into_iter().chain(far) {
            if self.trials[number].is_settled(self.settings) {
                return Ok(());
            }
            let outcome = self.outcome(file, known.test).await?;
            let agrees = |outcome: &Outcome| {
                outcome.agrees(&known.outcome, known.test.is_ordered, known.is_stable)
            };
            let differs = !outcome.as_ref().is_ok_and(agrees);
            let fails = outcome.and_then(|outcome| check(known.test, &outcome)).is_err();
            let trial = &mut self.trials[number];
            if differs || fails {
                trial.exercised_by.get_or_insert_with(|| known.test.name.clone());
            }
            if fails {
                trial.noticed_by.get_or_insert_with(|| known.test.name.clone());
            }
        }
        Ok(())
    }

    /// What comes of the statement; the inner error says why it could not be run at all.
    async fn outcome(
        &self,
        file: &TestFile,
        test: &Test,
    ) -> Result<Result<Outcome, String>, PolicyError> {
        self.execute("savepoint rowgate_test").await?;
        let given = match &test.given {
            Some(sql) => self.give(file, sql).await?,
            None => Ok(()),
        };
        let outcome = match given {
            Ok(()) => self.statement(test).await?,
            Err(reason) => Err(reason),
        };
        self.execute("rollback to savepoint rowgate_test; release savepoint rowgate_test").await?;
        Ok(outcome)
    }

    async fn statement(&self, test: &Test) -> Result<Result<Outcome, String>, PolicyError> {
        const DOING: &str = "running a test";
        let opened = self.transaction.batch_execute(&self.ground.opening(test)).await;
        if let Err(error) = opened {
            return match error.as_db_error() {
                Some(_) => Ok(Err(format!("cannot act as {}: {}", role_of(test), reason(&error)))),
                None => Err(PolicyError::database(DOING)(error)),
            };
        }
        let answered = self.transaction.simple_query(&test.statement).await;
        let ended = match answered {
            // As the commit of a request would.
            Ok(messages) => {
                let checked = self.transaction.batch_execute("set constraints all immediate").await;
                checked.map(|()| Outcome::of(messages))
            }
            Err(error) => Err(error),
        };
        let outcome = ended.or_else(Outcome::refused);
        outcome.map(Ok).map_err(PolicyError::database(DOING))
    }

    /// The inner error says what the server has against the set-up.
    async fn give(&self, file: &TestFile, sql: &str) -> Result<Result<(), String>, PolicyError> {
        match self.ground.give(self.transaction, &file.path, sql).await {
            Ok(()) => Ok(Ok(())),
            Err(PolicyError::Database { source, .. }) if source.as_db_error().is_some() => {
                Ok(Err(format!("the set-up failed: {}", reason(&source))))
            }
            Err(error @ PolicyError::Database { .. }) => Err(error),
            Err(error) => Ok(Err(format!("the set-up failed: {error}"))),
        }
    }

    async fn execute(&self, sql: &str) -> Result<(), PolicyError> {
        let outcome = self.transaction.batch_execute(sql).await;
        outcome.map_err(PolicyError::database("setting a savepoint"))
    }
}

fn check(test: &Test, outcome: &Outcome) -> Result<(), String> {
    test.expected.iter().try_for_each(|expected| expected.check(outcome, test.is_ordered))
}
