//! Runs the statements of a file inside a transaction and gives an error its line.
//!
//! Must never begin or end a transaction.

use tokio_postgres::Transaction;
use tokio_postgres::error::{DbError, ErrorPosition};

use super::error::{PolicyError, StatementError};
use super::source::SqlFile;
use super::split::{self, Statement};
use crate::pg::control::reason;

/// A line in an error message is shortened to this many characters.
const MAX_LINE_CHARS: usize = 160;

/// Stands where a SQLSTATE would, when no server answered.
const NO_SQLSTATE: &str = "?????";

/// Where names without a schema are looked up and created, at the start of each file: what a file
/// does must not depend on who applies it, nor on the file before it.
const FILE_SETTINGS: &str = "set local search_path to public; reset role";

/// How a file's statements reach the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// As they are.
    Plain,
    /// Inside a `do` block, in which the server itself refuses to begin or end a transaction.
    Confined,
}

/// Runs `file` to its end or to its first error.
pub(super) async fn file(
    transaction: &Transaction<'_>,
    file: &SqlFile,
    mode: Mode,
) -> Result<(), PolicyError> {
    let doing = "setting the search path";
    transaction.batch_execute(FILE_SETTINGS).await.map_err(PolicyError::database(doing))?;
    for statement in split::statements(&file.text) {
        let (sql, prefix) = match mode {
            Mode::Plain => (statement.text.to_owned(), 0),
            Mode::Confined => confined(statement.text),
        };
        if let Err(error) = transaction.batch_execute(&sql).await {
            return Err(refused(file, &statement, prefix, &error));
        }
    }
    Ok(())
}

/// `statement` inside a `do` block, and how many characters stand before it.
fn confined(statement: &str) -> (String, u32) {
    let outer = unused_tag(statement, "rowgate");
    let inner = unused_tag(statement, "statement");
    let prefix = format!("do {outer} begin execute {inner}");
    // Characters and bytes are the same here: tags are ASCII. invariant: it is a short text.
    let length = u32::try_from(prefix.len()).unwrap_or_default();
    (format!("{prefix}{statement}{inner}; end {outer}"), length)
}

/// A dollar quote's tag that does not occur in `text`.
fn unused_tag(text: &str, name: &str) -> String {
    let mut tag = format!("${name}$");
    let mut number = 0;
    // A text ending in `$tag` would join with the first `$` of the closing quote.
    while text.contains(tag.trim_end_matches('$')) {
        number += 1;
        tag = format!("${name}{number}$");
    }
    tag
}

fn refused(
    file: &SqlFile,
    statement: &Statement<'_>,
    prefix: u32,
    error: &tokio_postgres::Error,
) -> PolicyError {
    let database = error.as_db_error();
    let line = statement.line + database.map_or(0, |e| lines_before(statement.text, prefix, e));
    let text = file.text.lines().nth(line - 1).unwrap_or_default().trim();
    PolicyError::Statement(Box::new(StatementError {
        path: file.path.clone(),
        line,
        text: text.chars().take(MAX_LINE_CHARS).collect(),
        message: database.map_or_else(|| reason(error), |e| e.message().to_owned()),
        sqlstate: database.map_or(NO_SQLSTATE, |e| e.code().code()).to_owned(),
        detail: database.and_then(|e| e.detail()).map(str::to_owned),
        hint: database.and_then(|e| e.hint()).map(str::to_owned),
    }))
}

/// Lines of `statement` before the place that the server points at. Where it points nowhere, as for
/// the expressions of a policy: before the name that its message quotes; otherwise 0.
fn lines_before(statement: &str, prefix: u32, error: &DbError) -> usize {
    let position = match error.position() {
        Some(ErrorPosition::Original(position)) => position.saturating_sub(prefix),
        // Points into a text that the statement itself may have put together.
        Some(ErrorPosition::Internal { position, query }) if query == statement => {
            within(statement, *position, prefix, error.message())
        }
        Some(ErrorPosition::Internal { .. }) => 0,
        None => return line_of_name(statement, error.message()),
    };
    let before = (position as usize).saturating_sub(1);
    statement.chars().take(before).filter(|c| *c == '\n').count()
}

/// The position inside `statement`. In the body of a function the server counts from the start of the
/// `do` block, elsewhere from the start of the statement, and does not say so: what its message
/// quotes must stand there.
fn within(statement: &str, position: u32, prefix: u32, message: &str) -> u32 {
    let quoted = message.split('"').nth(1).unwrap_or_default();
    let fits = |position: u32| {
        let skipped = (position as usize).saturating_sub(1);
        let rest: String = statement.chars().skip(skipped).take(quoted.chars().count()).collect();
        rest == quoted
    };
    let shifted = position.saturating_sub(prefix);
    if !fits(position) && fits(shifted) { shifted } else { position }
}

/// Lines of `statement` before the first name in quotes in `message`; 0 if it is not there.
fn line_of_name(statement: &str, message: &str) -> usize {
    let Some(name) = message.split('"').nth(1).filter(|name| !name.is_empty()) else { return 0 };
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let found = statement.match_indices(name).map(|(at, _)| at).find(|at| {
        let (before, after) = (&statement[..*at], &statement[at + name.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    });
    found.map_or(0, |at| statement[..at].matches('\n').count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_message_is_found_as_a_whole_word() {
        let statement = "create policy p\n on columns\n using (\n column_a = col\n)";
        assert_eq!(line_of_name(statement, "column \"col\" does not exist"), 3);
        assert_eq!(line_of_name(statement, "column \"other\" does not exist"), 0);
        assert_eq!(line_of_name(statement, "no quotes here"), 0);
        assert_eq!(line_of_name(statement, "empty \"\" quotes"), 0);
    }

    #[test]
    fn a_statement_cannot_close_the_quotes_around_it() {
        for text in ["select 1", "a $statement$ b", "$rowgate1$ $rowgate$", "x $statement"] {
            let (sql, prefix) = confined(text);
            let prefix = prefix as usize;
            assert_eq!(&sql[prefix..prefix + text.len()], text);
            let inner = &sql[sql[..prefix].rfind(' ').unwrap() + 1..prefix];
            assert_eq!(sql.matches(inner).count(), 2, "{sql}");
            let outer = sql.split(' ').nth(1).unwrap();
            assert_eq!(sql.matches(outer).count(), 2, "{sql}");
        }
    }
}
