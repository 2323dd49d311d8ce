//! One transaction that brings a database to its SQL files, or leaves it as it was.

use std::path::Path;
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};

use super::embedded;
use super::error::PolicyError;
use super::foreign;
use super::history::{self, Kept};
use super::report::{Cause, Report};
use super::source::{Repeatable, SqlSet, SqlSource};
use super::state::{self, State};

const RESET: &str = include_str!("../../sql/internal/reset.sql");

/// Whoever applies SQL files to a database holds this advisory lock: only one at a time.
const LOCK: i64 = 0x726f_7767_6174_6500;

/// How long another process may take to apply its files.
const LOCK_WAIT: Duration = Duration::from_mins(1);

/// How long a statement waits for a table that is in use. Everybody else who wants the table queues
/// up behind it, so this is short.
const TABLE_WAIT: Duration = Duration::from_secs(5);

/// Roles belong to the whole cluster, so that migrations of two databases may meet there.
const ATTEMPTS: u32 = 5;

/// What is to be done.
pub(super) enum Work<'a> {
    /// Schema `auth`, the application's migrations, grants and policies.
    Everything(&'a SqlSource),
    /// Grants and policies.
    Policies(&'a SqlSource),
}

/// Does the work, again if another database's migration was in the way.
pub(super) async fn run(client: &mut Client, work: Work<'_>) -> Result<Report, PolicyError> {
    let mut attempt = 1;
    loop {
        match once(client, &work).await {
            Err(error) if attempt < ATTEMPTS && is_collision(&error) => attempt += 1,
            outcome => return outcome,
        }
    }
}

async fn once(client: &mut Client, work: &Work<'_>) -> Result<Report, PolicyError> {
    // Files are read before the lock is taken, and a bad name is found before anything is done.
    let (source, migrations, set) = match work {
        Work::Everything(source) => {
            let mut set = source.read()?;
            let repeatable = set.repeatable.take();
            (source, Some(set), repeatable)
        }
        Work::Policies(source) => (source, None, Some(source.read_repeatable()?)),
    };
    let transaction =
        client.transaction().await.map_err(PolicyError::database("beginning a transaction"))?;
    lock(&transaction).await?;
    let mut report = Report::default();
    if migrations.is_some() {
        prepare(&transaction).await?;
    } else if !is_migrated(&transaction).await? {
        return Err(PolicyError::NotMigrated);
    }
    foreign::prepare(&transaction).await?;
    if let Some(files) = migrations {
        report.migrations = versioned(&transaction, source, &files).await?;
    }
    if let Some(set) = set {
        repeatable(&transaction, source.schemas(), &set, &mut report).await?;
    }
    transaction.commit().await.map_err(PolicyError::database("the commit"))?;
    Ok(report)
}

/// Runs the migrations that have not run yet: Rowgate's, another tool's, the project's. Returns their
/// names.
async fn versioned(
    transaction: &Transaction<'_>,
    source: &SqlSource,
    set: &SqlSet,
) -> Result<Vec<String>, PolicyError> {
    let auth = embedded::auth();
    let ran = history::versioned(transaction, Kept::Auth, &auth, Path::new("sql/auth")).await?;
    let mut names: Vec<String> = ran.iter().map(|name| format!("auth/{name}")).collect();
    if let Some(folder) = &set.foreign {
        // Once Rowgate has applied policies, those that are there are its own.
        let adopt = history::last_applied(transaction).await?.is_none();
        names.extend(foreign::apply(transaction, folder, adopt).await?);
    }
    if let Some(files) = &set.migrations {
        let dir = source.migrations_dir();
        names.extend(history::versioned(transaction, Kept::Application, files, &dir).await?);
    }
    Ok(names)
}

/// Settings that the files can rely on, and the lock that makes this the only one.
async fn lock(transaction: &Transaction<'_>) -> Result<(), PolicyError> {
    let sql = format!(
        "set local lock_timeout = {}; set local statement_timeout = 0; \
         set local client_min_messages = warning; set local standard_conforming_strings = on; \
         select pg_catalog.pg_advisory_xact_lock({LOCK}); set local lock_timeout = {}",
        LOCK_WAIT.as_millis(),
        TABLE_WAIT.as_millis(),
    );
    transaction.batch_execute(&sql).await.map_err(|error| match error.code() {
        Some(&SqlState::LOCK_NOT_AVAILABLE) => PolicyError::Locked {
            seconds: LOCK_WAIT.as_secs(),
            doing: "another process applies SQL files to this database",
            holder: "it has ended",
        },
        _ => PolicyError::Database { doing: "beginning a transaction", source: error },
    })
}

/// Makes the schemas in which Rowgate keeps its own, unless `auth` is already somebody else's.
async fn prepare(transaction: &Transaction<'_>) -> Result<(), PolicyError> {
    const DOING: &str = "looking for the schemas auth and rowgate";
    if is_migrated(transaction).await? {
        return Ok(());
    }
    // A handful of names is enough to recognise whose they are.
    let foreign = "select pg_catalog.string_agg(name, ', ') from (\
           select p.oid::pg_catalog.regprocedure::text as name from pg_catalog.pg_proc as p \
            where p.pronamespace = pg_catalog.to_regnamespace('auth') \
           union all select c.oid::pg_catalog.regclass::text from pg_catalog.pg_class as c \
            where c.relnamespace = pg_catalog.to_regnamespace('auth') \
           union all select t.oid::pg_catalog.regtype::text from pg_catalog.pg_type as t \
            where t.typnamespace = pg_catalog.to_regnamespace('auth') and t.typrelid = 0 \
              and t.typelem = 0 \
           order by name limit 5) as objects";
    let row = transaction.query_one(foreign, &[]).await.map_err(PolicyError::database(DOING))?;
    if let Some(objects) = row.get(0) {
        return Err(PolicyError::ForeignAuthSchema { objects });
    }
    let sql = "create schema if not exists auth; create schema if not exists rowgate; \
               revoke all on schema rowgate from public; \
               create table if not exists rowgate.policy_state (\
                 version int4 primary key, fingerprint text not null)";
    let doing = "creating the schemas auth and rowgate";
    transaction.batch_execute(sql).await.map_err(PolicyError::database(doing))?;
    history::prepare(transaction).await
}

async fn is_migrated(transaction: &Transaction<'_>) -> Result<bool, PolicyError> {
    let sql = "select pg_catalog.to_regclass('rowgate.auth_history') is not null";
    let doing = "looking for the migration history";
    let row = transaction.query_one(sql, &[]).await.map_err(PolicyError::database(doing))?;
    Ok(row.get(0))
}

/// Applies grants and policies, unless files and database are as they were left.
async fn repeatable(
    transaction: &Transaction<'_>,
    schemas: Option<&[String]>,
    set: &Repeatable,
    report: &mut Report,
) -> Result<(), PolicyError> {
    let last = history::last_applied(transaction).await?;
    let before = State::read(transaction, schemas).await?;
    report.applied = cause(transaction, last.as_ref(), set, &before, report).await?;
    if report.applied.is_none() {
        return Ok(());
    }
    take_back(transaction, schemas).await?;
    let version = last.map_or(1, |(version, _)| version + 1);
    history::repeatable(transaction, version, set).await?;

    let after = State::read(transaction, schemas).await?;
    remember(transaction, version, &after.fingerprint()).await?;
    report.changes = before.changes(&after);
    report.grants = before.grant_changes(&after);
    report.warnings = state::warnings(transaction, schemas).await?;
    Ok(())
}

/// Why the files have to be applied, if they have.
async fn cause(
    transaction: &Transaction<'_>,
    last: Option<&(i32, String)>,
    set: &Repeatable,
    before: &State,
    report: &Report,
) -> Result<Option<Cause>, PolicyError> {
    let Some((version, hash)) = last else {
        // A project without such files leaves the policies of its database alone.
        return Ok((!set.files.is_empty()).then_some(Cause::First));
    };
    if *hash != set.hash {
        return Ok(Some(Cause::Edited));
    }
    if !report.migrations.is_empty() {
        return Ok(Some(Cause::Migrated));
    }
    let sql = "select fingerprint from rowgate.policy_state where version = $1";
    let row = transaction.query_opt(sql, &[version]).await;
    let row = row.map_err(PolicyError::database("reading the last applied state"))?;
    let as_left = row.is_some_and(|row| row.get::<_, &str>(0) == before.fingerprint());
    Ok((!as_left).then_some(Cause::Drift))
}

/// Drops the policies and revokes the privileges that the files are about to make anew.
async fn take_back(
    transaction: &Transaction<'_>,
    schemas: Option<&[String]>,
) -> Result<(), PolicyError> {
    const DOING: &str = "taking back policies and grants";
    let roles = state::api_roles(transaction).await?;
    let rows = transaction.query(RESET, &[&schemas, &roles]).await;
    let rows = rows.map_err(PolicyError::database(DOING))?;
    let statements: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    transaction.batch_execute(&statements.join(";\n")).await.map_err(|error| match error.code() {
        Some(&SqlState::LOCK_NOT_AVAILABLE) => PolicyError::Locked {
            seconds: TABLE_WAIT.as_secs(),
            doing: "another session uses a table whose policies are to be replaced",
            holder: "its transaction has ended",
        },
        _ => PolicyError::Database { doing: DOING, source: error },
    })
}

async fn remember(
    transaction: &Transaction<'_>,
    version: i32,
    fingerprint: &str,
) -> Result<(), PolicyError> {
    let sql = "insert into rowgate.policy_state (version, fingerprint) values ($1, $2)";
    let outcome = transaction.execute(sql, &[&version, &fingerprint]).await;
    outcome.map(drop).map_err(PolicyError::database("noting the applied state"))
}

/// Whether another database's migration touched the cluster's roles at the same moment.
fn is_collision(error: &PolicyError) -> bool {
    let (sqlstate, message) = match error {
        PolicyError::Statement(error) => (error.sqlstate.as_str(), error.message.as_str()),
        PolicyError::Database { source, .. } => match source.as_db_error() {
            Some(error) => (error.code().code(), error.message()),
            None => return false,
        },
        _ => return false,
    };
    match sqlstate {
        "40001" | "40P01" => true,
        // PostgreSQL has no SQLSTATE of its own for two sessions that change one catalogue row.
        "XX000" => message.contains("concurrently"),
        "23505" => message.contains("pg_auth"),
        _ => false,
    }
}
