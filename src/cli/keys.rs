//! `rowgate keys export`: writes the seal key for gateways that have no owner's connection.
//!
//! Must never print the key, nor write it where others can read it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::SealKeyConfig;
use crate::pg::control;
use crate::pg::url::ConnectUrl;
use crate::policy::{self, PolicyError};

/// Readable and writable by its owner only.
const PRIVATE: u32 = 0o600;

/// Write the database's seal key to a new file, for gateways without DATABASE_URL
///
/// A gateway proves to the database that claims come from it with a key that both know. By default it
/// reads the key over the owner's connection when it starts. A gateway that is not given that
/// connection reads it from this file instead: set ROWGATE_SEAL_KEY_FILE to its path.
///
/// Whoever has the file can speak for every user. It is created with mode 0600.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "the doc comments are the text of --help")]
pub struct Args {
    /// The file to create; it must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Why no key was written.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The key could not be read.
    #[error(transparent)]
    Read(#[from] PolicyError),
    /// The file could not be written.
    #[error("cannot create {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

/// Writes `<kid>:<64 hex digits>`.
///
/// # Errors
///
/// No connection, no key, or a file that exists.
pub async fn run(args: Args, owner: &ConnectUrl) -> Result<(), KeysError> {
    let client = control::connect(owner).await.map_err(PolicyError::from)?;
    let key = policy::read_seal_key(&client).await?;
    write(&args.file, &key)
        .map_err(|source| KeysError::Write { path: args.file.clone(), source })?;
    println!("wrote key {} to {}", key.kid, args.file.display());
    Ok(())
}

fn write(path: &Path, key: &SealKeyConfig) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path)?;
    writeln!(file, "{}:{}", key.kid, hex::encode(key.key))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_written_for_its_owner_alone_and_never_over_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal.key");
        let key = SealKeyConfig { kid: "k1".to_owned(), key: [0xab; 32] };
        write(&path, &key).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("k1:{}\n", "ab".repeat(32)));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, PRIVATE);
        let again = write(&path, &key).unwrap_err();
        assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
    }
}
