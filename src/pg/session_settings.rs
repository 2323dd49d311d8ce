//! Settings that answers depend on, or that bound what a session can do.
//!
//! Sent at start-up they win over settings of the role and database, and survive RESET ALL.

/// Those whose values are the same everywhere.
pub const FIXED: [(&str, &str); 12] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("row_security", "on"),
    ("standard_conforming_strings", "on"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("client_connection_check_interval", "1000"),
];

/// Those whose values come from the configuration.
pub const CONFIGURED: [&str; 3] =
    ["search_path", "statement_timeout", "idle_in_transaction_session_timeout"];

/// Whether every connection for callers sets this itself.
#[must_use]
pub fn is_sent(name: &str) -> bool {
    let same = |own: &str| own.eq_ignore_ascii_case(name);
    FIXED.iter().any(|(own, _)| same(own)) || CONFIGURED.iter().any(|own| same(own))
}
