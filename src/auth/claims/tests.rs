use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: u64 = 1_000_000;
const LEEWAY: u64 = 5;

fn rules(audiences: &[&str]) -> ClaimRules {
    ClaimRules {
        issuer: "https://issuer".into(),
        audiences: audiences.iter().map(ToString::to_string).collect(),
        leeway: LEEWAY,
    }
}

/// Claims that pass, with some members replaced; `null` in `changes` removes one.
fn claims(changes: &Value) -> Map<String, Value> {
    let mut claims = json!({ "iss": "https://issuer", "sub": "alice", "exp": NOW + 60 });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims.as_object().unwrap().clone()
}

fn checked(changes: &Value) -> Result<CheckedClaims, AuthError> {
    check(&claims(changes), &rules(&[]), NOW)
}

fn error_for_audience(audience: &Value) -> Option<AuthError> {
    check(&claims(&json!({ "aud": audience })), &rules(&["api", "other"]), NOW).err()
}

#[test]
fn usable_claims_pass_whole() {
    let checked = checked(&json!({ "role": "x" })).unwrap();
    assert_eq!(checked.subject, "alice");
    assert_eq!(checked.expires_at, NOW + 60 + LEEWAY);
    assert_eq!(
        &*checked.json,
        r#"{"exp":1000060,"iss":"https://issuer","role":"x","sub":"alice"}"#
    );
}

#[test]
fn issuer_must_be_the_same_bytes() {
    for issuer in [json!("https://issuer/"), json!("HTTPS://issuer"), json!(["https://issuer"])] {
        assert_eq!(checked(&json!({ "iss": issuer })), Err(AuthError::UnknownIssuer));
    }
}

#[test]
fn exp_ends_the_token_in_that_second_plus_leeway() {
    assert!(checked(&json!({ "exp": NOW - LEEWAY + 1 })).is_ok());
    assert_eq!(checked(&json!({ "exp": NOW - LEEWAY })), Err(AuthError::Expired));
    assert_eq!(checked(&json!({ "exp": 0 })), Err(AuthError::Expired));
}

#[test]
fn exp_is_required() {
    assert!(matches!(checked(&json!({ "exp": null })), Err(AuthError::Claims(_))));
}

#[test]
fn nbf_and_iat_in_the_future_are_refused_beyond_leeway() {
    for name in ["nbf", "iat"] {
        assert!(checked(&json!({ name: NOW + LEEWAY })).is_ok());
        assert_eq!(checked(&json!({ name: NOW + LEEWAY + 1 })), Err(AuthError::NotYetValid(name)));
    }
}

#[test]
fn dates_may_be_fractions_and_huge() {
    assert!(checked(&json!({ "exp": 1_000_060.5, "nbf": 999_999.9 })).is_ok());
    assert_eq!(checked(&json!({ "exp": 1e300 })).unwrap().expires_at, u64::MAX);
    assert_eq!(checked(&json!({ "exp": u64::MAX })).unwrap().expires_at, u64::MAX);
    assert_eq!(checked(&json!({ "nbf": 1e300 })), Err(AuthError::NotYetValid("nbf")));
}

#[test]
fn dates_of_another_kind_are_unusable() {
    for name in ["exp", "nbf", "iat"] {
        for value in [json!("1000060"), json!(-1), json!(-0.5), json!(true), json!([1]), json!({})]
        {
            let error = checked(&json!({ name: value }));
            assert!(matches!(error, Err(AuthError::Claims(_))), "{name} {value}: {error:?}");
        }
        let mut null = claims(&json!({}));
        null.insert(name.into(), Value::Null);
        assert!(matches!(check(&null, &rules(&[]), NOW), Err(AuthError::Claims(_))), "{name} null");
    }
}

#[test]
fn audience_is_a_string_or_a_list_that_names_an_accepted_one() {
    for audience in [json!("api"), json!(["x", "other"]), json!(["api"])] {
        assert_eq!(error_for_audience(&audience), None, "{audience}");
    }
    for audience in [
        json!(null),
        json!("API"),
        json!("x"),
        json!(""),
        json!([]),
        json!(["x"]),
        json!(["api", 1]),
        json!({ "api": true }),
        json!(1),
    ] {
        assert_eq!(error_for_audience(&audience), Some(AuthError::Audience), "{audience}");
    }
}

#[test]
fn audience_is_not_looked_at_without_configured_ones() {
    assert!(checked(&json!({ "aud": 7 })).is_ok());
}

#[test]
fn subject_must_be_a_non_empty_string() {
    for subject in [json!(null), json!(""), json!(7), json!(["alice"])] {
        let error = checked(&json!({ "sub": subject }));
        assert!(matches!(error, Err(AuthError::Claims(_))), "{subject}: {error:?}");
    }
}

#[test]
fn nul_is_refused_wherever_it_stands() {
    for extra in [
        json!({ "sub": "a\0" }),
        json!({ "x": { "deep": ["\0"] } }),
        json!({ "\0": 1 }),
        json!({ "x": { "\0": 1 } }),
    ] {
        assert!(matches!(checked(&extra), Err(AuthError::Claims(_))), "{extra}");
    }
    assert!(checked(&json!({ "x": "\\u0000" })).is_ok(), "an escaped backslash is no NUL");
}

#[test]
fn characters_beyond_ascii_become_escapes() {
    let json = checked(&json!({ "sub": "zoë😀\u{7f}\n", "ключ": "ä" })).unwrap().json;
    assert!(json.is_ascii());
    assert!(json.contains(r#""sub":"zo\u00eb\ud83d\ude00"#), "{json}");
    assert!(json.contains(r#""\u043a\u043b\u044e\u0447":"\u00e4""#), "{json}");
}

#[test]
fn size_counts_after_escaping() {
    let fits = "x".repeat(MAX_CLAIMS_BYTES - 100);
    assert!(checked(&json!({ "x": fits })).is_ok());
    let grows = "ä".repeat(MAX_CLAIMS_BYTES / 6);
    assert!(matches!(checked(&json!({ "x": grows })), Err(AuthError::Claims(_))));
}

#[test]
fn objects_repeat_no_name() {
    assert!(parse_object(br#"{"a":1,"b":{"a":2}}"#).is_some());
    assert!(parse_object(br#"{"a":1,"a":1}"#).is_none());
    assert!(parse_object(br#"{"a":1,"\u0061":1}"#).is_none());
    assert!(parse_object(br#"{"a":1} x"#).is_none());
    assert!(parse_object(br#"{"a":"\ud800"}"#).is_none());
    assert!(parse_object(b"[]").is_none());
}

proptest! {
    #[test]
    fn escaping_changes_no_value(text: String) {
        let claims = claims(&json!({ "x": text }));
        match ascii_json(&claims) {
            Ok(json) => {
                prop_assert!(json.is_ascii());
                prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), Value::Object(claims));
            }
            Err(_) => prop_assert!(text.contains('\0')),
        }
    }
}
