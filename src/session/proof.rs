//! Proof that the database believes the seals made here: the only sign that both have the same key.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::pipeline;
use super::seal::Sealer;
use crate::auth::Identity;
use crate::config::SealKeyConfig;

/// Believes the claims, or raises 28000.
const READ_CLAIMS: &str = "select auth.session() operator(pg_catalog.->>) 'role'";
const WHO: &str = "select pg_catalog.pg_backend_pid(), current_user::pg_catalog.text";

/// Does over `client` what a request without a token does, and reads back the claims. Returns the role
/// that `client` is logged in as; an error if the database does not believe the seal.
pub async fn believed(
    client: &Client,
    key: &SealKeyConfig,
) -> Result<String, tokio_postgres::Error> {
    believes(client, &Sealer::new(key)).await
}

/// As [`believed`].
pub async fn believes(client: &Client, sealer: &Sealer) -> Result<String, tokio_postgres::Error> {
    // Nothing but unnamed statements in one transaction: there may be a pooler on the way.
    client.batch_execute("begin read only").await?;
    let outcome = attempt(client, sealer).await;
    client.batch_execute("rollback").await?;
    outcome
}

/// Whether the database refuses claims that nobody sealed. It does not where `auth.session()` is another
/// program's: such a one may believe any setting, and with it every seal of ours.
pub async fn doubts(client: &Client) -> Result<bool, tokio_postgres::Error> {
    client.batch_execute("begin read only").await?;
    let claims = Sealer::claims(&Identity::Anonymous);
    let outcome = read_back(client, claims, NO_SEAL).await;
    client.batch_execute("rollback").await?;
    match outcome {
        Ok(()) => Ok(false),
        Err(error) if error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// Of the right shape, and made by nobody.
const NO_SEAL: &str =
    "0000000000000000000000000000000000000000000000000000000000000000.none.9999999999";

async fn attempt(client: &Client, sealer: &Sealer) -> Result<String, tokio_postgres::Error> {
    let row = client.query_typed_one(WHO, &[]).await?;
    let (pid, user): (i32, String) = (row.get(0), row.get(1));
    let identity = Identity::Anonymous;
    let mut seal = Vec::new();
    sealer.seal(&identity, pid, &mut seal);
    let seal = String::from_utf8_lossy(&seal).into_owned();
    let claims = Sealer::claims(&identity);
    read_back(client, claims, &seal).await?;
    Ok(user)
}

async fn read_back(client: &Client, claims: &str, seal: &str) -> Result<(), tokio_postgres::Error> {
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&claims, Type::TEXT), (&seal, Type::TEXT)];
    client.query_typed_one(pipeline::OPEN.0, &values).await?;
    client.query_typed_one(READ_CLAIMS, &[]).await.map(drop)
}
