//! The keys that seal claims, as they stand in the database. Must never print one.
//!
//! A key is made and replaced by functions of the schema `auth`, and does not leave the database but to
//! be read by a gateway or `rowgate keys export`.

mod rotation;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::error::PolicyError;
use crate::config::SealKeyConfig;
pub use rotation::{Schedule, SealKeyRecord, SealKeyState, list, retire, rotate};

/// Bytes of a key; the rest of a block is zeros.
const KEY_BYTES: usize = 32;
/// RFC 2104's pads.
const IPAD: u8 = 0x36;
const OPAD: u8 = 0x5c;

/// Which keys are read: `bound` as in [`SealKeyConfig`].
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Of which kind.
    pub bound: bool,
    /// Also those that are to come.
    pub coming: bool,
}

/// The newest key that is valid now. The client must be logged in as the role that migrated.
///
/// # Errors
///
/// There is none, or what is there are not the two pads of one key.
pub async fn read_seal_key(client: &Client) -> Result<SealKeyConfig, PolicyError> {
    let keys = read_seal_keys(client, Wanted { bound: true, coming: false }).await?;
    keys.into_iter().next().ok_or(PolicyError::SealKey(NONE_VALID))
}

const NONE_VALID: &str =
    "the table auth.seal_keys has none that is valid now; run `rowgate migrate`";
const NONE_UNBOUND: &str = "the table auth.seal_keys has none for use behind a pooler that is valid now; \
     run `rowgate keys rotate --unbound`";

/// The keys that are valid now, the newest first. There is at least one.
///
/// # Errors
///
/// As [`read_seal_key`].
pub async fn read_seal_keys(
    client: &Client,
    wanted: Wanted,
) -> Result<Vec<SealKeyConfig>, PolicyError> {
    let sql = "select kid, ipad, opad from auth.seal_keys \
               where bound = $1 and (not_before <= pg_catalog.now() or $2) \
                 and not_after > pg_catalog.now() \
               order by not_before desc, kid desc";
    // Without a named statement: there may be a pooler on the way.
    let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&wanted.bound, Type::BOOL), (&wanted.coming, Type::BOOL)];
    let rows = client.query_typed(sql, &values).await;
    let rows = rows.map_err(|error| match error.code() {
        // Migrated by an older version, or not at all.
        Some(&SqlState::UNDEFINED_COLUMN | &SqlState::UNDEFINED_TABLE) => PolicyError::NotMigrated,
        _ => PolicyError::Database { doing: "reading the seal keys", source: error },
    })?;
    if rows.is_empty() {
        let none = if wanted.bound { NONE_VALID } else { NONE_UNBOUND };
        return Err(PolicyError::SealKey(none));
    }
    let keys = rows.iter().map(|row| {
        let key = key_of_pads(row.get(1), row.get(2)).ok_or(PolicyError::SealKey(
            "one in auth.seal_keys is damaged; replace it with `rowgate keys rotate`",
        ))?;
        Ok(SealKeyConfig { kid: row.get(0), key, bound: wanted.bound })
    });
    keys.collect()
}

/// The key whose pads these are.
fn key_of_pads(ipad: &[u8], opad: &[u8]) -> Option<[u8; KEY_BYTES]> {
    let block: Vec<u8> = ipad.iter().map(|byte| byte ^ IPAD).collect();
    let same = block.iter().copied().eq(opad.iter().map(|byte| byte ^ OPAD));
    let (key, filling) = block.split_first_chunk()?;
    (same && filling.iter().all(|byte| *byte == 0)).then_some(*key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_that_do_not_belong_together_are_no_key() {
        let pad = |key: u8, with: u8| {
            let mut block = [0; 64];
            block[..KEY_BYTES].fill(key);
            block.map(|byte: u8| byte ^ with)
        };
        assert_eq!(key_of_pads(&pad(7, IPAD), &pad(7, OPAD)), Some([7; KEY_BYTES]));
        assert_eq!(key_of_pads(&pad(7, IPAD), &pad(8, OPAD)), None);
        assert_eq!(key_of_pads(&[IPAD ^ 1; 64], &[OPAD ^ 1; 64]), None);
        assert_eq!(key_of_pads(&pad(7, IPAD)[..40], &pad(7, OPAD)), None);
        assert_eq!(key_of_pads(&[], &[]), None);
    }
}
