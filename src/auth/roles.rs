//! Owns the map from claims to database roles; must never yield a role that is not in it: what a token
//! says is compared with the map's values and goes nowhere else.

use serde_json::{Map, Value};

use crate::config::{RoleId, RoleRule};

/// The rules of one issuer, in their configured order.
#[derive(Debug, Default)]
pub(super) struct RoleMap(Vec<RoleRule>);

impl RoleMap {
    /// Those of all rules that are for this issuer's tokens.
    pub(super) fn of_issuer(issuer: &str, rules: &[RoleRule]) -> Self {
        Self(rules.iter().filter(|rule| rule.issuer == issuer).cloned().collect())
    }

    /// The role of the first rule that fits; none: the role of all other callers with a token.
    pub(super) fn role_of(&self, claims: &Map<String, Value>) -> Option<RoleId> {
        self.0.iter().find(|rule| names(claims, &rule.claim, &rule.value)).map(|rule| rule.role)
    }
}

/// Whether the claim at `path` is this very string, or an array of strings of which it is one.
fn names(claims: &Map<String, Value>, path: &[String], wanted: &str) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    let found = rest.iter().try_fold(claims.get(first), |value, name| match value {
        Some(Value::Object(members)) => Some(members.get(name)),
        _ => None,
    });
    match found.flatten() {
        Some(Value::String(text)) => text == wanted,
        Some(Value::Array(items)) => {
            items.iter().all(Value::is_string)
                && items.iter().filter_map(Value::as_str).any(|text| text == wanted)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fits(claims: &Value, path: &[&str]) -> bool {
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        names(claims.as_object().unwrap(), &path, "support")
    }

    #[test]
    fn a_string_or_a_member_of_an_array_of_strings_fits() {
        for claim in [json!("support"), json!(["support"]), json!(["sales", "support"])] {
            assert!(fits(&json!({ "role": claim }), &["role"]), "{claim}");
            assert!(fits(&json!({ "a": { "role": claim } }), &["a", "role"]), "{claim}");
        }
    }

    #[test]
    fn nothing_else_fits() {
        for claim in [
            json!("Support"),
            json!("support "),
            json!("support\u{0}"),
            json!("support,sales"),
            json!(""),
            json!(null),
            json!(true),
            json!(1),
            json!([]),
            json!([["support"]]),
            json!(["support", 1]),
            json!([null, "support"]),
            json!([{ "support": "support" }]),
            json!({ "support": "support" }),
            json!({ "0": "support" }),
        ] {
            assert!(!fits(&json!({ "role": claim }), &["role"]), "{claim}");
        }
    }

    #[test]
    fn names_are_taken_as_they_are_and_only_objects_are_gone_into() {
        let namespaced = json!({ "https://app.example/a.role": "support" });
        assert!(fits(&namespaced, &["https://app.example/a.role"]));
        let nested = json!({ "a": { "role": "support" } });
        for path in [&["a.role"][..], &["a"], &["role"], &["a", "role", "x"], &[]] {
            assert!(!fits(&nested, path), "{path:?}");
        }
        assert!(!fits(&json!({ "a": [{ "role": "support" }] }), &["a", "0", "role"]));
        assert!(!fits(&json!({ "a": ["support"] }), &["a", "0"]));
        assert!(!fits(&json!({ "a": "{\"role\":\"support\"}" }), &["a", "role"]));
    }
}
