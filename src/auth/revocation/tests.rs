use serde_json::json;

use super::*;

const ISSUER: &str = "https://issuer.example";
const NOW: u64 = 1_000_000;
const LATER: u64 = NOW + 60;

fn list(rows: usize) -> Revocations {
    Revocations::new(rows, Duration::from_mins(1)).unwrap()
}

fn token_row(jti: &str) -> RevokedRow {
    RevokedRow { issuer: ISSUER.into(), what: Revoked::Token(jti.into()), until: LATER }
}

fn user_row(sub: &str, issued_before: u64) -> RevokedRow {
    let what = Revoked::User { sub: sub.into(), issued_before };
    RevokedRow { issuer: ISSUER.into(), what, until: LATER }
}

fn check_at(list: &Revocations, claims: &Value, now: u64) -> Result<(), AuthError> {
    let claims = claims.as_object().unwrap();
    let subject = claims["sub"].as_str().unwrap().to_owned();
    let checked = CheckedClaims { json: "{}".into(), expires_at: u64::MAX, subject };
    list.check(&list.marks(ISSUER, claims, &checked), now)
}

fn check(list: &Revocations, claims: &Value) -> Result<(), AuthError> {
    check_at(list, claims, NOW)
}

const REVOKED: Result<(), AuthError> = Err(AuthError::Revoked);

#[test]
fn one_token_is_found_by_issuer_and_jti() {
    let list = list(10);
    list.add(vec![token_row("t1")], Instant::now()).unwrap();
    assert_eq!(check(&list, &json!({ "sub": "a", "jti": "t1" })), REVOKED);
    for other in [
        json!({ "sub": "a", "jti": "t2" }),
        json!({ "sub": "t1" }),
        json!({ "sub": "a", "jti": ["t1"] }),
        json!({ "iss": "https://issuer.example/", "sub": "a", "jti": "t1" }),
        json!({ "iss": "https://issuer.exampl", "sub": "a", "jti": "et1" }),
    ] {
        assert_eq!(check(&list, &other), Ok(()), "{other}");
    }
}

#[test]
fn a_users_tokens_are_found_by_their_age_and_one_without_a_date_is_old() {
    let list = list(10);
    list.add(vec![user_row("alice", 500)], Instant::now()).unwrap();
    for (claims, revoked) in [
        (json!({ "sub": "alice", "iat": 499 }), true),
        (json!({ "sub": "alice", "iat": 499.9 }), true),
        (json!({ "sub": "alice" }), true),
        (json!({ "sub": "alice", "iat": "later" }), true),
        (json!({ "sub": "alice", "iat": 500 }), false),
        (json!({ "sub": "alice", "iat": 1e30 }), false),
        (json!({ "sub": "bob", "iat": 1 }), false),
    ] {
        assert_eq!(check(&list, &claims), if revoked { REVOKED } else { Ok(()) }, "{claims}");
    }
}

#[test]
fn a_row_counts_until_it_expires() {
    let list = list(10);
    list.add(vec![token_row("t1"), user_row("alice", 500)], Instant::now()).unwrap();
    for claims in [json!({ "sub": "a", "jti": "t1" }), json!({ "sub": "alice" })] {
        assert_eq!(check_at(&list, &claims, LATER - 1), REVOKED);
        assert_eq!(check_at(&list, &claims, LATER), Ok(()));
    }
}

#[test]
fn additions_add_and_replacements_replace() {
    let list = list(10);
    list.add(vec![token_row("t1")], Instant::now()).unwrap();
    list.add(vec![token_row("t2"), user_row("alice", 500)], Instant::now()).unwrap();
    list.add(vec![user_row("alice", 600)], Instant::now()).unwrap();
    assert_eq!(list.len(), 3);
    assert_eq!(check(&list, &json!({ "sub": "alice", "iat": 550 })), REVOKED);
    list.replace(vec![token_row("t2")], Instant::now()).unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(check(&list, &json!({ "sub": "a", "jti": "t1" })), Ok(()));
    assert_eq!(check(&list, &json!({ "sub": "a", "jti": "t2" })), REVOKED);
}

#[test]
fn too_many_rows_are_an_error_that_forgets_nothing_and_leaves_the_list_old() {
    let list = Revocations::new(3, Duration::from_millis(20)).unwrap();
    list.add(vec![token_row("t1")], Instant::now()).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    let rows: Vec<_> = (2..9).map(|n| token_row(&format!("t{n}"))).collect();
    assert_eq!(list.replace(rows.clone(), Instant::now()), Err(TooManyRows(3)));
    assert_eq!(list.add(rows, Instant::now()), Err(TooManyRows(3)));
    assert_eq!(list.len(), 3);
    assert!(list.is_stale());
    for jti in ["t1", "t2", "t3"] {
        assert_eq!(check(&list, &json!({ "sub": "a", "jti": jti })), REVOKED, "{jti}");
    }
}

#[test]
fn an_old_list_still_refuses_what_it_knows_and_lets_nothing_else_pass() {
    let list = Revocations::new(3, Duration::from_millis(20)).unwrap();
    list.add(vec![token_row("t1")], Instant::now()).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(check(&list, &json!({ "sub": "a", "jti": "t1" })), REVOKED);
    assert_eq!(check(&list, &json!({ "sub": "a" })), Err(AuthError::RevocationsUnknown));
    list.add(Vec::new(), Instant::now()).unwrap();
    assert_eq!(check(&list, &json!({ "sub": "a" })), Ok(()));
}
