use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::{ClaimPath, ClaimSelection, MOST_CLAIMS_BYTES, RequiredClaim};

const NOW: u64 = 1_000_000;
const LEEWAY: u64 = 5;

fn rules(audiences: &[&str]) -> ClaimRules {
    ClaimRules {
        issuer: "https://issuer".into(),
        audiences: audiences.iter().map(ToString::to_string).collect(),
        leeway: LEEWAY,
        token: TokenRules::default(),
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
        assert!(matches!(error, Err(AuthError::UserId { .. })), "{subject}: {error:?}");
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
    let fits = "x".repeat(MOST_CLAIMS_BYTES - 100);
    assert!(checked(&json!({ "x": fits })).is_ok());
    let grows = "ä".repeat(MOST_CLAIMS_BYTES / 6);
    let limit = MOST_CLAIMS_BYTES;
    assert_eq!(checked(&json!({ "x": grows })), Err(AuthError::ClaimsTooLarge { limit }));
}

#[test]
fn objects_repeat_no_name() {
    assert!(parse_object(br#"{"a":1,"b":{"a":2}}"#).is_some());
    assert!(parse_object(br#"{"b":{"a":1,"a":1}}"#).is_none());
    assert!(parse_object(br#"{"b":[{"a":1,"\u0061":1}]}"#).is_none());
    assert!(parse_object(br#"{"a":1,"a":1}"#).is_none());
    assert!(parse_object(br#"{"a":1,"\u0061":1}"#).is_none());
    assert!(parse_object(br#"{"a":1} x"#).is_none());
    assert!(parse_object(br#"{"a":"\ud800"}"#).is_none());
    assert!(parse_object(b"[]").is_none());
}

/// `serde_json` would take the text in the member for the value itself.
#[test]
fn no_name_in_the_claims_turns_text_into_something_else() {
    let text = r#"["support"]"#;
    for name in ["$serde_json::private::RawValue", "$serde_json::private::Number"] {
        let claims = json!({ "roles": { name: text }, "list": [{ name: "{}" }], name: "1" });
        let parsed = parse_object(claims.to_string().as_bytes());
        assert_eq!(parsed.map(Value::Object), Some(claims));
    }
}

#[test]
fn values_are_read_as_they_are_written() {
    let text = r#"{"a":[null,true,0,-1,18446744073709551615,1.5,"\ud83d\ude00",[],{}]}"#;
    let parsed = parse_object(text.as_bytes()).map(Value::Object);
    assert_eq!(parsed, serde_json::from_str(text).ok());
    assert!(parse_object(br#"{"a":1e999}"#).is_none());
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    assert!(parse_object(deep.as_bytes()).is_none(), "no end to the stack is reached");
}

proptest! {
    #[test]
    fn escaping_changes_no_value(text: String) {
        let claims = claims(&json!({ "x": text }));
        match for_database::json(&claims, "alice", &TokenRules::default()) {
            Ok(json) => {
                prop_assert!(json.is_ascii());
                prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), Value::Object(claims));
            }
            Err(_) => prop_assert!(text.contains('\0')),
        }
    }
}

/// Claims that pass, under other rules.
fn checked_by(token: TokenRules, changes: &Value) -> Result<CheckedClaims, AuthError> {
    check(&claims(changes), &ClaimRules { token, ..rules(&[]) }, NOW)
}

fn database_claims(token: TokenRules, changes: &Value) -> Value {
    serde_json::from_str(&checked_by(token, changes).unwrap().json).unwrap()
}

#[test]
fn token_without_exp_is_believed_for_a_while_where_it_is_allowed() {
    let rules = || TokenRules { require_exp: false, ..TokenRules::default() };
    let undated = checked_by(rules(), &json!({ "exp": null })).unwrap();
    assert_eq!(undated.expires_at, NOW + UNDATED_LIFETIME);
    let dated = checked_by(rules(), &json!({ "exp": NOW + 7 })).unwrap();
    assert_eq!(dated.expires_at, NOW + 7 + LEEWAY);
    assert_eq!(checked_by(rules(), &json!({ "exp": 1 })), Err(AuthError::Expired));
}

#[test]
fn azp_and_client_id_must_be_configured_ones_if_any_are_configured() {
    let accepted = || vec!["web".to_owned(), "app".to_owned()];
    let of_azp = || TokenRules { authorized_parties: accepted(), ..TokenRules::default() };
    let of_client = || TokenRules { client_ids: accepted(), ..TokenRules::default() };
    assert!(checked_by(of_azp(), &json!({ "azp": "app" })).is_ok());
    assert!(checked_by(of_client(), &json!({ "client_id": "web" })).is_ok());
    for value in [json!(null), json!("web "), json!("WEB"), json!(""), json!(["web"]), json!(1)] {
        let error = checked_by(of_azp(), &json!({ "azp": value }));
        assert_eq!(error, Err(AuthError::AuthorizedParty), "{value}");
        let error = checked_by(of_client(), &json!({ "client_id": value }));
        assert_eq!(error, Err(AuthError::ClientId), "{value}");
    }
}

#[test]
fn required_claims_have_exactly_their_value() {
    let of = |name: &str, value: &str| TokenRules {
        required_claims: vec![RequiredClaim::new(name, value)],
        ..TokenRules::default()
    };
    for (value, claim) in [("access", json!("access")), ("true", json!(true)), ("2", json!(2))] {
        assert!(checked_by(of("use", value), &json!({ "use": claim })).is_ok(), "{claim}");
    }
    for claim in [json!(null), json!("ACCESS"), json!("access "), json!(["access"]), json!(true)] {
        let error = checked_by(of("use", "access"), &json!({ "use": claim }));
        let (name, value) = ("use".into(), "access".into());
        assert_eq!(error, Err(AuthError::RequiredClaim { name, value }), "{claim}");
    }
}

#[test]
fn another_claim_can_be_the_user_id_and_the_original_sub_is_kept() {
    let by = |path: &str| TokenRules {
        user_id_claim: ClaimPath::parse(path).unwrap(),
        ..TokenRules::default()
    };
    let extra = json!({
        "https://app.example/uid": "u-1",
        "app": { "a/b": { "uid": "u-2" } },
        "rowgate_original_sub": "mallory",
    });
    for (path, id) in [("https://app.example/uid", "u-1"), ("/app/a~1b/uid", "u-2")] {
        let kept = database_claims(by(path), &extra);
        assert_eq!((&kept["sub"], &kept["rowgate_original_sub"]), (&json!(id), &json!("alice")));
        assert_eq!(checked_by(by(path), &extra).unwrap().subject, id);
    }
    let without_sub = json!({ "sub": null, "uid": "u-3", "rowgate_original_sub": "mallory" });
    let kept = database_claims(by("uid"), &without_sub);
    assert_eq!((&kept["sub"], kept.get("rowgate_original_sub")), (&json!("u-3"), None));
    for path in ["/https:/uid", "/app/uid", "app", "/iss/x", "missing"] {
        let error = checked_by(by(path), &extra);
        assert!(matches!(error, Err(AuthError::UserId { .. })), "{path}: {error:?}");
    }
}

#[test]
fn what_only_the_gateway_writes_is_never_taken_from_a_token() {
    let kept = database_claims(TokenRules::default(), &json!({ "rowgate_original_sub": "bob" }));
    assert_eq!(kept.get("rowgate_original_sub"), None);
    let claims = ClaimSelection::Only(vec!["rowgate_original_sub".to_owned()]);
    let rules = TokenRules { claims, ..TokenRules::default() };
    let kept = database_claims(rules, &json!({ "rowgate_original_sub": "bob" }));
    assert_eq!(kept.get("rowgate_original_sub"), None);
}

#[test]
fn a_selection_of_claims_keeps_what_no_request_can_do_without() {
    let claims = ClaimSelection::Only(vec!["org".to_owned(), "absent".to_owned()]);
    let rules = TokenRules { claims, ..TokenRules::default() };
    let kept = database_claims(rules, &json!({ "org": { "id": 1 }, "email": "a@b.example" }));
    let expected = json!({
        "iss": "https://issuer", "sub": "alice", "exp": NOW + 60, "org": { "id": 1 },
    });
    assert_eq!(kept, expected);
}

#[test]
fn the_limit_counts_what_reaches_the_database() {
    let long = json!({ "x": "x".repeat(1000) });
    let limited = |claims| TokenRules { claims, claims_bytes: 200, ..TokenRules::default() };
    let error = checked_by(limited(ClaimSelection::All), &long);
    assert_eq!(error, Err(AuthError::ClaimsTooLarge { limit: 200 }));
    assert!(checked_by(limited(ClaimSelection::Only(Vec::new())), &long).is_ok());
}
