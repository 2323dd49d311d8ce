//! The body of a call: `{"query", "params"}`, or `{"queries": […]}`.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::options::Options;
use crate::config::{LimitsConfig, MOST_PARAMETERS};
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
    params: FewItems<'a>,
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
    params: FewItems<'a>,
    #[serde(default)]
    array_mode: Option<bool>,
    #[serde(borrow, default)]
    queries: Option<&'a RawValue>,
}

/// The first items of a list: a body of 10 MiB can hold millions.
#[derive(Debug, Default)]
struct FewItems<'a>(Vec<&'a RawValue>);

/// Reads a list to its end, and keeps this many of its items and one more, to tell that there are.
struct NoMoreThan(usize);

impl<'de: 'a, 'a> Deserialize<'de> for FewItems<'a> {
    /// Parameters: the protocol counts no further.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        NoMoreThan(MOST_PARAMETERS).deserialize(deserializer)
    }
}

impl<'de> DeserializeSeed<'de> for NoMoreThan {
    type Value = FewItems<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for NoMoreThan {
    type Value = FewItems<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<FewItems<'de>, A::Error> {
        let mut items = Vec::new();
        while items.len() <= self.0 {
            let Some(item) = list.next_element()? else { return Ok(FewItems(items)) };
            items.push(item);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(FewItems(items))
    }
}

impl<'a> Payload<'a> {
    /// Parses without copying what needs no copy, and without building more than `limits` allow.
    pub fn parse(body: &'a [u8], limits: &LimitsConfig) -> Result<Self, ApiError> {
        must_be_object(body)?;
        let envelope: Envelope<'a> =
            serde_json::from_slice(body).map_err(|error| refuse(&error))?;
        if let Some(query) = envelope.query {
            let query =
                Query { sql: query, params: envelope.params, array_mode: envelope.array_mode };
            query.check(limits)?;
            return Ok(Self { queries: vec![query], batch: false });
        }
        let Some(queries) = envelope.queries else {
            return Err(ApiError::bad_body("neither \"query\" nor \"queries\" is there"));
        };
        let most = limits.batch_statements;
        let queries = NoMoreThan(most)
            .deserialize(&mut serde_json::Deserializer::from_str(queries.get()))
            .map_err(|error| refuse(&error))?;
        if queries.0.len() > most {
            return Err(ApiError::batch_too_long(most));
        }
        let parse = |json| Query::parse(json, limits);
        let queries = queries.0.into_iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { queries, batch: true })
    }

    /// What is to be run.
    pub fn request(&self, options: Options) -> Result<Request<'_>, ApiError> {
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
    fn parse(json: &'a RawValue, limits: &LimitsConfig) -> Result<Self, ApiError> {
        must_be_object(json.get().as_bytes())?;
        let query: Self = serde_json::from_str(json.get()).map_err(|error| refuse(&error))?;
        query.check(limits)?;
        Ok(query)
    }

    fn check(&self, limits: &LimitsConfig) -> Result<(), ApiError> {
        if self.params.0.len() > limits.parameters {
            return Err(ApiError::too_many_parameters(limits.parameters));
        }
        Ok(())
    }

    fn statement(&self, options: Options) -> Result<Statement<'_>, ApiError> {
        let sql =
            CallerSql::new(&self.sql).map_err(|error| ApiError::bad_body(&error.to_string()))?;
        Ok(Statement {
            sql,
            params: &self.params.0,
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
        match Payload::parse(body.as_bytes(), &LimitsConfig::default()) {
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
