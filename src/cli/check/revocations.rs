//! Whether `auth.revoked` is read, and what is in it.

use super::findings::Findings;
use crate::config::Config;
use crate::server::revocations;

pub(super) async fn check(findings: &mut Findings, config: &Config) {
    if !config.revocation.enabled {
        return findings.ok(
            "revocation: off; a token counts until its `exp` (revocation.enabled = true reads auth.revoked)",
        );
    }
    match revocations::count(config).await {
        Ok(rows) => findings.ok(format!(
            "revocation: on; {rows} rows of auth.revoked count, {} may; a new one counts after {:?} at most \
             while the database answers",
            config.revocation.rows,
            config.revocation.refresh + revocations::READ_LIMIT,
        )),
        Err(error) => findings.error(format!("revocation: {error}")),
    }
}
