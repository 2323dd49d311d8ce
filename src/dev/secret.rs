//! Random secrets and the files that keep them (mode 0600).
//!
//! Must never print a secret or put one into an error message.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Permissions of a file that holds a secret: its owner, nobody else.
const OWNER_ONLY: u32 = 0o600;

/// Random bytes in a password; 192 bits, beyond guessing.
const PASSWORD_BYTES: usize = 24;

/// A fresh password: hexadecimal digits only, so that it needs no escaping in a URL.
pub fn random_password() -> io::Result<String> {
    let mut bytes = [0; PASSWORD_BYTES];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| io::Error::other("the system's random number generator failed"))?;
    Ok(hex::encode(bytes))
}

/// Writes a secret so that readers see the old content or the new, never a part.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(OWNER_ONLY)
        .open(&unfinished)?;
    file.set_permissions(fs::Permissions::from_mode(OWNER_ONLY))?;
    file.write_all(content)?;
    fs::rename(&unfinished, path)
}

/// The secret in `path`, or none if there is no such file.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(content) => Ok(Some(content.trim_end().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
