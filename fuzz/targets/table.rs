//! Everything that reads bytes which strangers, or a server that is broken or hostile, have written. One
//! function for each: it panics if what it tests does not keep a promise.
//!
//! `replay.rs` runs them with the seeds and with simple variations of these, on every `cargo test`;
//! `scripts/fuzz` lets libFuzzer look for inputs that reach new code.

mod array;
mod claims;
mod frames;
mod headers;
mod judge;
mod login;
mod params;
mod rows;
mod server_error;
mod split;
mod sql_body;
mod token;

/// A target takes any bytes.
pub type Target = fn(&[u8]);

/// All targets, by the name of their directory of seeds.
pub const TARGETS: [(&str, Target); 12] = [
    ("array", array::run),
    ("claims", claims::run),
    ("frames", frames::run),
    ("headers", headers::run),
    ("judge", judge::run),
    ("login", login::run),
    ("params", params::run),
    ("rows", rows::run),
    ("server_error", server_error::run),
    ("split", split::run),
    ("sql_body", sql_body::run),
    ("token", token::run),
];
