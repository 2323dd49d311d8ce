//! What a setting that belongs to a login role (`ALTER ROLE … SET`) does to callers' sessions.
//!
//! Any role may give itself settings, so that one that nobody remembers may be a caller's work. Refused
//! is only what makes sessions somebody else or switches a protection off: refusing more would let a
//! caller who gets at `ALTER ROLE` stop the service with a harmless one.

use super::super::session_settings;

/// What a role's setting means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `rowgate harden` makes it.
    Expected,
    /// Worth knowing; the words continue “which …”.
    Warning(&'static str),
    /// No session with it may serve; the words continue “which …”.
    Harm(&'static str),
}

/// Settings that no start-up parameter overrules and that undo what the gateway rests on.
const HARMFUL: [(&str, &str); 8] = [
    ("role", "runs requests as another role, with other policies"),
    ("session_authorization", "runs requests as another role, with other policies"),
    ("session_replication_role", "silences triggers and foreign keys"),
    ("session_preload_libraries", "loads code into every session"),
    ("local_preload_libraries", "loads code into every session"),
    ("dynamic_library_path", "decides which code is loaded into sessions"),
    ("allow_system_table_mods", "lets the catalogue be written"),
    ("lo_compat_privileges", "opens all large objects to everyone"),
];

/// Where claims are kept: a value from elsewhere can only be meant to be taken for claims.
const CLAIMS: [&str; 3] = ["request.", "rowgate.", "pg_session_jwt."];

/// Settings that `rowgate harden` gives the roles, and the value that it gives (none: any).
const HARDENED: [(&str, Option<&str>); 3] = [
    ("temp_file_limit", None),
    ("log_parameter_max_length", Some("0")),
    ("log_parameter_max_length_on_error", Some("0")),
];

/// Judges one setting of a role. A slot's connections pass the role as a start-up parameter.
#[must_use]
pub fn effect_of(name: &str, value: &str, of_slot: bool) -> Effect {
    let name = name.to_ascii_lowercase();
    let is_hardened =
        |(own, good): &(&str, Option<&str>)| *own == name && good.is_none_or(|good| good == value);
    if HARDENED.iter().any(is_hardened) {
        return Effect::Expected;
    }
    if session_settings::is_sent(&name) || (of_slot && name == "role") {
        return Effect::Warning("has no effect on requests: each connection sets its own");
    }
    if let Some((_, harm)) = HARMFUL.iter().find(|(own, _)| *own == name) {
        return Effect::Harm(harm);
    }
    if CLAIMS.iter().any(|prefix| name.starts_with(prefix)) {
        return Effect::Harm("stands where claims are kept");
    }
    Effect::Warning("holds for every request")
}
