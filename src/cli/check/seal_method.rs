//! Which of the two ways of sealing is in force, and whether it works.

use super::findings::Findings;
use crate::config::{Config, SealMethod};
use crate::pg::control;
use crate::session::sealing;
use crate::session::session_jwt;

/// What `serve` would do.
pub(super) enum Method {
    Own,
    PgSessionJwt(String),
    /// It would not start.
    Refused(String),
}

/// Asks over the login that `serve` would ask over. What is wrong with the connection is said elsewhere.
pub(super) async fn ask(config: &Config) -> Method {
    let fallback = || match config.seal.method {
        SealMethod::Auto | SealMethod::Own => Method::Own,
        SealMethod::PgSessionJwt => Method::Refused("the database cannot be asked".to_owned()),
    };
    let database = &config.database;
    let client = control::connect_within(&database.authenticated, database.connect_timeout).await;
    let Ok(client) = client else { return fallback() };
    let Ok(installed) = sealing::installed(&client).await else { return fallback() };
    match sealing::choose(config.seal.method, installed, database.pooler) {
        Ok(None) => Method::Own,
        Ok(Some(version)) => Method::PgSessionJwt(version),
        Err(error) => Method::Refused(error.to_string()),
    }
}

impl Method {
    /// Whether a key that gateway and database share is needed.
    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::Own)
    }

    pub(super) async fn check(&self, findings: &mut Findings, config: &Config) {
        match self {
            Self::Own => findings.ok(
                "seal: by Rowgate's own functions (`rowgate migrate`): an HMAC with a key that they share with the \
                 gateway; the extension pg_session_jwt is not in force",
            ),
            Self::Refused(reason) => findings.error(format!("seal: {reason}")),
            Self::PgSessionJwt(version) => {
                findings.ok(format!(
                    "seal: in force is the extension pg_session_jwt {version}: it verifies a JWT for each \
                     request with a key of the connection's own; only a superuser can install or update it, and \
                     it cannot be used behind a pooler in transaction mode"
                ));
                for login in [&config.database.authenticated, &config.database.anonymous] {
                    match session_jwt::proof::prove(login).await {
                        Ok(()) => findings.ok(format!(
                            "seal: believed when sent as {}; forged, repeated and unsigned claims are not",
                            login.user()
                        )),
                        Err(error) => {
                            findings.error(format!("seal: as {}: {error}", login.user()));
                        }
                    }
                }
            }
        }
    }
}
