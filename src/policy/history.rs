//! `refinery` over one transaction: its history tables, its order, its checks, our commit.
//!
//! `refinery` itself works on a client, with a transaction for each migration and without a lock.

use std::path::Path;
use std::time::UNIX_EPOCH;

use refinery_core::error::Kind;
use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};
use refinery_core::{Migration, Runner};
use tokio_postgres::Transaction;

use super::error::PolicyError;
use super::run::{self, Mode};
use super::source::{Repeatable, SqlFile};

/// Applied migrations of `sql/auth`.
const AUTH_HISTORY: &str = "rowgate.auth_history";
/// Applied migrations of the application.
const MIGRATION_HISTORY: &str = "rowgate.migration_history";
/// Applied states of grants and policies; a row's name is the hash of the files.
const POLICY_HISTORY: &str = "rowgate.policy_history";

/// Which of the two versioned histories.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// Rowgate's own.
    Auth,
    /// The application's.
    Application,
}

/// Applies those of `files` that have not been applied yet. Returns their names.
pub(super) async fn versioned(
    transaction: &Transaction<'_>,
    kept: Kept,
    files: &[SqlFile],
    directory: &Path,
) -> Result<Vec<String>, PolicyError> {
    let table = match kept {
        Kept::Auth => AUTH_HISTORY,
        Kept::Application => MIGRATION_HISTORY,
    };
    let migrations = files
        .iter()
        .map(|file| Migration::unapplied(file.stem(), &file.text))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| PolicyError::History(e.to_string()))?;
    let mut runner = Runner::new(&migrations);
    runner.set_migration_table_name(table);
    let mut connection = Connection::new(transaction, Versioned(files));
    match runner.run_async(&mut connection).await {
        Ok(report) => Ok(report.applied_migrations().iter().map(ToString::to_string).collect()),
        Err(error) if connection.failure.is_some() => Err(connection.failure(&error)),
        Err(error) => Err(explain(error.kind(), files, directory)),
    }
}

/// The application's migrations that have not run yet.
pub(super) async fn pending(
    transaction: &Transaction<'_>,
    files: &[SqlFile],
) -> Result<Vec<String>, PolicyError> {
    let failed = || PolicyError::database(HISTORY);
    let sql = "select to_regclass($1) is not null";
    let row = transaction.query_one(sql, &[&MIGRATION_HISTORY]).await.map_err(failed())?;
    let mut ran = Vec::new();
    if row.get(0) {
        let sql = format!("select format('V%s__%s', version, name) from {MIGRATION_HISTORY}");
        let rows = transaction.query(&sql, &[]).await.map_err(failed())?;
        ran = rows.iter().map(|row| row.get::<_, String>(0)).collect();
    }
    let names = files.iter().map(|file| file.stem().to_owned());
    Ok(names.filter(|name| !ran.contains(name)).collect())
}

/// The last applied state of grants and policies: its version and the hash of its files.
pub(super) async fn last_applied(
    transaction: &Transaction<'_>,
) -> Result<Option<(i32, String)>, PolicyError> {
    let mut runner = Runner::new(&[]);
    runner.set_migration_table_name(POLICY_HISTORY);
    let mut connection = Connection::new(transaction, Whole(&[]));
    match runner.get_last_applied_migration_async(&mut connection).await {
        Ok(last) => Ok(last.map(|m| (m.version(), m.name().to_owned()))),
        Err(error) => Err(connection.failure(&error)),
    }
}

/// Makes the table of applied states, if it is not there.
pub(super) async fn prepare(transaction: &Transaction<'_>) -> Result<(), PolicyError> {
    let sql =
        <Connection<'_, Whole<'_>> as AsyncMigrate>::assert_migrations_table_query(POLICY_HISTORY);
    transaction.batch_execute(&sql).await.map_err(PolicyError::database(HISTORY))
}

/// Runs all files of `set` and notes them as `version`.
pub(super) async fn repeatable(
    transaction: &Transaction<'_>,
    version: i32,
    set: &Repeatable,
) -> Result<(), PolicyError> {
    let migration = Migration::unapplied(&format!("V{version}__{}", set.hash), WHOLE_SET)
        .map_err(|e| PolicyError::History(e.to_string()))?;
    let mut runner = Runner::new(&[migration]);
    runner.set_migration_table_name(POLICY_HISTORY);
    let mut connection = Connection::new(transaction, Whole(&set.files));
    match runner.run_async(&mut connection).await {
        Ok(_) => Ok(()),
        Err(error) => Err(connection.failure(&error)),
    }
}

fn explain(kind: &Kind, files: &[SqlFile], directory: &Path) -> PolicyError {
    let file_of = |m: &Migration| files.iter().find(|file| file.stem() == m.to_string());
    match kind {
        Kind::DivergentVersion(applied, found) => match file_of(found) {
            // Another name for the same version: the applied file is gone.
            Some(_) if applied.name() != found.name() => {
                PolicyError::Missing { name: applied.to_string(), directory: directory.to_owned() }
            }
            Some(file) => PolicyError::Divergent { path: file.path.clone() },
            None => PolicyError::History(kind.to_string()),
        },
        Kind::MissingVersion(migration) => match file_of(migration) {
            Some(file) => PolicyError::OutOfOrder { path: file.path.clone() },
            None => PolicyError::Missing {
                name: migration.to_string(),
                directory: directory.to_owned(),
            },
        },
        other => PolicyError::History(other.to_string()),
    }
}

/// Stops `refinery`; the real error lies in the connection's `failure`.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
struct Stopped;

const HISTORY: &str = "reading or writing the migration history";

/// What `refinery` takes for a connection: it hands out texts, which stand for files.
struct Connection<'t, S> {
    transaction: &'t Transaction<'t>,
    scripts: S,
    failure: Option<PolicyError>,
}

impl<'t, S: Scripts> Connection<'t, S> {
    fn new(transaction: &'t Transaction<'t>, scripts: S) -> Self {
        Self { transaction, scripts, failure: None }
    }

    async fn run(&mut self, sql: &str) -> Result<(), PolicyError> {
        let Some(files) = self.scripts.files(sql) else {
            let outcome = self.transaction.batch_execute(sql).await;
            return outcome.map_err(PolicyError::database(HISTORY));
        };
        for file in files {
            run::file(self.transaction, file, S::MODE).await?;
        }
        Ok(())
    }

    fn stop(&mut self, error: PolicyError) -> Stopped {
        self.failure = Some(error);
        Stopped
    }

    /// The error behind what `refinery` reports.
    fn failure(self, error: &refinery_core::Error) -> PolicyError {
        self.failure.unwrap_or_else(|| PolicyError::History(error.to_string()))
    }
}

/// Which files a text of `refinery` stands for.
trait Scripts: Send {
    const MODE: Mode;

    /// The files to run for `sql`; none if it is a statement of `refinery` itself.
    fn files(&mut self, sql: &str) -> Option<Vec<&SqlFile>>;

    /// How the applied migrations are read from a history table.
    fn applied_query(table: &str) -> String;
}

/// Each migration is a file.
struct Versioned<'t>(&'t [SqlFile]);

impl Scripts for Versioned<'_> {
    const MODE: Mode = Mode::Plain;

    fn files(&mut self, sql: &str) -> Option<Vec<&SqlFile>> {
        self.0.iter().find(|file| file.text == sql).map(|file| vec![file])
    }

    fn applied_query(table: &str) -> String {
        format!("select version, name, applied_on, checksum from {table} order by version")
    }
}

/// Stands for the files of a set where `refinery` expects a migration's text.
const WHOLE_SET: &str = "-- grants and policies";

/// All files together are one migration.
struct Whole<'t>(&'t [SqlFile]);

impl Scripts for Whole<'_> {
    const MODE: Mode = Mode::Confined;

    fn files(&mut self, sql: &str) -> Option<Vec<&SqlFile>> {
        (sql == WHOLE_SET).then(|| self.0.iter().collect())
    }

    /// Earlier states have no files any more and are nothing that could be missing; only the last
    /// row counts, and [`last_applied`] has looked at it.
    fn applied_query(table: &str) -> String {
        format!("select version, name, applied_on, checksum from {table} where false")
    }
}

impl<S: Scripts> AsyncTransaction for Connection<'_, S> {
    type Error = Stopped;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &mut self,
        queries: T,
    ) -> Result<usize, Stopped> {
        let mut count = 0;
        for sql in queries {
            if let Err(error) = self.run(sql).await {
                return Err(self.stop(error));
            }
            count += 1;
        }
        Ok(count)
    }
}

impl<S: Scripts> AsyncQuery<Vec<Migration>> for Connection<'_, S> {
    async fn query(&mut self, query: &str) -> Result<Vec<Migration>, Stopped> {
        match applied(self.transaction, query).await {
            Ok(migrations) => Ok(migrations),
            Err(error) => Err(self.stop(error)),
        }
    }
}

impl<S: Scripts> AsyncMigrate for Connection<'_, S> {
    fn get_applied_migrations_query(migration_table_name: &str) -> String {
        S::applied_query(migration_table_name)
    }
}

async fn applied(
    transaction: &Transaction<'_>,
    query: &str,
) -> Result<Vec<Migration>, PolicyError> {
    let rows = transaction.query(query, &[]).await.map_err(PolicyError::database(HISTORY))?;
    rows.iter()
        .map(|row| {
            let checksum: &str = row.get(3);
            let checksum = checksum.parse().map_err(|_| {
                PolicyError::History(format!("`{checksum}` is no checksum of a migration"))
            })?;
            // When it was applied is never looked at; any time will do.
            Ok(Migration::applied(row.get(0), row.get(1), UNIX_EPOCH.into(), checksum))
        })
        .collect()
}
