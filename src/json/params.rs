//! A request's parameters → values in Postgres' text format.
//!
//! Works on the JSON text itself, so that a number keeps every digit the client wrote.

use bytes::{BufMut, BytesMut};
use postgres_protocol::IsNull;
use serde_json::value::RawValue;

/// Postgres knows six dimensions (`MAXDIM` in its array.h); deeper lists are somebody's mistake.
const MAX_ARRAY_DEPTH: usize = 6;

/// A parameter that has no text form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParamError {
    /// An escape such as `\ud800` that stands for no character.
    #[error("a string holds an escape that is no Unicode character")]
    NotUnicode,
    /// More nested lists than an array can have dimensions.
    #[error(
        "a list is nested more than {MAX_ARRAY_DEPTH} deep, and Postgres arrays have no more dimensions"
    )]
    TooDeep,
}

/// Appends one parameter: null → NULL, a string as is, a number or bool as its JSON text, an object as
/// compact JSON, a list as an array literal.
pub fn write(param: &RawValue, out: &mut BytesMut) -> Result<IsNull, ParamError> {
    let json = param.get();
    match json.as_bytes().first() {
        Some(b'n') => return Ok(IsNull::Yes),
        Some(b'"') => write_unescaped(json, out)?,
        Some(b'{') => write_compact(json, |bytes| out.put_slice(bytes)),
        Some(b'[') => write_array(json, 1, out)?,
        _ => out.put_slice(json.as_bytes()),
    }
    Ok(IsNull::No)
}

/// The text between the quotes of a JSON string that has no escapes.
fn plain(json: &str) -> Option<&str> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.as_bytes().contains(&b'\\')).then_some(inner)
}

fn write_unescaped(json: &str, out: &mut BytesMut) -> Result<(), ParamError> {
    match plain(json) {
        Some(text) => out.put_slice(text.as_bytes()),
        None => out.put_slice(unescaped(json)?.as_bytes()),
    }
    Ok(())
}

fn unescaped(json: &str) -> Result<String, ParamError> {
    serde_json::from_str(json).map_err(|_| ParamError::NotUnicode)
}

/// Feeds `json` to `emit` without the white space between its tokens.
fn write_compact(json: &str, mut emit: impl FnMut(&[u8])) {
    let bytes = json.as_bytes();
    let (mut start, mut in_string, mut escaped) = (0, false, false);
    for (index, byte) in bytes.iter().enumerate() {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            emit(&bytes[start..index]);
            start = index + 1;
        } else {
            in_string = *byte == b'"';
        }
    }
    emit(&bytes[start..]);
}

fn write_array(json: &str, depth: usize, out: &mut BytesMut) -> Result<(), ParamError> {
    if depth > MAX_ARRAY_DEPTH {
        return Err(ParamError::TooDeep);
    }
    // invariant: a RawValue is valid JSON, and this one starts with `[`; only nesting beyond what
    // serde_json follows could fail.
    let items: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| ParamError::TooDeep)?;
    out.put_u8(b'{');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        write_element(item.get(), depth, out)?;
    }
    out.put_u8(b'}');
    Ok(())
}

fn write_element(json: &str, depth: usize, out: &mut BytesMut) -> Result<(), ParamError> {
    match json.as_bytes().first() {
        Some(b'n') => out.put_slice(b"NULL"),
        Some(b'[') => write_array(json, depth + 1, out)?,
        Some(b'"') => match plain(json) {
            Some(text) => quote(text.as_bytes(), out),
            None => quote(unescaped(json)?.as_bytes(), out),
        },
        Some(b'{') => {
            out.put_u8(b'"');
            write_compact(json, |bytes| escape(bytes, out));
            out.put_u8(b'"');
        }
        _ => out.put_slice(json.as_bytes()),
    }
    Ok(())
}

fn quote(text: &[u8], out: &mut BytesMut) {
    out.put_u8(b'"');
    escape(text, out);
    out.put_u8(b'"');
}

fn escape(text: &[u8], out: &mut BytesMut) {
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Option<String> {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        let mut out = BytesMut::new();
        match write(raw, &mut out).unwrap() {
            IsNull::Yes => None,
            IsNull::No => Some(String::from_utf8(out.to_vec()).unwrap()),
        }
    }

    #[test]
    fn scalars_become_their_text() {
        assert_eq!(text("null"), None);
        assert_eq!(text("true").as_deref(), Some("true"));
        assert_eq!(text(r#""a\nb\u00e9""#).as_deref(), Some("a\nbé"));
        assert_eq!(text(r#""plain""#).as_deref(), Some("plain"));
    }

    #[test]
    fn numbers_keep_their_digits() {
        let digits = "12345678901234567890123456789.012345678901234567890";
        assert_eq!(text(digits).as_deref(), Some(digits));
        assert_eq!(text("1e2").as_deref(), Some("1e2"));
    }

    #[test]
    fn objects_become_compact_json_in_the_clients_order() {
        assert_eq!(
            text(r#"{ "b" : [1,  2] , "a":" x \" y " }"#).as_deref(),
            Some(r#"{"b":[1,2],"a":" x \" y "}"#)
        );
    }

    #[test]
    fn lists_become_array_literals() {
        assert_eq!(
            text(r#"[1,null,"a\"b\\c",true,[],{"k": "v"}]"#).as_deref(),
            Some(r#"{1,NULL,"a\"b\\c",true,{},"{\"k\":\"v\"}"}"#)
        );
        assert_eq!(text(r#"["NULL",""]"#).as_deref(), Some(r#"{"NULL",""}"#));
    }

    #[test]
    fn hopeless_parameters_are_refused() {
        let refuse = |json: &str| {
            let raw: &RawValue = serde_json::from_str(json).unwrap();
            write(raw, &mut BytesMut::new()).err()
        };
        assert_eq!(refuse("[[[[[[[1]]]]]]]"), Some(ParamError::TooDeep));
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(refuse(&deep), Some(ParamError::TooDeep));
        assert_eq!(refuse(r#""\ud800""#), Some(ParamError::NotUnicode));
    }
}
