//! Makes a new data directory. Must never leave a half-made one where a server would use it.

use std::fs;
use std::path::Path;
use std::process::Output;

use super::cluster::ClusterError;
use super::place::Place;
use super::{Binaries, supervisor};
use crate::dev::secret;

/// The superuser of the private cluster.
pub const SUPERUSER: &str = "postgres";

/// Preferred first: every text is UTF-8, sorted by code point. `C` is everywhere.
const LOCALES: [&str; 2] = ["C.UTF-8", "C"];

/// How `initdb` says that the system does not know a locale.
const UNKNOWN_LOCALE: &str = "invalid locale";

/// Makes the data directory `data` with `password` for its superuser.
pub(super) fn initdb(
    binaries: &Binaries,
    place: &Place,
    data: &Path,
    password: &str,
) -> Result<(), ClusterError> {
    let unfinished = place.dir().join("data.new");
    let password_file = place.dir().join("initdb-password");
    secret::write(&password_file, password.as_bytes())?;
    place.hand_over(&password_file)?;
    let outcome = with_any_locale(binaries, place, &unfinished, &password_file);
    fs::remove_file(&password_file)?;
    outcome?;
    // Only a finished directory gets its name: an interrupted run starts over.
    fs::rename(&unfinished, data)?;
    Ok(())
}

fn with_any_locale(
    binaries: &Binaries,
    place: &Place,
    dir: &Path,
    password_file: &Path,
) -> Result<(), ClusterError> {
    let mut failure = String::new();
    for locale in LOCALES {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        let output = run(binaries, place, dir, password_file, locale)?;
        if output.status.success() {
            return Ok(());
        }
        failure = String::from_utf8_lossy(&output.stderr).into_owned();
        if !failure.contains(UNKNOWN_LOCALE) {
            break;
        }
    }
    Err(ClusterError::Initdb(supervisor::last_lines(&failure)))
}

fn run(
    binaries: &Binaries,
    place: &Place,
    dir: &Path,
    password_file: &Path,
    locale: &str,
) -> std::io::Result<Output> {
    place
        .command(&binaries.program("initdb"))
        .arg("-D")
        .arg(dir)
        .arg("--pwfile")
        .arg(password_file)
        .args(["--username", SUPERUSER, "--encoding", "UTF8", "--locale", locale])
        .args(["--auth", "scram-sha-256", "--no-sync", "--no-instructions"])
        .output()
}
