//! Any text as an array of the server's: refused, or JSON of a bounded size. And what `array_out` would
//! print of any elements is read as those elements.

use rowgate::json::array;
use rowgate::json::value::{ArrayKind, ValueKind};
use serde_json::{Value, json};

/// Escapes of JSON make six bytes of one, at most.
const GROWTH: usize = 6;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let delimiter = if text.ends_with(';') { b';' } else { b',' };
    for element in [ValueKind::Text, ValueKind::Bool, ValueKind::Integer, ValueKind::Json] {
        let is_text = element == ValueKind::Text;
        let mut out = Vec::new();
        let read = array::write(text, &ArrayKind { delimiter, element }, &mut out);
        assert!(out.len() <= GROWTH * text.len() + 2);
        if read.is_ok() && is_text {
            // Skipping reads any depth; an array has six dimensions at most.
            serde_json::from_slice::<serde::de::IgnoredAny>(&out).expect("JSON");
        }
    }
    read_back(text);
}

/// Takes the lines of `text` as elements; two line feeds begin another row.
fn read_back(text: &str) {
    let element = |line: &str| match line {
        "\\N" => Value::Null,
        line => json!(line),
    };
    let rows: Vec<Vec<Value>> =
        text.split("\n\n").map(|row| row.split('\n').map(element).collect()).collect();
    let printed: Vec<String> = rows.iter().map(|row| braces(row.iter().map(printed))).collect();
    let printed = braces(printed.into_iter());
    let mut out = Vec::new();
    let kind = ArrayKind { delimiter: b',', element: ValueKind::Text };
    array::write(&printed, &kind, &mut out).expect("what array_out prints");
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), json!(rows), "{printed}");
}

fn braces(items: impl Iterator<Item = String>) -> String {
    format!("{{{}}}", items.collect::<Vec<_>>().join(","))
}

/// As `array_out` in arrayfuncs.c decides when to quote.
fn printed(element: &Value) -> String {
    let Value::String(text) = element else { return "NULL".into() };
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c');
    let quote = text.is_empty()
        || text.eq_ignore_ascii_case("NULL")
        || text.contains(|c| matches!(c, '"' | '\\' | '{' | '}' | ',') || blank(c));
    if quote {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        text.clone()
    }
}
