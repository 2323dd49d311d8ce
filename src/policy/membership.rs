//! Acting as another role inside a transaction that is undone.

use postgres_protocol::escape::escape_literal;

/// The SQL that lets the current user act as `roles` (quoted, separated by commas) and inherit nothing of them: else
/// their policies would hold for the owner, and for whatever runs with the owner's rights. `is_16`: whether the server
/// is version 16 or later.
#[must_use]
pub(crate) fn membership(roles: &str, is_16: bool) -> String {
    if is_16 {
        return format!("grant {roles} to current_user with inherit false, set true");
    }
    // Inheritance ends at a role with NOINHERIT; becoming a role does not.
    format!(
        "do $$ declare step text := pg_catalog.format('rowgate_tests_%s', pg_catalog.pg_backend_pid()); begin \
         if pg_catalog.to_regrole(step) is null then \
           execute pg_catalog.format('create role %I noinherit nologin', step); \
           execute pg_catalog.format('grant %I to current_user', step); \
         end if; \
         execute pg_catalog.format('grant %s to %I', {}, step); end $$",
        escape_literal(roles)
    )
}
