//! `rowgate keys …`: the keys that seal claims, over the owner's connection.
//!
//! Must never print a key, nor write one where others can read it.

mod export;
mod list;
mod retire;
mod rotate;

use tokio_postgres::Client;

use crate::pg::control;
use crate::pg::url::ConnectUrl;
use crate::policy::PolicyError;
pub use export::WriteError;

/// What can be done with keys.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Rotate(rotate::Args),
    List(list::Args),
    Retire(retire::Args),
    Export(export::Args),
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The database refused.
    #[error(transparent)]
    Database(#[from] PolicyError),
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Runs one of the commands.
///
/// # Errors
///
/// No connection as the role that migrated, no such key, or a file that cannot be written.
pub(super) async fn run(command: Command, owner: &ConnectUrl) -> Result<(), KeysError> {
    let client = connect(owner).await?;
    match command {
        Command::Rotate(args) => Ok(rotate::run(&args, &client).await?),
        Command::List(args) => Ok(list::run(&args, &client).await?),
        Command::Retire(args) => Ok(retire::run(&args, &client).await?),
        Command::Export(args) => export::run(&args, &client).await,
    }
}

async fn connect(owner: &ConnectUrl) -> Result<Client, PolicyError> {
    Ok(control::connect(owner).await?)
}
