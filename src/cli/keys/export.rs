//! `rowgate keys export`: writes the seal keys for gateways that have no owner's connection.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tokio_postgres::Client;

use super::KeysError;
use crate::config::SealKeyConfig;
use crate::policy::{self, Wanted};

/// Readable and writable by its owner only.
const PRIVATE: u32 = 0o600;

/// Write the database's seal keys to a file, for gateways without DATABASE_URL
///
/// A gateway proves to the database that claims come from it with a key that both know. By default it
/// reads the key over the owner's connection. A gateway that is not given that connection reads it from
/// this file instead: set ROWGATE_SEAL_KEY_FILE to its path. While serving it reads the file again every
/// few seconds (seal.refresh), so that replacing it is enough after `rowgate keys rotate`.
///
/// Whoever has the file can speak for every user. It is created with mode 0600. It holds one key in each
/// line, the newest first, those that are to come among them.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "the doc comments are the text of --help")]
pub struct Args {
    /// The file to create; it must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The file may exist: it is replaced in one step
    #[arg(long)]
    replace: bool,

    /// The keys for use behind a pooler (database.pooler = "transaction") instead of the others
    #[arg(long)]
    unbound: bool,
}

/// The file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot create {}: {source}", path.display())]
pub struct WriteError {
    /// The file.
    path: PathBuf,
    /// The system's words.
    source: std::io::Error,
}

pub(super) async fn run(args: &Args, client: &Client) -> Result<(), KeysError> {
    let wanted = Wanted { bound: !args.unbound, coming: true };
    let keys = policy::read_seal_keys(client, wanted).await?;
    let written = if args.replace { replace(&args.file, &keys) } else { write(&args.file, &keys) };
    written.map_err(|source| WriteError { path: args.file.clone(), source })?;
    for key in &keys {
        println!("wrote key {} to {}", key.kid, args.file.display());
    }
    Ok(())
}

/// `<kid>:<64 hex digits>` in each line.
fn write(path: &Path, keys: &[SealKeyConfig]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path)?;
    for key in keys {
        let mark = if key.bound { "" } else { ":unbound" };
        writeln!(file, "{}:{}{mark}", key.kid, hex::encode(key.key))?;
    }
    file.sync_all()
}

/// Whoever reads meanwhile sees the old file or the new one.
fn replace(path: &Path, keys: &[SealKeyConfig]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".new-{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let outcome = write(&beside, keys).and_then(|()| std::fs::rename(&beside, path));
    if outcome.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key(kid: &str, byte: u8, bound: bool) -> SealKeyConfig {
        SealKeyConfig { kid: kid.to_owned(), key: [byte; 32], bound }
    }

    #[test]
    fn keys_are_written_for_their_owner_alone_and_over_another_file_only_on_demand() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal.key");
        write(&path, &[key("k1", 0xab, true)]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("k1:{}\n", "ab".repeat(32)));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, PRIVATE);
        let keys = [key("k2", 1, true), key("u1", 2, false)];
        let again = write(&path, &keys).unwrap_err();
        assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);

        replace(&path, &keys).unwrap();
        let expected = format!("k2:{}\nu1:{}:unbound\n", "01".repeat(32), "02".repeat(32));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, PRIVATE);
        let read = crate::config::read_seal_key_file(&path).unwrap();
        let read: Vec<_> =
            read.iter().map(|key| (key.kid.as_str(), key.key[0], key.bound)).collect();
        assert_eq!(read, [("k2", 1, true), ("u1", 2, false)]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
