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

/// What stands above the table in docs/attacks.md.
const INTRODUCTION: &str = "\
# Attacks, and what stops them

Written by `cargo test --test attacks -- --all-modes --table docs/attacks.md`. Each attack ran on a database of its own
against a real gateway, and was judged by what its victim and the owner then saw. A cell names the layers that answered
the attacker; `succeeds` means that the attack did what it wanted to, `residual` that it cannot be prevented in
general (SECURITY.md says why).

- **hardened**: as documented: the default configuration, after the owner's `rowgate harden --apply`
- **unhardened**: the default configuration, on a database with the grants of a tutorial and three mistakes of real ones
- **admission-off**: every kind of statement is let through: what seal, policies, cleaning and bounds hold
- **hardened-admission-off**: the same, after `rowgate harden --apply` by owner and superuser

";

fn totals(results: &[(Mode, Vec<Outcome>)]) -> String {
    let mut totals =
        String::from("| set-up | held | succeeded | residual |\n| --- | ---: | ---: | ---: |\n");
    for (mode, outcomes) in results {
        let count = |verdict: Verdict| {
            let attacks = outcomes.iter().filter(|outcome| !outcome.is_about_us());
            attacks.filter(|outcome| outcome.verdict == verdict).count()
        };
        let (held, succeeded, residual) =
            (count(Verdict::Held), count(Verdict::Succeeded), count(Verdict::Residual));
        let _ = writeln!(totals, "| {} | {held} | {succeeded} | {residual} |", mode.name());
    }
    totals
}

/// Attack × mode → what held it.
pub fn table(results: &[(Mode, Vec<Outcome>)]) -> String {
    let mut table = format!("{INTRODUCTION}{}\n| attack |", totals(results));
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
        Verdict::Held if outcome.layers.is_empty() => "held".to_owned(),
        Verdict::Held => outcome.layers.join(", "),
        Verdict::Succeeded => "**succeeds**".to_owned(),
        Verdict::Residual => "residual".to_owned(),
    }
}
