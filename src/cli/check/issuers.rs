//! The issuers as the gateway would find them, and one token as it would judge it.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};

use super::findings::Findings;
use crate::auth::{Authenticator, Identity, UsableKeys, usable_keys};
use crate::config::Config;
use crate::observe::Observer;

/// Keys the hash of subjects in logs; nothing is logged here.
const NO_SUBJECT_KEY: [u8; 32] = [0; 32];

pub(super) async fn check(findings: &mut Findings, config: &Config) {
    for issuer in &config.auth.issuers {
        let name = &issuer.url;
        match usable_keys(issuer).await {
            Ok(UsableKeys { count, place }) => {
                findings.ok(format!("issuer {name}: {count} usable key(s): {place}"));
            }
            Err(reason) => findings.error(format!("issuer {name}: no keys: {reason}")),
        }
        if issuer.audiences.is_empty() {
            findings.warning(format!(
                "issuer {name}: without an audience, tokens that it made for other services are accepted"
            ));
        }
    }
}

/// Verifies the token in a file, with fresh keys.
pub(super) async fn check_token(findings: &mut Findings, config: &Config, file: &Path) {
    match verify(config, file).await {
        Ok(text) => findings.ok(format!("token: {text}")),
        Err(reason) => findings.error(format!("token: {reason}")),
    }
}

async fn verify(config: &Config, file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let mut header = HeaderValue::try_from(format!("Bearer {}", text.trim()))
        .map_err(|_| format!("{} holds no token", file.display()))?;
    header.set_sensitive(true);
    let headers = HeaderMap::from_iter([(AUTHORIZATION, header)]);
    let authenticator = Authenticator::new(&config.auth, &NO_SUBJECT_KEY, Observer::default())
        .map_err(|error| error.to_string())?;
    // A missing issuer has been reported; the token may be of another one.
    let _ = authenticator.wait_ready(config.server.startup_timeout).await;
    match authenticator.authenticate(&headers).await {
        Ok(Identity::Verified(token)) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
            Ok(format!(
                "accepted, as one of {}, for another {} s",
                token.issuer(),
                token.expires_at().saturating_sub(now)
            ))
        }
        Ok(Identity::Anonymous) => Err(format!("{} holds no token", file.display())),
        Err(error) => Err(format!("not accepted: {error}")),
    }
}
