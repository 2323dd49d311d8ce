//! `x-request-id`: taken from the client if it is harmless, made up otherwise.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// The header.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Longer ids are replaced: they end up in every log line.
const LONGEST: usize = 64;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Tells the processes apart that write to one log.
static PROCESS: LazyLock<u64> = LazyLock::new(|| {
    let mut bytes = [0; 8];
    // Without randomness ids of different processes may coincide, which is no reason to stop.
    let _ = rand::fill(&mut bytes);
    u64::from_be_bytes(bytes)
});

/// The id of the request with these headers.
#[must_use]
pub fn of(headers: &HeaderMap) -> HeaderValue {
    match headers.get(HEADER) {
        Some(id) if is_harmless(id.as_bytes()) => id.clone(),
        _ => fresh(),
    }
}

fn is_harmless(id: &[u8]) -> bool {
    (1..=LONGEST).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn fresh() -> HeaderValue {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut text = [0; 24];
    // invariant: 8 + 4 bytes are 24 hexadecimal digits, which a header may hold.
    let _ = hex::encode_to_slice(PROCESS.to_be_bytes(), &mut text[..16]);
    let low = u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default();
    let _ = hex::encode_to_slice(low.to_be_bytes(), &mut text[16..]);
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_ids_are_kept_and_others_replaced() {
        let with =
            |id: &'static str| of(&HeaderMap::from_iter([(HEADER, HeaderValue::from_static(id))]));
        assert_eq!(with("abc-1.2_3"), "abc-1.2_3");
        assert_ne!(with("a b"), "a b");
        assert_ne!(with("{\"x\":1}"), "{\"x\":1}");
        assert_ne!(with(""), "");
    }

    #[test]
    fn made_up_ids_differ() {
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }
}
