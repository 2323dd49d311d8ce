//! Reads the key that seals claims. Must never print it.

use tokio_postgres::Client;

use super::error::PolicyError;
use crate::config::SealKeyConfig;

/// Bytes of a key; the rest of a block is zeros.
const KEY_BYTES: usize = 32;
/// RFC 2104's pads.
const IPAD: u8 = 0x36;
const OPAD: u8 = 0x5c;

/// The newest key that is valid now. The client must be logged in as the role that migrated.
///
/// # Errors
///
/// There is none, or what is there are not the two pads of one key.
pub async fn read_seal_key(client: &Client) -> Result<SealKeyConfig, PolicyError> {
    let sql = "select kid, ipad, opad from auth.seal_keys \
               where not_before <= pg_catalog.now() and not_after > pg_catalog.now() \
               order by not_before desc, kid desc limit 1";
    let row = client.query_opt(sql, &[]).await;
    let row = row.map_err(PolicyError::database("reading the seal key"))?;
    let row = row.ok_or(PolicyError::SealKey(
        "the table auth.seal_keys has none that is valid now; run `rowgate migrate`",
    ))?;
    let key = key_of_pads(row.get(1), row.get(2)).ok_or(PolicyError::SealKey(
        "the newest one in auth.seal_keys is damaged; replace it with a new one",
    ))?;
    Ok(SealKeyConfig { kid: row.get(0), key })
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
