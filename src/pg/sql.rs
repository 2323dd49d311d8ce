//! Two kinds of SQL text that must never be mistaken for each other.

/// SQL that stands in this program's source. Only such text may run outside a caller's session.
#[derive(Clone, Copy, Debug)]
pub struct OwnSql(pub &'static str);

/// SQL that a caller sent. Runs only after the claims were sealed into its transaction.
#[derive(Clone, Copy)]
pub struct CallerSql<'a>(&'a str);

/// The protocol carries statements as C strings, so a NUL cannot be part of one.
#[derive(Debug, thiserror::Error)]
#[error("the statement contains a NUL character")]
pub struct NulInSql;

impl<'a> CallerSql<'a> {
    /// Accepts any text without NUL.
    pub fn new(text: &'a str) -> Result<Self, NulInSql> {
        if text.as_bytes().contains(&0) {
            return Err(NulInSql);
        }
        Ok(Self(text))
    }

    /// The text as the caller sent it.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.0
    }
}
