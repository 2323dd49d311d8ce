//! Owns the rules about a token's claims (RFC 7519 §4.1) and their form for the database; must never
//! let a claim's value into an error.

mod for_database;
mod object;
pub(super) mod purpose;
mod user;

use std::sync::Arc;

use serde_json::{Map, Value};

use super::error::AuthError;
use crate::config::TokenRules;
pub(super) use object::parse_object;

/// For how many seconds a token without `exp`, where one is allowed, is believed before it is looked at
/// again: what remembers it, and the seal, still need an end.
const UNDATED_LIFETIME: u64 = 5 * 60;

/// What an issuer's tokens are held to.
#[derive(Debug)]
pub(super) struct ClaimRules {
    /// The exact `iss`.
    pub(super) issuer: Arc<str>,
    /// Of which `aud` must name one; empty: `aud` is not looked at.
    pub(super) audiences: Vec<String>,
    /// Tolerated clock difference, seconds.
    pub(super) leeway: u64,
    /// And everything else.
    pub(super) token: TokenRules,
}

/// What is kept of claims that passed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CheckedClaims {
    /// What the database gets: an object, compact, ASCII.
    pub(super) json: Box<str>,
    /// `exp` plus leeway, seconds since the Unix epoch; without `exp`, a while from now.
    pub(super) expires_at: u64,
    /// The user's id: `sub`, or the claim that is configured instead.
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
    let expires_at = check_times(claims, rules, now)?;
    purpose::check(claims, rules)?;
    let subject = user::id(claims, &rules.token.user_id_claim)?;
    let json = for_database::json(claims, subject, &rules.token)?;
    Ok(CheckedClaims { json, expires_at, subject: subject.to_owned() })
}

/// `exp` is exclusive (§4.1.4: "on or after" it the token must not be accepted), `nbf` inclusive.
fn check_times(
    claims: &Map<String, Value>,
    rules: &ClaimRules,
    now: u64,
) -> Result<u64, AuthError> {
    let leeway = rules.leeway;
    let expires_at = match date(claims, "exp")? {
        Some(expires) => expires.saturating_add(leeway),
        None if rules.token.require_exp => return Err(AuthError::Claims("`exp` is missing")),
        None => now.saturating_add(UNDATED_LIFETIME),
    };
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
pub(super) fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, AuthError> {
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

#[cfg(test)]
mod tests;
