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

/// What a place in the table takes, besides what its token holds, when the table has just grown to twice
/// its size. A test holds it against what the table says of itself.
const PLACE_BYTES: usize = 160;
/// With fewer bytes for each, a configured number of entries is never reached.
const LEAST_ENTRY: u64 = 512;

/// A keyed hash of a token's text. The key is this process's own, so that nobody outside can choose
/// tokens that collide, and a memory dump holds no token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct TokenId([u8; 32]);

/// Verified tokens by [`TokenId`].
pub(super) struct TokenCache {
    key: hmac::Key,
    /// None: switched off by configuration (0 entries).
    entries: Option<Cache<TokenId, Arc<VerifiedToken>, Bytes>>,
}

/// What the memory of tokens may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheLimits {
    /// Tokens; 0: none is remembered.
    pub(super) entries: usize,
    /// Bytes of all that they hold, and of the table.
    pub(super) bytes: u64,
}

impl TokenCache {
    /// A cache that stays within both limits.
    ///
    /// What was asked for only once makes way first: a new token is on probation, in three hundredths
    /// of the room (`quick_cache`'s CLOCK-Pro), until it is used again, there or soon after. So a flood of
    /// tokens that are used once displaces each other, and not those that are in use.
    pub(super) fn new(limits: CacheLimits) -> Result<Self, AuthSetupError> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| AuthSetupError::Random)?;
        let entries = (limits.entries > 0).then(|| {
            let entries = (limits.entries as u64).min((limits.bytes / LEAST_ENTRY).max(1));
            // Half as many places again are for what is remembered of tokens that are gone.
            let bytes = limits.bytes.saturating_sub(entries / 2 * PLACE_BYTES as u64);
            let expected = usize::try_from(entries).unwrap_or(usize::MAX);
            Cache::with_weighter(expected, bytes, Bytes { least: bytes.div_ceil(entries) })
        });
        Ok(Self { key, entries })
    }

    /// Where the token is, or would be, remembered.
    pub(super) fn id_of(&self, token: RawToken<'_>) -> TokenId {
        let tag = hmac::sign(&self.key, token.as_bytes());
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

/// Weighs entries in bytes, each with at least its share of the whole: then the limit of bytes is one of
/// entries, too.
#[derive(Clone)]
struct Bytes {
    least: u64,
}

impl Weighter<TokenId, Arc<VerifiedToken>> for Bytes {
    fn weight(&self, _: &TokenId, token: &Arc<VerifiedToken>) -> u64 {
        // A weight of 0 would mean: never evicted.
        ((PLACE_BYTES + token.bytes()) as u64).max(self.least).max(1)
    }
}

#[cfg(test)]
mod tests;
