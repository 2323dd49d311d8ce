//! Where the programs `postgres`, `initdb` and `pg_ctl` are on this machine.
//!
//! Must never run anything but `postgres --version` and `pg_config --bindir` while looking.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::obtain::{self, ObtainError};
use super::place::Place;

/// The oldest major version that Rowgate supports.
pub const OLDEST_MAJOR: u32 = 14;

/// Names a directory with the programs; looked at before anything else.
pub const BIN_VARIABLE: &str = "ROWGATE_PG_BIN";

/// Programs that must stand side by side for a directory to count.
const PROGRAMS: [&str; 3] = ["postgres", "initdb", "pg_ctl"];

/// Directories of which each child may be one installed version, and the way down to its programs.
const VERSIONED: [(&str, &str); 5] = [
    ("/usr/lib/postgresql", "bin"),
    ("/opt/homebrew/opt", "bin"),
    ("/usr/local/opt", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "bin"),
    ("/usr", "bin"),
];

/// Why no usable `PostgreSQL` was found.
#[derive(Debug, thiserror::Error)]
pub enum BinariesError {
    /// The user named a directory that will not do; nothing else is tried.
    #[error("{BIN_VARIABLE} is {}, but {reason}", dir.display())]
    Named {
        /// The directory named.
        dir: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing found in any of the places looked at.
    #[error(
        "no PostgreSQL {OLDEST_MAJOR} or newer found (looked at {BIN_VARIABLE}, PATH, pg_config and \
         the usual directories); install PostgreSQL or set {BIN_VARIABLE} to the directory that \
         holds postgres and initdb"
    )]
    NotFound,
    /// Nothing found, and the package that carries it could not be installed.
    #[error("no PostgreSQL found, and it could not be installed: {0}")]
    NotObtained(String),
}

/// The programs of one installed `PostgreSQL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
    version: String,
    major: u32,
}

impl Binaries {
    /// Looks at `ROWGATE_PG_BIN`, PATH, `pg_config`, then where packages usually put it.
    pub fn find() -> Result<Self, BinariesError> {
        if let Some(dir) = env::var_os(BIN_VARIABLE).filter(|dir| !dir.is_empty()) {
            let dir = PathBuf::from(dir);
            return Self::in_dir(&dir).map_err(|reason| BinariesError::Named { dir, reason });
        }
        candidates().iter().find_map(|dir| Self::in_dir(dir).ok()).ok_or(BinariesError::NotFound)
    }

    /// As [`find`](Self::find), then by installing a package: Debian's where we are root on Debian,
    /// else npm's into the cluster's directory `into` (once: the next run finds it there).
    /// `progress` is told in words what takes long.
    pub fn find_or_obtain(
        into: &Path,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, BinariesError> {
        match Self::find() {
            Err(BinariesError::NotFound) => {}
            found_or_refused => return found_or_refused,
        }
        // Where the server's user can run them, which need not be `into` itself.
        let dir = Place::prepare(into)
            .map_err(ObtainError::from)
            .and_then(|place| obtain::obtain(place.dir(), progress))
            .map_err(|e| BinariesError::NotObtained(e.to_string()))?;
        Self::in_dir(&dir).map_err(BinariesError::NotObtained)
    }

    /// Checks one directory: all programs there, and new enough. The error completes "…, but".
    pub fn in_dir(dir: &Path) -> Result<Self, String> {
        if let Some(missing) = PROGRAMS.iter().find(|program| !dir.join(program).is_file()) {
            return Err(format!("{} has no program {missing}", dir.display()));
        }
        // The links in a directory such as /usr/local/bin lead to where the programs belong.
        let real = dir.join("postgres").canonicalize().map_err(|e| e.to_string())?;
        let dir = match real.parent() {
            Some(home) if PROGRAMS.iter().all(|program| home.join(program).is_file()) => home,
            _ => dir,
        };
        let output = run(&dir.join("postgres"), "--version")
            .ok_or_else(|| format!("{} does not run", dir.join("postgres").display()))?;
        let version = output.split_whitespace().nth(2).unwrap_or_default().to_owned();
        let major =
            major_of(&version).ok_or_else(|| format!("`postgres --version` answers {output:?}"))?;
        if major < OLDEST_MAJOR {
            return Err(format!(
                "it holds PostgreSQL {version}; {OLDEST_MAJOR} or newer is needed"
            ));
        }
        Ok(Self { dir: dir.to_owned(), version, major })
    }

    /// The directory that holds the programs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of one program, such as `initdb`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// As `postgres --version` says it, for example `17.6`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The major version; data directories of different major versions do not mix.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }
}

/// `17.6` → 17, `18beta1` → 18.
fn major_of(version: &str) -> Option<u32> {
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().ok()
}

/// Directories worth checking, best first.
fn candidates() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> =
        env::split_paths(&path).filter(|dir| dir.join("postgres").is_file()).collect();
    dirs.extend(run(Path::new("pg_config"), "--bindir").map(PathBuf::from));
    dirs.extend(VERSIONED.iter().flat_map(|(parent, below)| versions_in(parent, below)));
    dirs
}

/// The directories of installed versions below `parent`, the highest version first.
fn versions_in(parent: &str, below: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            // `17` (Debian, Postgres.app), `postgresql@17` (Homebrew), `pgsql-17` (PGDG on Fedora).
            let version = name.trim_start_matches("postgresql@").trim_start_matches("pgsql-");
            Some((major_of(version)?, entry.path().join(below)))
        })
        .collect();
    found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// The first line that a program prints, if it runs and succeeds.
fn run(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_version_is_read_from_releases_and_betas() {
        assert_eq!(major_of("17.6"), Some(17));
        assert_eq!(major_of("18beta1"), Some(18));
        assert_eq!(major_of("15"), Some(15));
        assert_eq!(major_of(""), None);
    }

    #[test]
    fn directory_without_the_programs_is_refused_by_name_of_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("postgres"), "").unwrap();
        let reason = Binaries::in_dir(dir.path()).unwrap_err();
        assert!(reason.ends_with("has no program initdb"), "{reason}");
    }
}
