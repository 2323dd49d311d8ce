//! Owns what a key set means (RFC 7517, PEM or one secret): which keys of it can verify which tokens.
//! Must never let one odd key of a published set spoil the others, nor use a key for anything but what both it and the configuration allow.

mod material;
mod pem;

use std::sync::Arc;

use aws_lc_rs::digest;
use jsonwebtoken::jwk::{Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::token::Header;
use crate::config::SharedSecret;
use material::Material;

pub(super) use pem::PemError;

/// Stands for a key together with its id and its algorithms: equal before and after a refresh that
/// changed nothing about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

/// Which `kid` a key answers to.
#[derive(Debug, PartialEq, Eq)]
enum KeyId {
    /// This one.
    Named(String),
    /// None: published without one, beside others that may have one.
    Unnamed,
    /// Any that no other key has: an operator chose it, and did not say what tokens call it.
    Any,
}

impl KeyId {
    fn name(&self) -> Option<&str> {
        if let Self::Named(name) = self { Some(name) } else { None }
    }
}

/// A key that was checked to be well-formed, and the algorithms it may be used with.
#[derive(Debug)]
pub(super) struct VerifyingKey {
    id: KeyId,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
    fingerprint: Fingerprint,
}

impl VerifyingKey {
    /// Whether signatures by this algorithm may be verified with it.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// The key as `jsonwebtoken` takes it.
    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    /// What recognises it in a later set.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// `None` for a key of an unknown kind, a broken one, a weak one, one meant for something else
    /// than verifying, and one with which no allowed algorithm works.
    fn from_jwk(jwk: &Jwk, allowed: &[Algorithm]) -> Option<Self> {
        if !is_for_verifying(jwk) {
            return None;
        }
        let material = Material::of_jwk(&jwk.algorithm)?;
        let id = jwk.common.key_id.clone().map_or(KeyId::Unnamed, KeyId::Named);
        let named = jwk.common.key_algorithm;
        Self::new(id, material, |algorithm| {
            allowed.contains(&algorithm)
                && named.is_none_or(|named| named == KeyAlgorithm::from(algorithm))
        })
    }

    /// `None` if it may be used with no algorithm.
    fn new(id: KeyId, material: Material, may_use: impl Fn(Algorithm) -> bool) -> Option<Self> {
        let mut algorithms = material.algorithms.to_vec();
        algorithms.retain(|algorithm| may_use(*algorithm));
        if algorithms.is_empty() {
            return None;
        }
        let fingerprint = fingerprint(id.name(), &algorithms, &material.bytes);
        Some(Self { id, algorithms, decoding: material.decoding, fingerprint })
    }
}

/// The usable keys of one issuer at one time.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Arc<VerifyingKey>>,
}

/// The answer to "which key is this token to be verified with?".
#[derive(Debug)]
pub(super) enum Selection {
    /// This one.
    Found(Arc<VerifyingKey>),
    /// The named key exists, but is not for the token's algorithm.
    Unfit,
    /// There is no such key or, for a token that names none, not exactly one that fits.
    Unknown,
}

impl KeySet {
    /// Reads a JWK set; keys that cannot be used are left out. `None` if it is no JWK set at all.
    pub(super) fn parse(body: &[u8], allowed: &[Algorithm]) -> Option<Self> {
        #[derive(Deserialize)]
        struct JwkSet {
            keys: Vec<Value>,
        }
        let set: JwkSet = serde_json::from_slice(body).ok()?;
        let keys = set
            .keys
            .into_iter()
            .filter(|key| !is_private(key))
            .map(with_old_name)
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok())
            .filter_map(|jwk| VerifyingKey::from_jwk(&jwk, allowed))
            .map(Arc::new)
            .collect();
        Some(Self { keys })
    }

    /// Reads public keys in PEM, as an operator wrote them: each block must be usable.
    pub(super) fn parse_pem(text: &str, allowed: &[Algorithm]) -> Result<Self, PemError> {
        let keys = pem::blocks(text)?
            .into_iter()
            .enumerate()
            .map(|(position, block)| {
                let id = block.key_id.map_or(KeyId::Any, |id| KeyId::Named(id.to_owned()));
                let material = pem::material(block.text);
                let material = material.map_err(|fault| PemError::of(position, fault))?;
                VerifyingKey::new(id, material, |algorithm| allowed.contains(&algorithm))
                    .map(Arc::new)
                    .ok_or(PemError::of(position, pem::Fault::NotAllowed))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// The one key of an issuer that shares a secret with this gateway.
    pub(super) fn of_secret(secret: &SharedSecret, allowed: &[Algorithm]) -> Self {
        let key = VerifyingKey::new(KeyId::Any, Material::of_secret(secret), |algorithm| {
            allowed.contains(&algorithm) && secret.is_enough_for(algorithm)
        });
        Self { keys: key.map(Arc::new).into_iter().collect() }
    }

    /// How many keys can verify tokens.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key can.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether the key is still part of the set.
    pub(super) fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.keys.iter().any(|key| key.fingerprint == *fingerprint)
    }

    /// How many keys [`Self::select`] would have to choose from.
    pub(super) fn fitting(&self, header: &Header) -> usize {
        let fitting = self.keys.iter().filter(|key| key.fits(header.algorithm));
        match (self.select(header), &header.key_id) {
            (Selection::Found(_), _) => 1,
            (_, None) => fitting.count(),
            (_, Some(_)) => 0,
        }
    }

    /// The key for a token with this header. RFC 7517 §4.5 lets keys of different kinds share an id,
    /// so the algorithm takes part in the choice.
    pub(super) fn select(&self, header: &Header) -> Selection {
        let fitting = || self.keys.iter().filter(|key| key.fits(header.algorithm));
        let Some(id) = header.key_id.as_deref() else { return only(fitting()) };
        let has_id = |key: &&Arc<VerifyingKey>| key.id.name() == Some(id);
        match fitting().find(has_id) {
            Some(key) => Selection::Found(Arc::clone(key)),
            None if self.keys.iter().any(|key| has_id(&key)) => Selection::Unfit,
            None => only(fitting().filter(|key| key.id == KeyId::Any)),
        }
    }
}

/// Exactly one: which of several made a signature is not guessed.
fn only<'a>(mut keys: impl Iterator<Item = &'a Arc<VerifyingKey>>) -> Selection {
    match (keys.next(), keys.next()) {
        (Some(key), None) => Selection::Found(Arc::clone(key)),
        _ => Selection::Unknown,
    }
}

/// RFC 9864 §2.2 calls `EdDSA` with the curve Ed25519 `Ed25519`; here it is the only curve.
fn with_old_name(mut key: Value) -> Value {
    if let Some(name) = key.get_mut("alg").filter(|name| *name == "Ed25519") {
        *name = "EdDSA".into();
    }
    key
}

/// RFC 7518 §6: members of private and of shared keys. With a key set that shows one of them, everybody
/// who can read it can sign.
fn is_private(key: &Value) -> bool {
    const SECRET: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    SECRET.iter().any(|name| key.get(name).is_some())
}

/// RFC 7517 §4.2 and §4.3: `use` and `key_ops`, where given, say what a key is for.
fn is_for_verifying(jwk: &Jwk) -> bool {
    let used = jwk.common.public_key_use.as_ref();
    let operations = jwk.common.key_operations.as_ref();
    used.is_none_or(|used| *used == PublicKeyUse::Signature)
        && operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify))
}

/// Each part is preceded by its length, so that no two different keys can read the same.
fn fingerprint(id: Option<&str>, algorithms: &[Algorithm], material: &[u8]) -> Fingerprint {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut part = |bytes: &[u8]| {
        context.update(&bytes.len().to_be_bytes());
        context.update(bytes);
    };
    part(&[u8::from(id.is_some())]);
    part(id.unwrap_or_default().as_bytes());
    part(format!("{algorithms:?}").as_bytes());
    part(material);
    let mut bytes = [0; 32];
    // invariant: a SHA-256 digest has 32 bytes.
    bytes.copy_from_slice(context.finish().as_ref());
    Fingerprint(bytes)
}

#[cfg(test)]
mod tests;
