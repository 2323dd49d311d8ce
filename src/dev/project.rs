//! The SQL files that the environment keeps its database in step with.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::lint::{self, Level};
use crate::pg::control;
use crate::pg::url::ConnectUrl;
use crate::policy::{self, Options, PolicyError, Report, Signature, SqlSource};

/// Why the files could not be applied. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// No such directory.
    #[error("there is no directory {}; `rowgate init .` writes one, --sql names another", .0.display())]
    Missing(PathBuf),
    /// A file, or the database, is not as it must be.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// A directory with `migrations/`, `grants/` and `policies/`.
#[derive(Debug)]
pub struct Project {
    source: SqlSource,
}

/// What applying the files did.
#[derive(Debug)]
pub struct Applied {
    /// What has changed.
    pub report: Report,
    /// What the linter says of the result: errors and warnings, one line each. None: it could not look.
    pub findings: Option<Vec<String>>,
    /// From connecting to commit.
    pub took: Duration,
}

impl Project {
    /// Makes sure that the directory is there.
    pub fn open(dir: &Path) -> Result<Self, ProjectError> {
        if dir.is_dir() {
            Ok(Self { source: SqlSource::new(dir) })
        } else {
            Err(ProjectError::Missing(dir.to_owned()))
        }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.source.dir()
    }

    /// Brings the database to what the files say: in one transaction, or not at all.
    pub async fn apply(&self, owner: &ConnectUrl) -> Result<Applied, ProjectError> {
        let began = Instant::now();
        let mut client = control::connect(owner).await.map_err(PolicyError::from)?;
        let signature = Signature { by: None, note: Some("rowgate dev") };
        let options = Options { signature, ..Options::default() };
        let report = policy::migrate(&mut client, &self.source, &options).await?;
        let took = began.elapsed();
        Ok(Applied { report, findings: self.findings(&mut client).await, took })
    }

    /// The rules are live by now, so that what goes wrong here is no reason to say that they are not.
    async fn findings(&self, client: &mut Client) -> Option<Vec<String>> {
        let outcome = lint::run(client, &self.source, lint::Scope::Live).await.ok()?;
        let worth_a_line =
            outcome.findings().filter(|reported| reported.finding.rule.level > Level::Info);
        Some(worth_a_line.map(lint::report::line).collect())
    }

    /// Changed files as a person names them: relative to the directory, a few at most.
    #[must_use]
    pub fn name(&self, changed: &BTreeSet<PathBuf>) -> String {
        /// More would not fit on a line.
        const NAMED: usize = 3;
        let root = self.dir().canonicalize().unwrap_or_else(|_| self.dir().to_owned());
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
