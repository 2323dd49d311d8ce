//! Key pairs to sign with.

use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey};
use serde_json::Value;

/// RSA pairs generated per process. Generating one takes a while; a rotation takes the next of them.
const RSA_PAIRS: usize = 2;

/// One pair of each kind, with the key id of each.
pub struct KeyRing {
    rsa: SigningKey,
    p256: SigningKey,
    ed25519: SigningKey,
    rsa_public_pem: String,
}

/// A private key and what the key set says about its public half.
pub struct SigningKey {
    pub kid: String,
    pub encoding: EncodingKey,
    public: Jwk,
}

struct RsaPem {
    private: String,
    public: String,
}

impl KeyRing {
    /// Keys whose ids end in `generation`. RSA pairs recur after [`RSA_PAIRS`] generations.
    pub fn generate(generation: usize) -> Self {
        let rsa = rsa_pem(generation);
        let rsa_key = EncodingKey::from_rsa_pem(rsa.private.as_bytes()).unwrap();
        let random = SystemRandom::new();
        let p256 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ed25519 = Ed25519KeyPair::generate_pkcs8v1(&random).unwrap();

        let mut rsa_key = SigningKey::new(format!("rsa-{generation}"), rsa_key, Algorithm::RS256);
        // For PS256 as well.
        rsa_key.public.common.key_algorithm = None;
        Self {
            rsa: rsa_key,
            p256: SigningKey::new(
                format!("p256-{generation}"),
                EncodingKey::from_ec_der(p256.as_ref()),
                Algorithm::ES256,
            ),
            ed25519: SigningKey::new(
                format!("ed25519-{generation}"),
                EncodingKey::from_ed_der(ed25519.as_ref()),
                Algorithm::EdDSA,
            ),
            rsa_public_pem: rsa.public.clone(),
        }
    }

    /// The key that signs with this algorithm.
    pub fn for_algorithm(&self, algorithm: Algorithm) -> &SigningKey {
        match algorithm.family() {
            AlgorithmFamily::Rsa => &self.rsa,
            AlgorithmFamily::Ec => &self.p256,
            AlgorithmFamily::Ed => &self.ed25519,
            AlgorithmFamily::Hmac => panic!("no key of this issuer is a shared secret"),
        }
    }

    /// The members of the key set.
    pub fn public(&self) -> Vec<Value> {
        [&self.rsa, &self.p256, &self.ed25519].map(SigningKey::public).to_vec()
    }

    /// The RSA public key as anybody can have it.
    pub fn rsa_public_pem(&self) -> &str {
        &self.rsa_public_pem
    }
}

impl SigningKey {
    fn new(kid: String, encoding: EncodingKey, algorithm: Algorithm) -> Self {
        let mut public = Jwk::from_encoding_key(&encoding, algorithm).unwrap();
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Self { kid, encoding, public }
    }

    /// Its member of the key set.
    pub fn public(&self) -> Value {
        serde_json::to_value(&self.public).unwrap()
    }
}

fn rsa_pem(generation: usize) -> &'static RsaPem {
    static PAIRS: OnceLock<Vec<RsaPem>> = OnceLock::new();
    let pairs = PAIRS.get_or_init(|| (0..RSA_PAIRS).map(|_| generate_rsa_pem()).collect());
    &pairs[generation % RSA_PAIRS]
}

fn generate_rsa_pem() -> RsaPem {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der = pair.as_der().unwrap();
    let public: PublicKeyX509Der = pair.public_key().as_der().unwrap();
    RsaPem {
        private: pem("PRIVATE KEY", private.as_ref()),
        public: pem("PUBLIC KEY", public.as_ref()),
    }
}

/// RFC 7468: lines of 64 characters.
fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
