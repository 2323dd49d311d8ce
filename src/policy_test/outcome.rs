//! What came of a statement.

use tokio_postgres::SimpleQueryMessage;

/// The server's answer to one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It ran.
    Done {
        columns: Vec<String>,
        /// In `PostgreSQL`'s text format.
        rows: Vec<Vec<Option<String>>>,
        /// As the command's tag counts: rows that were returned, or changed.
        count: u64,
    },
    /// It was refused.
    Refused { sqlstate: String, message: String },
}

impl Outcome {
    pub fn of(messages: Vec<SimpleQueryMessage>) -> Self {
        let (mut columns, mut rows, mut count) = (Vec::new(), Vec::new(), 0);
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(names) => {
                    columns = names.iter().map(|column| column.name().to_owned()).collect();
                }
                SimpleQueryMessage::Row(row) => {
                    rows.push((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect());
                }
                SimpleQueryMessage::CommandComplete(number) => count = number,
                _ => {}
            }
        }
        Self::Done { columns, rows, count }
    }

    /// The refusal in `error`; gives it back if the server did not say anything.
    pub fn refused(error: tokio_postgres::Error) -> Result<Self, tokio_postgres::Error> {
        match error.as_db_error() {
            None => Err(error),
            Some(refusal) => Ok(Self::Refused {
                sqlstate: refusal.code().code().to_owned(),
                message: refusal.message().to_owned(),
            }),
        }
    }

    /// Whether both say the same of the policies. `order`: rows must come in the same order. `values`: and be
    /// the same ones, not only as many.
    pub fn agrees(&self, other: &Self, order: bool, values: bool) -> bool {
        match (self, other) {
            (
                Self::Done { rows: mine, count: a, .. },
                Self::Done { rows: theirs, count: b, .. },
            ) => {
                if !values || order {
                    return a == b && mine.len() == theirs.len() && (!values || mine == theirs);
                }
                let sorted = |rows: &[Vec<Option<String>>]| {
                    let mut rows = rows.to_vec();
                    rows.sort();
                    rows
                };
                a == b && sorted(mine) == sorted(theirs)
            }
            (
                Self::Refused { sqlstate: a, message: x },
                Self::Refused { sqlstate: b, message: y },
            ) => a == b && (!values || x == y),
            _ => false,
        }
    }
}
