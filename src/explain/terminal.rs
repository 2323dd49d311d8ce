//! An explanation for a terminal.

use std::fmt;

use super::plan::{Comparison, Condition, Measure, PlanNode};
use super::report::{DeniedRow, Explanation, Group, Outcome, Part, Policy, ServerWords, Table};

/// Prints an [`Explanation`] as plain text.
pub struct Terminal<'e>(pub &'e Explanation);

impl fmt::Display for Terminal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let explanation = self.0;
        writeln!(f, "As {}, with the claims {}", explanation.role, explanation.claims)?;
        outcome(f, &explanation.outcome)?;
        for table in &explanation.tables {
            self::table(f, table)?;
        }
        if let Some(plan) = &explanation.plan {
            writeln!(f, "\nPlan")?;
            node(f, plan, 1)?;
        }
        if let Some(cost) = &explanation.cost {
            comparison(f, cost)?;
        }
        if let Some(reason) = &explanation.not_compared {
            writeln!(f, "\nNot compared with the plan without policies: {reason}")?;
        }
        if let Some(lock) = &explanation.lock {
            let tables = lock.tables.join(", ");
            writeln!(f, "\nFor the counts, {tables} was locked for {} ms", lock.milliseconds)?;
        }
        Ok(())
    }
}

fn outcome(f: &mut fmt::Formatter<'_>, outcome: &Outcome) -> fmt::Result {
    match outcome {
        Outcome::Ran { rows, because } => {
            writeln!(f, "Runs: {}", counted(*rows, "row"))?;
            because.iter().try_for_each(|reason| writeln!(f, "  {reason}"))
        }
        Outcome::DeniedByPolicy { error, rows, unknown, because } => {
            words(f, "Denied", error)?;
            because.iter().try_for_each(|reason| writeln!(f, "  {reason}"))?;
            rows.iter().try_for_each(|row| denied(f, row))?;
            let unknown = unknown.iter();
            unknown.into_iter().try_for_each(|why| writeln!(f, "  Which row is not known: {why}"))
        }
        Outcome::DeniedByPrivilege { error, missing, grants } => {
            words(f, "Denied", error)?;
            for (missing, grant) in missing.iter().zip(grants) {
                writeln!(f, "  missing: {missing}\n    {grant};")?;
            }
            Ok(())
        }
        Outcome::Failed { error } => words(f, "Fails", error),
    }
}

fn words(f: &mut fmt::Formatter<'_>, verdict: &str, error: &ServerWords) -> fmt::Result {
    writeln!(f, "{verdict}: {} ({})", error.message, error.code)?;
    for (name, text) in [("detail", &error.detail), ("hint", &error.hint)] {
        if let Some(text) = text {
            writeln!(f, "  {name}: {text}")?;
        }
    }
    Ok(())
}

fn denied(f: &mut fmt::Formatter<'_>, row: &DeniedRow) -> fmt::Result {
    let columns: Vec<String> = row
        .values
        .iter()
        .map(|(name, value)| format!("{name} = {}", literal(value.as_deref())))
        .collect();
    writeln!(f, "  row: {}", columns.join(", "))?;
    for verdict in &row.verdicts {
        let says = match verdict.passes {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "NO (null)",
        };
        let kind = kind(verdict.permissive);
        let (policy, command) = (&verdict.policy, verdict.command.name());
        writeln!(f, "    {says:<9} {kind} {policy} for {command}: {}", verdict.expression)?;
    }
    Ok(())
}

fn literal(value: Option<&str>) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\'', "''"));
    value.map_or_else(|| "null".to_owned(), quote)
}

fn kind(permissive: bool) -> &'static str {
    if permissive { "permissive" } else { "restrictive" }
}

fn table(f: &mut fmt::Formatter<'_>, table: &Table) -> fmt::Result {
    write!(f, "\n{} ({}", table.full_name(), table.command.name())?;
    if let Some(via) = &table.via {
        write!(f, ", through the view {via} as {}", table.role)?;
    }
    write!(f, ")")?;
    match (table.unguarded, table.rows, table.rows_after) {
        (Some(reason), ..) => writeln!(f, ": {reason}")?,
        (None, Some(all), Some(after)) => writeln!(f, ": {after} of {}", counted(all, "row"))?,
        _ => writeln!(f)?,
    }
    for group in &table.groups {
        self::group(f, group)?;
    }
    for seen in &table.values {
        let value = match &seen.error {
            Some(error) => format!("fails: {error}"),
            None => format!("= {}", literal(seen.value.as_deref())),
        };
        writeln!(f, "  they saw {} {value}", seen.expression)?;
    }
    let not_counted = table.not_counted.iter();
    not_counted.into_iter().try_for_each(|why| writeln!(f, "  not counted: {why}"))
}

fn group(f: &mut fmt::Formatter<'_>, group: &Group) -> fmt::Result {
    let part = match group.part {
        Part::Using => "using",
        Part::WithCheck => "with check",
    };
    if group.is_closed() {
        let command = group.command.name();
        writeln!(f, "  no permissive policy for {command} ({part}): nobody's rows")?;
    }
    for policy in &group.policies {
        let Policy { name, expression, rows, .. } = policy;
        let passes = rows.map(|rows| format!(" -> {}", counted(rows, "row"))).unwrap_or_default();
        let (kind, command) = (kind(policy.permissive), group.command.name());
        writeln!(f, "  {kind} {name} for {command} {part} {expression}{passes}")?;
    }
    Ok(())
}

fn node(f: &mut fmt::Formatter<'_>, plan: &PlanNode, depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    let name = plan.subplan.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    write!(f, "{indent}{name}{}  (", plan.node)?;
    match (plan.rows, plan.milliseconds, plan.loops) {
        (.., Some(0.0)) => write!(f, "never run")?,
        (Some(rows), Some(time), loops) => {
            write!(f, "{}, {time:.2} ms", counted(rows, "row"))?;
            let many = loops.filter(|loops| *loops > 1.0);
            many.into_iter().try_for_each(|loops| write!(f, ", {loops} times"))?;
        }
        _ => write!(f, "about {}, cost {:.1}", counted(plan.planned_rows, "row"), plan.cost)?,
    }
    writeln!(f, ")")?;
    for condition in &plan.conditions {
        self::condition(f, condition, &indent)?;
    }
    if let Some(removed) = plan.removed.filter(|rows| *rows > 0.0) {
        writeln!(f, "{indent}  {} removed here", counted(removed, "row"))?;
    }
    for note in &plan.notes {
        writeln!(f, "{indent}  <- {note}")?;
    }
    plan.children.iter().try_for_each(|child| node(f, child, depth + 1))
}

fn condition(f: &mut fmt::Formatter<'_>, condition: &Condition, indent: &str) -> fmt::Result {
    write!(f, "{indent}  {}: {}", condition.kind, condition.text)?;
    if !condition.policies.is_empty() {
        let word = if condition.policies.len() == 1 { "policy" } else { "policies" };
        write!(f, "  <- {word} {}", condition.policies.join(", "))?;
    }
    if let Some(rows) = condition.caller_asked_per_row {
        write!(
            f,
            "\n{indent}  <- asks for the caller anew for each of {}; \
             write (select ...) around it to ask once",
            counted(rows, "row")
        )?;
    }
    writeln!(f)
}

fn comparison(f: &mut fmt::Formatter<'_>, cost: &Comparison) -> fmt::Result {
    let measure = |measure: &Measure| match (measure.milliseconds, measure.rows, measure.blocks) {
        (Some(time), Some(rows), Some(blocks)) => {
            format!("{time:.2} ms, {}, {}", counted(rows, "row"), counted(blocks, "block"))
        }
        _ => format!("estimated cost {:.1}", measure.cost),
    };
    writeln!(f, "\nWhat the policies cost (one run each)")?;
    writeln!(f, "  with:    {}", measure(&cost.with))?;
    writeln!(f, "  without: {}", measure(&cost.without))
}

/// As in `1 row`, `2 rows`.
fn counted(number: impl fmt::Display, noun: &str) -> String {
    let number = number.to_string();
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
