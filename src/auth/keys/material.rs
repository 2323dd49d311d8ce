//! Owns the checks of a public key itself: that it is one, that it is strong enough, and for which
//! algorithms. Must never let a weak or malformed key through.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve};
use jsonwebtoken::{Algorithm, DecodingKey};

use crate::config::SharedSecret;

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

const SECRET_ALGORITHMS: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

/// SEC 1 §2.3.3: what both coordinates follow.
const UNCOMPRESSED: u8 = 4;

/// Bytes of a coordinate on each curve.
const P256_BYTES: usize = 32;
const P384_BYTES: usize = 48;

/// A key proper, without what its source says about it.
pub(super) struct Material {
    pub(super) bytes: Vec<u8>,
    pub(super) decoding: DecodingKey,
    pub(super) algorithms: &'static [Algorithm],
}

impl Material {
    /// The public key of a JWK.
    pub(super) fn of_jwk(parameters: &AlgorithmParameters) -> Option<Self> {
        match parameters {
            AlgorithmParameters::RSA(rsa) => Self::of_rsa(
                &URL_SAFE_NO_PAD.decode(&rsa.n).ok()?,
                &URL_SAFE_NO_PAD.decode(&rsa.e).ok()?,
            ),
            AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
                EllipticCurve::P256 => Self::of_p256(point(&ec.x, &ec.y)?),
                EllipticCurve::P384 => Self::of_p384(point(&ec.x, &ec.y)?),
                _ => None,
            },
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                Self::of_ed25519(URL_SAFE_NO_PAD.decode(&pair.x).ok()?)
            }
            _ => None,
        }
    }

    /// Big-endian numbers; zeros in front, which some issuers write, are no part of them.
    pub(super) fn of_rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let (modulus, exponent) = (without_zeros(modulus)?, without_zeros(exponent)?);
        let leading_zeros = modulus[0].leading_zeros() as usize;
        let odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
        let usable = RSA_MODULUS_BITS.contains(&(modulus.len() * 8 - leading_zeros))
            && exponent.len() <= RSA_MAX_EXPONENT_BYTES
            && odd(modulus)
            && odd(exponent)
            // With an exponent of 1 the padded text would be its own signature.
            && exponent != [1];
        if !usable {
            return None;
        }
        let decoding = DecodingKey::from_rsa_raw_components(modulus, exponent);
        Some(Self { bytes: [modulus, exponent].concat(), decoding, algorithms: RSA_ALGORITHMS })
    }

    /// A point in the uncompressed form of SEC 1 §2.3.3.
    pub(super) fn of_p256(point: Vec<u8>) -> Option<Self> {
        Self::of_ec(point, P256_BYTES, &ECDSA_P256_SHA256_FIXED, &[Algorithm::ES256])
    }

    /// Likewise.
    pub(super) fn of_p384(point: Vec<u8>) -> Option<Self> {
        Self::of_ec(point, P384_BYTES, &ECDSA_P384_SHA384_FIXED, &[Algorithm::ES384])
    }

    /// Refuses a point that is not on the curve.
    fn of_ec(
        bytes: Vec<u8>,
        field_bytes: usize,
        curve: &'static dyn VerificationAlgorithm,
        algorithms: &'static [Algorithm],
    ) -> Option<Self> {
        if bytes.len() != 1 + 2 * field_bytes || bytes[0] != UNCOMPRESSED {
            return None;
        }
        ParsedPublicKey::new(curve, &bytes).ok()?;
        let decoding = DecodingKey::from_ec_der(&bytes);
        Some(Self { bytes, decoding, algorithms })
    }

    /// A point as RFC 8032 §5.1.2 encodes it.
    pub(super) fn of_ed25519(bytes: Vec<u8>) -> Option<Self> {
        ParsedPublicKey::new(&ED25519, &bytes).ok()?;
        if has_small_order(&bytes) {
            return None;
        }
        let decoding = DecodingKey::from_ed_der(&bytes);
        Some(Self { bytes, decoding, algorithms: &[Algorithm::EdDSA] })
    }

    /// A secret that is shared with the issuer.
    pub(super) fn of_secret(secret: &SharedSecret) -> Self {
        let bytes = secret.bytes().to_vec();
        let decoding = DecodingKey::from_secret(&bytes);
        Self { bytes, decoding, algorithms: SECRET_ALGORITHMS }
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

/// RFC 7518 §6.2.1.2: coordinates have the full length of the curve's field, so both the same.
fn point(x: &str, y: &str) -> Option<Vec<u8>> {
    let (x, y) = (URL_SAFE_NO_PAD.decode(x).ok()?, URL_SAFE_NO_PAD.decode(y).ok()?);
    (x.len() == y.len()).then(|| [&[UNCOMPRESSED], x.as_slice(), y.as_slice()].concat())
}

/// Never empty.
fn without_zeros(number: &[u8]) -> Option<&[u8]> {
    let start = number.iter().position(|byte| *byte != 0)?;
    Some(&number[start..])
}
