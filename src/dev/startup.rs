//! Starts the parts of the development environment, each when what it needs is there.

use std::io;

use serde_json::Map;

use super::database::Database;
use super::environment::{DevError, Environment, Options};
use super::gateway::{self, serve_gateway};
use super::home::Home;
use super::issuer::{DEFAULT_LIFETIME, Endpoint, Issuer, IssuerError};
use super::output::{Guide, Output};
use super::postgres::Cluster;
use super::project::Project;
use super::seed;
use super::watch::Watcher;
use crate::config::StatementKinds;
use crate::observe::lines::LinesGuard;
use crate::observe::log;

/// The guard keeps the log's writer alive.
pub(super) async fn start(
    options: Options,
    output: Output,
) -> Result<(Environment, LinesGuard), DevError> {
    let project = Project::open(&options.sql)?;
    let home = prepare_home(&options).await?;
    let database = match options.existing {
        Some(existing) => Database::existing(&home, existing).await?,
        None => Database::private(&home, move |step: &str| output.step(step)).await?,
    };
    prepare_database(&database, &project, &home, output).await?;
    let (issuer, endpoint) = start_issuer(&home, output).await?;
    let mut config = gateway::config(&database, &issuer, options.listen);
    if options.all_statements {
        config.limits.statements = StatementKinds::All;
    }
    let log_config = config.log.clone();
    let gateway = serve_gateway(config).await?;
    let watcher = watch(&project, output);

    let guide = Guide {
        address: gateway.address(),
        database: database.description,
        database_name: database.owner.database().to_owned(),
        private_port: database.cluster.as_ref().map(Cluster::port),
        issuer: issuer.url(),
        sql: project.dir().to_owned(),
        watched: watcher.is_some(),
        alice: issuer.mint("alice", &Map::new(), DEFAULT_LIFETIME)?,
        bob: issuer.mint("bob", &Map::new(), DEFAULT_LIFETIME)?,
        lifetime: DEFAULT_LIFETIME,
    };
    guide.print(output, &home);
    let Database { owner, cluster, .. } = database;
    let environment =
        Environment { gateway, _endpoint: endpoint, cluster, owner, project, watcher, output };
    // Requests are logged from here on; what came before is told above.
    Ok((environment, log::start(&log_config)?))
}

/// Empties the data directory if asked to, and makes it.
async fn prepare_home(options: &Options) -> Result<Home, DevError> {
    let home = Home::at(&options.data_dir);
    let failed = |source| DevError::Home { dir: home.dir().to_owned(), source };
    if options.reset {
        if options.existing.is_some() {
            return Err(DevError::ResetOfForeignServer);
        }
        let cluster = home.cluster();
        let removing = tokio::task::spawn_blocking(move || Cluster::remove(&cluster));
        removing.await.map_err(io::Error::other)??;
        home.remove_files().map_err(failed)?;
    }
    home.create().map_err(failed)?;
    Ok(home)
}

/// Applies the SQL files, then lets the roles log in that they made.
async fn prepare_database(
    database: &Database,
    project: &Project,
    home: &Home,
    output: Output,
) -> Result<(), DevError> {
    let applied = project.apply(&database.owner).await?;
    output.applied(&project.dir().display().to_string(), &applied);
    database.enable_logins(&home.logins()).await?;
    if !home.seeded().exists()
        && let Some(superuser) = database.superuser().await?
    {
        if let Err(error) = seed::seed(&superuser).await {
            output.failed("the sample rows", &error, "Everything else goes on without them.");
        }
        std::fs::write(home.seeded(), "")?;
    }
    Ok(())
}

/// The issuer keeps its port, and thereby its name, as long as nobody else takes it.
async fn start_issuer(home: &Home, output: Output) -> Result<(Issuer, Endpoint), IssuerError> {
    let issuer = Issuer::load_or_create(&home.issuer())?;
    match Endpoint::start(&issuer).await {
        Ok(endpoint) => return Ok((issuer, endpoint)),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
        Err(e) => return Err(e.into()),
    }
    output.step("The demo issuer's port is taken; it moves, and tokens made so far are void.");
    let issuer = Issuer::moved_to_a_free_port(&home.issuer())?;
    let endpoint = Endpoint::start(&issuer).await?;
    Ok((issuer, endpoint))
}

/// Going without is better than not starting: the system may have no watches left.
fn watch(project: &Project, output: Output) -> Option<Watcher> {
    let dir = project.dir().canonicalize().map_err(notify::Error::io);
    dir.and_then(|dir| Watcher::start(&dir))
        .inspect_err(|error| {
            let consequence =
                "Edits are applied at the next start, or by `rowgate policies apply`.";
            output.failed("the SQL files cannot be watched", error, consequence);
        })
        .ok()
}
