//! Tokens, right and wrong ones.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value, json};

use super::keys::KeyRing;

/// Seconds for which a token is valid unless a test says otherwise.
const LIFETIME: i64 = 300;

/// A token in the making. Header and claims can be anything; nothing is checked.
pub struct TokenBuilder {
    keys: Arc<KeyRing>,
    algorithm: Algorithm,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl TokenBuilder {
    pub(super) fn new(keys: Arc<KeyRing>, issuer: &str, subject: &str) -> Self {
        let builder =
            Self { keys, algorithm: Algorithm::RS256, header: Map::new(), claims: Map::new() };
        builder
            .header("typ", "JWT")
            .alg(Algorithm::RS256)
            .issuer(issuer)
            .claim("sub", subject)
            .expires_in(LIFETIME)
    }

    /// Signs with this algorithm, with the key (and under the key id) that the issuer has for it.
    pub fn alg(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        let kid = self.keys.for_algorithm(algorithm).kid.clone();
        self.header("alg", format!("{algorithm:?}")).header("kid", kid)
    }

    /// Sets a member of the header.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.into(), value.into());
        self
    }

    /// Names another key without signing with it.
    pub fn kid(self, kid: &str) -> Self {
        self.header("kid", kid)
    }

    /// Names no key.
    pub fn without_kid(mut self) -> Self {
        self.header.remove("kid");
        self
    }

    /// Leaves a member of the header out.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Sets a claim.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// Leaves a claim out.
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// `exp`, seconds from now.
    pub fn expires_in(self, seconds: i64) -> Self {
        self.claim("exp", unix_now() + seconds)
    }

    /// `nbf`, seconds from now.
    pub fn not_before_in(self, seconds: i64) -> Self {
        self.claim("nbf", unix_now() + seconds)
    }

    /// `iat`, seconds from now.
    pub fn issued_in(self, seconds: i64) -> Self {
        self.claim("iat", unix_now() + seconds)
    }

    /// `aud`.
    pub fn audience(self, audience: impl Into<Value>) -> Self {
        self.claim("aud", audience)
    }

    /// `iss`, instead of the issuer's own.
    pub fn issuer(self, issuer: &str) -> Self {
        self.claim("iss", issuer)
    }

    /// The token, properly signed.
    pub fn sign(&self) -> String {
        self.signed_by(&self.keys)
    }

    /// Forged: signed with somebody else's key, under the issuer's key id.
    pub fn sign_with_foreign_key(&self, foreign: &KeyRing) -> String {
        self.signed_by(foreign)
    }

    /// Forged: `alg` is `none`, the signature empty.
    pub fn unsigned(mut self) -> String {
        self.header.insert("alg".into(), json!("none"));
        format!("{}.", self.message())
    }

    /// Forged: an HMAC whose secret is the text of the public RSA key.
    pub fn sign_with_public_key_as_secret(mut self) -> String {
        self.header.insert("alg".into(), json!("HS256"));
        let secret = EncodingKey::from_secret(self.keys.rsa_public_pem().as_bytes());
        sign(self.message(), &secret, Algorithm::HS256)
    }

    /// Properly signed, with these bytes as header and payload.
    pub fn sign_bytes(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let (header, payload) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        self.sign_parts(&header, &payload)
    }

    /// Properly signed, with these texts before and after the first dot.
    pub fn sign_parts(&self, header: &str, payload: &str) -> String {
        let key = &self.keys.for_algorithm(self.algorithm).encoding;
        sign(format!("{header}.{payload}"), key, self.algorithm)
    }

    /// The header as JSON.
    pub fn header_json(&self) -> String {
        Value::Object(self.header.clone()).to_string()
    }

    /// The claims as JSON.
    pub fn claims_json(&self) -> String {
        Value::Object(self.claims.clone()).to_string()
    }

    /// Forged: an HMAC with `secret`.
    pub fn sign_with_secret(mut self, algorithm: Algorithm, secret: &[u8]) -> String {
        self.header.insert("alg".into(), json!(format!("{algorithm:?}")));
        sign(self.message(), &EncodingKey::from_secret(secret), algorithm)
    }

    fn signed_by(&self, keys: &KeyRing) -> String {
        let key = &keys.for_algorithm(self.algorithm).encoding;
        sign(self.message(), key, self.algorithm)
    }

    fn message(&self) -> String {
        let part = |members| URL_SAFE_NO_PAD.encode(serde_json::to_vec(members).unwrap());
        format!("{}.{}", part(&self.header), part(&self.claims))
    }
}

fn sign(message: String, key: &EncodingKey, algorithm: Algorithm) -> String {
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    message + "." + &signature
}

/// Seconds since the Unix epoch.
pub fn unix_now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(elapsed.as_secs()).unwrap()
}
