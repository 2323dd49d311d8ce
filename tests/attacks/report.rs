//! One line for each entry, a summary for each mode, and the table of both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::Mode;
use crate::trial::{Outcome, Verdict};

fn word(outcome: &Outcome) -> &'static str {
    match (&outcome.verdict, outcome.is_about_us()) {
        (Verdict::Held, true) => "passed",
        (Verdict::Held, _) => "held",
        (Verdict::Succeeded, _) => "FAILED",
        (Verdict::Residual, _) => "residual",
    }
}

pub fn print_line(mode: Mode, outcome: &Outcome, verbose: bool) {
    let why = if outcome.details.is_empty() {
        outcome.layers.join(", ")
    } else {
        outcome.details.join(" | ")
    };
    println!("{:<13} {:<34} {:<8} {why}", mode.name(), outcome.id, word(outcome));
    if verbose {
        for answer in &outcome.summary {
            println!("{:>18} {answer}", "→");
        }
    }
}

pub fn print_summary(mode: Mode, outcomes: &[Outcome], elapsed: Duration) {
    let count = |control: bool, verdict: Verdict| {
        outcomes
            .iter()
            .filter(|outcome| outcome.is_about_us() == control && outcome.verdict == verdict)
            .count()
    };
    let sessions: usize = outcomes.iter().map(|outcome| outcome.sessions_compared).sum();
    println!(
        "\n{}: {} attacks held, {} succeeded, {} residual; {} controls passed, {} failed; \
         {sessions} pooled sessions compared with a new one; {:.0} s\n",
        mode.name(),
        count(false, Verdict::Held),
        count(false, Verdict::Succeeded),
        count(false, Verdict::Residual),
        count(true, Verdict::Held),
        count(true, Verdict::Succeeded),
        elapsed.as_secs_f64()
    );
}

/// Attack × mode → what held it.
pub fn table(results: &[(Mode, Vec<Outcome>)]) -> String {
    let mut table = String::from("| attack |");
    for (mode, _) in results {
        let _ = write!(table, " {} |", mode.name());
    }
    table.push_str("\n| --- |");
    table.push_str(&" --- |".repeat(results.len()));
    table.push('\n');
    let Some((_, first)) = results.first() else { return table };
    let by_id: Vec<BTreeMap<&str, &Outcome>> = results
        .iter()
        .map(|(_, outcomes)| {
            outcomes.iter().map(|outcome| (outcome.id.as_str(), outcome)).collect()
        })
        .collect();
    for outcome in first.iter().filter(|outcome| !outcome.is_about_us()) {
        let _ = write!(table, "| {} |", outcome.id);
        for outcomes in &by_id {
            let cell =
                outcomes.get(outcome.id.as_str()).map_or_else(String::new, |outcome| cell(outcome));
            let _ = write!(table, " {cell} |");
        }
        table.push('\n');
    }
    table
}

fn cell(outcome: &Outcome) -> String {
    match outcome.verdict {
        Verdict::Held => outcome.layers.join(", "),
        Verdict::Succeeded => "**succeeds**".to_owned(),
        Verdict::Residual => "residual".to_owned(),
    }
}
