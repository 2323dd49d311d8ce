//! The body of a call: `{"query", "params"}`, or `{"queries": […]}`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::options::Options;
use crate::error::ApiError;
use crate::pg::sql::CallerSql;
use crate::session::{Request, Statement, TransactionOptions};

/// One statement as sent. Members that are not known are ignored, as clients expect.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Query<'a> {
    #[serde(borrow, rename = "query")]
    sql: Cow<'a, str>,
    #[serde(borrow, default)]
    params: Vec<&'a RawValue>,
    #[serde(default)]
    array_mode: Option<bool>,
}

/// A body that was understood.
#[derive(Debug)]
pub struct Payload<'a> {
    queries: Vec<Query<'a>>,
    batch: bool,
}

/// Both forms at once: `query` wins if both are there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, default)]
    query: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Vec<&'a RawValue>,
    #[serde(default)]
    array_mode: Option<bool>,
    #[serde(borrow, default)]
    queries: Option<&'a RawValue>,
}

impl<'a> Payload<'a> {
    /// Parses without copying what needs no copy.
    pub fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        must_be_object(body)?;
        let envelope: Envelope<'a> =
            serde_json::from_slice(body).map_err(|error| refuse(&error))?;
        if let Some(query) = envelope.query {
            let query =
                Query { sql: query, params: envelope.params, array_mode: envelope.array_mode };
            return Ok(Self { queries: vec![query], batch: false });
        }
        let Some(queries) = envelope.queries else {
            return Err(ApiError::bad_body("neither \"query\" nor \"queries\" is there"));
        };
        let queries: Vec<&RawValue> =
            serde_json::from_str(queries.get()).map_err(|error| refuse(&error))?;
        let queries = queries.into_iter().map(Query::parse).collect::<Result<_, _>>()?;
        Ok(Self { queries, batch: true })
    }

    /// What is to be run.
    pub fn request(&self, options: Options, batch_limit: usize) -> Result<Request<'_>, ApiError> {
        if self.queries.len() > batch_limit {
            return Err(ApiError::batch_too_long(batch_limit));
        }
        let statements = self.queries.iter().map(|query| query.statement(options));
        Ok(Request {
            statements: statements.collect::<Result<_, _>>()?,
            options: if self.batch { options.transaction } else { TransactionOptions::default() },
            raw_text: options.raw_text,
            batch: self.batch,
        })
    }
}

impl<'a> Query<'a> {
    fn parse(json: &'a RawValue) -> Result<Self, ApiError> {
        must_be_object(json.get().as_bytes())?;
        serde_json::from_str(json.get()).map_err(|error| refuse(&error))
    }

    fn statement(&self, options: Options) -> Result<Statement<'_>, ApiError> {
        let sql =
            CallerSql::new(&self.sql).map_err(|error| ApiError::bad_body(&error.to_string()))?;
        Ok(Statement {
            sql,
            params: &self.params,
            rows_as_arrays: self.array_mode.unwrap_or(options.array_mode),
        })
    }
}

/// serde would fill a struct from a list as well, which is no form that clients are promised.
fn must_be_object(json: &[u8]) -> Result<(), ApiError> {
    match json.trim_ascii_start().first() {
        Some(b'{') | None => Ok(()),
        Some(_) => Err(ApiError::bad_body("an object is expected")),
    }
}

/// `serde_json`'s words name a position and what was expected there, and quote none but a misfit scalar;
/// they go to the sender of the body only.
fn refuse(error: &serde_json::Error) -> ApiError {
    ApiError::bad_body(&error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<(usize, bool), u16> {
        match Payload::parse(body.as_bytes()) {
            Ok(payload) => Ok((payload.queries.len(), payload.batch)),
            Err(error) => Err(error.status.as_u16()),
        }
    }

    #[test]
    fn single_statements_and_batches_are_understood() {
        assert_eq!(parse(r#"{"query":"select 1"}"#), Ok((1, false)));
        assert_eq!(parse(r#"{"query":"select $1","params":[{"a":[1]}],"x":1}"#), Ok((1, false)));
        assert_eq!(
            parse(r#"{"queries":[{"query":"a"},{"query":"b","params":[]}]}"#),
            Ok((2, true))
        );
        assert_eq!(parse(r#"{"queries":[]}"#), Ok((0, true)));
        assert_eq!(parse(r#"{"queries":[{"query":"a"}],"query":"b"}"#), Ok((1, false)));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for body in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"query":1}"#,
            r#"{"query":"a","params":null}"#,
            r#"{"query":"a","params":{}}"#,
            r#"{"queries":{}}"#,
            r#"["select 1"]"#,
            r#"{"queries":[["select 1"]]}"#,
            r#"{"queries":[{"params":[]}]}"#,
            "\u{feff}{\"query\":\"a\"}",
        ] {
            assert_eq!(parse(body), Err(400), "{body}");
        }
    }
}
