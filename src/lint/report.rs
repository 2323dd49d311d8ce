//! What was found, for people, for programs, and for the annotations of a pull request.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Level, Outcome, Reported};

/// For people: grouped by file, or by object where no file makes it.
#[must_use]
pub fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut group = None;
    for reported in outcome.findings() {
        let name = reported.place.as_ref().map(|place| place.path.display().to_string());
        let name = name.unwrap_or_else(|| "in the database, from no file".to_owned());
        if group.as_ref() != Some(&name) {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{name}");
            group = Some(name);
        }
        text.push_str(&entry(reported));
    }
    for reported in &outcome.reported {
        if let Some(reason) = &reported.allowed {
            let (rule, object) = (reported.finding.rule.id, &reported.finding.object);
            let _ = writeln!(text, "allowed: {rule} {object}: {reason}");
        }
    }
    text.push_str(&summary(outcome));
    text.push('\n');
    text
}

fn entry(reported: &Reported) -> String {
    let finding = &reported.finding;
    let line = reported.place.as_ref().map_or(String::new(), |place| format!("{}:", place.line));
    let (level, rule) = (finding.rule.level.word(), finding.rule.id);
    let mut text =
        format!("  {line:<6}{level:<8} {rule}  {}: {}\n", finding.object, finding.message);
    let _ = writeln!(text, "        {}. {}", finding.rule.title, finding.rule.why);
    for mend in finding.mend.iter().flat_map(|mend| mend.lines()) {
        let _ = writeln!(text, "        mend: {mend}");
    }
    text
}

/// A finding on one line: where, what, and by which rule.
#[must_use]
pub fn line(reported: &Reported) -> String {
    let finding = &reported.finding;
    let place = reported
        .place
        .as_ref()
        .map_or(String::new(), |place| format!("{}:{}: ", place.path.display(), place.line));
    format!("{place}{}: {} ({})", finding.object, finding.message, finding.rule.id)
}

/// How many there are of each level, in one line.
#[must_use]
pub fn summary(outcome: &Outcome) -> String {
    let count = |level: Level| {
        outcome.findings().filter(|reported| reported.finding.rule.level == level).count()
    };
    let allowed = outcome.reported.iter().filter(|reported| reported.allowed.is_some()).count();
    let looked_at = if outcome.is_rehearsed {
        "what the files would make of the database"
    } else {
        "the database as it is"
    };
    format!(
        "errors: {}, warnings: {}, infos: {}, allowed: {allowed}; looked at {looked_at}",
        count(Level::Error),
        count(Level::Warning),
        count(Level::Info)
    )
}

/// For programs.
#[must_use]
pub fn json(outcome: &Outcome) -> Value {
    let findings: Vec<Value> = outcome.findings().map(one).collect();
    let allowed: Vec<Value> = outcome
        .reported
        .iter()
        .filter(|reported| reported.allowed.is_some())
        .map(|reported| {
            let mut value = one(reported);
            value["reason"] = json!(reported.allowed);
            value
        })
        .collect();
    let count = |level: Level| {
        outcome.findings().filter(|reported| reported.finding.rule.level == level).count()
    };
    json!({
        "looked_at": if outcome.is_rehearsed { "files" } else { "database" },
        "findings": findings,
        "allowed": allowed,
        "summary": {
            "error": count(Level::Error),
            "warning": count(Level::Warning),
            "info": count(Level::Info),
        },
    })
}

fn one(reported: &Reported) -> Value {
    let finding = &reported.finding;
    json!({
        "rule": finding.rule.id,
        "level": finding.rule.level,
        "title": finding.rule.title,
        "why": finding.rule.why,
        "object": { "kind": finding.object.kind(), "name": finding.object.to_string() },
        "message": finding.message,
        "mend": finding.mend,
        "file": reported.place.as_ref().map(|place| place.path.display().to_string()),
        "line": reported.place.as_ref().map(|place| place.line),
    })
}

/// Workflow commands of GitHub Actions, a line for each finding.
#[must_use]
pub fn github(outcome: &Outcome) -> String {
    let mut text = String::new();
    for reported in outcome.findings() {
        let finding = &reported.finding;
        let command = match finding.rule.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "notice",
        };
        let place = reported.place.as_ref().map_or(String::new(), |place| {
            let file = property(&place.path.display().to_string());
            format!("file={file},line={},", place.line)
        });
        let title = property(&format!("{} {}", finding.rule.id, finding.rule.title));
        let mend = finding.mend.as_ref().map_or(String::new(), |mend| format!("\n{mend}"));
        let message = data(&format!("{}: {}{mend}", finding.object, finding.message));
        // Writing into a String cannot fail.
        let _ = writeln!(text, "::{command} {place}title={title}::{message}");
    }
    text
}

/// GitHub's toolkit, command.ts: `escapeData`.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// GitHub's toolkit, command.ts: `escapeProperty`.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
