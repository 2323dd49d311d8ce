//! The claims and parameters that a statement is tried with. Must refuse a token: those do not belong on a
//! command line.

use std::error::Error;
use std::fmt::Write as _;

use bytes::BytesMut;
use serde_json::{Map, Value};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use super::ExplainError;
use crate::auth::Identity;
use crate::session::seal::Sealer;

/// On whose behalf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody with these claims, one JSON object in ASCII.
    Claims(String),
    /// Somebody without a token.
    Anonymous,
}

impl Caller {
    /// From a JSON object, or from the claim `sub` alone.
    ///
    /// # Errors
    ///
    /// Neither: not a JSON object, empty, or a token.
    pub fn parse(text: &str) -> Result<Self, ExplainError> {
        let text = text.trim();
        let is_token = text.starts_with("eyJ") && text.matches('.').count() >= 2;
        if text.is_empty() || is_token {
            let expected =
                "expected claims such as '{\"sub\":\"alice\"}', or a user's id; not a token";
            return Err(ExplainError::Misuse(expected.to_owned()));
        }
        if !text.starts_with('{') {
            return Ok(Self::Claims(ascii(&serde_json::json!({ "sub": text }).to_string())));
        }
        serde_json::from_str::<Map<String, Value>>(text).map_err(|error| {
            ExplainError::Misuse(format!("the claims are not a JSON object: {error}"))
        })?;
        // Not what was parsed: numbers keep their digits.
        Ok(Self::Claims(ascii(text)))
    }

    /// What is sealed.
    pub(crate) fn claims(&self) -> &str {
        match self {
            Self::Claims(text) => text,
            Self::Anonymous => Sealer::claims(&Identity::Anonymous),
        }
    }

    /// The role of its requests, unless the configuration says another one.
    #[must_use]
    pub fn usual_role(&self) -> &'static str {
        match self {
            Self::Claims(_) => "authenticated",
            Self::Anonymous => "anonymous",
        }
    }
}

/// The same JSON with `\u` escapes, as the gateway sends it: characters beyond ASCII stand in strings only.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut units = [0; 2];
    for character in json.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut units) {
                // Writing into a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// A value as text, whatever type the statement makes of it.
#[derive(Debug)]
pub(super) struct TextParameter<'a>(pub(super) &'a str);

impl ToSql for TextParameter<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_claim_sub_and_an_object_stays_as_it_is() {
        let claims = |text: &str| Caller::parse(text).unwrap().claims().to_owned();
        assert_eq!(claims("alice"), r#"{"sub":"alice"}"#);
        assert_eq!(claims("o'\"neil"), r#"{"sub":"o'\"neil"}"#);
        assert_eq!(
            claims(" {\"sub\": \"é😀\", \"n\": 1.50}"),
            r#"{"sub": "\u00e9\ud83d\ude00", "n": 1.50}"#
        );
        for refused in ["", "{", "{} x", "eyJh.eyJz.c2ln"] {
            assert!(Caller::parse(refused).is_err(), "{refused}");
        }
        assert_eq!(Caller::Anonymous.usual_role(), "anonymous");
    }
}
