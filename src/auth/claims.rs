//! Owns the rules about a token's claims (RFC 7519 §4.1) and their form for the database; must never
//! let a claim's value into an error.

use std::fmt;
use std::io;
use std::sync::Arc;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};
use serde_json::{Map, Value};

use super::error::AuthError;

/// Bytes of the claims as the database gets them.
const MAX_CLAIMS_BYTES: usize = 16 * 1024;

/// What an issuer's tokens are held to.
#[derive(Debug)]
pub(super) struct ClaimRules {
    /// The exact `iss`.
    pub(super) issuer: Arc<str>,
    /// Of which `aud` must name one; empty: `aud` is not looked at.
    pub(super) audiences: Vec<String>,
    /// Tolerated clock difference, seconds.
    pub(super) leeway: u64,
}

/// What is kept of claims that passed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CheckedClaims {
    /// The whole object: compact, ASCII.
    pub(super) json: Box<str>,
    /// `exp` plus leeway, seconds since the Unix epoch.
    pub(super) expires_at: u64,
    /// `sub`.
    pub(super) subject: String,
}

/// Holds signed claims against the rules at the time `now` (seconds since the Unix epoch).
pub(super) fn check(
    claims: &Map<String, Value>,
    rules: &ClaimRules,
    now: u64,
) -> Result<CheckedClaims, AuthError> {
    if claims.get("iss").and_then(Value::as_str) != Some(&*rules.issuer) {
        return Err(AuthError::UnknownIssuer);
    }
    let expires_at = check_times(claims, rules.leeway, now)?;
    if !rules.audiences.is_empty() {
        check_audience(claims.get("aud"), &rules.audiences)?;
    }
    let subject = match claims.get("sub") {
        Some(Value::String(subject)) if !subject.is_empty() => subject.clone(),
        Some(Value::String(_)) => return Err(AuthError::Claims("`sub` is empty")),
        Some(_) => return Err(AuthError::Claims("`sub` is not a string")),
        None => return Err(AuthError::Claims("`sub` is missing")),
    };
    Ok(CheckedClaims { json: ascii_json(claims)?, expires_at, subject })
}

/// `exp` is exclusive (§4.1.4: "on or after" it the token must not be accepted), `nbf` inclusive.
fn check_times(claims: &Map<String, Value>, leeway: u64, now: u64) -> Result<u64, AuthError> {
    let expires = date(claims, "exp")?.ok_or(AuthError::Claims("`exp` is missing"))?;
    let expires_at = expires.saturating_add(leeway);
    if now >= expires_at {
        return Err(AuthError::Expired);
    }
    for name in ["nbf", "iat"] {
        if date(claims, name)?.is_some_and(|date| date > now.saturating_add(leeway)) {
            return Err(AuthError::NotYetValid(name));
        }
    }
    Ok(expires_at)
}

/// A `NumericDate` (§2) in whole seconds; fractions are cut off.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, AuthError> {
    let unusable = AuthError::Claims("`exp`, `nbf` and `iat` must be numbers of seconds from 0 up");
    let Some(value) = claims.get(name) else { return Ok(None) };
    if let Some(seconds) = value.as_u64() {
        return Ok(Some(seconds));
    }
    match value.as_f64() {
        Some(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(Some(whole(seconds))),
        _ => Err(unusable),
    }
}

/// Beyond `u64` the cast saturates: such a date is past every clock.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked by the caller"
)]
fn whole(seconds: f64) -> u64 {
    seconds as u64
}

/// §4.1.3: one string, or an array of strings.
fn check_audience(audience: Option<&Value>, accepted: &[String]) -> Result<(), AuthError> {
    let is_accepted = |name: &str| accepted.iter().any(|accepted| accepted == name);
    let named = match audience {
        Some(Value::String(name)) => is_accepted(name),
        Some(Value::Array(names)) => {
            names.iter().all(Value::is_string)
                && names.iter().filter_map(Value::as_str).any(is_accepted)
        }
        _ => false,
    };
    if named { Ok(()) } else { Err(AuthError::Audience) }
}

/// The claims as compact JSON in which every non-ASCII character is a `\u` escape, so that the bytes
/// mean the same in every encoding a database can have.
fn ascii_json(claims: &Map<String, Value>) -> Result<Box<str>, AuthError> {
    let mut bytes = Vec::new();
    claims
        .serialize(&mut Serializer::with_formatter(&mut bytes, AsciiFormatter))
        .map_err(|_| AuthError::Claims("a string in them contains the character U+0000"))?;
    if bytes.len() > MAX_CLAIMS_BYTES {
        return Err(AuthError::Claims("they are larger than 16 KiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| AuthError::Claims("they are not text"))?;
    Ok(text.into_boxed_str())
}

/// Writes ASCII only and fails on U+0000, which `PostgreSQL`'s `text` and `jsonb` cannot hold.
struct AsciiFormatter;

impl Formatter for AsciiFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(start) = rest.find(|character: char| !character.is_ascii()) {
            let (ascii, other) = rest.split_at(start);
            writer.write_all(ascii.as_bytes())?;
            let end = other.find(|character: char| character.is_ascii()).unwrap_or(other.len());
            for unit in other[..end].encode_utf16() {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &other[end..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        if matches!(escape, CharEscape::AsciiControl(0)) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        CompactFormatter.write_char_escape(writer, escape)
    }
}

/// One JSON object and nothing else, `None` if it is not that or repeats a member name at its top
/// level (§4: two readers could take different values for the same claim).
pub(super) fn parse_object(bytes: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice::<DistinctMembers>(bytes).ok().map(|members| members.0)
}

struct DistinctMembers(Map<String, Value>);

impl<'de> Deserialize<'de> for DistinctMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DistinctMembersVisitor).map(Self)
    }
}

struct DistinctMembersVisitor;

impl<'de> Visitor<'de> for DistinctMembersVisitor {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, value)) = access.next_entry()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("repeated member name"));
            }
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests;
