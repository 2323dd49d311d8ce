//! Owns the list of what was revoked before it ended, as far as this process knows it; must never hold a
//! token's or a user's name (keyed hashes stand for them), nor make a request wait.
//!
//! Who reads the list from the database is `server/revocations.rs`. Checked at every request with a token,
//! remembered or new.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use serde_json::{Map, Value};

use super::claims::CheckedClaims;
use super::error::{AuthError, AuthSetupError};

/// A row of `auth.revoked`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedRow {
    /// `iss` of the tokens.
    pub issuer: String,
    /// Which of them.
    pub what: Revoked,
    /// Seconds since the Unix epoch; later the row does not count.
    pub until: u64,
}

/// What a row revokes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The token with this `jti`.
    Token(String),
    /// The user's tokens that were issued before a time.
    User {
        /// The claim that identifies the user.
        sub: String,
        /// Seconds since the Unix epoch.
        issued_before: u64,
    },
}

/// More rows than may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("auth.revoked has more than {0} rows that count; clean it, or raise revocation.rows")]
pub struct TooManyRows(pub usize);

/// 128 bits of a keyed hash: enough that no two things ever share one, and nobody outside can choose them.
type Mark = u128;

/// By what a token can be found in the list.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    token: Option<Mark>,
    user: Mark,
    /// `iat`, whole seconds.
    issued_at: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct List {
    tokens: HashMap<Mark, u64>,
    users: HashMap<Mark, UserEntry>,
}

#[derive(Clone, Debug)]
struct UserEntry {
    issued_before: u64,
    until: u64,
}

/// The list, and how old it is.
pub struct Revocations {
    list: ArcSwap<List>,
    key: hmac::Key,
    rows: usize,
    max_age: Duration,
    began: Instant,
    /// Milliseconds after `began`: everything that was committed by then is in the list.
    confirmed: AtomicU64,
}

impl std::fmt::Debug for Revocations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revocations").field("rows", &self.len()).finish_non_exhaustive()
    }
}

impl Revocations {
    /// An empty list that counts as read now. It holds at most `rows` rows, and is worth something for
    /// `max_age` after each reading.
    ///
    /// # Errors
    ///
    /// No random bytes.
    pub fn new(rows: usize, max_age: Duration) -> Result<Self, AuthSetupError> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| AuthSetupError::Random)?;
        Ok(Self {
            list: ArcSwap::default(),
            key,
            rows,
            max_age,
            began: Instant::now(),
            confirmed: AtomicU64::new(0),
        })
    }

    /// How many rows it may hold.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.rows
    }

    /// How many rows it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.load().len()
    }

    /// Whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes over all rows there are, as they were read from `began` on.
    ///
    /// # Errors
    ///
    /// Too many: as many as may be held are in force besides those before, and the list stays as old as it
    /// was.
    pub fn replace(&self, rows: Vec<RevokedRow>, began: Instant) -> Result<(), TooManyRows> {
        if rows.len() > self.rows {
            return self.add(rows, began);
        }
        let mut list = List::default();
        self.fill(&mut list, rows)?;
        self.list.store(Arc::new(list));
        self.confirm(began);
        Ok(())
    }

    /// Takes over rows that are new or were changed.
    ///
    /// # Errors
    ///
    /// As [`Self::replace`].
    pub fn add(&self, rows: Vec<RevokedRow>, began: Instant) -> Result<(), TooManyRows> {
        if !rows.is_empty() {
            let mut list = List::clone(&self.list.load());
            let filled = self.fill(&mut list, rows);
            self.list.store(Arc::new(list));
            filled?;
        }
        self.confirm(began);
        Ok(())
    }

    fn fill(&self, list: &mut List, rows: Vec<RevokedRow>) -> Result<(), TooManyRows> {
        for row in rows {
            let full = list.len() >= self.rows;
            let until = row.until;
            let known = match row.what {
                Revoked::Token(jti) => {
                    let mark = self.mark(b"jti", &row.issuer, &jti);
                    let known = list.tokens.contains_key(&mark);
                    if known || !full {
                        list.tokens.insert(mark, until);
                    }
                    known
                }
                Revoked::User { sub, issued_before } => {
                    let mark = self.mark(b"sub", &row.issuer, &sub);
                    let known = list.users.contains_key(&mark);
                    if known || !full {
                        list.users.insert(mark, UserEntry { issued_before, until });
                    }
                    known
                }
            };
            if full && !known {
                return Err(TooManyRows(self.rows));
            }
        }
        Ok(())
    }

    fn confirm(&self, began: Instant) {
        let at = began.saturating_duration_since(self.began).as_millis();
        self.confirmed.fetch_max(u64::try_from(at).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    /// Whether the list is too old to be relied on.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let confirmed = Duration::from_millis(self.confirmed.load(Ordering::Acquire));
        self.began.elapsed().saturating_sub(confirmed) > self.max_age
    }

    /// By what this token can be found later. Only a `jti` that is a string can be revoked (RFC 7519
    /// §4.1.7 allows no other).
    pub(super) fn marks(
        &self,
        issuer: &str,
        claims: &Map<String, Value>,
        checked: &CheckedClaims,
    ) -> Marks {
        // What the issuer has signed as `iss`, should one issuer stand for several.
        let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or(issuer);
        let jti = claims.get("jti").and_then(Value::as_str);
        Marks {
            token: jti.map(|jti| self.mark(b"jti", issuer, jti)),
            user: self.mark(b"sub", issuer, &checked.subject),
            issued_at: claims.get("iat").and_then(whole_seconds),
        }
    }

    /// Whether the token may pass at the time `now` (seconds since the Unix epoch).
    pub(super) fn check(&self, marks: &Marks, now: u64) -> Result<(), AuthError> {
        let list = self.list.load();
        let token = marks.token.and_then(|mark| list.tokens.get(&mark));
        if token.is_some_and(|until| now < *until) {
            return Err(AuthError::Revoked);
        }
        if let Some(entry) = list.users.get(&marks.user) {
            let is_older = marks.issued_at.is_none_or(|issued| issued < entry.issued_before);
            if is_older && now < entry.until {
                return Err(AuthError::Revoked);
            }
        }
        if self.is_stale() { Err(AuthError::RevocationsUnknown) } else { Ok(()) }
    }

    /// The NUL keeps issuer and value apart: the configured issuers contain none.
    fn mark(&self, kind: &[u8], issuer: &str, value: &str) -> Mark {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(kind);
        context.update(issuer.as_bytes());
        context.update(&[0]);
        context.update(value.as_bytes());
        let tag = context.sign();
        let mut bytes = [0; 16];
        // invariant: an HMAC-SHA256 tag has 32 bytes.
        bytes.copy_from_slice(&tag.as_ref()[..16]);
        Mark::from_be_bytes(bytes)
    }
}

impl List {
    fn len(&self) -> usize {
        self.tokens.len() + self.users.len()
    }
}

/// A date of the token's in whole seconds, rounded down: a token of the very second of its user's revocation
/// counts as older.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "dates beyond u64 saturate, and dates before 1970 count as 1970"
)]
fn whole_seconds(date: &Value) -> Option<u64> {
    date.as_u64().or_else(|| date.as_f64().map(|seconds| seconds as u64))
}

#[cfg(test)]
mod tests;
