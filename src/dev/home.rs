//! The data directory of one development environment: which file lies where.
//!
//! Must never remove anything but the files that it names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the environment's files go unless told otherwise, relative to the working directory.
pub const DEFAULT_DATA_DIR: &str = ".rowgate";

/// `.rowgate` and what is in it.
#[derive(Clone, Debug)]
pub struct Home {
    dir: PathBuf,
}

impl Home {
    /// Names the directory; makes nothing.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Makes the directory, invisible to git. Its secrets are protected file by file: the private
    /// `PostgreSQL`, which runs as another user when we are root, must be able to pass through.
    pub fn create(&self) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        fs::write(self.dir.join(".gitignore"), "*\n")
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The private cluster.
    #[must_use]
    pub fn cluster(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    /// Key and port of the demo issuer.
    #[must_use]
    pub fn issuer(&self) -> PathBuf {
        self.dir.join("issuer.json")
    }

    /// Passwords of the roles that log in.
    #[must_use]
    pub fn logins(&self) -> PathBuf {
        self.dir.join("logins.json")
    }

    /// Connection strings as environment variables, for a shell to read.
    #[must_use]
    pub fn env(&self) -> PathBuf {
        self.dir.join("env")
    }

    /// Passwords of superuser and owner where `psql` looks for them.
    #[must_use]
    pub fn pgpass(&self) -> PathBuf {
        self.dir.join("pgpass")
    }

    /// Stands for sample rows that were added once, and may have been deleted since.
    #[must_use]
    pub fn seeded(&self) -> PathBuf {
        self.dir.join("seeded")
    }

    /// Forgets issuer, logins and connection strings. The cluster is removed by
    /// [`Cluster::remove`](super::postgres::Cluster::remove), which knows whether it is in use.
    pub fn remove_files(&self) -> io::Result<()> {
        for file in [self.issuer(), self.logins(), self.env(), self.pgpass(), self.seeded()] {
            match fs::remove_file(file) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}
