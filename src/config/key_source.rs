//! Where an issuer's keys come from: exactly one source for each.

use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::{Algorithm, AlgorithmFamily};

use super::file::Raw;
use super::reader::Reader;
use super::secrets::ISSUER_SECRET;
use super::values;

/// How long keys go on counting while their source fails: an outage of a night and a day.
const KEPT: Duration = Duration::from_hours(24);

/// An issuer's keys, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysConfig {
    /// Where they come from.
    pub source: KeySource,
    /// How long those known last go on counting while the source fails, from its first failure on.
    pub kept: Duration,
}

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The `jwks_uri` of the discovery document below the issuer's URL; where there is no such document,
    /// `/.well-known/jwks.json` below it.
    Discovery,
    /// A JWK set (RFC 7517) at this URL.
    JwksUrl(String),
    /// A JWK set in this file, read again whenever it changes.
    JwksFile(PathBuf),
    /// Public keys in PEM in this file, read again whenever it changes.
    PublicKeyFile(PathBuf),
    /// A secret that the issuer shares with this gateway, for HS256, HS384, HS512.
    Secret(SharedSecret),
}

/// A secret of at least [`SharedSecret::LEAST_BYTES`]. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedSecret(Vec<u8>);

impl SharedSecret {
    /// RFC 7518 §3.2: no shorter than the hash, of which SHA-256 is the shortest.
    pub const LEAST_BYTES: usize = 32;

    /// `None` if it is too short.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() >= Self::LEAST_BYTES).then_some(Self(bytes))
    }

    /// The key of the HMAC.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// RFC 7518 §3.2: whether it is as long as the algorithm's hash.
    #[must_use]
    pub fn is_enough_for(&self, algorithm: Algorithm) -> bool {
        let hash_bytes = match algorithm {
            Algorithm::HS384 => 48,
            Algorithm::HS512 => 64,
            _ => Self::LEAST_BYTES,
        };
        self.0.len() >= hash_bytes
    }
}

impl std::fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedSecret(…)")
    }
}

impl KeysConfig {
    /// The defaults for this source.
    #[must_use]
    pub fn new(source: KeySource) -> Self {
        Self { source, kept: KEPT }
    }

    /// The defaults for a JWK set at this URL.
    #[must_use]
    pub fn at(jwks_url: impl Into<String>) -> Self {
        Self::new(KeySource::JwksUrl(jwks_url.into()))
    }
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self::new(KeySource::Discovery)
    }
}

impl KeySource {
    /// The algorithms that are accepted where none are configured.
    #[must_use]
    pub fn default_algorithms(&self) -> Vec<Algorithm> {
        match self {
            Self::Secret(_) => vec![Algorithm::HS256],
            _ => super::defaults::ALGORITHMS.to_vec(),
        }
    }

    /// Why tokens signed with this algorithm cannot be verified with keys of this source, if they cannot.
    /// Public keys and shared secrets are never mixed: whoever could pass the one off as the other could
    /// sign.
    #[must_use]
    pub fn objection_to(&self, algorithm: Algorithm) -> Option<String> {
        let is_shared = algorithm.family() == AlgorithmFamily::Hmac;
        match self {
            Self::Secret(_) if !is_shared => Some(format!(
                "{algorithm:?} needs public keys, and this issuer has a shared secret: only HS256, HS384 \
                 and HS512 are possible"
            )),
            Self::Secret(secret) if !secret.is_enough_for(algorithm) => Some(format!(
                "the secret is shorter than the hash of {algorithm:?} (RFC 7518 §3.2)"
            )),
            Self::Secret(_) => None,
            _ if is_shared => Some(format!(
                "{algorithm:?} uses a shared secret, and this issuer has public keys: possible are RS256, \
                 RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
            )),
            _ => None,
        }
    }
}

/// What is configured about the keys of one issuer.
#[derive(Default)]
pub(super) struct Given {
    source: Option<KeySource>,
    kept: Option<Duration>,
}

impl Given {
    /// With the defaults for what is not; a preset may know the URL of the keys.
    pub(super) fn into_config(self, known_url: Option<String>) -> KeysConfig {
        let defaults = KeysConfig::default();
        let known = known_url.map(KeySource::JwksUrl);
        KeysConfig {
            source: self.source.or(known).unwrap_or(defaults.source),
            kept: self.kept.unwrap_or(defaults.kept),
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>, index: usize) -> Given {
    let url = reader.get("issuer.jwks_url", index, values::identifier).map(KeySource::JwksUrl);
    let jwks_file = file(reader, "issuer.jwks_file", index).map(KeySource::JwksFile);
    let key_file = file(reader, "issuer.public_key_file", index).map(KeySource::PublicKeyFile);
    let secret = reader.shared_secret(&ISSUER_SECRET, index).map(KeySource::Secret);
    let kept = reader.get("issuer.keys_kept", index, values::duration);
    let mut sources = [url, jwks_file, key_file, secret].into_iter().flatten();
    let source = sources.next();
    if sources.next().is_some() {
        let complaint = "the keys of one issuer come from one place; keep one of jwks_url, jwks_file, \
                         public_key_file and secret_file (none: discovery below its url)";
        reader.complain("issuer.jwks_url", complaint);
    }
    Given { source, kept }
}

fn file(reader: &mut Reader<'_>, key: &'static str, index: usize) -> Option<PathBuf> {
    reader.ask(key);
    let found = reader.layers.find(key, index)?;
    match &found.raw {
        Raw::Text(path) if !path.is_empty() => Some(reader.layers.resolve(path, &found.origin)),
        _ => {
            reader.refuse(key, &found, "expected a file's path");
            None
        }
    }
}
