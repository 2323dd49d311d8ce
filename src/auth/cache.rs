//! Owns the memory of verified tokens; must never hold a token's text, nor decide whether an entry
//! still counts (its reader does, against clock and keys).

use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::VerifiedToken;
use super::bearer::RawToken;
use super::error::AuthSetupError;

/// Bytes of claims that count as one entry; larger claims count as several, so that the configured
/// number of entries also bounds the memory.
const BYTES_PER_UNIT: usize = 1024;

/// A keyed hash of a token's text. The key is this process's own, so that nobody outside can choose
/// tokens that collide, and a memory dump holds no token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct TokenId([u8; 32]);

/// Verified tokens by [`TokenId`].
pub(super) struct TokenCache {
    key: hmac::Key,
    /// None: switched off by configuration (0 entries).
    entries: Option<Cache<TokenId, Arc<VerifiedToken>, ByClaims>>,
}

impl TokenCache {
    /// A cache of about `entries` tokens of up to 1 KiB of claims, fewer if they are larger.
    pub(super) fn new(entries: usize) -> Result<Self, AuthSetupError> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| AuthSetupError::Random)?;
        let entries =
            (entries > 0).then(|| Cache::with_weighter(entries, entries as u64, ByClaims));
        Ok(Self { key, entries })
    }

    /// Where the token is, or would be, remembered.
    pub(super) fn id_of(&self, token: RawToken<'_>) -> TokenId {
        let tag = hmac::sign(&self.key, token.as_str().as_bytes());
        let mut id = [0; 32];
        // invariant: an HMAC-SHA256 tag has 32 bytes.
        id.copy_from_slice(tag.as_ref());
        TokenId(id)
    }

    /// The remembered token; whether it still counts is for the caller to check.
    pub(super) fn get(&self, id: &TokenId) -> Option<Arc<VerifiedToken>> {
        self.entries.as_ref()?.get(id)
    }

    /// Remembers a token that passed every check.
    pub(super) fn remember(&self, id: TokenId, token: Arc<VerifiedToken>) {
        if let Some(entries) = &self.entries {
            entries.insert(id, token);
        }
    }

    /// Drops a token that no longer counts.
    pub(super) fn forget(&self, id: &TokenId) {
        if let Some(entries) = &self.entries {
            entries.remove(id);
        }
    }
}

#[derive(Clone)]
struct ByClaims;

impl Weighter<TokenId, Arc<VerifiedToken>> for ByClaims {
    fn weight(&self, _: &TokenId, token: &Arc<VerifiedToken>) -> u64 {
        (1 + token.claims().len() / BYTES_PER_UNIT) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Provenance;
    use crate::auth::bearer::raw_token;
    use crate::auth::keys::Fingerprint;

    const ENTRIES: usize = 128;

    fn token(claims_bytes: usize) -> Arc<VerifiedToken> {
        Arc::new(VerifiedToken {
            claims: "x".repeat(claims_bytes).into(),
            expires_at: 0,
            issuer: "issuer".into(),
            subject_hash: "".into(),
            provenance: Provenance { issuer: 0, key: Fingerprint::default() },
        })
    }

    fn id(cache: &TokenCache, text: &str) -> TokenId {
        let mut headers = hyper::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {text}").parse().unwrap());
        cache.id_of(raw_token(&headers).unwrap().unwrap())
    }

    fn claims_bytes_held_after(insertions: usize, claims_bytes: usize) -> usize {
        let cache = TokenCache::new(ENTRIES).unwrap();
        for n in 0..insertions {
            cache.remember(id(&cache, &format!("t{n}")), token(claims_bytes));
        }
        (0..insertions)
            .filter_map(|n| cache.get(&id(&cache, &format!("t{n}"))))
            .map(|token| token.claims().len())
            .sum()
    }

    #[test]
    fn remembers_until_forgotten() {
        let cache = TokenCache::new(ENTRIES).unwrap();
        let known = id(&cache, "a.b.c");
        cache.remember(known.clone(), token(1));

        assert!(cache.get(&known).is_some());
        assert!(cache.get(&id(&cache, "a.b.d")).is_none());

        cache.forget(&known);
        assert!(cache.get(&known).is_none());
    }

    #[test]
    fn entries_are_bounded() {
        let held = claims_bytes_held_after(ENTRIES * 8, 1);
        assert!(held > 0 && held <= ENTRIES, "{held} entries");
    }

    #[test]
    fn bytes_are_bounded() {
        let held = claims_bytes_held_after(ENTRIES * 8, 8 * BYTES_PER_UNIT);
        assert!(held > 0 && held <= ENTRIES * BYTES_PER_UNIT, "{held} bytes");
    }

    #[test]
    fn no_entries_means_no_cache() {
        let cache = TokenCache::new(0).unwrap();
        let known = id(&cache, "a.b.c");
        cache.remember(known.clone(), token(1));
        assert!(cache.get(&known).is_none());
    }

    #[test]
    fn ids_differ_between_processes() {
        let (one, two) = (TokenCache::new(1).unwrap(), TokenCache::new(1).unwrap());
        assert!(id(&one, "a.b.c") != id(&two, "a.b.c"));
    }
}
