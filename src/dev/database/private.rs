//! The database on the private cluster.

use super::{Database, DatabaseError, LOGIN_ROLES};
use crate::dev::home::Home;
use crate::dev::logins::{Logins, PRIVATE};
use crate::dev::postgres::{Binaries, Cluster, ClusterOptions, SUPERUSER};
use crate::dev::secret;
use crate::pg::control;
use crate::pg::url::ConnectUrl;
use crate::policy;

/// Owns the application's tables. May create roles, as the owner on a managed service may.
const OWNER: &str = "rowgate_owner";

/// The application's database.
const DATABASE: &str = "app";

/// From this major version on the database's owner owns its schema `public` too.
const PUBLIC_BELONGS_TO_OWNER: u32 = 15;

/// Starts the cluster and makes the database unless it is there.
pub(super) async fn open(
    home: &Home,
    progress: impl FnMut(&str) + Send + 'static,
) -> Result<Database, DatabaseError> {
    let (binaries, cluster) = start(home.clone(), progress).await?;
    let logins = match Logins::load(&home.logins(), PRIVATE)? {
        Some(logins) => logins,
        None => Logins::generate(PRIVATE)?,
    };
    logins.save(&home.logins())?;
    prepare(&cluster, &binaries, &logins).await?;
    write_hints(home, &cluster, &logins)?;
    let [authenticated, anonymous] = LOGIN_ROLES;
    Ok(Database {
        owner: url(&cluster.url(OWNER, &logins.owner, DATABASE))?,
        authenticated: url(&cluster.url(authenticated, &logins.authenticated, DATABASE))?,
        anonymous: url(&cluster.url(anonymous, &logins.anonymous, DATABASE))?,
        description: format!("PostgreSQL {}, private", binaries.version()),
        cluster: Some(cluster),
        logins: Some(logins),
    })
}

async fn start(
    home: Home,
    mut progress: impl FnMut(&str) + Send + 'static,
) -> Result<(Binaries, Cluster), DatabaseError> {
    let work = move || {
        let binaries = Binaries::find_or_obtain(&home.cluster(), &mut progress)?;
        if !Cluster::exists(&home.cluster())? {
            progress("making a new PostgreSQL cluster");
        }
        let cluster = Cluster::start(&binaries, &ClusterOptions::new(home.cluster()))?;
        if cluster.relocated() {
            let message = "PostgreSQL does not run as root, and its own user cannot reach";
            let (wanted, taken) = (home.cluster(), cluster.dir());
            progress(&format!("{message} {}; using {}", wanted.display(), taken.display()));
        }
        Ok((binaries, cluster))
    };
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

/// Brings role and database about.
async fn prepare(
    cluster: &Cluster,
    binaries: &Binaries,
    logins: &Logins,
) -> Result<(), DatabaseError> {
    let mut superuser = control::connect(&url(&cluster.superuser_url())?).await?;
    let exists = "select from pg_catalog.pg_roles where rolname = $1";
    if superuser.query_opt(exists, &[&OWNER]).await?.is_none() {
        superuser.batch_execute(&format!("create role {OWNER} createrole")).await?;
    }
    let password = [(OWNER, logins.owner.as_bytes())];
    policy::set_login_passwords(&mut superuser, &password).await?;
    let exists = "select from pg_catalog.pg_database where datname = $1";
    if superuser.query_opt(exists, &[&DATABASE]).await?.is_some() {
        return Ok(());
    }
    superuser.batch_execute(&format!("create database {DATABASE} owner {OWNER}")).await?;
    if binaries.major() < PUBLIC_BELONGS_TO_OWNER {
        let inside = control::connect(&url(&cluster.superuser_url_of(DATABASE))?).await?;
        inside.batch_execute(&format!("alter schema public owner to {OWNER}")).await?;
    }
    Ok(())
}

/// Writes the connection strings where the user's own tools find them, readable by nobody else.
fn write_hints(home: &Home, cluster: &Cluster, logins: &Logins) -> Result<(), DatabaseError> {
    let [authenticated, anonymous] = LOGIN_ROLES;
    let line = |name: &str, user: &str, password: &str| {
        format!("{name}='{}'\n", cluster.url(user, password, DATABASE))
    };
    let env = [
        line("DATABASE_URL", OWNER, &logins.owner),
        line("DATABASE_AUTHENTICATED_URL", authenticated, &logins.authenticated),
        line("DATABASE_ANONYMOUS_URL", anonymous, &logins.anonymous),
    ];
    secret::write(&home.env(), env.concat().as_bytes())?;
    let entry =
        |user: &str, password: &str| format!("127.0.0.1:{}:*:{user}:{password}\n", cluster.port());
    let pgpass = entry(SUPERUSER, cluster.superuser_password()) + &entry(OWNER, &logins.owner);
    secret::write(&home.pgpass(), pgpass.as_bytes())?;
    Ok(())
}

pub(super) fn url(text: &str) -> Result<ConnectUrl, DatabaseError> {
    ConnectUrl::parse(text)
        .map_err(|source| DatabaseError::Url { name: "the private cluster", source })
}
