//! `ErrorResponse` → the error members that clients know (protocol chapter "Error and Notice Message Fields").

use serde::Serialize;

use super::PgError;
use super::frame::Reader;

/// SQLSTATE of a cached plan whose result columns changed, and of other unsupported features.
const FEATURE_NOT_SUPPORTED: &str = "0A000";
/// SQLSTATE of a prepared statement that does not exist (any more).
const INVALID_STATEMENT_NAME: &str = "26000";
/// SQLSTATE of a prepared statement that exists already.
const DUPLICATE_STATEMENT: &str = "42P05";
/// SQLSTATE of a statement that was cancelled.
const QUERY_CANCELED: &str = "57014";

/// An error as `PostgreSQL` reports it. Serialises to the members of the wire contract, in its order.
///
/// Every text in it may quote the caller's data: it goes to the caller, and nowhere else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerError {
    /// The primary message.
    pub message: String,
    /// SQLSTATE.
    pub code: String,
    /// Secondary message.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// 1-based character position in the statement.
    pub position: Option<String>,
    /// Position in an internally generated statement.
    pub internal_position: Option<String>,
    /// That internally generated statement.
    pub internal_query: Option<String>,
    /// `ERROR`, `FATAL` or `PANIC`.
    pub severity: Option<String>,
    /// Call stack.
    #[serde(rename = "where")]
    pub context: Option<String>,
    /// Schema of the object concerned.
    pub schema: Option<String>,
    /// Table concerned.
    pub table: Option<String>,
    /// Column concerned.
    pub column: Option<String>,
    /// Data type concerned.
    pub data_type: Option<String>,
    /// Constraint concerned.
    pub constraint: Option<String>,
    /// Source file of the server.
    pub file: Option<String>,
    /// Line in it.
    pub line: Option<String>,
    /// Function in it.
    pub routine: Option<String>,
}

impl ServerError {
    /// An error in the same shape that this program raises itself, with a SQLSTATE that fits.
    #[must_use]
    pub fn raised(code: &str, message: &str, hint: &str) -> Self {
        Self {
            message: message.to_owned(),
            code: code.to_owned(),
            hint: Some(hint.to_owned()),
            severity: Some("ERROR".to_owned()),
            ..Self::default()
        }
    }

    /// Reads the body of an `ErrorResponse`.
    pub fn parse(body: &[u8]) -> Result<Self, PgError> {
        let mut error = Self::default();
        let mut reader = Reader::new(body);
        loop {
            let field = reader.u8()?;
            if field == 0 {
                return Ok(error);
            }
            let text = String::from_utf8_lossy(reader.cstr()?).into_owned();
            error.set(field, text);
        }
    }

    fn set(&mut self, field: u8, text: String) {
        let slot = match field {
            b'M' => return self.message = text,
            b'C' => return self.code = text,
            // 'V' is the severity that is never translated; 'S' may come in the server's language.
            b'V' => &mut self.severity,
            b'D' => &mut self.detail,
            b'H' => &mut self.hint,
            b'P' => &mut self.position,
            b'p' => &mut self.internal_position,
            b'q' => &mut self.internal_query,
            b'W' => &mut self.context,
            b's' => &mut self.schema,
            b't' => &mut self.table,
            b'c' => &mut self.column,
            b'd' => &mut self.data_type,
            b'n' => &mut self.constraint,
            b'F' => &mut self.file,
            b'L' => &mut self.line,
            b'R' => &mut self.routine,
            _ => return,
        };
        *slot = Some(text);
    }

    /// Takes the names of our prepared statements out of the message: they are nobody's business, and
    /// differ from one use of a statement to the next. `prefix` consists of hexadecimal digits.
    ///
    /// Takes time linear in the message: a caller who reads the names in the catalogue can have the server
    /// repeat one in a message as long as an answer may be.
    pub fn hide_names(&mut self, prefix: &str) {
        let mut rest = self.message.as_str();
        let mut shown = String::new();
        while let Some(start) = rest.find(prefix) {
            shown.push_str(&rest[..start]);
            rest = rest[start..].trim_start_matches(|c: char| c.is_ascii_hexdigit());
        }
        if rest.len() < self.message.len() {
            shown.push_str(rest);
            self.message = shown;
        }
    }

    /// Whether a cached statement no longer fits the catalogue, so that preparing it anew may help.
    #[must_use]
    pub fn is_stale_plan(&self) -> bool {
        self.code == FEATURE_NOT_SUPPORTED
            && self.routine.as_deref() == Some("RevalidateCachedQuery")
    }

    /// Whether somebody removed or replaced a prepared statement of this program.
    #[must_use]
    pub fn is_lost_statement(&self) -> bool {
        self.code == INVALID_STATEMENT_NAME || self.code == DUPLICATE_STATEMENT
    }

    /// Whether the statement was cancelled (by this program, a time limit of the server, or an operator).
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.code == QUERY_CANCELED
    }

    /// Whether the server, not the statement, is in trouble: insufficient resources, operator intervention.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        self.is_fatal() || self.code.starts_with("53") || self.code.starts_with("57")
    }

    /// Whether the server ended the connection with this error.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity.as_deref(), Some("FATAL" | "PANIC"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn shown(message: &str) -> String {
        let mut error = ServerError::raised("26000", message, "");
        error.hide_names("00ab");
        error.message
    }

    #[test]
    fn names_of_our_statements_are_left_out_of_messages() {
        assert_eq!(shown("statement \"00ab1f\" does not exist"), "statement \"\" does not exist");
        assert_eq!(shown("00ab1 00ab00ab2 00a 00ab"), "  00a ");
        assert_eq!(shown("nothing of ours"), "nothing of ours");
    }

    #[test]
    fn message_full_of_names_is_dealt_with_in_passing() {
        let (message, began) = ("00ab1 ".repeat(500_000), Instant::now());
        assert_eq!(shown(&message).len(), 500_000);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
