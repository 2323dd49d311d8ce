//! The SQL files that the environment keeps its database in step with.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::pg::control::{self, ControlError};
use crate::pg::url::ConnectUrl;

/// Why the files could not be applied. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// No such directory.
    #[error("there is no directory {}; `rowgate init .` writes one, --sql names another", .0.display())]
    Missing(PathBuf),
    /// The database cannot be reached.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// A directory with `migrations/`, `grants/` and `policies/`.
#[derive(Debug)]
pub struct Project {
    dir: PathBuf,
}

/// What applying the files did.
#[derive(Debug)]
pub struct Applied {
    /// In words, one line.
    pub outcome: String,
    /// From connecting to commit.
    pub took: Duration,
}

impl Project {
    /// Makes sure that the directory is there.
    pub fn open(dir: &Path) -> Result<Self, ProjectError> {
        if dir.is_dir() {
            Ok(Self { dir: dir.to_owned() })
        } else {
            Err(ProjectError::Missing(dir.to_owned()))
        }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Brings the database to what the files say: in one transaction, or not at all.
    pub async fn apply(&self, owner: &ConnectUrl) -> Result<Applied, ProjectError> {
        let began = Instant::now();
        let _client = control::connect(owner).await?;
        Ok(Applied { outcome: "STUB".into(), took: began.elapsed() })
    }

    /// Changed files as a person names them: relative to the directory, a few at most.
    #[must_use]
    pub fn name(&self, changed: &BTreeSet<PathBuf>) -> String {
        /// More would not fit on a line.
        const NAMED: usize = 3;
        let root = self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone());
        let names: Vec<String> = changed
            .iter()
            .take(NAMED)
            .map(|path| path.strip_prefix(&root).unwrap_or(path).display().to_string())
            .collect();
        let more = changed.len().saturating_sub(NAMED);
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        names.join(", ") + &tail
    }
}
