//! The text form of Postgres arrays → nested JSON arrays ("Array Input and Output Syntax").

use super::value::{ArrayKind, write_text_as};

/// The text is not what `array_out` prints.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// Appends the array that the server printed as `text`. On error, `out` may hold a part of it.
///
/// Takes time and memory linear in the text, whatever its nesting.
pub fn write(text: &str, kind: &ArrayKind, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut scanner = Scanner { rest: without_bounds(text)?, kind, scratch: String::new() };
    let mut depth = 0_usize;
    let mut place = Place::Begin;
    while let Some(byte) = scanner.rest.bytes().next() {
        match byte {
            b'{' if place != Place::AfterItem => {
                out.push(b'[');
                depth += 1;
                scanner.advance(1);
                place = Place::Begin;
            }
            b'}' if depth > 0 && place != Place::AfterDelimiter => {
                out.push(b']');
                depth -= 1;
                scanner.advance(1);
                place = Place::AfterItem;
                if depth == 0 {
                    break;
                }
            }
            delimiter if delimiter == kind.delimiter && depth > 0 && place == Place::AfterItem => {
                out.push(b',');
                scanner.advance(1);
                place = Place::AfterDelimiter;
            }
            _ if depth > 0 && place != Place::AfterItem => {
                scanner.element(out)?;
                place = Place::AfterItem;
            }
            _ => return Err(Malformed),
        }
    }
    if depth == 0 && scanner.rest.is_empty() && place == Place::AfterItem {
        Ok(())
    } else {
        Err(Malformed)
    }
}

/// Where in an array the scanner stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before everything, or after `{`.
    Begin,
    AfterDelimiter,
    /// After a value or `}`.
    AfterItem,
}

/// Cuts off `[1:3][0:1]=`, which `array_out` prints when a lower bound is not 1.
fn without_bounds(text: &str) -> Result<&str, Malformed> {
    if text.starts_with('[') {
        text.split_once('=').map(|(_, rest)| rest).ok_or(Malformed)
    } else {
        Ok(text)
    }
}

struct Scanner<'a> {
    rest: &'a str,
    kind: &'a ArrayKind,
    /// An element without its quotes and escapes.
    scratch: String,
}

impl Scanner<'_> {
    fn advance(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn element(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        if self.rest.starts_with('"') { self.quoted(out) } else { self.bare(out) }
    }

    fn bare(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let delimiter = self.kind.delimiter;
        let end = self
            .rest
            .bytes()
            .position(|byte| byte == delimiter || byte == b'}' || byte == b'{' || byte == b'"')
            .ok_or(Malformed)?;
        let (text, rest) = self.rest.split_at(end);
        if text.is_empty() {
            return Err(Malformed);
        }
        self.rest = rest;
        if text == "NULL" {
            out.extend_from_slice(b"null");
        } else {
            write_text_as(text, &self.kind.element, out);
        }
        Ok(())
    }

    fn quoted(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        self.advance(1);
        self.scratch.clear();
        loop {
            let stop = self
                .rest
                .bytes()
                .position(|byte| byte == b'"' || byte == b'\\')
                .ok_or(Malformed)?;
            self.scratch.push_str(&self.rest[..stop]);
            let closing = self.rest.as_bytes()[stop] == b'"';
            self.advance(stop + 1);
            if closing {
                write_text_as(&self.scratch, &self.kind.element, out);
                return Ok(());
            }
            let escaped = self.rest.chars().next().ok_or(Malformed)?;
            self.scratch.push(escaped);
            self.advance(escaped.len_utf8());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::ValueKind;
    use super::*;

    fn json(text: &str, delimiter: u8, element: ValueKind) -> Result<String, Malformed> {
        let mut out = Vec::new();
        write(text, &ArrayKind { delimiter, element }, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn nesting_nulls_and_numbers_carry_over() {
        assert_eq!(
            json("{{1,NULL},{-3,4}}", b',', ValueKind::Integer).as_deref(),
            Ok("[[1,null],[-3,4]]")
        );
        assert_eq!(json("{}", b',', ValueKind::Integer).as_deref(), Ok("[]"));
    }

    #[test]
    fn quotes_and_escapes_are_undone() {
        assert_eq!(
            json(r#"{"a,b","c\"d","e\\f","NULL",NULL,"",é}"#, b',', ValueKind::Text).as_deref(),
            Ok(r#"["a,b","c\"d","e\\f","NULL",null,"","é"]"#)
        );
        assert_eq!(
            json(r#"{"{\"a\": [1, 2]}"}"#, b',', ValueKind::Json).as_deref(),
            Ok(r#"[{"a": [1, 2]}]"#)
        );
    }

    #[test]
    fn bounds_are_dropped_and_the_types_own_delimiter_is_honoured() {
        assert_eq!(json("[0:1]={7,8}", b',', ValueKind::Integer).as_deref(), Ok("[7,8]"));
        assert_eq!(
            json("{(1,1),(0,0);(2,2),(1,1)}", b';', ValueKind::Text).as_deref(),
            Ok(r#"["(1,1),(0,0)","(2,2),(1,1)"]"#)
        );
    }

    #[test]
    fn texts_that_are_no_arrays_are_told_apart() {
        for text in
            ["", "{", "}", "{1", "{1,", "{1,}", "{,1}", "{1}2", "1 2 3", "{\"a}", "[1:2]{1,2}"]
        {
            assert_eq!(json(text, b',', ValueKind::Text), Err(Malformed), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_either_refused_or_becomes_valid_json(text in "[{}\\[\\]=:,\"\\\\a1NUL é]{0,40}") {
            if let Ok(out) = json(&text, b',', ValueKind::Text) {
                serde_json::from_str::<serde_json::Value>(&out).unwrap();
            }
        }
    }
}
