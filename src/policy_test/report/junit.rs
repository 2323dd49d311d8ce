//! `JUnit`'s XML, as CI systems read it: a suite for each file, and one for the weakened policies.

use std::fmt::Write as _;

use super::{Case, Report, cases};

/// The whole document.
#[must_use]
pub fn document(report: &Report) -> String {
    let cases = cases(report);
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    // Writing into a String cannot fail.
    let _ = writeln!(
        out,
        "<testsuites name=\"rowgate policies test\" tests=\"{}\" failures=\"{failures}\" time=\"{:.3}\">",
        cases.len(),
        report.seconds
    );
    for suite in cases.chunk_by(|one, next| one.suite == next.suite) {
        let failures = suite.iter().filter(|case| case.failure.is_some()).count();
        let time: f64 = suite.iter().map(|case| case.seconds).sum();
        let name = escaped(suite[0].suite);
        let _ = writeln!(
            out,
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" time=\"{time:.3}\">",
            suite.len()
        );
        for case in suite {
            write_case(&mut out, case);
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn write_case(out: &mut String, case: &Case<'_>) {
    let (suite, name) = (escaped(case.suite), escaped(&case.name));
    let _ = write!(
        out,
        "    <testcase classname=\"{suite}\" name=\"{name}\" time=\"{:.3}\"",
        case.seconds
    );
    match &case.failure {
        None => out.push_str("/>\n"),
        Some((place, reason)) => {
            let message = escaped(reason.lines().next().unwrap_or_default());
            let text = escaped(&format!("{place}\n{reason}"));
            let _ = writeln!(
                out,
                ">\n      <failure message=\"{message}\">{text}</failure>\n    </testcase>"
            );
        }
    }
}

/// Text for elements and attributes; characters that XML 1.0 (section 2.2) does not have become U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' | '\t' => out.push(character),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_in_a_name_ends_an_attribute() {
        assert_eq!(super::escaped("a\"<b>&'\u{1}"), "a&quot;&lt;b&gt;&amp;&apos;\u{fffd}");
    }
}
