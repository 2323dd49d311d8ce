//! Owns the reading of the `Authorization` header (RFC 6750 §2.1); must never take a header that is
//! present, however broken, for an absent one. Looks at bytes only, allocates nothing.

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::error::AuthError;

/// Bytes of the longest token that is looked at.
pub(super) const MAX_TOKEN_BYTES: usize = 16 * 1024;

const SCHEME: &[u8] = b"Bearer";

/// A token's text as sent: characters and length are checked, nothing else.
#[derive(Clone, Copy)]
pub(super) struct RawToken<'a>(&'a [u8]);

impl<'a> RawToken<'a> {
    /// The token's text.
    pub(super) fn as_str(self) -> &'a str {
        // invariant: `parse` lets only ASCII pass.
        str::from_utf8(self.0).unwrap_or_default()
    }

    /// The same as bytes, which costs nothing.
    pub(super) fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// The bearer token of a request; `None` only if there is no `Authorization` header at all.
pub(super) fn raw_token(headers: &HeaderMap) -> Result<Option<RawToken<'_>>, AuthError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(AuthError::Malformed("there is more than one"));
    }
    parse(value.as_bytes()).map(Some)
}

/// RFC 9110 §11.4: the scheme is case-insensitive, one or more spaces separate it from the token.
fn parse(value: &[u8]) -> Result<RawToken<'_>, AuthError> {
    let Some(space) = value.iter().position(|byte| *byte == b' ') else {
        return Err(AuthError::Malformed("expected `Bearer <jwt>`"));
    };
    let (scheme, rest) = value.split_at(space);
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(AuthError::Malformed("its scheme is not `Bearer`"));
    }
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    let token = &rest[spaces..];
    if token.is_empty() {
        return Err(AuthError::Malformed("the token is empty"));
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(AuthError::Malformed("the token is longer than 16 KiB"));
    }
    if !is_token(token) {
        return Err(AuthError::Malformed("the token has a character that no JWT has"));
    }
    Ok(RawToken(token))
}

/// RFC 7515 §3.1: base64url without padding, and dots. All bytes are looked at, whatever the first ones are, so
/// that the compiler makes it many at a time.
fn is_token(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |all, byte| {
        all & (byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<Option<String>, AuthError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        raw_token(&headers).map(|token| token.map(|token| token.as_str().to_owned()))
    }

    #[test]
    fn absent_header_is_no_token() {
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn one_bearer_token_is_read_whatever_the_case_of_the_scheme() {
        for header in ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c", "Bearer  a.b.c"] {
            assert_eq!(read(&[header.as_bytes()]), Ok(Some("a.b.c".into())), "{header}");
        }
    }

    #[test]
    fn present_but_unusable_header_is_an_error() {
        let long = format!("Bearer {}", "a".repeat(MAX_TOKEN_BYTES + 1));
        let broken: &[&[u8]] = &[
            b"",
            b" ",
            b"Bearer",
            b"Bearer ",
            b"Bearer   ",
            b"a.b.c",
            b"Basic a.b.c",
            b"Bearera.b.c",
            b"Bearer\ta.b.c",
            b"Bearer a.b.c d",
            b"Bearer a.b.c,Bearer a.b.c",
            b"Bearer \"a.b.c\"",
            b"Bearer a.b.c=",
            b"Bearer a+b.c.d",
            b"Bearer \xc3\xa4.b.c",
            long.as_bytes(),
        ];
        for header in broken {
            assert!(
                matches!(read(&[header]), Err(AuthError::Malformed(_))),
                "{}",
                header.escape_ascii()
            );
        }
    }

    #[test]
    fn two_headers_are_an_error_even_if_they_agree() {
        assert!(matches!(read(&[b"Bearer a.b.c", b"Bearer a.b.c"]), Err(AuthError::Malformed(_))));
        assert!(matches!(read(&[b"", b"Bearer a.b.c"]), Err(AuthError::Malformed(_))));
    }

    #[test]
    fn token_of_the_longest_allowed_length_is_read() {
        let token = "a".repeat(MAX_TOKEN_BYTES);
        assert_eq!(read(&[format!("Bearer {token}").as_bytes()]), Ok(Some(token)));
    }
}
