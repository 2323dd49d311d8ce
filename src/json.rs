//! Postgres' text format ↔ JSON bytes, without a tree in between.
//!
//! [`params`] turns a request's parameters into text values, [`value`] and [`mod@array`] turn the server's
//! text into JSON, [`answer`] assembles whole answers. Nothing here knows about HTTP.

pub mod answer;
pub mod array;
pub mod params;
pub mod value;

/// Appends `text` as a JSON string (RFC 8259 §7).
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    // invariant: neither writing to a Vec nor serialising a str can fail.
    let _ = serde_json::to_writer(out, text);
}
