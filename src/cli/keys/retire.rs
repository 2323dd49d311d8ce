//! `rowgate keys retire`: ends a key at once.

use tokio_postgres::Client;

use crate::policy::{self, PolicyError};

/// End a seal key at once, because somebody may know it
///
/// From the next transaction on the database does not believe it. If no other key of its kind is in
/// force, a new one is made in its place. Gateways with DATABASE_URL notice with the next request and
/// take up the other key. Gateways with a key file answer 503 (RG5036) until their file holds one that is
/// good: `rowgate keys export --replace`.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "the doc comments are the text of --help")]
pub struct Args {
    /// The key's id, as `rowgate keys list` shows it
    #[arg(value_name = "KEY")]
    kid: String,
}

pub(super) async fn run(args: &Args, client: &Client) -> Result<(), PolicyError> {
    let replacement = policy::retire_seal_key(client, &args.kid).await?;
    println!("key {} is not believed any more", args.kid);
    if let Some(kid) = replacement {
        println!("key {kid} takes its place");
    }
    Ok(())
}
