//! One line for each thing found, printed as soon as it is.

use std::io::{IsTerminal as _, Write as _, stdout};

use anstyle::{AnsiColor, Style};

use crate::cli::Failure;

/// Counts what it prints.
#[derive(Debug, Default)]
pub(super) struct Findings {
    fine: usize,
    errors: usize,
    warnings: usize,
}

impl Findings {
    /// Something is as it should be.
    pub(super) fn ok(&mut self, text: impl AsRef<str>) {
        self.fine += 1;
        print("ok", AnsiColor::Green, text.as_ref());
    }

    /// It works, but somebody should know.
    pub(super) fn warning(&mut self, text: impl AsRef<str>) {
        self.warnings += 1;
        print("warning", AnsiColor::Yellow, text.as_ref());
    }

    /// `serve` would refuse to start, or requests would fail.
    pub(super) fn error(&mut self, text: impl AsRef<str>) {
        self.errors += 1;
        print("error", AnsiColor::Red, text.as_ref());
    }

    pub(super) fn into_result(self) -> Result<(), Failure> {
        match self.errors {
            0 => Ok(()),
            errors => Err(Failure::runtime(format!(
                "{errors} of {} findings are errors",
                self.fine + self.warnings + errors
            ))),
        }
    }
}

fn print(level: &str, color: AnsiColor, text: &str) {
    let style = if stdout().is_terminal() { color.on_default() } else { Style::new() };
    // A reader that went away (`| head`) is no reason to panic; the exit code still tells.
    let _ = writeln!(stdout(), "{style}{level:<7}{style:#} {text}");
}
