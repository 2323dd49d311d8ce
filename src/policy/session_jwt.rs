//! Databases whose schema `auth` is the extension `pg_session_jwt`'s: what Rowgate adds, and what it does not.
//!
//! Must never change anything that belongs to the extension, but for who may use its schema.

use tokio_postgres::Transaction;

use super::error::PolicyError;
use crate::session::sealing::INSTALLED;

/// Its version, where `auth.session()` is its own.
pub(super) async fn installed(
    transaction: &Transaction<'_>,
) -> Result<Option<String>, PolicyError> {
    let doing = "looking for the extension pg_session_jwt";
    let row = transaction.query_one(INSTALLED, &[]).await.map_err(PolicyError::database(doing))?;
    Ok(row.get(0))
}

/// Which of those who call the functions may not use the schema, and whether we may let them.
const SHUT_OUT: &str = "\
    select coalesce(pg_catalog.string_agg(pg_catalog.quote_ident(r.rolname), ', ' order by r.rolname), ''), \
           coalesce(pg_catalog.bool_and(pg_catalog.pg_has_role(n.nspowner, 'usage')), true) \
      from pg_catalog.pg_namespace as n \
      cross join pg_catalog.pg_roles as r \
     where n.nspname = 'auth' \
       and (r.rolname in ('authenticated', 'anonymous') or r.rolname = current_user) \
       and not pg_catalog.has_schema_privilege(r.oid, n.oid, 'usage')";

/// Policies call the functions as whoever asks, column defaults also as the tables' owner.
pub(super) async fn let_callers_in(transaction: &Transaction<'_>) -> Result<(), PolicyError> {
    const DOING: &str = "granting usage of the schema auth";
    let row = transaction.query_one(SHUT_OUT, &[]).await.map_err(PolicyError::database(DOING))?;
    let (roles, may): (String, bool) = (row.get(0), row.get(1));
    if roles.is_empty() {
        return Ok(());
    }
    if !may {
        return Err(PolicyError::AuthSchemaClosed { roles });
    }
    let grant = format!("grant usage on schema auth to {roles}");
    transaction.batch_execute(&grant).await.map_err(PolicyError::database(DOING))
}

/// What the one who migrates should know.
pub(super) fn note(version: &str) -> String {
    format!(
        "the schema auth is the extension pg_session_jwt's (version {version}): its functions say who is \
         asking, and auth.crud_policy and the seal keys were not made (docs/pg-session-jwt.md)"
    )
}
