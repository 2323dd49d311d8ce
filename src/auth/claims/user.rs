//! Who the user is: the one claim that `auth.user_id()` answers with.

use serde_json::{Map, Value};

use crate::auth::error::AuthError;
use crate::config::ClaimPath;

/// The id, a non-empty text: numbers are not taken, because two of them can be one number and two texts.
pub(super) fn id<'a>(
    claims: &'a Map<String, Value>,
    path: &ClaimPath,
) -> Result<&'a str, AuthError> {
    let unusable = |fault| AuthError::UserId { claim: path.as_str().into(), fault };
    match find(claims, path) {
        Some(Value::String(id)) if !id.is_empty() => Ok(id),
        Some(Value::String(_)) => Err(unusable("is empty")),
        Some(_) => Err(unusable("is not a string")),
        None => Err(unusable("is missing")),
    }
}

/// Follows the path through objects; lists have no names.
fn find<'a>(claims: &'a Map<String, Value>, path: &ClaimPath) -> Option<&'a Value> {
    let (first, rest) = path.steps().split_first()?;
    rest.iter().try_fold(claims.get(first)?, |value, step| value.as_object()?.get(step))
}
