//! Any JSON as a parameter: its text form, read back by the decoder of arrays, is what was sent.

use bytes::BytesMut;
use postgres_protocol::IsNull;
use rowgate::json::array;
use rowgate::json::params::{self, ParamError};
use rowgate::json::value::{ArrayKind, ValueKind};
use serde_json::Value;
use serde_json::value::RawValue;

pub fn run(data: &[u8]) {
    let Ok(raw) = serde_json::from_slice::<&RawValue>(data) else { return };
    let mut out = BytesMut::new();
    let written = params::write(raw, &mut out);
    // Lists are the only thing that costs more than the text itself: quotes and backslashes are doubled.
    assert!(out.len() <= 2 * raw.get().len() + 2);
    // Deeper than `Value` goes, or a number that it cannot hold: nothing to compare with.
    let Ok(sent) = serde_json::from_str::<Value>(raw.get()) else { return };
    match written {
        Ok(IsNull::Yes) => assert_eq!(sent, Value::Null),
        Ok(IsNull::No) => assert_stands_for(std::str::from_utf8(&out).unwrap(), raw.get(), &sent),
        Err(ParamError::TooDeep) => assert!(depth(&sent) > 6),
        Err(ParamError::NotUnicode) => panic!("`Value` could read it"),
    }
}

fn assert_stands_for(text: &str, json: &str, sent: &Value) {
    match sent {
        Value::String(string) => assert_eq!(text, string),
        Value::Object(_) => assert_eq!(&serde_json::from_str::<Value>(text).unwrap(), sent),
        Value::Array(_) => {
            let kind = ArrayKind { delimiter: b',', element: ValueKind::Text };
            let mut read = Vec::new();
            array::write(text, &kind, &mut read).expect("our own array literal");
            let read: Value = serde_json::from_slice(&read).unwrap();
            assert_same_list(&read, sent);
        }
        _ => assert_eq!(text, json.trim()),
    }
}

/// `read` has every element as the text that stood for it.
fn assert_same_list(read: &Value, sent: &Value) {
    match (read, sent) {
        (Value::Array(read), Value::Array(sent)) => {
            assert_eq!(read.len(), sent.len());
            read.iter().zip(sent).for_each(|(read, sent)| assert_same_list(read, sent));
        }
        (Value::String(text), Value::Object(_)) => {
            assert_eq!(&serde_json::from_str::<Value>(text).unwrap(), sent);
        }
        (Value::String(text), Value::Number(_) | Value::Bool(_)) => {
            assert_eq!(&serde_json::from_str::<Value>(text).unwrap(), sent);
        }
        _ => assert_eq!(read, sent),
    }
}

/// Lists in lists.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
