//! Which statements are prepared on one connection: a bounded LRU keyed by SQL text.
//!
//! A text gets a name only when it comes a second time, so that a stranger's one-off texts cannot push
//! out what everybody uses. Names are random per connection: a caller who may send any SQL must not be
//! able to name, and so to replace, a statement of ours.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::num::NonZeroUsize;
use std::sync::Arc;

use aws_lc_rs::rand;
use lru::LruCache;

use super::PgError;
use super::description::Description;

/// Statements kept prepared on each connection. (The unwraps run in the compiler.)
const PREPARED: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Texts remembered as seen once (their hashes only).
const SEEN_ONCE: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Texts longer than this many bytes are never kept: they are generated, and seldom come again.
const LONGEST_KEPT: usize = 8 * 1024;
/// Bytes of all texts that are kept prepared on one connection. A plan takes the backend up to 300 times the
/// memory of its text (many small subqueries), so this bounds that to some 40 MB.
const KEPT_TEXT: usize = 128 * 1024;
/// Statements whose columns take more than this many bytes to describe are not kept either.
pub const LARGEST_KEPT_DESCRIPTION: usize = 32 * 1024;
/// Bytes of randomness in a statement's name: 128 bits.
const NAME_ENTROPY: usize = 16;

/// A statement that exists on the server under a name.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Its name there.
    pub name: Arc<str>,
    /// The columns it returns.
    pub description: Arc<Description>,
}

/// How a caller's statement is to be sent.
#[derive(Clone, Debug)]
pub enum Preparation {
    /// Bind to what is there.
    Ready(Prepared),
    /// Parse under this name and keep it.
    Keep(Arc<str>),
    /// Parse without a name and forget it.
    Once,
}

/// The statements of one connection.
#[derive(Debug)]
pub struct Statements {
    prefix: String,
    next: u64,
    prepared: LruCache<Arc<str>, Prepared>,
    /// Bytes of the texts in `prepared`.
    kept: usize,
    seen: LruCache<u64, ()>,
    hasher: RandomState,
    /// Names whose statements were evicted, to be closed with the next flush.
    evicted: Vec<Arc<str>>,
}

impl Statements {
    /// An empty cache with names nobody can guess.
    pub fn new() -> Result<Self, PgError> {
        let mut entropy = [0; NAME_ENTROPY];
        rand::fill(&mut entropy).map_err(|_| PgError::Protocol("no randomness available"))?;
        Ok(Self {
            prefix: hex::encode(entropy),
            next: 0,
            prepared: LruCache::new(PREPARED),
            kept: 0,
            seen: LruCache::new(SEEN_ONCE),
            hasher: RandomState::new(),
            evicted: Vec::new(),
        })
    }

    /// What all names of this connection begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Makes up a name that was not used on this connection.
    pub fn fresh_name(&mut self) -> Arc<str> {
        let mut name = String::with_capacity(self.prefix.len() + 8);
        name.push_str(&self.prefix);
        let _ = write!(name, "{:x}", self.next);
        self.next += 1;
        name.into()
    }

    /// Decides how `sql` is sent, and notes that it was seen.
    pub fn prepare(&mut self, sql: &str) -> Preparation {
        if let Some(prepared) = self.prepared.get(sql) {
            return Preparation::Ready(prepared.clone());
        }
        if sql.len() > LONGEST_KEPT {
            return Preparation::Once;
        }
        let hash = self.hasher.hash_one(sql);
        if self.seen.pop(&hash).is_some() {
            Preparation::Keep(self.fresh_name())
        } else {
            self.seen.put(hash, ());
            Preparation::Once
        }
    }

    /// Records that the server has parsed `sql` under `name`. What was used least makes room.
    pub fn keep(&mut self, sql: Arc<str>, prepared: Prepared) {
        self.kept += sql.len();
        if let Some((text, displaced)) = self.prepared.push(sql, prepared) {
            self.gone(&text, displaced);
        }
        while self.kept > KEPT_TEXT {
            let Some((text, displaced)) = self.prepared.pop_lru() else { return };
            self.gone(&text, displaced);
        }
    }

    /// Forgets one statement; it is closed with the next flush.
    pub fn forget(&mut self, sql: &str) {
        if let Some((text, prepared)) = self.prepared.pop_entry(sql) {
            self.gone(&text, prepared);
        }
    }

    fn gone(&mut self, text: &str, prepared: Prepared) {
        self.kept -= text.len();
        self.evicted.push(prepared.name);
    }

    /// Notes that a statement exists on the server under `name` and is not wanted there.
    pub fn give_up(&mut self, name: Arc<str>) {
        self.evicted.push(name);
    }

    /// Takes the names that are to be closed on the server.
    pub fn take_evicted(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.evicted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(statements: &mut Statements, text: &str) {
        let name = statements.fresh_name();
        statements.keep(text.into(), Prepared { name, description: Description::none() });
    }

    #[test]
    fn texts_are_kept_up_to_a_number_of_bytes() {
        let mut statements = Statements::new().unwrap();
        for n in 0..100 {
            keep(&mut statements, &format!("{n:04096}"));
            assert!(statements.kept <= KEPT_TEXT);
        }
        assert_eq!(statements.prepared.len(), KEPT_TEXT / 4096);
        assert_eq!(statements.take_evicted().len(), 100 - KEPT_TEXT / 4096);
        assert!(matches!(statements.prepare(&format!("{:04096}", 99)), Preparation::Ready(_)));
    }

    #[test]
    fn a_text_that_is_kept_anew_counts_once() {
        let mut statements = Statements::new().unwrap();
        keep(&mut statements, "select 1");
        keep(&mut statements, "select 1");
        assert_eq!(statements.kept, "select 1".len());
        statements.forget("select 1");
        assert_eq!(statements.kept, 0);
        assert_eq!(statements.take_evicted().len(), 2);
    }
}
