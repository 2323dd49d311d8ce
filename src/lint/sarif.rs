//! SARIF 2.1.0 (OASIS), which code hosts show beside the lines of a change.

use std::path::Path;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Level, Outcome, RULES, Reported, Rule};

/// What a path may not contain as a URI (RFC 3986, section 3.3).
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// One run with all rules. What an exception excuses is there as a suppressed result.
#[must_use]
pub fn sarif(outcome: &Outcome) -> Value {
    let rules: Vec<Value> = RULES.iter().map(rule).collect();
    let results: Vec<Value> = outcome.reported.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "rowgate policies lint",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "utf16CodeUnits",
            "results": results,
        }],
    })
}

fn rule(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "shortDescription": { "text": rule.title },
        "fullDescription": { "text": rule.why },
        "help": { "text": format!("{}. {} See docs/lints.md.", rule.title, rule.why) },
        "defaultConfiguration": { "level": level(rule.level) },
    })
}

/// SARIF 2.1.0, section 3.27.10.
fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info => "note",
    }
}

fn result(reported: &Reported) -> Value {
    let finding = &reported.finding;
    let object = finding.object.to_string();
    let mut location = json!({
        "logicalLocations": [{ "fullyQualifiedName": object, "kind": finding.object.kind() }],
    });
    if let Some(place) = &reported.place {
        location["physicalLocation"] = json!({
            "artifactLocation": { "uri": uri(&place.path) },
            "region": { "startLine": place.line },
        });
    }
    let mend = finding.mend.as_ref().map_or(String::new(), |mend| format!("\n{mend}"));
    let mut result = json!({
        "ruleId": finding.rule.id,
        "ruleIndex": RULES.iter().position(|rule| rule.id == finding.rule.id),
        "level": level(finding.rule.level),
        "message": { "text": format!("{object}: {}{mend}", finding.message) },
        "locations": [location],
        // Says whether it is the same finding although lines have moved (section 3.27.17).
        "partialFingerprints": { "object/v1": format!("{} {object}", finding.rule.id) },
    });
    if let Some(reason) = &reported.allowed {
        result["suppressions"] = json!([{ "kind": "inSource", "justification": reason }]);
    }
    result
}

fn uri(path: &Path) -> String {
    let path = path.display().to_string();
    utf8_percent_encode(path.trim_start_matches("./"), PATH).to_string()
}
