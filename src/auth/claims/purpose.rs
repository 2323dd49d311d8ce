//! What a token was made for: this server, one of its applications, this kind of use. Configured means
//! required: a claim that is missing, or of another type, is refused like a wrong one.

use serde_json::{Map, Value};

use super::ClaimRules;
use crate::auth::error::AuthError;
use crate::config::RequiredClaim;

pub(super) fn check(claims: &Map<String, Value>, rules: &ClaimRules) -> Result<(), AuthError> {
    // First, because "this is an ID token" explains more than the audience that an ID token has.
    for required in &rules.token.required_claims {
        if !claims.get(&required.name).is_some_and(|value| is_exactly(value, required)) {
            return Err(AuthError::RequiredClaim {
                name: required.name.as_str().into(),
                value: required.value.as_str().into(),
            });
        }
    }
    let audiences = &rules.audiences;
    if !audiences.is_empty() && !names_audience(claims.get("aud"), audiences) {
        return Err(AuthError::Audience);
    }
    if !is_one_of(claims.get("azp"), &rules.token.authorized_parties) {
        return Err(AuthError::AuthorizedParty);
    }
    if !is_one_of(claims.get("client_id"), &rules.token.client_ids) {
        return Err(AuthError::ClientId);
    }
    Ok(())
}

/// §4.1.3: one string, or an array of strings.
pub(in crate::auth) fn names_audience(audience: Option<&Value>, accepted: &[String]) -> bool {
    let is_accepted = |name: &str| accepted.iter().any(|accepted| accepted == name);
    match audience {
        Some(Value::String(name)) => is_accepted(name),
        Some(Value::Array(names)) => {
            names.iter().all(Value::is_string)
                && names.iter().filter_map(Value::as_str).any(is_accepted)
        }
        _ => false,
    }
}

/// A string that is accepted; anything, if nothing is configured.
pub(in crate::auth) fn is_one_of(claim: Option<&Value>, accepted: &[String]) -> bool {
    accepted.is_empty()
        || claim
            .and_then(Value::as_str)
            .is_some_and(|name| accepted.iter().any(|accepted| accepted == name))
}

/// Numbers and truth values are compared as JSON writes them; null, lists and objects equal nothing.
pub(in crate::auth) fn is_exactly(value: &Value, required: &RequiredClaim) -> bool {
    match value {
        Value::String(text) => *text == required.value,
        Value::Bool(flag) => flag.to_string() == required.value,
        Value::Number(number) => number.to_string() == required.value,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}
