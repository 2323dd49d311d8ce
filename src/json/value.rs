//! One value: the server's text → JSON.

use std::sync::Arc;

use super::array;
use super::write_string;

/// How values of a type become JSON when the client does not ask for raw text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A string of what the server printed.
    Text,
    /// `t`/`f` → true/false.
    Bool,
    /// int2, int4: the digits are a JSON number that every client can hold.
    Integer,
    /// float4, float8: a number, or a string for what JSON has no number for.
    Float,
    /// json, jsonb: embedded unchanged.
    Json,
    /// A nested JSON array.
    Array(Arc<ArrayKind>),
}

/// How an array type prints.
#[derive(Debug, PartialEq, Eq)]
pub struct ArrayKind {
    /// Between elements: `,`, or `;` for box.
    pub delimiter: u8,
    /// How each element becomes JSON.
    pub element: ValueKind,
}

/// The server sent bytes that are not UTF-8: the database's encoding is `SQL_ASCII`, or worse.
#[derive(Debug, thiserror::Error)]
#[error("a value is not valid UTF-8")]
pub struct NotUtf8;

/// Appends a value as the string that the server printed; NULL as null.
pub fn write_raw(value: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), NotUtf8> {
    match value {
        None => out.extend_from_slice(b"null"),
        Some(bytes) if is_plain(bytes) => write_plain(bytes, out),
        Some(bytes) => write_string(utf8(bytes)?, out),
    }
    Ok(())
}

/// Whether these bytes are ASCII and a JSON string of them needs no escapes (RFC 8259 §7). Without a branch for
/// each byte, so that the compiler makes it look at many of them at a time.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, byte| {
        plain & (byte.is_ascii() && *byte >= b' ' && *byte != b'"' && *byte != b'\\')
    })
}

fn write_plain(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    out.extend_from_slice(bytes);
    out.push(b'"');
}

/// Appends a value as typed JSON; NULL as null.
pub fn write_typed(
    value: Option<&[u8]>,
    kind: &ValueKind,
    out: &mut Vec<u8>,
) -> Result<(), NotUtf8> {
    match value {
        None => out.extend_from_slice(b"null"),
        Some(bytes) if *kind == ValueKind::Text && is_plain(bytes) => write_plain(bytes, out),
        Some(bytes) => write_text_as(utf8(bytes)?, kind, out),
    }
    Ok(())
}

/// Appends the non-NULL value that the server printed as `text`.
pub(super) fn write_text_as(text: &str, kind: &ValueKind, out: &mut Vec<u8>) {
    match kind {
        ValueKind::Text => write_string(text, out),
        ValueKind::Bool => out.extend_from_slice(if text == "t" { b"true" } else { b"false" }),
        ValueKind::Integer | ValueKind::Json => out.extend_from_slice(text.as_bytes()),
        ValueKind::Float => match text {
            "NaN" | "Infinity" | "-Infinity" => write_string(text, out),
            number => out.extend_from_slice(number.as_bytes()),
        },
        ValueKind::Array(array) => {
            let start = out.len();
            if array::write(text, array, out).is_err() {
                // Not the text form of an array after all: better the server's text than half an array.
                out.truncate(start);
                write_string(text, out);
            }
        }
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, NotUtf8> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| NotUtf8)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn typed(text: &str, kind: &ValueKind) -> String {
        let mut out = Vec::new();
        write_typed(Some(text.as_bytes()), kind, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_keep_the_digits_the_server_printed() {
        assert_eq!(typed("-2147483648", &ValueKind::Integer), "-2147483648");
        assert_eq!(typed("1e+20", &ValueKind::Float), "1e+20");
        assert_eq!(typed("-0", &ValueKind::Float), "-0");
        assert_eq!(typed("9223372036854775807", &ValueKind::Text), "\"9223372036854775807\"");
    }

    #[test]
    fn what_json_has_no_number_for_is_a_string() {
        for text in ["NaN", "Infinity", "-Infinity"] {
            assert_eq!(typed(text, &ValueKind::Float), format!("\"{text}\""));
        }
    }

    #[test]
    fn json_is_embedded_byte_for_byte() {
        let text = "{\"b\": 1.00,\n \"a\":[1e400]}";
        assert_eq!(typed(text, &ValueKind::Json), text);
    }

    #[test]
    fn every_byte_is_written_as_serde_writes_it() {
        for byte in 0..=u8::MAX {
            for text in [vec![byte], [&[b'a'; 40], &[byte][..], &[b'b'; 40]].concat()] {
                let mut out = Vec::new();
                let written = write_raw(Some(&text), &mut out).is_ok();
                let expected = str::from_utf8(&text).ok().map(|text| json!(text).to_string());
                assert_eq!(written.then_some(out), expected.map(String::into_bytes), "{byte}");
            }
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        let mut out = Vec::new();
        assert!(write_raw(Some(b"\xff"), &mut out).is_err());
        assert!(write_typed(Some(b"\xff"), &ValueKind::Json, &mut out).is_err());
    }

    #[test]
    fn null_is_null_in_both_forms() {
        let mut out = Vec::new();
        write_raw(None, &mut out).unwrap();
        write_typed(None, &ValueKind::Bool, &mut out).unwrap();
        assert_eq!(out, b"nullnull");
    }
}
