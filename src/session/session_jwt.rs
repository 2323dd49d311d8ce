//! Claims for the extension `pg_session_jwt`: a JWT for each request, signed with the connection's own key.
//!
//! The extension believes a JWT if its signature is good under the key that the connection named at its
//! start, if its `jti` is greater than any before on this backend, and if it has not expired. So what a
//! caller sees of his own is worth nothing on another connection, and nothing a second time on this one.
//! Must never sign anything but verified claims.

pub mod proof;

use std::collections::BTreeMap;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;

use super::seal::{self, Sealer};
use crate::auth::Identity;
use crate::observe::{Event, Observer};
use crate::pg::ServerError;
use crate::pg::session_key::{SessionKey, SessionKeys};
use crate::pg::sql::OwnSql;

/// How the extension learns a connection's key. Until its library is loaded, the setting is anybody's to
/// change; `auth.init()` loads it and fixes the key.
pub const KEYS: SessionKeys =
    SessionKeys { setting: "pg_session_jwt.jwk", fix: OwnSql("select auth.init()") };

/// Hands the JWT to the extension until the end of the transaction, and makes it verify it now: an error
/// keeps everything behind it from running. Not `auth.jwt_session_init`, whose JWT would stay in the
/// session for whoever comes next. `auth.init()` does not exist without the extension, and fails where it
/// has no key, in which case `auth.session()` would believe any setting.
pub const OPEN: OwnSql = OwnSql(
    "select pg_catalog.set_config('pg_session_jwt.jwt', $1, true) is null, \
     auth.init() is null, auth.session() is null",
);

/// `{"alg":"EdDSA","typ":"JWT"}` (RFC 8037 section 3.1), with the dot behind it.
const HEADER: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.";

/// Claims of the caller's token that do not go into the JWT. `jti` and `exp` have other values there; the
/// gateway has looked at `nbf` with its own tolerance, and the extension may have less.
const REPLACED: [&str; 3] = ["jti", "exp", "nbf"];

/// Sealing by the extension.
#[derive(Debug)]
pub struct SessionJwts {
    observer: Observer,
}

impl SessionJwts {
    /// Reports what the database refuses to `observer`.
    #[must_use]
    pub fn new(observer: Observer) -> Self {
        Self { observer }
    }

    /// Notes that the database did not believe a JWT, and says whether it is about the JWT at all rather
    /// than about a server in trouble.
    #[must_use]
    pub fn refused(&self, error: &ServerError) -> bool {
        let elsewhere = error.is_cancelled()
            || error.is_lost_statement()
            || error.is_stale_plan()
            || error.is_outage();
        if !elsewhere {
            let reason = format!("{} ({})", error.message, error.code);
            self.observer.emit(&Event::SessionJwtRefused { reason });
        }
        !elsewhere
    }
}

/// Claims that are no JSON object.
#[derive(Debug, thiserror::Error)]
#[error("the claims are no JSON object")]
pub struct NoObject;

/// A JWT of `identity`'s claims, for one use on the connection whose key it is.
pub fn sign(identity: &Identity, key: &mut SessionKey) -> Result<String, NoObject> {
    sign_text(Sealer::claims(identity), seal::expiry(identity), key)
}

/// As [`sign`] for claims that no token says: for the owner of the database, who tries his policies. Must
/// not be reached by a request.
pub(crate) fn sign_text(
    claims: &str,
    expires: u64,
    key: &mut SessionKey,
) -> Result<String, NoObject> {
    let payload = payload(claims, key.next_number(), expires)?;
    let mut jwt = String::with_capacity(HEADER.len() + payload.len() * 4 / 3 + SIGNATURE_ROOM);
    jwt.push_str(HEADER);
    URL_SAFE_NO_PAD.encode_string(payload, &mut jwt);
    let signature = key.sign(jwt.as_bytes());
    jwt.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
    Ok(jwt)
}

/// Room for the dot and 64 bytes as base64, in bytes.
const SIGNATURE_ROOM: usize = 96;

/// The claims with another `jti` and `exp`.
fn payload(claims: &str, jti: u64, exp: u64) -> Result<Vec<u8>, NoObject> {
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_str(claims).map_err(|_| NoObject)?;
    let mut out = Vec::with_capacity(claims.len() + NUMBERS_ROOM);
    // Writing into a Vec cannot fail.
    let _ = write!(out, r#"{{"jti":{jti},"exp":{exp}"#);
    for (name, value) in members {
        if REPLACED.contains(&name.as_str()) {
            continue;
        }
        out.push(b',');
        let _ = serde_json::to_writer(&mut out, &name);
        let _ = write!(out, ":{value}");
    }
    out.push(b'}');
    Ok(out)
}

/// Room for the two numbers and their names, in bytes.
const NUMBERS_ROOM: usize = 64;

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use serde_json::{Value, json};

    use super::*;

    fn parsed(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn the_jwt_verifies_under_the_jwk_of_its_connection_and_no_other() {
        let mut key = SessionKey::generate().unwrap();
        let jwt = sign(&Identity::Anonymous, &mut key).unwrap();
        let (message, signature) = jwt.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let verifies = |key: &SessionKey| {
            let jwk: Value = serde_json::from_str(&key.public_jwk()).unwrap();
            assert_eq!((&jwk["kty"], &jwk["crv"]), (&json!("OKP"), &json!("Ed25519")));
            let x = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
            UnparsedPublicKey::new(&ED25519, x).verify(message.as_bytes(), &signature).is_ok()
        };
        assert!(verifies(&key));
        assert!(!verifies(&SessionKey::generate().unwrap()));

        let (header, claims) = message.split_once('.').unwrap();
        assert_eq!(parsed(header), json!({"alg": "EdDSA", "typ": "JWT"}));
        let claims = parsed(claims);
        assert_eq!((&claims["role"], &claims["jti"]), (&json!("anonymous"), &json!(1)));
        let ahead = claims["exp"].as_u64().unwrap() - (seal::expiry(&Identity::Anonymous) - 30);
        assert!((29..=30).contains(&ahead), "{ahead}");
    }

    #[test]
    fn each_jwt_has_a_greater_jti() {
        let mut key = SessionKey::generate().unwrap();
        let jti = |jwt: String| parsed(jwt.split('.').nth(1).unwrap())["jti"].as_u64().unwrap();
        let mut next = || jti(sign(&Identity::Anonymous, &mut key).unwrap());
        assert_eq!([next(), next(), next()], [1, 2, 3]);
    }

    #[test]
    fn claims_are_kept_but_for_those_with_a_meaning_to_the_extension() {
        let claims =
            r#"{"sub":"a\u00e9","jti":"x","exp":1e9,"nbf":1.5,"o":{"jti":1},"n":1.50,"\"":[]}"#;
        let made = payload(claims, 7, 1_800_000_000).unwrap();
        let made = std::str::from_utf8(&made).unwrap();
        let value: Value = serde_json::from_str(made).unwrap();
        let expected = json!({"jti": 7, "exp": 1_800_000_000, "sub": "aé", "o": {"jti": 1}, "n": 1.5, "\"": []});
        assert_eq!(value, expected);
        assert!(made.contains(r#""n":1.50"#), "numbers keep their digits: {made}");
        assert!(made.is_ascii());
        for none in ["", "null", "[]", "\"{}\"", "{}x"] {
            assert!(payload(none, 1, 1).is_err(), "{none}");
        }
    }
}
