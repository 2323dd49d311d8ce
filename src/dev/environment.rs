//! Starts the parts of the development environment in order, keeps them in step, stops them.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::database::{DatabaseError, Existing};
use super::gateway::Gateway;
use super::issuer::{Endpoint, IssuerError};
use super::output::Output;
use super::postgres::{Cluster, ClusterError};
use super::project::{Project, ProjectError};
use super::shutdown::Signals;
use super::startup;
use super::watch::Watcher;
use crate::pg::url::ConnectUrl;
use crate::server::ServeError;

/// How often we look whether the private server still runs.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Why `rowgate dev` ended.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// No database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The SQL files do not apply.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// No demo issuer.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// No gateway.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// `--reset` would empty a server that is not ours.
    #[error("--reset empties the private cluster; it does nothing to the server of --database-url")]
    ResetOfForeignServer,
    /// The private server ended by itself.
    #[error("PostgreSQL has ended unexpectedly; its log is {}", .0.display())]
    PostgresGone(PathBuf),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {}: {source}", dir.display())]
    Home {
        /// The directory.
        dir: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The system refused something.
    #[error("the development environment cannot run: {0}")]
    Io(#[from] io::Error),
}

impl From<ClusterError> for DevError {
    fn from(error: ClusterError) -> Self {
        Self::Database(error.into())
    }
}

/// What kind of environment is wanted.
#[derive(Debug)]
pub struct Options {
    /// Where the SQL files are.
    pub sql: PathBuf,
    /// Where the gateway listens.
    pub listen: SocketAddr,
    /// Where the environment keeps its files.
    pub data_dir: PathBuf,
    /// Let callers send statements of every kind.
    pub all_statements: bool,
    /// Start from nothing.
    pub reset: bool,
    /// A server to use; none: a private cluster.
    pub existing: Option<Existing>,
}

/// Everything that runs.
pub(super) struct Environment {
    pub(super) gateway: Gateway,
    pub(super) _endpoint: Endpoint,
    pub(super) cluster: Option<Cluster>,
    pub(super) owner: ConnectUrl,
    pub(super) project: Project,
    pub(super) watcher: Option<Watcher>,
    pub(super) output: Output,
}

/// Starts everything, prints how to use it, and keeps it in step until a signal comes.
pub async fn run(options: Options) -> Result<(), DevError> {
    let output = Output::for_terminal();
    let mut signals = Signals::listen()?;
    let (mut environment, _log) = tokio::select! {
        started = startup::start(options, output) => started?,
        () = signals.next() => {
            output.step("stopped before everything had started");
            return Ok(());
        }
    };
    let outcome = environment.keep_in_step(&mut signals).await;
    output.step("Stopping.");
    environment.stop(&mut signals).await?;
    outcome
}

impl Environment {
    /// Applies edits as they come. Ends with a signal, or with an error if a part ends by itself.
    async fn keep_in_step(&mut self, signals: &mut Signals) -> Result<(), DevError> {
        let mut check = interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = signals.next() => return Ok(()),
                ended = self.gateway.ended() => return Ok(ended?),
                changed = next_change(&mut self.watcher) => {
                    let what = self.project.name(&changed);
                    tokio::select! {
                        () = apply(&self.project, &self.owner, &what, self.output) => {}
                        () = signals.next() => return Ok(()),
                    }
                }
                _ = check.tick() => self.check_cluster()?,
            }
        }
    }

    fn check_cluster(&mut self) -> Result<(), DevError> {
        let Some(cluster) = &mut self.cluster else { return Ok(()) };
        if cluster.is_running() { Ok(()) } else { Err(DevError::PostgresGone(cluster.log())) }
    }

    /// Stops the gateway first, so that running requests still have their database. A second
    /// signal cuts them short.
    async fn stop(self, signals: &mut Signals) -> Result<(), DevError> {
        let served = self.gateway.stop(signals.next()).await;
        if let Some(mut cluster) = self.cluster {
            let stopping = tokio::task::spawn_blocking(move || cluster.stop());
            stopping.await.map_err(io::Error::other)??;
        }
        Ok(served?)
    }
}

async fn apply(project: &Project, owner: &ConnectUrl, what: &str, output: Output) {
    match project.apply(owner).await {
        Ok(applied) => output.applied(what, &applied),
        Err(error) => {
            output.failed("not applied", &error, "Nothing was changed; what was in force stays.");
        }
    }
}

/// Never completes where nothing is watched.
async fn next_change(watcher: &mut Option<Watcher>) -> BTreeSet<PathBuf> {
    if let Some(watcher) = watcher
        && let Some(changed) = watcher.changed().await
    {
        return changed;
    }
    std::future::pending().await
}
