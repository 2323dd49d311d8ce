//! A server's description of columns and its rows, whatever they hold: an error, or an answer that is JSON.
//!
//! The input is messages, each with a length of two bytes in front; the first is the `RowDescription`.

use rowgate::json::answer::AnswerWriter;
use rowgate::pg::catalog::TypeCatalog;
use rowgate::pg::description::Description;
use serde_json::Value;

const LIMIT: u64 = 1 << 20;

pub fn run(data: &[u8]) {
    let mut messages = messages(data);
    let Some(first) = messages.next() else { return };
    let Ok(description) = Description::parse(first, &TypeCatalog::default()) else { return };
    serde_json::from_slice::<Value>(&description.fields_json).expect("JSON");
    let rows: Vec<&[u8]> = messages.collect();
    for raw_text in [true, false] {
        for as_array in [true, false] {
            answer(&description, &rows, raw_text, as_array);
        }
    }
}

fn messages(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (message, after) = after.split_at(length);
        rest = after;
        Some(message)
    })
}

fn answer(description: &Description, rows: &[&[u8]], raw_text: bool, as_array: bool) {
    let mut writer = AnswerWriter::new(raw_text, true, LIMIT);
    writer.begin(description);
    for row in rows {
        if writer.row(row, description, as_array).is_err() {
            return;
        }
    }
    writer.end("SELECT 7", as_array);
    writer.finish();
    let answer = writer.take();
    assert_eq!(answer.len() as u64, writer.bytes());
    // Typed values are the server's word for it; texts are ours.
    if raw_text {
        serde_json::from_slice::<serde::de::IgnoredAny>(&answer).expect("JSON");
    }
}
