//! Passwords of login roles. A password's text never leaves this process.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use postgres_protocol::password::scram_sha_256;
use tokio_postgres::Client;

use super::error::PolicyError;

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
