//! Whether `auth.revoked` is read, and what is in it.

use super::findings::Findings;
use crate::config::Config;
use crate::server::revocations;

pub(super) async fn check(findings: &mut Findings, config: &Config) {
    match Box::pin(revocations::read_once(config)).await {
        Ok(None) => findings.ok(
            "revocation: off; a token counts until its `exp` (revocation.enabled = true reads auth.revoked)",
        ),
        Ok(Some(list)) => findings.ok(format!(
            "revocation: on; {} rows of auth.revoked count, {} may; a new one counts after {:?} at most \
             while the database answers",
            list.len(),
            config.revocation.rows,
            config.revocation.refresh + revocations::READ_LIMIT,
        )),
        Err(error) => findings.error(format!("revocation: {error}")),
    }
}
