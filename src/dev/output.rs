//! What `rowgate dev` says to the person who started it.
//!
//! Must never print a password. Tokens of the demo issuer are printed: that is what they are for.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stdout};

use anstyle::{AnsiColor, Style};

use super::project::Applied;
use crate::policy::Cause;

mod guide;

pub use guide::Guide;

/// Writes to standard output, with colours only where a person reads.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    coloured: bool,
}

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const WORTH_A_LOOK: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

impl Output {
    /// Coloured on a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
    #[must_use]
    pub fn for_terminal() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { coloured: stdout().is_terminal() && !refused }
    }

    fn paint(self, style: Style, text: impl Display) -> String {
        if self.coloured { format!("{style}{text}{style:#}") } else { text.to_string() }
    }

    /// A step on the way that takes a while, or that should be known.
    pub fn step(self, text: &str) {
        line(self.paint(DIM, text));
    }

    /// Files were brought into the database: what changed there, and what to look at.
    pub fn applied(self, what: &str, applied: &Applied) {
        let took = self.paint(DIM, format!("({} ms)", applied.took.as_millis()));
        let report = &applied.report;
        let outcome = match report.applied {
            // Everything is new, and a list of everything is no help.
            Some(Cause::First) => {
                format!("{} migrations, grants and policies applied", report.migrations.len())
            }
            _ => report.summary(),
        };
        line(format_args!("{} {what}: {outcome} {took}", self.paint(GOOD, "✓")));
        if report.applied != Some(Cause::First) {
            for change in &report.changes {
                line(format_args!("    {}", self.paint(DIM, change)));
            }
        }
        let findings = applied.findings.iter().flatten();
        // The linter says the same with more words, where it could look.
        let warnings = report.warnings.iter().filter(|_| applied.findings.is_none());
        for text in warnings.chain(findings) {
            line(format_args!("{} {text}", self.paint(WORTH_A_LOOK, "!")));
        }
    }

    /// Something went wrong, and what that means for what runs.
    pub fn failed(self, what: &str, error: &dyn Display, consequence: &str) {
        line(format_args!("{} {what}: {error}\n  {consequence}", self.paint(BAD, "✗")));
    }
}

/// A reader that has gone away is no reason to end what runs.
fn line(text: impl Display) {
    let _ = writeln!(stdout(), "{text}");
}
