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
//! one look-up. Whether it was revoked is asked each time (`revocation`).

mod bearer;
mod cache;
mod claims;
mod error;
mod explain;
mod fetch;
mod issuer;
mod keys;
mod pace;
mod revocation;
mod roles;
mod source;
mod store;
mod token;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;

use crate::config::{AuthConfig, RoleId};
use crate::observe::{Event, Observer};

pub use error::{AuthError, AuthSetupError};
pub use revocation::{Revocations, Revoked, RevokedRow, TooManyRows};
pub use source::{UsableKeys, check_keys_url, usable_keys};

use bearer::RawToken;
use cache::{CacheLimits, TokenCache, TokenId};
use issuer::Issuer;
use keys::Fingerprint;
use revocation::Marks;
use roles::RoleMap;
use token::UnverifiedToken;

/// Bytes of the HMAC that stand for a subject in logs (twice as many hex digits).
const SUBJECT_HASH_BYTES: usize = 8;

/// How long a verified token is remembered at most, whatever its `exp`: an issuer may be allowed to leave it
/// out.
const REMEMBERED_FOR: Duration = Duration::from_mins(15);

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
            Self::Verified(token) => token.role.map_or("authenticated", RoleId::name),
        }
    }
}

/// The claims of a token that passed every check. Only the verifier makes one.
pub struct VerifiedToken {
    claims: Box<str>,
    expires_at: u64,
    issuer: Arc<str>,
    subject_hash: Box<str>,
    /// The role that its claims are mapped to; none: that of all other callers with a token.
    role: Option<RoleId>,
    provenance: Provenance,
}

/// What a remembered token is checked against before it counts again.
struct Provenance {
    /// Position in [`Authenticator::issuers`], which never changes.
    issuer: usize,
    /// The key that made the signature.
    key: Fingerprint,
    /// From when on it has to be verified again: never after `expires_at`.
    remembered_until: u64,
    /// By what it is found in the list of what was revoked; none: there is no such list.
    marks: Option<Marks>,
}

impl VerifiedToken {
    /// The claims as the database gets them: one JSON object, ASCII only, at most 16 KiB. Its `sub` is the
    /// user's id, whichever claim of the token that was.
    #[must_use]
    pub fn claims(&self) -> &str {
        &self.claims
    }

    /// From when on the token no longer counts, in seconds since the Unix epoch: its `exp` plus the
    /// issuer's leeway, or, where it may have no `exp`, a few minutes after it was verified. Always in the future when [`Authenticator::authenticate`] hands it out.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// The configured name of the issuer that signed it.
    #[must_use]
    pub fn issuer(&self) -> &Arc<str> {
        &self.issuer
    }

    /// The role of `[[role]]` that its claims are mapped to.
    #[must_use]
    pub fn role(&self) -> Option<RoleId> {
        self.role
    }

    /// Bytes of memory that it takes, with the counters of its [`Arc`]. The issuer's name is shared.
    fn bytes(&self) -> usize {
        2 * size_of::<usize>() + size_of::<Self>() + self.claims.len() + self.subject_hash.len()
    }

    /// The same keyed hash as a number, for counting what one user has in flight.
    #[must_use]
    pub fn subject_number(&self) -> u64 {
        // invariant: `Authenticator::subject_hash` writes 16 hex digits.
        u64::from_str_radix(&self.subject_hash, 16).unwrap_or_default()
    }

    /// A keyed hash of issuer and user id, for logs: 16 hex digits.
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

/// Issuers whose keys are being fetched, for an [`Authenticator`] to come.
pub struct Issuers(Vec<Issuer>);

impl Issuers {
    /// Creates one key store per issuer and spawns its refresher; does not wait for keys, but for the system's
    /// root certificates, which are many files.
    ///
    /// # Errors
    ///
    /// An issuer that cannot be used as configured; no trusted root certificates for an `https` issuer; no Tokio
    /// runtime to spawn on.
    pub fn start(config: &AuthConfig, observer: &Observer) -> Result<Self, AuthSetupError> {
        issuer::start_all(&config.issuers, observer).map(Self)
    }
}

/// Turns headers into identities. One per process; shared behind an [`Arc`].
pub struct Authenticator {
    issuers: Vec<Issuer>,
    cache: TokenCache,
    /// For each issuer, at the same place.
    roles: Vec<RoleMap>,
    revocations: Option<Arc<Revocations>>,
    subject_key: hmac::Key,
    anonymous: bool,
    observer: Observer,
}

impl Authenticator {
    /// Creates one key store per issuer and spawns its refresher, which ends with the `Authenticator`;
    /// does not wait for keys. `subject_key` keys the hash of `sub` that logs show.
    ///
    /// # Errors
    ///
    /// An issuer that cannot be used as configured; no trusted root certificates for an `https`
    /// issuer; no Tokio runtime to spawn on.
    pub fn new(
        config: &AuthConfig,
        subject_key: &[u8; 32],
        observer: Observer,
    ) -> Result<Self, AuthSetupError> {
        Self::of(Issuers::start(config, &observer)?, config, subject_key, observer)
    }

    /// The same with issuers that were started already, as `config` names them.
    ///
    /// # Errors
    ///
    /// No randomness for the memory of tokens.
    pub fn of(
        issuers: Issuers,
        config: &AuthConfig,
        subject_key: &[u8; 32],
        observer: Observer,
    ) -> Result<Self, AuthSetupError> {
        Ok(Self {
            issuers: issuers.0,
            cache: TokenCache::new(CacheLimits {
                entries: config.token_cache_entries,
                bytes: config.token_cache_bytes,
            })?,
            roles: config
                .issuers
                .iter()
                .map(|issuer| RoleMap::of_issuer(&issuer.url, &config.roles))
                .collect(),
            revocations: None,
            subject_key: hmac::Key::new(hmac::HMAC_SHA256, subject_key),
            anonymous: config.anonymous,
            observer,
        })
    }

    /// The same, refusing what is in this list.
    #[must_use]
    pub fn with_revocations(mut self, revocations: Option<Arc<Revocations>>) -> Self {
        self.revocations = revocations;
        self
    }

    /// The list of what was revoked, if there is one.
    #[must_use]
    pub fn revocations(&self) -> Option<&Revocations> {
        self.revocations.as_deref()
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
        let token = match self.remembered(&id) {
            Some(token) => token,
            // Boxed, so that the common path does not carry the verifier's state around.
            None => Box::pin(self.verify(raw, id)).await?,
        };
        if let (Some(list), Some(marks)) = (&self.revocations, &token.provenance.marks) {
            list.check(marks, unix_now())?;
        }
        Ok(Identity::Verified(token))
    }

    /// The token from the cache, if it has not ended and its key is still its issuer's.
    fn remembered(&self, id: &TokenId) -> Option<Arc<VerifiedToken>> {
        let token = self.cache.get(id)?;
        let in_force = unix_now() < token.provenance.remembered_until
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
        // Many requests with one new token may have waited for its key together: the first of them is
        // enough. Nothing from here on waits, so that no more than the runtime's threads can meet.
        if let Some(token) = self.remembered(&id) {
            return Ok(token);
        }
        let now = unix_now();
        let signed = unverified.verify_signature(&key)?;
        let checked = signed.check(issuer.rules(), now)?;
        let revocations = self.revocations.as_deref();
        let token = Arc::new(VerifiedToken {
            subject_hash: self.subject_hash(issuer.name(), &checked.subject),
            role: self.roles[index].role_of(signed.claims()),
            provenance: Provenance {
                issuer: index,
                key: key.fingerprint(),
                remembered_until: remembered_until(checked.expires_at, now),
                marks: revocations.map(|list| list.marks(issuer.name(), signed.claims(), &checked)),
            },
            claims: checked.json,
            expires_at: checked.expires_at,
            issuer: Arc::clone(issuer.name()),
        });
        self.observer.emit(&Event::TokenVerified);
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

/// Never after the token's end, and not for ever if that is far away.
fn remembered_until(expires_at: u64, now: u64) -> u64 {
    expires_at.min(now.saturating_add(REMEMBERED_FOR.as_secs()))
}

/// Seconds since the Unix epoch. A clock before 1970 yields the end of time: every token is expired.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_shareable<T: Send + Sync>() {}

    #[test]
    fn no_token_is_remembered_for_long_whenever_it_ends() {
        for (expires_at, until) in [(101, 101), (1000, 1000), (1001, 1000), (u64::MAX, 1000)] {
            assert_eq!(remembered_until(expires_at, 100), until, "{expires_at}");
        }
        assert_eq!(remembered_until(u64::MAX, u64::MAX), u64::MAX);
    }

    #[tokio::test]
    async fn a_token_that_was_remembered_for_long_enough_is_forgotten_although_it_has_not_ended() {
        let auth = Authenticator::new(&AuthConfig::new(Vec::new()), &[1; 32], Observer::default());
        let auth = auth.unwrap();
        let mut headers = hyper::HeaderMap::new();
        headers.insert("authorization", "Bearer a.b.c".parse().unwrap());
        let id = auth.cache.id_of(bearer::raw_token(&headers).unwrap().unwrap());
        let token = VerifiedToken {
            claims: "{}".into(),
            expires_at: u64::MAX,
            issuer: "issuer".into(),
            subject_hash: "".into(),
            role: None,
            provenance: Provenance {
                issuer: 0,
                key: Fingerprint::default(),
                remembered_until: unix_now() - 1,
                marks: None,
            },
        };
        auth.cache.remember(id.clone(), Arc::new(token));
        assert!(auth.cache.get(&id).is_some());
        assert!(auth.remembered(&id).is_none());
        assert!(auth.cache.get(&id).is_none());
    }

    #[tokio::test]
    async fn subject_hash_depends_on_key_issuer_and_subject() {
        assert_shareable::<Authenticator>();
        let config = AuthConfig::new(Vec::new());
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
