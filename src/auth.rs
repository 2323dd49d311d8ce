//! Owns the step from the `Authorization` header to an [`Identity`]; must never let a request whose
//! token fails any check pass as anonymous, and must never put a token or a claim into a message.
//!
//! The path of a token, each stage a type of its own:
//!
//! ```text
//! bearer::RawToken → token::UnverifiedToken → (issuer, key) → token::SignedClaims → VerifiedToken
//! ```
//!
//! A verified token is remembered (`cache`), so that the second request with it costs one HMAC and
//! one look-up.

mod bearer;
mod cache;
mod claims;
mod error;
mod fetch;
mod issuer;
mod keys;
mod pace;
mod source;
mod store;
mod token;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;

use crate::config::AuthConfig;
use crate::observe::Observer;

pub use error::{AuthError, AuthSetupError};
pub use source::{UsableKeys, check_keys_url, usable_keys};

use bearer::RawToken;
use cache::{TokenCache, TokenId};
use issuer::Issuer;
use keys::Fingerprint;
use token::UnverifiedToken;

/// Bytes of the HMAC that stand for a subject in logs (twice as many hex digits).
const SUBJECT_HASH_BYTES: usize = 8;

/// Who is asking.
#[derive(Clone, Debug)]
pub enum Identity {
    /// No token was sent.
    Anonymous,
    /// A token was sent and every check passed.
    Verified(Arc<VerifiedToken>),
}

impl Identity {
    /// The database role that the request runs as, for logs and metrics.
    #[must_use]
    pub fn role(&self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Verified(_) => "authenticated",
        }
    }
}

/// The claims of a token that passed every check. Only the verifier makes one.
pub struct VerifiedToken {
    claims: Box<str>,
    expires_at: u64,
    issuer: Arc<str>,
    subject_hash: Box<str>,
    provenance: Provenance,
}

/// What a remembered token is checked against before it counts again.
struct Provenance {
    /// Position in [`Authenticator::issuers`], which never changes.
    issuer: usize,
    /// The key that made the signature.
    key: Fingerprint,
}

impl VerifiedToken {
    /// The claims as the database gets them: one JSON object, ASCII only, at most 16 KiB.
    #[must_use]
    pub fn claims(&self) -> &str {
        &self.claims
    }

    /// From when on the token no longer counts, in seconds since the Unix epoch: its `exp` plus the
    /// issuer's leeway. Always in the future when [`Authenticator::authenticate`] hands it out.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// The configured name of the issuer that signed it.
    #[must_use]
    pub fn issuer(&self) -> &Arc<str> {
        &self.issuer
    }

    /// The same keyed hash as a number, for counting what one user has in flight.
    #[must_use]
    pub fn subject_number(&self) -> u64 {
        // invariant: `Authenticator::subject_hash` writes 16 hex digits.
        u64::from_str_radix(&self.subject_hash, 16).unwrap_or_default()
    }

    /// A keyed hash of issuer and `sub`, for logs: 16 hex digits.
    #[must_use]
    pub fn subject_hash(&self) -> &str {
        &self.subject_hash
    }
}

impl std::fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedToken").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Turns headers into identities. One per process; shared behind an [`Arc`].
pub struct Authenticator {
    issuers: Vec<Issuer>,
    cache: TokenCache,
    subject_key: hmac::Key,
    anonymous: bool,
}

impl Authenticator {
    /// Creates one key store per issuer and spawns its refresher, which ends with the `Authenticator`;
    /// does not wait for keys. `subject_key` keys the hash of `sub` that logs show.
    ///
    /// # Errors
    ///
    /// An issuer that cannot be used as configured; no trusted root certificates for an `https`
    /// issuer; no Tokio runtime to spawn on.
    #[expect(clippy::needless_pass_by_value, reason = "an observer is a handle, given away")]
    pub fn new(
        config: &AuthConfig,
        subject_key: &[u8; 32],
        observer: Observer,
    ) -> Result<Self, AuthSetupError> {
        Ok(Self {
            issuers: issuer::start_all(&config.issuers, &observer)?,
            cache: TokenCache::new(config.token_cache_entries)?,
            subject_key: hmac::Key::new(hmac::HMAC_SHA256, subject_key),
            anonymous: config.anonymous,
        })
    }

    /// Waits at most `limit` until every issuer's keys were loaded.
    ///
    /// # Errors
    ///
    /// [`AuthSetupError::KeysNotLoaded`] with each missing issuer and what its last attempt met.
    pub async fn wait_ready(&self, limit: Duration) -> Result<(), AuthSetupError> {
        let deadline = tokio::time::Instant::now() + limit;
        let mut missing = Vec::new();
        for issuer in &self.issuers {
            if let Err(reason) = issuer.keys_loaded(deadline).await {
                missing.push(format!("{} ({reason})", issuer.name()));
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(AuthSetupError::KeysNotLoaded(missing)) }
    }

    /// Whether every issuer has keys to verify with, for `/health/ready`.
    ///
    /// # Errors
    ///
    /// The names of the issuers without a usable key, separated by commas.
    pub fn ready(&self) -> Result<(), String> {
        let missing: Vec<&str> = self
            .issuers
            .iter()
            .filter(|issuer| !issuer.has_keys())
            .map(|issuer| &**issuer.name())
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(missing.join(", ")) }
    }

    /// Decides who sent a request with these headers.
    ///
    /// A token seen before is answered without awaiting and without allocating. Any other is verified;
    /// only one that names an unknown key may wait, for at most 3 s.
    ///
    /// # Errors
    ///
    /// See [`AuthError`]; a header that is present is never treated as absent.
    pub async fn authenticate(&self, headers: &hyper::HeaderMap) -> Result<Identity, AuthError> {
        let Some(raw) = bearer::raw_token(headers)? else {
            return if self.anonymous {
                Ok(Identity::Anonymous)
            } else {
                Err(AuthError::MissingToken)
            };
        };
        let id = self.cache.id_of(raw);
        if let Some(token) = self.remembered(&id) {
            return Ok(Identity::Verified(token));
        }
        // Boxed, so that the common path does not carry the verifier's state around.
        Box::pin(self.verify(raw, id)).await.map(Identity::Verified)
    }

    /// The token from the cache, if it has not ended and its key is still its issuer's.
    fn remembered(&self, id: &TokenId) -> Option<Arc<VerifiedToken>> {
        let token = self.cache.get(id)?;
        let in_force = unix_now() < token.expires_at
            && self.issuers[token.provenance.issuer].has_key(&token.provenance.key);
        if !in_force {
            self.cache.forget(id);
            return None;
        }
        Some(token)
    }

    async fn verify(
        &self,
        raw: RawToken<'_>,
        id: TokenId,
    ) -> Result<Arc<VerifiedToken>, AuthError> {
        let unverified = UnverifiedToken::parse(raw)?;
        let (index, issuer) = self
            .issuers
            .iter()
            .enumerate()
            .find(|(_, issuer)| unverified.claims_issuer(issuer.name()))
            .ok_or(AuthError::UnknownIssuer)?;
        let key = issuer.key_for(unverified.header()).await?;
        let checked = unverified.verify_signature(&key)?.check(issuer.rules(), unix_now())?;
        let token = Arc::new(VerifiedToken {
            subject_hash: self.subject_hash(issuer.name(), &checked.subject),
            claims: checked.json,
            expires_at: checked.expires_at,
            issuer: Arc::clone(issuer.name()),
            provenance: Provenance { issuer: index, key: key.fingerprint() },
        });
        self.cache.remember(id, Arc::clone(&token));
        Ok(token)
    }

    /// The NUL between the two keeps (`a`, `bc`) and (`ab`, `c`) apart; neither can contain one.
    fn subject_hash(&self, issuer: &str, subject: &str) -> Box<str> {
        let mut context = hmac::Context::with_key(&self.subject_key);
        context.update(issuer.as_bytes());
        context.update(&[0]);
        context.update(subject.as_bytes());
        hex::encode(&context.sign().as_ref()[..SUBJECT_HASH_BYTES]).into()
    }
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("issuers", &self.issuers.len())
            .field("anonymous", &self.anonymous)
            .finish_non_exhaustive()
    }
}

/// Seconds since the Unix epoch. A clock before 1970 yields the end of time: every token is expired.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_shareable<T: Send + Sync>() {}

    #[tokio::test]
    async fn subject_hash_depends_on_key_issuer_and_subject() {
        assert_shareable::<Authenticator>();
        let config = AuthConfig { anonymous: true, issuers: Vec::new(), token_cache_entries: 1 };
        let make = |key| Authenticator::new(&config, &[key; 32], Observer::default()).unwrap();
        let (one, two) = (make(1), make(2));

        let hash = one.subject_hash("https://a", "alice");

        assert_eq!(hash.len(), 2 * SUBJECT_HASH_BYTES);
        assert_eq!(hash, one.subject_hash("https://a", "alice"));
        assert_ne!(hash, two.subject_hash("https://a", "alice"));
        assert_ne!(hash, one.subject_hash("https://b", "alice"));
        assert_ne!(hash, one.subject_hash("https://aa", "lice"));
    }
}
