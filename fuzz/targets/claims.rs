//! Any header and any payload, properly signed: what the gateway then accepts, a JWT library with strict
//! settings accepts too, and the database gets just those claims, under a seal that can be recomputed.
//!
//! The input is a header, a line feed, and a payload.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rowgate::auth::{AuthError, Authenticator, Identity};
use rowgate::config::{AuthConfig, IssuerConfig, KeysConfig, SealKeyConfig};
use rowgate::observe::Observer;
use rowgate::session::seal::Sealer;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "api";
const SEAL_KEY: [u8; 32] = [5; 32];
const MAX_CLAIMS: usize = 16 * 1024;

/// An authenticator that has the keys of one issuer.
pub struct Subject {
    runtime: Runtime,
    authenticator: Authenticator,
    signer: Ed25519KeyPair,
}

pub static SUBJECT: LazyLock<Subject> = LazyLock::new(Subject::new);

impl Subject {
    fn new() -> Self {
        let signer = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let x = URL_SAFE_NO_PAD.encode(signer.public_key());
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x });
        let config = AuthConfig {
            token_cache_entries: 100,
            ..AuthConfig::new(vec![IssuerConfig {
                keys: KeysConfig::at(publish(&json!({ "keys": [key] }))),
                audiences: vec![AUDIENCE.into()],
                algorithms: vec![Algorithm::EdDSA],
                leeway: Duration::ZERO,
                ..IssuerConfig::new(ISSUER)
            }])
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let authenticator = runtime.block_on(async {
            let made = Authenticator::new(&config, &[1; 32], Observer::default()).unwrap();
            made.wait_ready(Duration::from_secs(10)).await.unwrap();
            made
        });
        Self { runtime, authenticator, signer }
    }

    /// What the gateway makes of this `Authorization` header.
    pub fn authenticate(&self, value: HeaderValue) -> Result<Identity, AuthError> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value);
        self.runtime.block_on(self.authenticator.authenticate(&headers))
    }

    fn sign(&self, header: &[u8], payload: &[u8]) -> String {
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = URL_SAFE_NO_PAD.encode(self.signer.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

/// Serves a key set for as long as the process lives; its URL.
fn publish(keys: &Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let body = keys.to_string();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

pub fn run(data: &[u8]) {
    let Some(at) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (header, payload) = (&data[..at], &data[at + 1..]);
    let token = SUBJECT.sign(header, payload);
    let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    match SUBJECT.authenticate(value) {
        Ok(Identity::Verified(verified)) => {
            if has_common_dates(payload) {
                assert_strictly_valid(&token);
            }
            assert_same_claims(payload, verified.claims());
            assert_sealed(&Identity::Verified(verified));
        }
        Ok(Identity::Anonymous) => panic!("a token was taken for none"),
        Err(error) => {
            assert_ne!(error, AuthError::BadSignature, "the signature is good");
            assert!(!error.to_string().is_empty());
        }
    }
}

/// Whether the dates are whole numbers of a calendar's size: that library rounds fractions, and refuses what
/// is beyond 64 bits, where this gateway sees a token that does not end.
fn has_common_dates(payload: &[u8]) -> bool {
    let claims: Value = serde_json::from_slice(payload).unwrap();
    let common =
        |name| claims.get(name).is_none_or(|date| date.as_u64().is_some_and(|at| at < 1 << 53));
    ["exp", "nbf", "iat"].into_iter().all(common)
}

/// Another reader's opinion.
#[expect(clippy::disallowed_methods, reason = "a second opinion is what is wanted")]
fn assert_strictly_valid(token: &str) {
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.leeway = 0;
    rules.validate_nbf = true;
    rules.set_issuer(&[ISSUER]);
    rules.set_audience(&[AUDIENCE]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let key = DecodingKey::from_ed_der(SUBJECT.signer.public_key().as_ref());
    if let Err(error) = jsonwebtoken::decode::<Value>(token, &key, &rules) {
        panic!("accepted, though: {error}");
    }
}

fn assert_same_claims(payload: &[u8], claims: &str) {
    assert!(claims.is_ascii() && claims.len() <= MAX_CLAIMS);
    assert!(!claims.bytes().any(|byte| byte < b' '));
    let (mut sent, mut kept): (Value, Value) =
        (serde_json::from_slice(payload).unwrap(), serde_json::from_str(claims).unwrap());
    assert!(sent["sub"].as_str().is_some_and(|subject| !subject.is_empty()));
    assert!(!has_nul(&kept), "PostgreSQL cannot hold it");
    // Only the gateway writes it.
    sent.as_object_mut().unwrap().remove("rowgate_original_sub");
    forget_fractions(&mut sent);
    forget_fractions(&mut kept);
    assert_eq!(sent, kept);
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => {
            members.iter().any(|(name, value)| name.contains('\0') || has_nul(value))
        }
        _ => false,
    }
}

/// `serde_json` may read a fraction's last digit otherwise than it wrote it.
fn forget_fractions(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => *value = Value::Null,
        Value::Array(items) => items.iter_mut().for_each(forget_fractions),
        Value::Object(members) => members.values_mut().for_each(forget_fractions),
        _ => {}
    }
}

/// `<64 hex>.<kid>.<exp>` over what it says it is over.
fn assert_sealed(identity: &Identity) {
    const PID: i32 = 4711;
    let config = SealKeyConfig { kid: "k1".into(), key: SEAL_KEY, bound: true };
    let mut seal = Vec::new();
    Sealer::new(&config).seal(identity, PID, &mut seal);
    let seal = String::from_utf8(seal).unwrap();
    let (tag, rest) = seal.split_at(64);
    let message = format!("{PID}{rest}{}", Sealer::claims(identity));
    let key = hmac::Key::new(hmac::HMAC_SHA256, &SEAL_KEY);
    hmac::verify(&key, message.as_bytes(), &hex::decode(tag).unwrap()).unwrap();
    let Identity::Verified(token) = identity else { return };
    let expires: u64 = rest.rsplit_once('.').unwrap().1.parse().unwrap();
    assert!(expires <= token.expires_at());
}
