//! The demo issuer: signs tokens for whoever asks on this machine.
//!
//! Reached from `rowgate dev` and `rowgate token` alone. Must never be switched on in `serve`:
//! whoever can read its key file is everybody.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyOperations, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::secret;
use crate::config::{IssuerConfig, KeysConfig};

mod endpoint;

pub use endpoint::Endpoint;

/// The `aud` of every token.
pub const AUDIENCE: &str = "rowgate-dev";

/// How long a token is good for unless told otherwise: a working day.
pub const DEFAULT_LIFETIME: Duration = Duration::from_hours(12);

/// Where the key set is served.
const JWKS_PATH: &str = "/.well-known/jwks.json";

/// Claims that the issuer sets itself.
const OWN_CLAIMS: [&str; 5] = ["iss", "sub", "aud", "iat", "exp"];

/// What goes wrong with the demo issuer.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// No development environment there.
    #[error("there is no demo issuer in {0}; `rowgate dev` makes one (or name another --data-dir)")]
    None(String),
    /// The key file cannot be used.
    #[error(
        "{0} is damaged; remove it, and `rowgate dev` makes a new one (old tokens end with it)"
    )]
    Damaged(String),
    /// An extra claim that is the issuer's own.
    #[error("the claim `{0}` is set by the issuer and cannot be given")]
    OwnClaim(String),
    /// A lifetime past the end of time.
    #[error("a token cannot be good for that long")]
    Lifetime,
    /// Making a key or a signature failed.
    #[error("the demo issuer cannot {0}")]
    Crypto(&'static str),
    /// The system refused something.
    #[error("cannot run the demo issuer: {0}")]
    Io(#[from] io::Error),
}

/// As kept in the data directory.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// The issuer's URL carries it, so it stays the same.
    port: u16,
    /// PKCS #8, base64.
    key: String,
}

/// The issuer: a name that stays, and an ES256 key.
pub struct Issuer {
    port: u16,
    key: EncodingKey,
    jwk: Jwk,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Issuer {
    /// The issuer kept in `file`.
    pub fn load(file: &Path) -> Result<Self, IssuerError> {
        let (port, key) = stored_key(file)?;
        Self::new(port, &key)
    }

    /// The issuer kept in `file`, or a new one with a key and a free port of its own.
    pub fn load_or_create(file: &Path) -> Result<Self, IssuerError> {
        match Self::load(file) {
            Err(IssuerError::None(_)) => {}
            loaded_or_damaged => return loaded_or_damaged,
        }
        let key =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .map_err(|_| IssuerError::Crypto("make a key"))?;
        Self::create(file, key.as_ref())
    }

    /// The key kept in `file` under another name: every token made so far is void.
    pub fn moved_to_a_free_port(file: &Path) -> Result<Self, IssuerError> {
        let key = stored_key(file)?.1;
        Self::create(file, &key)
    }

    fn create(file: &Path, pkcs8: &[u8]) -> Result<Self, IssuerError> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let stored = Stored { port, key: BASE64_STANDARD.encode(pkcs8) };
        secret::write(file, &serde_json::to_vec(&stored).map_err(io::Error::from)?)?;
        Self::new(port, pkcs8)
    }

    fn new(port: u16, pkcs8: &[u8]) -> Result<Self, IssuerError> {
        let unusable = |_| IssuerError::Crypto("use its key");
        let key = EncodingKey::from_ec_der(pkcs8);
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).map_err(unusable)?;
        jwk.common.key_id = Some(jwk.thumbprint(ThumbprintHash::SHA256).map_err(unusable)?);
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_operations = Some(vec![KeyOperations::Verify]);
        Ok(Self { port, key, jwk })
    }

    /// The `iss` of its tokens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Its public keys.
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        JwkSet { keys: vec![self.jwk.clone()] }
    }

    /// How a gateway is told to trust it.
    #[must_use]
    pub fn config(&self) -> IssuerConfig {
        IssuerConfig {
            // By address: `localhost` may lead to ::1, where nobody listens.
            keys: KeysConfig::at(format!("http://127.0.0.1:{}{JWKS_PATH}", self.port)),
            audiences: vec![AUDIENCE.to_owned()],
            algorithms: vec![Algorithm::ES256],
            // Issuer and gateway share a clock.
            leeway: Duration::ZERO,
            ..IssuerConfig::new(self.url())
        }
    }

    /// Signs a token for `subject` with further `claims`, good from now for `lifetime`.
    pub fn mint(
        &self,
        subject: &str,
        claims: &Map<String, Value>,
        lifetime: Duration,
    ) -> Result<String, IssuerError> {
        if let Some(name) = OWN_CLAIMS.iter().find(|name| claims.contains_key(**name)) {
            return Err(IssuerError::OwnClaim((*name).to_owned()));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let expires = now.checked_add(lifetime.as_secs()).ok_or(IssuerError::Lifetime)?;
        let mut all = claims.clone();
        all.insert("iss".into(), self.url().into());
        all.insert("sub".into(), subject.into());
        all.insert("aud".into(), AUDIENCE.into());
        all.insert("iat".into(), now.into());
        all.insert("exp".into(), expires.into());
        let header =
            Header { kid: self.jwk.common.key_id.clone(), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &all, &self.key)
            .map_err(|_| IssuerError::Crypto("sign a token"))
    }
}

/// Port and PKCS #8 key as kept in `file`.
fn stored_key(file: &Path) -> Result<(u16, Vec<u8>), IssuerError> {
    let name = || file.display().to_string();
    let text = secret::read(file)?.ok_or_else(|| IssuerError::None(name()))?;
    let stored: Stored = serde_json::from_str(&text).map_err(|_| IssuerError::Damaged(name()))?;
    let key = BASE64_STANDARD.decode(stored.key).map_err(|_| IssuerError::Damaged(name()))?;
    // Checked here because the signing library looks at the key only when it signs.
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key)
        .map_err(|_| IssuerError::Damaged(name()))?;
    Ok((stored.port, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuer_is_the_same_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("issuer.json");
        let first = Issuer::load_or_create(&file).unwrap();
        let second = Issuer::load_or_create(&file).unwrap();
        assert_eq!((first.url(), first.jwks()), (second.url(), second.jwks()));
    }

    #[test]
    fn claims_of_the_issuer_itself_cannot_be_given() {
        let dir = tempfile::tempdir().unwrap();
        let issuer = Issuer::load_or_create(&dir.path().join("issuer.json")).unwrap();
        let claims = Map::from_iter([("exp".to_owned(), Value::from(0))]);
        let refused = issuer.mint("alice", &claims, DEFAULT_LIFETIME).unwrap_err();
        assert!(matches!(refused, IssuerError::OwnClaim(_)), "{refused}");
    }

    #[test]
    fn damaged_key_file_is_named_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("issuer.json");
        std::fs::write(&file, r#"{"port":1,"key":"AAAA"}"#).unwrap();
        let refused = Issuer::load_or_create(&file).unwrap_err();
        assert!(refused.to_string().contains("issuer.json"), "{refused}");
        assert!(std::fs::read_to_string(&file).unwrap().contains("AAAA"));
    }
}
