//! Applies SQL files in a transaction that is never committed, so that one can look at what they would
//! make.
//!
//! Dropping and creating policies locks their tables against everybody (ACCESS EXCLUSIVE), and so does
//! this, until the transaction ends: whoever rehearses only reads what he came for.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};

use super::apply::{self, LOCK, PAUSE, TABLE_WAIT};
use super::error::PolicyError;
use super::source::{SqlFile, SqlSource};
use super::{embedded, foreign, history, record, session_jwt};

/// For how long, all attempts together, tables in use are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

const READING: &str = "reading the migration history";

/// Whether the database has what the files say: no migration is left to run, and grants and policies
/// were last applied from exactly these files. (Somebody may have changed them by hand since.)
///
/// # Errors
///
/// Files that cannot be read, or a history that cannot be.
pub async fn is_applied(
    transaction: &Transaction<'_>,
    source: &SqlSource,
) -> Result<bool, PolicyError> {
    let set = source.read()?;
    if !apply::is_migrated(transaction).await? {
        return Ok(false);
    }
    let extension = session_jwt::installed(transaction).await?.is_some();
    let own = if extension { embedded::roles() } else { embedded::auth() };
    let sql = "select (select count(*) from rowgate.auth_history), \
               pg_catalog.to_regclass('rowgate.migration_history') is not null, \
               (select name from rowgate.policy_history order by version desc limit 1)";
    let row = transaction.query_one(sql, &[]).await.map_err(PolicyError::database(READING))?;
    let (ran, has_migrations): (i64, bool) = (row.get(0), row.get(1));
    let hash: Option<String> = row.get(2);
    let mut applied: Vec<i32> = Vec::new();
    if has_migrations {
        let rows = transaction.query("select version from rowgate.migration_history", &[]).await;
        let rows = rows.map_err(PolicyError::database(READING))?;
        applied.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
    }
    let is_old = |file: &SqlFile| version(file).is_some_and(|version| applied.contains(&version));
    let is_complete = usize::try_from(ran).is_ok_and(|ran| ran >= own.len())
        && set.migrations.iter().flatten().all(is_old);
    let is_same = set.repeatable.is_none_or(|set| match hash {
        Some(hash) => hash == set.hash,
        None => set.files.is_empty(),
    });
    Ok(is_complete && is_same)
}

/// The number in `V3__invoices`.
fn version(file: &SqlFile) -> Option<i32> {
    file.stem().strip_prefix('V')?.split_once("__")?.0.parse().ok()
}

/// Applies the files, reads, and undoes everything. Gives way to whoever uses a table, and tries again.
///
/// # Errors
///
/// As applying them and as reading; also when a table stays in use.
pub async fn rehearse<T, E: From<PolicyError>>(
    client: &mut Client,
    source: &SqlSource,
    read: impl AsyncFn(&Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    const DOING: &str = "a transaction that is rolled back";
    let began = Instant::now();
    loop {
        let transaction = client.transaction().await.map_err(PolicyError::database(DOING))?;
        match all(&transaction, source).await {
            Ok(()) => {
                let outcome = read(&transaction).await;
                transaction.rollback().await.map_err(PolicyError::database(DOING))?;
                return outcome;
            }
            Err(error) if !apply::waited_for_table(&error) => return Err(error.into()),
            Err(_) if began.elapsed() + PAUSE > PATIENCE => {
                let error = PolicyError::Locked {
                    seconds: began.elapsed().as_secs(),
                    doing: "other sessions use a table whose policies are to be replaced",
                    holder: "their transactions have ended",
                };
                return Err(error.into());
            }
            Err(_) => {
                transaction.rollback().await.map_err(PolicyError::database(DOING))?;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Everything: migrations, grants, policies.
async fn all(transaction: &Transaction<'_>, source: &SqlSource) -> Result<(), PolicyError> {
    let mut set = source.read()?;
    let repeatable = set.repeatable.take();
    begin(transaction).await?;
    let extension = session_jwt::installed(transaction).await?.is_some();
    apply::prepare(transaction).await?;
    record::prepare(transaction).await?;
    foreign::prepare(transaction).await?;
    apply::versioned(transaction, source, &set, extension).await?;
    let Some(files) = repeatable else { return Ok(()) };
    let last = history::last_applied(transaction).await?;
    apply::take_back(transaction, source.schemas()).await?;
    history::repeatable(transaction, last.map_or(1, |(version, _)| version + 1), &files).await
}

/// As `apply::lock`, but waits for nobody for long.
async fn begin(transaction: &Transaction<'_>) -> Result<(), PolicyError> {
    let settings = format!(
        "set local lock_timeout = {}; set local statement_timeout = 0; \
         set local client_min_messages = warning; set local standard_conforming_strings = on; \
         select pg_catalog.pg_advisory_xact_lock({LOCK})",
        TABLE_WAIT.as_millis(),
    );
    transaction.batch_execute(&settings).await.map_err(|error| match error.code() {
        Some(&SqlState::LOCK_NOT_AVAILABLE) => PolicyError::Locked {
            seconds: 0,
            doing: "another process applies SQL files to this database",
            holder: "it has ended",
        },
        _ => PolicyError::Database { doing: "beginning a transaction", source: error },
    })
}
