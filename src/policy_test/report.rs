//! What a run found, and how it is told: to people, to readers of TAP and of `JUnit`'s XML, as JSON.

mod junit;
mod tap;
mod terminal;

use std::time::Duration;

use serde::Serialize;

use super::mutant::{Branch, Equivalent};
use super::run::{Settings, Trial};

pub use junit::document as junit;
pub use tap::document as tap;

/// Everything that a run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Each test, in the order of files and lines.
    pub tests: Vec<TestReport>,
    /// Parts of policies, and whether a test exercises them; none: nobody asked.
    pub coverage: Option<Vec<BranchReport>>,
    /// Weakened policies, and whether a test notices; none: nobody asked.
    pub mutants: Option<Vec<MutantReport>>,
    /// Changes that were not tried, since no test could notice them.
    pub equivalent: Vec<Equivalent>,
    /// How long everything took.
    pub seconds: f64,
}

/// One test.
#[derive(Clone, Debug, Serialize)]
pub struct TestReport {
    /// Its file.
    pub file: String,
    /// Where it begins.
    pub line: usize,
    /// Its name.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// As expected.
    Passed,
    /// Otherwise.
    Failed {
        /// What was expected and what came, on several lines.
        reason: String,
    },
}

/// A part of a policy.
#[derive(Clone, Debug, Serialize)]
pub struct BranchReport {
    /// The table.
    pub table: String,
    /// The policy.
    pub policy: String,
    /// What it may do there.
    pub branch: Branch,
    /// The first test whose statement would have another outcome without it.
    pub exercised_by: Option<String>,
}

/// A weakened policy.
#[derive(Clone, Debug, Serialize)]
pub struct MutantReport {
    /// The table.
    pub table: String,
    /// The policy; none: the table's switch.
    pub policy: Option<String>,
    /// What was changed.
    pub what: &'static str,
    /// The statement that changed it.
    pub sql: String,
    /// The first test that failed.
    pub noticed_by: Option<String>,
    /// Why it could not be tried.
    pub error: Option<String>,
}

impl MutantReport {
    /// Whether every test passed all the same.
    #[must_use]
    pub fn survived(&self) -> bool {
        self.noticed_by.is_none()
    }

    fn name(&self) -> String {
        match &self.policy {
            Some(policy) => format!("{}: {policy}: {}", self.table, self.what),
            None => format!("{}: {}", self.table, self.what),
        }
    }
}

impl BranchReport {
    fn name(&self) -> String {
        let what = match self.branch {
            Branch::RowLetThrough => "USING let a row through",
            Branch::RowKeptOut => "USING kept a row out",
            Branch::WriteAccepted => "WITH CHECK accepted a row",
            Branch::WriteRefused => "WITH CHECK refused a row",
        };
        format!("{}: {}: {what}", self.table, self.policy)
    }
}

impl Report {
    pub(super) fn new(
        tests: Vec<TestReport>,
        trials: Vec<Trial>,
        equivalent: Vec<Equivalent>,
        settings: Settings,
        took: Duration,
    ) -> Self {
        let branch = |trial: &Trial| {
            let (branch, policy) = (trial.mutant.branch?, trial.mutant.policy.clone()?);
            let table = trial.mutant.table.clone();
            Some(BranchReport { table, policy, branch, exercised_by: trial.exercised_by.clone() })
        };
        let coverage = settings.coverage.then(|| trials.iter().filter_map(branch).collect());
        let judged = |trial: Trial| MutantReport {
            table: trial.mutant.table,
            policy: trial.mutant.policy,
            what: trial.mutant.what,
            sql: trial.mutant.sql,
            noticed_by: trial.noticed_by,
            error: trial.error,
        };
        let trials = trials.into_iter().filter(|trial| trial.mutant.is_judged);
        let mutants = settings.mutate.then(|| trials.map(judged).collect());
        Self { tests, coverage, mutants, equivalent, seconds: took.as_secs_f64() }
    }

    /// Tests that did not pass.
    pub fn failures(&self) -> impl Iterator<Item = &TestReport> {
        self.tests.iter().filter(|test| test.verdict != Verdict::Passed)
    }

    /// Weakened policies that no test noticed.
    pub fn survivors(&self) -> impl Iterator<Item = &MutantReport> {
        self.mutants.iter().flatten().filter(|mutant| mutant.survived())
    }

    /// How many of a hundred weakened policies were noticed; none were tried: all of them.
    #[must_use]
    pub fn score(&self) -> f64 {
        let all = self.mutants.as_ref().map_or(0, Vec::len);
        if all == 0 {
            return 100.0;
        }
        let survived = self.survivors().count();
        // Counts of policies are far below what a float holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        let score = (all - survived) as f64 * 100.0 / all as f64;
        score
    }
}

/// A test or a weakened policy, for formats that know nothing but cases.
struct Case<'a> {
    suite: &'a str,
    name: String,
    seconds: f64,
    /// Where it stands, and why it failed.
    failure: Option<(String, String)>,
}

fn cases(report: &Report) -> Vec<Case<'_>> {
    let test = |test: &TestReport| match &test.verdict {
        Verdict::Passed => None,
        Verdict::Failed { reason } => {
            Some((format!("{}:{}", test.file, test.line), reason.clone()))
        }
    };
    let tests = report.tests.iter().map(|report| Case {
        suite: &report.file,
        name: report.name.clone(),
        seconds: report.seconds,
        failure: test(report),
    });
    let mutants = report.mutants.iter().flatten().map(|mutant| Case {
        suite: "mutants",
        name: mutant.name(),
        seconds: 0.0,
        failure: mutant.survived().then(|| {
            let why = mutant.error.as_ref().map_or_else(
                || "no test fails after".to_owned(),
                |error| format!("this could not be tried ({error})"),
            );
            (mutant.table.clone(), format!("{why}:\n{}", mutant.sql))
        }),
    });
    tests.chain(mutants).collect()
}
