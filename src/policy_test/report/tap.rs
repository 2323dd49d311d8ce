//! The Test Anything Protocol, version 14: one line for each case, and why it failed.

use std::fmt::Write as _;

use super::{Report, cases};

/// The whole document.
#[must_use]
pub fn document(report: &Report) -> String {
    let cases = cases(report);
    let mut out = format!("TAP version 14\n1..{}\n", cases.len());
    for (number, case) in cases.iter().enumerate() {
        let sign = if case.failure.is_some() { "not ok" } else { "ok" };
        // Writing into a String cannot fail.
        let _ = writeln!(out, "{sign} {} - {}", number + 1, escaped(&case.name));
        if let Some((place, reason)) = &case.failure {
            // JSON is YAML: a string in its quotes needs no other escapes.
            let at = serde_json::Value::from(place.as_str());
            let _ = writeln!(out, "  ---\n  at: {at}\n  message: |-");
            reason.lines().for_each(|line| {
                let _ = writeln!(out, "    {line}");
            });
            out.push_str("  ...\n");
        }
    }
    for branch in report.coverage.iter().flatten().filter(|branch| branch.exercised_by.is_none()) {
        let _ = writeln!(out, "# not exercised: {}", branch.name());
    }
    out
}

/// A hash would begin a directive such as TODO, which makes of a failure none.
fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('#', "\\#").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_cannot_excuse_a_failure() {
        assert_eq!(super::escaped("x # TODO y\\"), "x \\# TODO y\\\\");
    }
}
