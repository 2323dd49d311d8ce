//! Proof that the extension believes what is signed here, and nothing else.
//!
//! Asked at start and by `rowgate check`, over a connection as a login role with a key of its own. What
//! the versions of the extension differ in is found out rather than looked up.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::{KEYS, OPEN, sign};
use crate::auth::Identity;
use crate::pg::PgError;
use crate::pg::control::{self, ControlError};
use crate::pg::session_key::SessionKey;
use crate::pg::url::ConnectUrl;

/// What a forger would be, as a subject that is text and uuid at once.
const FORGED: &str = "00000000-0000-4000-8000-000000000bad";

/// Settings that `PostgREST` has for claims, and that any caller's SQL may write.
const OPEN_SETTINGS: [&str; 4] =
    ["request.jwt.claims", "request.jwt.claim", "request.jwt.claim.sub", "request.jwt.claim.role"];

/// The functions without parameters that policies read claims with.
const READERS: &str = "\
    select p.proname::pg_catalog.text \
      from pg_catalog.pg_proc as p \
      join pg_catalog.pg_namespace as n on n.oid = p.pronamespace \
     where n.nspname = 'auth' and p.pronargs = 0 and p.prokind = 'f' \
       and p.prorettype in ('pg_catalog.text'::pg_catalog.regtype, 'pg_catalog.uuid'::pg_catalog.regtype, \
                            'pg_catalog.jsonb'::pg_catalog.regtype) \
     order by p.proname";

/// Why requests would not be believed, or forged ones would.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ControlError),
    /// No key.
    #[error(transparent)]
    Key(#[from] PgError),
    /// The extension did not take the key or a good JWT.
    #[error(
        "the extension does not believe a JWT of ours: {}; it must be version 0.2 or newer (Ed25519 keys), \
         and the role must have USAGE on the schema auth",
        control::reason(.0)
    )]
    Refused(#[source] tokio_postgres::Error),
    /// The database could not say.
    #[error("the database cannot be asked: {}", control::reason(.0))]
    Unasked(#[source] tokio_postgres::Error),
    /// The claims read back are not those that were sent.
    #[error("the extension took a JWT of ours, and auth.session() does not return its claims")]
    OtherClaims,
    /// A JWT that must not be believed was.
    #[error("the extension believes a JWT {0}")]
    Forged(&'static str),
    /// A function believes settings.
    #[error(
        "auth.{0}() believes settings that any caller can write; update the extension (alter extension \
         pg_session_jwt update)"
    )]
    BelievesSettings(String),
    /// The claims outlive their transaction.
    #[error("claims stay in the session after the request that they were for")]
    Stays,
}

/// Does as `login` what requests do, and what a forger would.
pub async fn prove(login: &ConnectUrl) -> Result<(), ProofError> {
    let mut key = SessionKey::generate()?;
    let url = login.with_setting(KEYS.setting, &key.public_jwk());
    let client = control::connect(&url).await?;
    client.batch_execute(KEYS.fix.0).await.map_err(ProofError::Refused)?;

    client.batch_execute("begin read only").await.map_err(ProofError::Unasked)?;
    let good = signed(&mut key);
    open(&client, &good).await.map_err(ProofError::Refused)?;
    if !tells_role(&client, "anonymous").await? {
        return Err(ProofError::OtherClaims);
    }
    believes_no_settings(&client).await?;
    client.batch_execute("rollback").await.map_err(ProofError::Unasked)?;
    if tells_role(&client, "anonymous").await? {
        return Err(ProofError::Stays);
    }

    let mut other = SessionKey::generate()?;
    // A number that this backend has not seen yet.
    other.next_number();
    refuses(&client, &signed(&mut other), "signed with another key").await?;
    let second = signed(&mut key);
    open(&client, &second).await.map_err(ProofError::Refused)?;
    refuses(&client, &good, "that was used before").await
}

fn signed(key: &mut SessionKey) -> String {
    // invariant: the claims of an anonymous request are an object.
    sign(&Identity::Anonymous, key).unwrap_or_default()
}

async fn open(client: &Client, jwt: &str) -> Result<(), tokio_postgres::Error> {
    client.query_typed_one(OPEN.0, &[(&jwt, Type::TEXT)]).await.map(drop)
}

async fn refuses(client: &Client, jwt: &str, kind: &'static str) -> Result<(), ProofError> {
    match open(client, jwt).await {
        Ok(()) => Err(ProofError::Forged(kind)),
        Err(error) if error.as_db_error().is_some() => Ok(()),
        Err(error) => Err(ProofError::Unasked(error)),
    }
}

async fn tells_role(client: &Client, role: &str) -> Result<bool, ProofError> {
    let sql = "select auth.session() operator(pg_catalog.->>) 'role'";
    let row = client.query_typed_one(sql, &[]).await.map_err(ProofError::Unasked)?;
    Ok(row.get::<_, Option<&str>>(0) == Some(role))
}

/// Every function that reads claims must go by the JWT, whatever stands in settings.
async fn believes_no_settings(client: &Client) -> Result<(), ProofError> {
    for setting in OPEN_SETTINGS {
        let value = match setting {
            "request.jwt.claims" | "request.jwt.claim" => {
                format!(r#"{{"sub":"{FORGED}","role":"{FORGED}","o":{{"id":"{FORGED}"}}}}"#)
            }
            _ => FORGED.to_owned(),
        };
        let sql = "select pg_catalog.set_config($1, $2, true)";
        client
            .query_typed_one(sql, &[(&setting, Type::TEXT), (&value, Type::TEXT)])
            .await
            .map_err(ProofError::Unasked)?;
    }
    let readers = client.query_typed(READERS, &[]).await.map_err(ProofError::Unasked)?;
    for reader in readers {
        let name: String = reader.get(0);
        let quoted = name.replace('"', "\"\"");
        let sql = format!("select auth.\"{quoted}\"()::pg_catalog.text");
        let row = client.query_typed_one(&sql, &[]).await.map_err(ProofError::Unasked)?;
        if row.get::<_, Option<&str>>(0).is_some_and(|claims| claims.contains(FORGED)) {
            return Err(ProofError::BelievesSettings(name));
        }
    }
    Ok(())
}
