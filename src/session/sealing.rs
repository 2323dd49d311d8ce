//! Who makes the database believe the claims of a request: decided once, at start, by looking at it.

use std::sync::Arc;

use tokio_postgres::Client;

use super::keyring::{Keyring, Verdict};
use super::pipeline;
use super::session_jwt::{self, SessionJwts};
use crate::config::{Pooler, SealMethod};
use crate::pg::session_key::SessionKeys;
use crate::pg::sql::OwnSql;

/// How claims reach the database.
#[derive(Debug)]
pub enum Sealing {
    /// With an HMAC, which functions of ours verify (`sql/auth`).
    Own(Arc<Keyring>),
    /// As a JWT, which the extension `pg_session_jwt` verifies.
    PgSessionJwt(SessionJwts),
}

impl Sealing {
    /// The statement of ours that opens the session of a request.
    #[must_use]
    pub fn opening(&self) -> OwnSql {
        match self {
            Self::Own(_) => pipeline::OPEN,
            Self::PgSessionJwt(_) => session_jwt::OPEN,
        }
    }

    /// Which key is in use; see [`Keyring::generation`].
    #[must_use]
    pub fn generation(&self) -> u64 {
        match self {
            Self::Own(keyring) => keyring.generation(),
            Self::PgSessionJwt(_) => 0,
        }
    }

    /// Who is to blame for an error that says of claims that they are not sealed; see [`Keyring::doubt`].
    /// Where the database has verified them before anything of the caller's ran, the caller is.
    pub async fn doubt(&self, generation: u64) -> Verdict {
        match self {
            Self::Own(keyring) => keyring.doubt(generation).await,
            Self::PgSessionJwt(_) => Verdict::Caller,
        }
    }

    /// How connections make keys of their own, if it takes any.
    #[must_use]
    pub fn session_keys(&self) -> Option<SessionKeys> {
        match self {
            Self::Own(_) => None,
            Self::PgSessionJwt(_) => Some(session_jwt::KEYS),
        }
    }
}

/// What the functions of the schema `auth` are, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installed {
    /// Not the extension's.
    Other,
    /// Those of the extension, in this version.
    PgSessionJwt(String),
}

/// Why claims cannot be sealed as configured.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MethodError {
    /// `own`, where the extension has the functions.
    #[error(
        "seal.method is \"own\", but auth.session() is the extension pg_session_jwt's; \
         docs/pg-session-jwt.md says how to move away from it"
    )]
    NotOwn,
    /// `pg_session_jwt`, where it has not.
    #[error(
        "seal.method is \"pg_session_jwt\", but auth.session() is not that extension's; install it, or \
         leave seal.method at \"auto\""
    )]
    NotInstalled,
    /// Through a pooler there is no connection that could have a key.
    #[error(
        "auth.session() is the extension pg_session_jwt's, which cannot be used through a pooler in \
         transaction mode: its key belongs to one server connection; connect directly \
         (database.pooler = \"none\"), or move away from it (docs/pg-session-jwt.md)"
    )]
    Pooled,
}

/// One row with the extension's version, or null where `auth.session()` is not its own.
pub const INSTALLED: &str = "\
    select (select e.extversion \
              from pg_catalog.pg_extension as e \
              join pg_catalog.pg_depend as d \
                on d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass \
               and d.refobjid = e.oid and d.deptype = 'e' \
             where e.extname = 'pg_session_jwt' \
               and d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
               and d.objid = (select p.oid from pg_catalog.pg_proc as p \
                                join pg_catalog.pg_namespace as n on n.oid = p.pronamespace \
                               where n.nspname = 'auth' and p.proname = 'session' and p.pronargs = 0))";

/// Asks the database, which any role may.
pub async fn installed(client: &Client) -> Result<Installed, tokio_postgres::Error> {
    let row = client.query_typed_one(INSTALLED, &[]).await?;
    Ok(row.get::<_, Option<String>>(0).map_or(Installed::Other, Installed::PgSessionJwt))
}

/// The version of the extension that is to seal; `None`: Rowgate seals.
pub fn choose(
    method: SealMethod,
    installed: Installed,
    pooler: Pooler,
) -> Result<Option<String>, MethodError> {
    match (method, installed) {
        (SealMethod::Auto | SealMethod::Own, Installed::Other) => Ok(None),
        (SealMethod::Own, Installed::PgSessionJwt(_)) => Err(MethodError::NotOwn),
        (SealMethod::PgSessionJwt, Installed::Other) => Err(MethodError::NotInstalled),
        (SealMethod::Auto | SealMethod::PgSessionJwt, Installed::PgSessionJwt(version)) => {
            match pooler {
                Pooler::None => Ok(Some(version)),
                Pooler::Transaction => Err(MethodError::Pooled),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_is_used_where_it_is_and_never_against_the_configuration() {
        let there = || Installed::PgSessionJwt("0.4.0".to_owned());
        let version = Some("0.4.0".to_owned());
        let direct = |method, installed| choose(method, installed, Pooler::None);
        assert_eq!(direct(SealMethod::Auto, there()), Ok(version.clone()));
        assert_eq!(direct(SealMethod::Auto, Installed::Other), Ok(None));
        assert_eq!(direct(SealMethod::Own, Installed::Other), Ok(None));
        assert_eq!(direct(SealMethod::Own, there()), Err(MethodError::NotOwn));
        assert_eq!(direct(SealMethod::PgSessionJwt, there()), Ok(version));
        let missing = direct(SealMethod::PgSessionJwt, Installed::Other);
        assert_eq!(missing, Err(MethodError::NotInstalled));
        let pooled = choose(SealMethod::Auto, there(), Pooler::Transaction);
        assert_eq!(pooled, Err(MethodError::Pooled));
        assert_eq!(choose(SealMethod::Auto, Installed::Other, Pooler::Transaction), Ok(None));
    }
}
