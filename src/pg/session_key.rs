//! A signing key that lives and dies with one connection.
//!
//! The connection tells the server the public half when it starts, in a setting that nobody can change
//! afterwards; the private half never leaves this process. Knows nothing of what is signed. Must never
//! hand out a number twice.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::PgError;
use super::sql::OwnSql;

/// How a server takes the public key of each connection.
#[derive(Clone, Copy, Debug)]
pub struct SessionKeys {
    /// The setting in the start-up packet that carries it, as a JWK (RFC 8037).
    pub setting: &'static str,
    /// Run once after the login: makes the server read the setting, and fix it for the session.
    pub fix: OwnSql,
}

/// An Ed25519 key pair and a counter.
pub struct SessionKey {
    pair: Ed25519KeyPair,
    last_number: u64,
}

impl SessionKey {
    /// A new key.
    pub fn generate() -> Result<Self, PgError> {
        let pair =
            Ed25519KeyPair::generate().map_err(|_| PgError::Protocol("no randomness available"))?;
        Ok(Self { pair, last_number: 0 })
    }

    /// The public key as a JWK (RFC 8037 section 2), without a space in it.
    #[must_use]
    pub fn public_jwk(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#)
    }

    /// A number greater than all before, beginning with 1.
    pub fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// The 64 bytes of `message`'s signature (RFC 8032).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> impl AsRef<[u8]> + use<> {
        self.pair.sign(message)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKey").field("last_number", &self.last_number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_does_not_show_in_debug_output_and_numbers_rise() {
        let mut key = SessionKey::generate().unwrap();
        assert_eq!((key.next_number(), key.next_number(), key.next_number()), (1, 2, 3));
        assert_eq!(format!("{key:?}"), "SessionKey { last_number: 3, .. }");
        assert_ne!(key.public_jwk(), SessionKey::generate().unwrap().public_jwk());
    }
}
