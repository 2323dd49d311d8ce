//! (stub) `rowgate keys export`.

use crate::pg::control::ControlError;
use crate::pg::url::ConnectUrl;
/// (stub)
#[derive(Debug, clap::Args)]
pub struct Args {}

/// (stub)
pub async fn run(_args: Args, _owner: &ConnectUrl) -> Result<(), ControlError> {
    Ok(())
}
