//! Proof that the database believes the seals made here: the only sign that both have the same key.

use tokio_postgres::Client;

use super::pipeline;
use super::seal::Sealer;
use crate::auth::Identity;
use crate::config::SealKeyConfig;

/// Believes the claims, or raises 28000.
const READ_CLAIMS: &str = "select auth.session() ->> 'role'";

/// Does over `client` what a request without a token does, and reads back the claims. Returns the role
/// that `client` is logged in as; an error if the database does not believe the seal.
pub async fn believed(
    client: &Client,
    key: &SealKeyConfig,
) -> Result<String, tokio_postgres::Error> {
    let row = client
        .query_one("select pg_catalog.pg_backend_pid(), current_user::pg_catalog.text", &[])
        .await?;
    let (pid, user): (i32, String) = (row.get(0), row.get(1));
    let identity = Identity::Anonymous;
    let mut seal = Vec::new();
    Sealer::new(key).seal(&identity, pid, &mut seal);
    let seal = String::from_utf8_lossy(&seal).into_owned();
    client.batch_execute("begin read only").await?;
    let outcome = async {
        client.query_one(pipeline::OPEN.0, &[&Sealer::claims(&identity), &seal]).await?;
        client.query_one(READ_CLAIMS, &[]).await
    }
    .await;
    client.batch_execute("rollback").await?;
    outcome.map(|_| user)
}
