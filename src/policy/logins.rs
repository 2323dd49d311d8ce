//! Login roles of slots, and passwords of login roles. A password's text never leaves this process.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use postgres_protocol::password::scram_sha_256;
use tokio_postgres::Client;

use super::error::PolicyError;
use crate::pg::slots;

/// Lets each role log in with its password. Sent is a SCRAM-SHA-256 verifier (RFC 5803), from which
/// the password cannot be read: not in the server's log either. All or none.
///
/// # Errors
///
/// The server refuses, such as when the client's role did not create these roles.
pub async fn set_login_passwords(
    client: &mut Client,
    logins: &[(&str, &[u8])],
) -> Result<(), PolicyError> {
    const DOING: &str = "setting the passwords of the login roles";
    let transaction = client.transaction().await.map_err(PolicyError::database(DOING))?;
    for (role, password) in logins {
        let sql = format!(
            "alter role {} login password {}",
            escape_identifier(role),
            escape_literal(&scram_sha_256(password)),
        );
        transaction.batch_execute(&sql).await.map_err(PolicyError::database(DOING))?;
    }
    transaction.commit().await.map_err(PolicyError::database(DOING))
}

/// Makes the login roles of slots 1 to `count`, for each of the two roles that requests run as: members of
/// it, with its password if it has one, and with one connection each. What exists is brought to that. All
/// or none; roles beyond `count` are left alone.
///
/// # Errors
///
/// The server refuses, such as when the client's role may not create roles.
pub async fn create_slots(
    client: &mut Client,
    bases: &[(&str, Option<&[u8]>)],
    count: usize,
) -> Result<(), PolicyError> {
    const DOING: &str = "creating the login roles of the slots";
    const EXISTS: &str = "select pg_catalog.to_regrole(pg_catalog.quote_ident($1)) is not null";
    let transaction = client.transaction().await.map_err(PolicyError::database(DOING))?;
    for (base, password) in bases {
        for number in 1..=count {
            let name = slots::login(base, number);
            let exists = transaction.query_one(EXISTS, &[&name]).await;
            let exists: bool = exists.map_err(PolicyError::database(DOING))?.get(0);
            let (verb, name) = (if exists { "alter" } else { "create" }, escape_identifier(&name));
            let password = password.map_or_else(String::new, |password| {
                format!(" password {}", escape_literal(&scram_sha_256(password)))
            });
            let sql = format!(
                "set local client_min_messages = warning; \
                 {verb} role {name} login connection limit 1{password}; grant {} to {name}",
                escape_identifier(base),
            );
            transaction.batch_execute(&sql).await.map_err(PolicyError::database(DOING))?;
        }
    }
    transaction.commit().await.map_err(PolicyError::database(DOING))
}
