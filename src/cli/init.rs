//! (stub) `rowgate init`.

use crate::pg::control::ControlError;

/// (stub)
#[derive(Debug, clap::Args)]
pub struct Args {}

/// (stub)
pub async fn run(_args: Args) -> Result<(), ControlError> {
    Ok(())
}
