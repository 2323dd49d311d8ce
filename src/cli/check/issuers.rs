//! The issuers as the gateway would find them, and one token as it would judge it.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};

use super::findings::Findings;
use crate::auth::{Authenticator, Identity, UsableKeys, usable_keys};
use crate::config::{Config, IssuerConfig, Preset, RoleId};
use crate::observe::Observer;
use crate::server::revocations;

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
        for warning in warnings(issuer) {
            findings.warning(format!("issuer {name}: {warning}"));
        }
    }
    if config.auth.issuers.len() > 1 {
        findings.warning(
            "several issuers: a user id of one is the same to auth.user_id() as that of another; where \
             they can be alike, compare auth.session()->>'iss' in policies, too",
        );
    }
}

/// Claims that users of many providers can choose for themselves, so that they are nobody's id.
const SELF_CHOSEN: [&str; 7] = [
    "email",
    "preferred_username",
    "username",
    "nickname",
    "name",
    "user_metadata",
    "unsafe_metadata",
];

/// What its rules leave open that its provider could close.
fn warnings(issuer: &IssuerConfig) -> Vec<String> {
    let rules = &issuer.rules;
    let mut warnings: Vec<String> =
        purpose_warning(issuer).map(str::to_owned).into_iter().collect();
    if !rules.require_exp {
        warnings.push("tokens without `exp` are accepted, until their key is replaced".to_owned());
    }
    let path = &rules.user_id_claim;
    if path.steps().iter().any(|step| SELF_CHOSEN.contains(&step.as_str())) {
        warnings.push(format!(
            "user_id_claim {:?}: make sure that the issuer lets nobody choose or change it; otherwise \
             whoever does is the user of that name",
            path.as_str()
        ));
    }
    warnings
}

/// Whether it accepts tokens that were made for somebody else, and what would end that.
fn purpose_warning(issuer: &IssuerConfig) -> Option<&'static str> {
    let rules = &issuer.rules;
    let is_bound = !issuer.audiences.is_empty()
        || !rules.authorized_parties.is_empty()
        || !rules.client_ids.is_empty();
    if is_bound {
        return None;
    }
    match issuer.preset {
        Preset::Clerk => Some(
            "without authorized_parties, tokens that it made for pages of any origin are accepted; name \
             your application's, such as authorized_parties = [\"https://app.example\"]",
        ),
        Preset::Cognito => {
            Some("without client_ids, tokens of every app client of the user pool are accepted")
        }
        Preset::Keycloak => Some(
            "without an audience or authorized_parties, tokens of every client of the realm are accepted",
        ),
        // Keys or `iss` belong to one project, and its tokens have no audience.
        Preset::Workos | Preset::Descope => None,
        _ => Some("without an audience, tokens that it made for other services are accepted"),
    }
}

/// Verifies the token in a file, with fresh keys.
pub(super) async fn check_token(findings: &mut Findings, config: &Config, file: &Path) {
    let (lines, verdict) = match verify(config, file).await {
        Ok(judged) => judged,
        Err(reason) => (Vec::new(), Err(reason)),
    };
    for line in lines {
        findings.ok(format!("token: {line}"));
    }
    match verdict {
        Ok(text) => findings.ok(format!("token: {text}")),
        Err(reason) => findings.error(format!("token: {reason}")),
    }
}

/// What it says of itself, and what becomes of it.
type Judged = (Vec<String>, Result<String, String>);

async fn verify(config: &Config, file: &Path) -> Result<Judged, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let mut header = HeaderValue::try_from(format!("Bearer {}", text.trim()))
        .map_err(|_| format!("{} holds no token", file.display()))?;
    header.set_sensitive(true);
    let headers = HeaderMap::from_iter([(AUTHORIZATION, header)]);
    let authenticator = Authenticator::new(&config.auth, &NO_SUBJECT_KEY, Observer::default())
        .map_err(|error| error.to_string())?
        // That it cannot be read has been reported.
        .with_revocations(Box::pin(revocations::read_once(config)).await.unwrap_or_default());
    // A missing issuer has been reported; the token may be of another one.
    let _ = authenticator.wait_ready(config.server.startup_timeout).await;
    let verdict = match authenticator.authenticate(&headers).await {
        Ok(Identity::Verified(token)) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
            let role = token.role().map(RoleId::name);
            let role = role.unwrap_or_else(|| config.database.authenticated.user());
            Ok(format!(
                "accepted, as one of {}, to run as {}, for another {} s",
                token.issuer(),
                role,
                token.expires_at().saturating_sub(now)
            ))
        }
        Ok(Identity::Anonymous) => Err(format!("{} holds no token", file.display())),
        Err(error) => Err(format!("not accepted: {error} ({})", error.code())),
    };
    Ok((authenticator.explain(&headers), verdict))
}
