//! How a command's failure is shown: what happened, because of what, and what to do.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use crate::config::ConfigError;

/// A command went wrong at work.
const FAILED: u8 = 1;
/// A command was called wrongly or is configured wrongly.
const MISUSED: u8 = 2;

/// Why a command ends without having done its work.
#[derive(Debug)]
pub struct Failure {
    text: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// A call or configuration that cannot work.
    #[must_use]
    pub fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None, code: MISUSED }
    }

    /// Work that failed, already told in full.
    #[must_use]
    pub fn runtime(text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None, code: FAILED }
    }

    /// A configuration that cannot be used.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
    pub fn configuration(error: ConfigError) -> Self {
        Self::usage(chain(&error)).with_hint(
            "rowgate.example.toml, which `rowgate init` writes as rowgate.toml, explains every key",
        )
    }

    /// Work that was done, with a result that has an exit code of its own.
    #[must_use]
    pub fn left(code: u8, text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None, code }
    }

    /// Work that was done, whose result was printed and has an exit code of its own.
    #[must_use]
    pub fn silent(code: u8) -> Self {
        Self::left(code, "")
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with another exit code.
    #[must_use]
    pub fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Prints the failure on standard error.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        if !self.text.is_empty() {
            eprintln!("{self}");
        }
        ExitCode::from(self.code)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "error: {}", self.text)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))
    }
}

/// Any error of a command is a failure at work.
impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { text: chain(&error), hint: None, code: FAILED }
    }
}

/// An error and its causes, but for those whose words it already has.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            // Writing into a String cannot fail.
            let _ = write!(text, "\n  because: {words}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("middle: {0}")]
    struct Middle(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;

    #[test]
    fn causes_are_listed_once_and_the_hint_comes_last() {
        let failure = Failure::from(Outer(Middle(Inner))).with_hint("do this");
        assert_eq!(failure.to_string(), "error: outer\n  because: middle: inner\nhint: do this");
    }
}
