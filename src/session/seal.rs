//! The seal that makes claims believable inside the database.
//!
//! `auth.session()` believes `request.jwt.claims` only together with
//! HMAC-SHA256(key, pid ‖ '.' ‖ kid ‖ '.' ‖ exp ‖ claims): a caller's own SQL can write the settings, but
//! cannot compute that. The process id binds it to one connection, `exp` to half a minute. A key that is
//! not bound puts 0 in place of the process id, which nobody knows behind a pooler.

use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;

use crate::auth::Identity;
use crate::config::SealKeyConfig;

/// How long a seal is worth something, at most.
pub const SEAL_LIFETIME: Duration = Duration::from_secs(30);

/// What stands in the settings of a request without a token. It is sealed like any other, so that
/// nothing an earlier statement left behind could pass for it.
const ANONYMOUS_CLAIMS: &str = r#"{"role":"anonymous"}"#;

/// Bytes of the hexadecimal HMAC.
const HEX_TAG: usize = 64;

/// Seals claims with one key.
#[derive(Debug)]
pub struct Sealer {
    kid: String,
    key: hmac::Key,
    bound: bool,
}

/// What an unbound key seals for in place of a backend's process id.
const NO_BACKEND: i32 = 0;

impl Sealer {
    /// A sealer that works with the configured key.
    #[must_use]
    pub fn new(config: &SealKeyConfig) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &config.key);
        Self { kid: config.kid.clone(), key, bound: config.bound }
    }

    /// The id of its key.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Another key, for `purpose`, that says nothing about this one.
    #[must_use]
    pub fn derive(&self, purpose: &[u8]) -> [u8; 32] {
        let mut derived = [0; 32];
        // invariant: an HMAC-SHA256 tag has 32 bytes.
        derived.copy_from_slice(hmac::sign(&self.key, purpose).as_ref());
        derived
    }

    /// The claims that `identity` has in the database, as one JSON object.
    #[must_use]
    pub fn claims(identity: &Identity) -> &str {
        match identity {
            Identity::Anonymous => ANONYMOUS_CLAIMS,
            Identity::Verified(token) => token.claims(),
        }
    }

    /// Appends the seal of `identity`'s claims for the backend `pid`: `<64 hex>.<kid>.<exp>`.
    pub fn seal(&self, identity: &Identity, pid: i32, out: &mut Vec<u8>) {
        self.seal_text(Self::claims(identity), expiry(identity), pid, out);
    }

    /// As [`Self::seal`] for claims that no token says: for the owner of the database, who tries his
    /// policies and could read the key anyway. Must not be reached by a request.
    pub(crate) fn seal_text(&self, claims: &str, expires: u64, pid: i32, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + HEX_TAG, b'0');
        // Writing into a Vec cannot fail.
        let _ = write!(out, ".{}.{expires}", self.kid);

        let mut context = hmac::Context::with_key(&self.key);
        let mut number = itoa::Buffer::new();
        let backend = if self.bound { pid } else { NO_BACKEND };
        context.update(number.format(backend).as_bytes());
        context.update(&out[start + HEX_TAG..]);
        context.update(claims.as_bytes());
        // invariant: an HMAC-SHA256 tag has 32 bytes, so its hexadecimal form fits exactly.
        let _ = hex::encode_to_slice(context.sign(), &mut out[start..start + HEX_TAG]);
    }
}

/// When what is sealed now stops being believed, in seconds since 1970: with the token, or earlier.
#[must_use]
pub fn expiry(identity: &Identity) -> u64 {
    let latest = latest_expiry();
    match identity {
        Identity::Anonymous => latest,
        Identity::Verified(token) => latest.min(token.expires_at()),
    }
}

/// The same for claims that no token says.
pub(crate) fn latest_expiry() -> u64 {
    now() + SEAL_LIFETIME.as_secs()
}

fn now() -> u64 {
    // invariant: the clock stands after 1970; if not, seals expire in 1970 and the database refuses all.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seal_is_the_hmac_of_pid_kid_exp_and_claims() {
        for (bound, pid) in [(true, "4711"), (false, "0")] {
            check_seal(bound, pid);
        }
    }

    fn check_seal(bound: bool, pid: &str) {
        let sealer = Sealer::new(&SealKeyConfig { kid: "k1".to_owned(), key: [7; 32], bound });
        let mut out = Vec::new();
        sealer.seal(&Identity::Anonymous, 4711, &mut out);
        let seal = String::from_utf8(out).unwrap();
        let mut parts = seal.split('.');
        let (tag, kid, exp) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        assert_eq!(kid, "k1");
        let ahead = exp.parse::<u64>().unwrap() - now();
        assert!((29..=30).contains(&ahead), "{ahead}");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        let message = format!("{pid}.k1.{exp}{ANONYMOUS_CLAIMS}");
        assert_eq!(tag, hex::encode(hmac::sign(&key, message.as_bytes())));
    }
}
