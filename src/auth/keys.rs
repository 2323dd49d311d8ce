//! Owns what a key set (RFC 7517) means: which keys of it can verify which tokens. Must never let one
//! odd key spoil a set, nor use a key for anything but what both it and the configuration allow.

use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
    RSAKeyParameters,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::token::Header;

/// RFC 7518 §3.3: RSA keys are of at least 2048 bits; the upper bound is the cryptographic library's.
const RSA_MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Bytes of the largest RSA exponent taken; 65537 needs three. A huge one makes verifying slow.
const RSA_MAX_EXPONENT_BYTES: usize = 4;

const RSA_ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Stands for a key together with its id and its algorithms: equal before and after a refresh that
/// changed nothing about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

/// A public key that was checked to be well-formed, and the algorithms it may be used with.
#[derive(Debug)]
pub(super) struct VerifyingKey {
    id: Option<String>,
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
        let material = Material::of(&jwk.algorithm)?;
        let mut algorithms = material.algorithms.to_vec();
        algorithms.retain(|algorithm| {
            let named = jwk.common.key_algorithm;
            allowed.contains(algorithm)
                && named.is_none_or(|named| named == KeyAlgorithm::from(*algorithm))
        });
        if algorithms.is_empty() {
            return None;
        }
        let id = jwk.common.key_id.clone();
        let fingerprint = fingerprint(id.as_deref(), &algorithms, &material.bytes);
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
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok())
            .filter_map(|jwk| VerifyingKey::from_jwk(&jwk, allowed))
            .map(Arc::new)
            .collect();
        Some(Self { keys })
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

    /// The key for a token with this header. RFC 7517 §4.5 lets keys of different kinds share an id,
    /// so the algorithm takes part in the choice.
    pub(super) fn select(&self, header: &Header) -> Selection {
        let mut fitting = self.keys.iter().filter(|key| key.fits(header.algorithm));
        let Some(id) = header.key_id.as_deref() else {
            return match (fitting.next(), fitting.next()) {
                (Some(key), None) => Selection::Found(Arc::clone(key)),
                _ => Selection::Unknown,
            };
        };
        let has_id = |key: &&Arc<VerifyingKey>| key.id.as_deref() == Some(id);
        match fitting.find(has_id) {
            Some(key) => Selection::Found(Arc::clone(key)),
            None if self.keys.iter().any(|key| has_id(&key)) => Selection::Unfit,
            None => Selection::Unknown,
        }
    }
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

/// A public key proper, without what the set says about it.
struct Material {
    bytes: Vec<u8>,
    decoding: DecodingKey,
    algorithms: &'static [Algorithm],
}

impl Material {
    fn of(parameters: &AlgorithmParameters) -> Option<Self> {
        match parameters {
            AlgorithmParameters::RSA(rsa) => Self::of_rsa(rsa),
            AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
                EllipticCurve::P256 => {
                    let point = point(&ec.x, &ec.y, 32)?;
                    Self::of_ec(point, &ECDSA_P256_SHA256_FIXED, &[Algorithm::ES256])
                }
                EllipticCurve::P384 => {
                    let point = point(&ec.x, &ec.y, 48)?;
                    Self::of_ec(point, &ECDSA_P384_SHA384_FIXED, &[Algorithm::ES384])
                }
                _ => None,
            },
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                let bytes = URL_SAFE_NO_PAD.decode(&pair.x).ok()?;
                ParsedPublicKey::new(&ED25519, &bytes).ok()?;
                if has_small_order(&bytes) {
                    return None;
                }
                let decoding = DecodingKey::from_ed_der(&bytes);
                Some(Self { bytes, decoding, algorithms: &[Algorithm::EdDSA] })
            }
            _ => None,
        }
    }

    fn of_rsa(parameters: &RSAKeyParameters) -> Option<Self> {
        let modulus = unsigned(&parameters.n)?;
        let exponent = unsigned(&parameters.e)?;
        let leading_zeros = modulus[0].leading_zeros() as usize;
        let odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
        let usable = RSA_MODULUS_BITS.contains(&(modulus.len() * 8 - leading_zeros))
            && exponent.len() <= RSA_MAX_EXPONENT_BYTES
            && odd(&modulus)
            && odd(&exponent)
            // With an exponent of 1 the padded text would be its own signature.
            && exponent != [1];
        if !usable {
            return None;
        }
        let decoding = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
        let bytes = [modulus, exponent].concat();
        Some(Self { bytes, decoding, algorithms: RSA_ALGORITHMS })
    }

    /// Refuses a point that is not on the curve.
    fn of_ec(
        bytes: Vec<u8>,
        curve: &'static dyn VerificationAlgorithm,
        algorithms: &'static [Algorithm],
    ) -> Option<Self> {
        ParsedPublicKey::new(curve, &bytes).ok()?;
        let decoding = DecodingKey::from_ec_der(&bytes);
        Some(Self { bytes, decoding, algorithms })
    }
}

/// Whether an Ed25519 key is one of the points (in any encoding, RFC 8032 §5.1.3) with which a signature
/// that anybody can write down fits a good part of all messages.
fn has_small_order(encoded: &[u8]) -> bool {
    const SIGN: u8 = 0x80;
    /// The `y` of the points of order 8: one, and its negative.
    const ORDER_8: [[u8; 32]; 2] = [
        *b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\
           \xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
        *b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\
           \x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
    ];
    let Ok(mut y) = <[u8; 32]>::try_from(encoded) else { return true };
    y[31] &= !SIGN;
    // 0 and 1; p - 1, p and p + 1, where p = 2^255 - 19.
    let small = y[0] <= 1 && y[1..].iter().all(|byte| *byte == 0);
    let near_p =
        (0xec..=0xee).contains(&y[0]) && y[1..31].iter().all(|byte| *byte == 0xff) && y[31] == 0x7f;
    small || near_p || ORDER_8.contains(&y)
}

/// RFC 7518 §6.2.1.2: coordinates have the full length of the curve's field. The result is the
/// uncompressed form of SEC 1 §2.3.3.
fn point(x: &str, y: &str, field_bytes: usize) -> Option<Vec<u8>> {
    const UNCOMPRESSED: u8 = 4;
    let (x, y) = (URL_SAFE_NO_PAD.decode(x).ok()?, URL_SAFE_NO_PAD.decode(y).ok()?);
    (x.len() == field_bytes && y.len() == field_bytes)
        .then(|| [&[UNCOMPRESSED], x.as_slice(), y.as_slice()].concat())
}

/// A `Base64urlUInt` (RFC 7518 §2) without the leading zeros that some issuers put in front; never
/// empty.
fn unsigned(encoded: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    let start = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes[start..].to_vec())
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
