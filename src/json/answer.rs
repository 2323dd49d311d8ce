//! Rows as they arrive → the bytes of an answer, in the shape that clients of SQL over HTTP expect.

use super::value::{self, NotUtf8};
use super::write_string;
use crate::pg::description::Description;
use crate::pg::frame::Reader;

/// Why a row could not be written.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The server's message was cut short.
    #[error(transparent)]
    Row(#[from] crate::pg::PgError),
    /// The row would make the answer longer than it may be.
    #[error("the answer exceeds its limit")]
    TooLarge,
    /// A value's bytes are no text.
    #[error(transparent)]
    NotUtf8(#[from] NotUtf8),
}

/// Writes one answer: an object for a single statement, `{"results":[…]}` for a batch.
#[derive(Debug)]
pub struct AnswerWriter {
    out: Vec<u8>,
    raw_text: bool,
    batch: bool,
    statements: usize,
    rows: u64,
    rows_of_statement: u64,
    finished_bytes: u64,
    limit: u64,
}

impl AnswerWriter {
    /// `raw_text`: every value as the string that the server printed. `batch`: several results. `limit`:
    /// bytes that the answer may have.
    #[must_use]
    pub fn new(raw_text: bool, batch: bool, limit: u64) -> Self {
        let mut out = Vec::with_capacity(INITIAL_CAPACITY);
        if batch {
            out.extend_from_slice(b"{\"results\":[");
        }
        Self {
            out,
            raw_text,
            batch,
            statements: 0,
            rows: 0,
            rows_of_statement: 0,
            finished_bytes: 0,
            limit,
        }
    }

    /// Begins the result of the next statement.
    pub fn begin(&mut self, description: &Description) {
        if self.statements > 0 {
            self.out.push(b',');
        }
        self.statements += 1;
        self.rows_of_statement = 0;
        self.out.extend_from_slice(b"{\"fields\":");
        self.out.extend_from_slice(&description.fields_json);
        self.out.extend_from_slice(b",\"rows\":[");
    }

    /// Appends the body of a `DataRow`.
    pub fn row(
        &mut self,
        body: &[u8],
        description: &Description,
        as_array: bool,
    ) -> Result<(), AnswerError> {
        if self.rows_of_statement > 0 {
            self.out.push(b',');
        }
        self.rows += 1;
        self.rows_of_statement += 1;
        let mut reader = Reader::new(body);
        let count = reader.count()?;
        self.out.push(if as_array { b'[' } else { b'{' });
        for (index, column) in description.columns.iter().take(count).enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            if !as_array {
                self.out.extend_from_slice(&column.key_json);
            }
            let value = reader.value()?;
            self.make_sure_it_fits(value)?;
            if self.raw_text {
                value::write_raw(value, &mut self.out)?;
            } else {
                value::write_typed(value, &column.kind, &mut self.out)?;
            }
        }
        self.out.push(if as_array { b']' } else { b'}' });
        Ok(())
    }

    /// Escaping makes up to six bytes of one: a long value is measured before it is written.
    fn make_sure_it_fits(&self, value: Option<&[u8]>) -> Result<(), AnswerError> {
        let Some(value) = value.filter(|value| value.len() >= LONG_VALUE) else { return Ok(()) };
        let escapes = value.iter().filter(|byte| **byte < b' ').count() as u64;
        let length = value.len() as u64 + escapes * ESCAPE;
        if self.bytes() + length > self.limit { Err(AnswerError::TooLarge) } else { Ok(()) }
    }

    /// Ends the result of a statement whose command tag is `tag` (empty for an empty statement).
    pub fn end(&mut self, tag: &str, as_array: bool) {
        self.out.extend_from_slice(b"],\"command\":");
        write_string(tag.split(' ').next().unwrap_or_default(), &mut self.out);
        self.out.extend_from_slice(b",\"rowCount\":");
        match tag.rsplit(' ').next().filter(|last| is_count(last)) {
            Some(count) => self.out.extend_from_slice(count.as_bytes()),
            None => self.out.extend_from_slice(b"null"),
        }
        self.out.extend_from_slice(if as_array {
            b",\"rowAsArray\":true}"
        } else {
            b",\"rowAsArray\":false}"
        });
    }

    /// Ends the answer.
    pub fn finish(&mut self) {
        if self.batch {
            self.out.extend_from_slice(b"]}");
        }
    }

    /// Bytes that wait to be taken.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.out.len()
    }

    /// Takes what was written so far.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        self.finished_bytes += self.out.len() as u64;
        std::mem::take(&mut self.out)
    }

    /// Bytes of the answer so far, taken or not.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.finished_bytes + self.out.len() as u64
    }

    /// Rows of all statements so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

/// Values of this many bytes are measured before they are written.
const LONG_VALUE: usize = 64 * 1024;
/// What `\u0001` is longer than the byte it stands for.
const ESCAPE: u64 = 5;

/// Room for a small answer, so that most are written without growing, in bytes.
const INITIAL_CAPACITY: usize = 2048;

/// Whether the last word of a command tag is a number of rows.
fn is_count(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::value::ValueKind;
    use super::*;
    use crate::pg::description::Column;

    fn ended(tag: &str) -> String {
        let mut writer = AnswerWriter::new(true, false, u64::MAX);
        writer.begin(&Description::none());
        writer.end(tag, true);
        writer.finish();
        String::from_utf8(writer.take()).unwrap()
    }

    #[test]
    fn command_and_row_count_come_from_the_command_tag() {
        assert_eq!(
            ended("INSERT 0 3"),
            r#"{"fields":[],"rows":[],"command":"INSERT","rowCount":3,"rowAsArray":true}"#
        );
        assert!(ended("CREATE TABLE").contains(r#""command":"CREATE","rowCount":null"#));
        assert!(ended("").contains(r#""command":"","rowCount":null"#));
    }

    #[test]
    fn a_value_that_escaping_would_make_too_long_is_refused_before_it_is_written() {
        let value = vec![1; 2 * LONG_VALUE];
        let mut row = vec![0, 1];
        row.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        row.extend(&value);
        let column = Column { key_json: Box::default(), kind: ValueKind::Text };
        let description = Description { columns: Box::new([column]), ..Description::default() };
        let write = |limit| {
            let mut writer = AnswerWriter::new(true, false, limit);
            let written = writer.row(&row, &description, true);
            (written.is_ok(), writer.bytes())
        };
        let (refused, room) = (write(4 * value.len() as u64), write(7 * value.len() as u64));
        assert_eq!(refused, (false, 1), "nothing but the bracket of the row");
        assert!(room.0 && room.1 > 6 * value.len() as u64);
    }

    #[test]
    fn a_batch_without_statements_is_an_empty_list() {
        let mut writer = AnswerWriter::new(false, true, u64::MAX);
        writer.finish();
        assert_eq!(writer.take(), b"{\"results\":[]}");
    }
}
