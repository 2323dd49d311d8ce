//! Owns the taking apart of a JWT and the check of its signature; must never hand out claims whose
//! signature was not verified ([`SignedClaims`] is the proof that it was).
//!
//! Signatures are `jsonwebtoken`'s work. Its claim checks are not used: by default they look neither
//! at `iss` nor at `aud` nor at `nbf`, and even when told to they accept `iss` as an array, a token in
//! the very second of its `exp`, and repeated member names. [`super::claims`] has them all.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::bearer::RawToken;
use super::claims::{self, CheckedClaims, ClaimRules};
use super::error::AuthError;
use super::keys::VerifyingKey;

/// What is used of a token's header (RFC 7515 §4.1). `jwk`, `jku`, `x5u` and the like, with which a
/// token could name its own key, are not even read.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
}

/// Members of a header after which the payload would have to be read in another way: extensions that must
/// be understood (RFC 7515 §4.1.11), an unencoded payload (RFC 7797, which forbids it for JWTs), and what
/// belongs to encrypted tokens (RFC 7516 §4.1). None is understood here.
const READ_OTHERWISE: [&str; 4] = ["crit", "b64", "zip", "enc"];

/// A token of the right shape about which nothing is known yet. Apart from what is needed to find the
/// key, its content is out of reach.
pub(super) struct UnverifiedToken<'a> {
    header: Header,
    claims: Map<String, Value>,
    /// Header and payload as sent: what the signature covers.
    message: &'a str,
    signature: &'a str,
}

impl<'a> UnverifiedToken<'a> {
    /// Takes apart a JWS in compact form (RFC 7515 §3.1) whose payload is a JSON object.
    pub(super) fn parse(raw: RawToken<'a>) -> Result<Self, AuthError> {
        let text = raw.as_str();
        match text.bytes().filter(|byte| *byte == b'.').count() {
            2 => {}
            4 => return Err(AuthError::Malformed("the token is encrypted (JWE), not signed")),
            _ => return Err(AuthError::Malformed("the token does not have a JWT's three parts")),
        }
        let not_three = AuthError::Malformed("the token does not have a JWT's three parts");
        let (message, signature) = text.rsplit_once('.').ok_or(not_three.clone())?;
        let (header, payload) = message.split_once('.').ok_or(not_three)?;

        let header = parse_header(header)?;
        let payload = URL_SAFE_NO_PAD
            .decode(payload)
            .map_err(|_| AuthError::Malformed("the token's payload is not base64url"))?;
        let claims = claims::parse_object(&payload).ok_or(AuthError::Claims(
            "the payload is not one JSON object in which no name is repeated",
        ))?;
        Ok(Self { header, claims, message, signature })
    }

    /// What the token says about its key.
    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the token *says* that it comes from this issuer: enough to choose the keys to try.
    pub(super) fn claims_issuer(&self, issuer: &str) -> bool {
        self.claims.get("iss").and_then(Value::as_str) == Some(issuer)
    }

    /// What anybody could have written: to be talked about, and never to be believed.
    pub(super) fn claims_for_explanation(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The claims, if `key` made the signature and is meant for the token's algorithm.
    pub(super) fn verify_signature(self, key: &VerifyingKey) -> Result<SignedClaims, AuthError> {
        let algorithm = self.header.algorithm;
        if !key.fits(algorithm) {
            return Err(AuthError::AlgorithmNotAllowed);
        }
        let message = self.message.as_bytes();
        match jsonwebtoken::crypto::verify(self.signature, message, key.decoding(), algorithm) {
            Ok(true) => Ok(SignedClaims(self.claims)),
            Ok(false) | Err(_) => Err(AuthError::BadSignature),
        }
    }
}

/// Claims whose signature was verified and that are otherwise unchecked.
pub(super) struct SignedClaims(Map<String, Value>);

impl SignedClaims {
    /// All of them.
    pub(super) fn claims(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Checks every claim that the gateway relies on; `now` in seconds since the Unix epoch.
    pub(super) fn check(&self, rules: &ClaimRules, now: u64) -> Result<CheckedClaims, AuthError> {
        claims::check(&self.0, rules, now)
    }
}

fn parse_header(encoded: &str) -> Result<Header, AuthError> {
    let members = URL_SAFE_NO_PAD
        .decode(encoded)
        .ok()
        .and_then(|bytes| claims::parse_object(&bytes))
        .ok_or(AuthError::Malformed("the token's header is not base64url of a JSON object"))?;
    if READ_OTHERWISE.iter().any(|name| members.contains_key(*name)) {
        return Err(AuthError::Malformed(
            "the token's header uses `crit`, `b64`, `zip` or `enc`, which are not supported",
        ));
    }
    if members.get("cty").is_some_and(is_jwt_content) {
        return Err(AuthError::Malformed("the token contains another token (nested JWT)"));
    }
    if members.get("typ").is_some_and(is_for_something_else) {
        return Err(AuthError::Malformed("the token's `typ` says that it is no access token"));
    }
    let key_id = match members.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => {
            return Err(AuthError::Malformed("the `kid` in the token's header is no string"));
        }
    };
    let algorithm = members
        .get("alg")
        .and_then(Value::as_str)
        .ok_or(AuthError::Malformed("the token's header has no `alg`"))?;
    // RFC 9864 §2.2: the same under the name of its curve, the only one that keys here can have.
    let algorithm = if algorithm == "Ed25519" { "EdDSA" } else { algorithm };
    let algorithm = Algorithm::from_str(algorithm).map_err(|_| AuthError::AlgorithmNotAllowed)?;
    Ok(Header { algorithm, key_id })
}

/// RFC 8725 §3.11: an issuer signs other things than access tokens with the same key (logout tokens,
/// security events, `DPoP` proofs), and types them `…+jwt`. `JWT`, `at+jwt` (RFC 9068), and words that are
/// no such type (RFC 7515 leaves `typ` to the application) pass; `application/` may be left out.
fn is_for_something_else(typ: &Value) -> bool {
    let Some(typ) = typ.as_str() else { return true };
    let typ = typ.to_ascii_lowercase();
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    typ.ends_with("+jwt") && typ != "at+jwt"
}

/// RFC 7519 §5.2: `cty` is `JWT` exactly when the payload is itself a token. RFC 7515 §4.1.10 lets
/// `application/` be left out; case does not matter.
fn is_jwt_content(content_type: &Value) -> bool {
    content_type.as_str().is_none_or(|text| {
        text.eq_ignore_ascii_case("JWT") || text.eq_ignore_ascii_case("application/jwt")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::auth::bearer::raw_token;

    fn encoded(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    fn error_of(token: &str) -> Option<AuthError> {
        let mut headers = hyper::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let raw = match raw_token(&headers) {
            Ok(raw) => raw.unwrap(),
            Err(error) => return Some(error),
        };
        UnverifiedToken::parse(raw).err()
    }

    fn with_header(header: &Value) -> String {
        format!("{}.{}.AA", encoded(header), encoded(&json!({ "iss": "i" })))
    }

    #[test]
    fn well_formed_token_is_taken_apart() {
        assert_eq!(error_of(&with_header(&json!({ "alg": "RS256", "kid": "k", "x": 7 }))), None);
    }

    #[test]
    fn headers_that_offer_their_own_key_are_not_read() {
        let header = json!({ "alg": "RS256", "jwk": 1, "jku": [], "x5u": {}, "x5c": null });
        assert_eq!(error_of(&with_header(&header)), None);
    }

    #[test]
    fn unusable_headers_are_malformed() {
        for header in [
            json!({}),
            json!({ "alg": 1 }),
            json!({ "alg": "RS256", "kid": 1 }),
            json!({ "alg": "RS256", "kid": null }),
            json!({ "alg": "RS256", "crit": ["exp"] }),
            json!({ "alg": "RS256", "crit": null }),
            json!({ "alg": "RS256", "b64": false }),
            json!({ "alg": "RS256", "b64": true }),
            json!({ "alg": "RS256", "zip": "DEF" }),
            json!({ "alg": "RS256", "enc": "A256GCM" }),
            json!({ "alg": "RS256", "typ": 7 }),
            json!({ "alg": "RS256", "typ": "logout+jwt" }),
            json!({ "alg": "RS256", "typ": "application/DPoP+JWT" }),
            json!({ "alg": "RS256", "cty": "JWT" }),
            json!({ "alg": "RS256", "cty": "application/jwt" }),
            json!({ "alg": "RS256", "cty": 1 }),
            json!(["RS256"]),
            json!("RS256"),
        ] {
            let error = error_of(&with_header(&header));
            assert!(matches!(error, Some(AuthError::Malformed(_))), "{header}: {error:?}");
        }
    }

    #[test]
    fn types_of_access_tokens_and_words_that_are_no_type_of_token_pass() {
        for typ in ["JWT", "jwt", "at+jwt", "application/AT+JWT", "JOSE", "", "x"] {
            assert_eq!(error_of(&with_header(&json!({ "alg": "RS256", "typ": typ }))), None);
        }
    }

    #[test]
    fn unknown_algorithms_are_not_allowed() {
        for alg in ["none", "None", "", "rs256", "ES512", "ES256K"] {
            let header = json!({ "alg": alg });
            assert_eq!(error_of(&with_header(&header)), Some(AuthError::AlgorithmNotAllowed));
        }
    }

    #[test]
    fn other_than_three_parts_is_malformed() {
        for token in ["x", "a.b", "a.b.c.d", "a.b.c.d.e", "..", "...."] {
            assert!(matches!(error_of(token), Some(AuthError::Malformed(_))), "{token}");
        }
    }

    #[test]
    fn payload_that_is_no_object_is_refused() {
        let header = encoded(&json!({ "alg": "RS256" }));
        for payload in [r#"["iss"]"#, r#""x""#, "", "{", r#"{"a":1,"a":1}"#, "{}{}", "null"] {
            let token = format!("{header}.{}.AA", URL_SAFE_NO_PAD.encode(payload));
            assert!(matches!(error_of(&token), Some(AuthError::Claims(_))), "{payload}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[A-Za-z0-9_.-]{1,200}") {
            let _ = error_of(&text);
        }

        #[test]
        fn arbitrary_parts_never_panic(header: Vec<u8>, payload: Vec<u8>) {
            let token =
                format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
            prop_assert!(error_of(&token).is_some());
        }
    }
}
