//! Any `ErrorResponse`: an error of ours or of theirs, as JSON, without the names of our statements.

use rowgate::pg::server_error::ServerError;
use serde_json::Value;

/// As [`rowgate::pg::statements`] makes them: 32 hexadecimal digits.
const PREFIX: &str = "00000000000000000000000000000000";

pub fn run(data: &[u8]) {
    let Ok(mut error) = ServerError::parse(data) else { return };
    error.hide_names(PREFIX);
    assert!(!error.message.contains(PREFIX));
    let json = serde_json::to_vec(&error).expect("an error serialises");
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert!(json["code"].is_string() && json["message"].is_string());
}
