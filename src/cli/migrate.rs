//! (stub) `rowgate migrate`.

use crate::pg::control::ControlError;
use crate::pg::url::ConnectUrl;
/// (stub)
#[derive(Debug, clap::Args)]
pub struct Args {}

/// (stub)
pub async fn run(
    _args: Args,
    _owner: &ConnectUrl,
    _authenticated: Option<&ConnectUrl>,
    _anonymous: Option<&ConnectUrl>,
) -> Result<(), ControlError> {
    Ok(())
}
