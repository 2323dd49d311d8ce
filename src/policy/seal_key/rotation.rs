//! A key's life: made, in force, retired, deleted. Knows keys by their ids only.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::policy::error::PolicyError;

/// When a new key comes into force, and how long the ones before it stay good.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// From now until it is believed. Nobody waits where no key is in force yet.
    pub lead: Duration,
    /// How long the older ones are believed after that.
    pub overlap: Duration,
}

/// Where a key stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealKeyState {
    /// Not believed yet.
    Coming,
    /// The one that gateways seal with.
    Newest,
    /// Believed still; a newer one is in force.
    Older,
    /// Not believed any more.
    Ended,
}

/// What may be told of a key.
#[derive(Clone, Debug)]
pub struct SealKeyRecord {
    /// Its id.
    pub kid: String,
    /// Whether its seals hold for one backend only.
    pub bound: bool,
    /// From when it is believed, in UTC.
    pub not_before: String,
    /// Until when, or `infinity`.
    pub not_after: String,
    /// Where it stands by the database's clock.
    pub state: SealKeyState,
}

const LIST: &str = "\
    select kid, bound, \
           pg_catalog.to_char(not_before at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS'), \
           case when pg_catalog.isfinite(not_after) \
                then pg_catalog.to_char(not_after at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') \
                else 'infinity' end, \
           case when not_after <= pg_catalog.now() then 'ended' \
                when not_before > pg_catalog.now() then 'coming' \
                when pg_catalog.row_number() over (\
                       partition by bound, not_before <= pg_catalog.now() and not_after > pg_catalog.now() \
                       order by not_before desc, kid desc) = 1 then 'newest' \
                else 'older' end \
      from auth.seal_keys order by bound desc, not_before desc, kid desc";

/// Adds a key as [`Schedule`] says, replacing one that was to come; returns its id. Keys that ended more
/// than a day ago are deleted.
///
/// # Errors
///
/// The client is not logged in as the role that migrated, or the database takes no writes.
pub async fn rotate(
    client: &Client,
    schedule: Schedule,
    bound: bool,
) -> Result<String, PolicyError> {
    let sql = "select auth.rotate_seal_key(pg_catalog.make_interval(secs => $1), \
                                           pg_catalog.make_interval(secs => $2), $3)";
    let (lead, overlap) = (schedule.lead.as_secs_f64(), schedule.overlap.as_secs_f64());
    let values: [(&(dyn ToSql + Sync), Type); 3] =
        [(&lead, Type::FLOAT8), (&overlap, Type::FLOAT8), (&bound, Type::BOOL)];
    let row = client.query_typed_one(sql, &values).await;
    Ok(row.map_err(PolicyError::database("adding a seal key"))?.get(0))
}

/// Takes a key out of use at once. If no other of its kind is in force, a new one is made in its place,
/// whose id is returned.
///
/// # Errors
///
/// As [`rotate`]; and no such key is in use.
pub async fn retire(client: &Client, kid: &str) -> Result<Option<String>, PolicyError> {
    let sql = "select auth.retire_seal_key($1)";
    let row = client.query_typed_one(sql, &[(&kid, Type::TEXT)]).await;
    Ok(row.map_err(PolicyError::database("retiring a seal key"))?.get(0))
}

/// All keys, the newest first.
///
/// # Errors
///
/// The client is not logged in as the role that migrated.
pub async fn list(client: &Client) -> Result<Vec<SealKeyRecord>, PolicyError> {
    let rows = client.query_typed(LIST, &[]).await;
    let rows = rows.map_err(PolicyError::database("listing the seal keys"))?;
    let record = |row: &tokio_postgres::Row| SealKeyRecord {
        kid: row.get(0),
        bound: row.get(1),
        not_before: row.get(2),
        not_after: row.get(3),
        state: match row.get(4) {
            "coming" => SealKeyState::Coming,
            "newest" => SealKeyState::Newest,
            "older" => SealKeyState::Older,
            _ => SealKeyState::Ended,
        },
    };
    Ok(rows.iter().map(record).collect())
}
