//! Slots: a login role of its own for each pooled connection.
//!
//! PostgreSQL shows a session's statement to, and takes its cancellation from, whoever has the
//! privileges of the role that *logged in*. With one login for all callers that is every caller. Roles
//! `authenticated_s1`, `authenticated_s2`, … are members of `authenticated`, not the other way round: a
//! session that logged in as one of them and runs as `authenticated` has no rights over the others.
//!
//! Each of them may have one connection (`CONNECTION LIMIT 1`), so that the server itself sees to it
//! that no two sessions share a slot, whatever the number of gateways. Must never hold a lock while
//! connecting.

/// What comes between the name of the role that requests run as and the slot's number.
const INFIX: &str = "_s";

/// The login role of a slot, counted from 1.
#[must_use]
pub fn login(base: &str, number: usize) -> String {
    format!("{base}{INFIX}{number}")
}

/// Whether a role's name is that of a slot.
#[must_use]
pub fn is_slot(role: &str) -> bool {
    role.rsplit_once(INFIX).is_some_and(|(base, number)| {
        !base.is_empty() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    })
}
