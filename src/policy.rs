//! stub
use crate::config::SealKeyConfig;
use crate::pg::control::ControlError;
/// stub
pub async fn read_seal_key(_c: &tokio_postgres::Client) -> Result<SealKeyConfig, ControlError> { todo!() }
