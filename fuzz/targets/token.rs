//! Any `Authorization` header that nobody signed: never an identity, and never taken for no header.

use hyper::header::HeaderValue;

use super::claims::SUBJECT;

pub fn run(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let error = SUBJECT.authenticate(value).expect_err("nobody signed this");
    assert!(matches!(error.status(), 401 | 503));
    // No part of a token stands in its refusal.
    let text = error.to_string();
    let parts = data.split(|byte| matches!(byte, b'.' | b' '));
    for part in parts.filter_map(|part| std::str::from_utf8(part).ok()).filter(|p| p.len() > 16) {
        assert!(!text.contains(part), "{text}");
    }
}
