//! stub
use crate::pg::control::ControlError;
/// stub
#[derive(Debug)]
pub struct RoleReport;
/// stub
pub type RoleError = ControlError;
impl RoleReport {
    /// stub
    pub fn into_result(self) -> Result<(), RoleError> { Ok(()) }
}
/// stub
pub async fn verify_login_role(_c: &tokio_postgres::Client, _o: &str) -> Result<RoleReport, RoleError> { Ok(RoleReport) }
