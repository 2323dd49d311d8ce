//! One transaction that brings a database to its SQL files, or leaves it as it was.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};

use super::embedded;
use super::error::PolicyError;
use super::foreign;
use super::history::{self, Kept};
use super::plan::{self, Plan};
use super::record::{self, Entry, Signature};
use super::report::{Cause, Report};
use super::session_jwt;
use super::source::{Repeatable, SqlFile, SqlSet, SqlSource};
use super::state::{self, State};

const RESET: &str = include_str!("../../sql/internal/reset.sql");

/// Whoever applies SQL files to a database holds this advisory lock: only one at a time.
pub(super) const LOCK: i64 = 0x726f_7767_6174_6500;

/// How long another process may take to apply its files.
const LOCK_WAIT: Duration = Duration::from_mins(1);

/// How long a statement waits for a table that is in use. Everybody else who wants the table queues
/// up behind it, so this is short; and shorter than the server's `deadlock_timeout` (1 s), so that whoever
/// has to give way is never a caller.
pub(super) const TABLE_WAIT: Duration = Duration::from_millis(300);

/// Between two attempts, callers have the tables to themselves for this long; at random up to twice as
/// long, so as not to keep step with somebody else.
pub(super) const PAUSE: Duration = Duration::from_millis(400);

/// Roles belong to the whole cluster, so that migrations of two databases may meet there.
const ATTEMPTS: u32 = 5;

/// What is to be done.
#[derive(Clone, Copy)]
pub(super) enum Work<'a> {
    /// Schema `auth`, the application's migrations, grants and policies.
    Everything(&'a SqlSource),
    /// Grants and policies.
    Policies(&'a SqlSource),
    /// Grants and policies as an earlier version had them.
    Version(i32),
}

/// How it is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// What becomes of what somebody changed by hand.
    pub on_drift: OnDrift,
    /// Goes into the history.
    pub signature: Signature<'a>,
    /// For how long, all attempts together, tables in use are waited for.
    pub patience: Duration,
    /// Whether everything is undone in the end.
    pub is_rehearsal: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            on_drift: OnDrift::TakeBack,
            signature: Signature::default(),
            patience: Duration::from_secs(30),
            is_rehearsal: false,
        }
    }
}

/// What becomes of policies and privileges that somebody changed in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDrift {
    /// They become what the files say.
    TakeBack,
    /// Nothing is applied, and the error lists them.
    Refuse,
}

/// What was done, and the same as a plan.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub report: Report,
    pub plan: Plan,
}

/// Does the work; again if another database's migration was in the way, or a table was in use.
pub(super) async fn run(
    client: &mut Client,
    work: Work<'_>,
    options: &Options<'_>,
) -> Result<Outcome, PolicyError> {
    let began = Instant::now();
    let mut attempt = 1;
    loop {
        match once(client, work, options).await {
            Err(error) if attempt < ATTEMPTS && is_collision(&error) => attempt += 1,
            Err(error) if waited_for_table(&error) => {
                if began.elapsed() + PAUSE > options.patience {
                    return Err(PolicyError::Locked {
                        seconds: began.elapsed().as_secs(),
                        doing: "other sessions use a table whose policies are to be replaced",
                        holder: "their transactions have ended, or with a longer --wait",
                    });
                }
                let more = began.elapsed().subsec_nanos() % 1000;
                tokio::time::sleep(PAUSE + PAUSE * more / 1000).await;
            }
            outcome => return outcome,
        }
    }
}

async fn once(
    client: &mut Client,
    work: Work<'_>,
    options: &Options<'_>,
) -> Result<Outcome, PolicyError> {
    let transaction =
        client.transaction().await.map_err(PolicyError::database("beginning a transaction"))?;
    let outcome = carry_out(&transaction, work, options).await?;
    let ended = if options.is_rehearsal {
        transaction.rollback().await
    } else {
        transaction.commit().await
    };
    ended.map_err(PolicyError::database("the commit"))?;
    Ok(outcome)
}

/// Does the work inside a transaction, and leaves it to the caller to end that.
pub(super) async fn carry_out(
    transaction: &Transaction<'_>,
    work: Work<'_>,
    options: &Options<'_>,
) -> Result<Outcome, PolicyError> {
    // Files are read before the lock is taken, and a bad name is found before anything is done.
    let (source, migrations, set) = match work {
        Work::Everything(source) => {
            let mut set = source.read()?;
            let repeatable = set.repeatable.take();
            (Some(source), Some(set), repeatable)
        }
        Work::Policies(source) => (Some(source), None, Some(source.read_repeatable()?)),
        Work::Version(_) => (None, None, None),
    };
    lock(transaction).await?;
    let mut outcome = Outcome::default();
    let extension = session_jwt::installed(transaction).await?;
    if migrations.is_some() {
        prepare(transaction).await?;
    } else if !is_migrated(transaction).await? {
        return Err(PolicyError::NotMigrated);
    }
    record::prepare(transaction).await?;
    foreign::prepare(transaction).await?;
    if let (Some(files), Some(source)) = (migrations, source) {
        outcome.report.migrations =
            versioned(transaction, source, &files, extension.is_some()).await?;
    }
    if let (Work::Policies(source), true) = (work, options.is_rehearsal) {
        let files = source.read_migrations()?;
        outcome.plan.pending_migrations = history::pending(transaction, &files).await?;
    }
    let (set, wanted) = match work {
        Work::Version(version) => {
            (Some(record::files(transaction, version).await?), Some(Cause::RolledBack))
        }
        _ => (set, None),
    };
    if let Some(set) = set {
        let schemas = source.and_then(SqlSource::schemas);
        let pending = outcome.plan.pending_migrations.clone();
        let applied = repeatable(transaction, schemas, &set, wanted, options, &mut outcome).await;
        applied.map_err(|error| {
            if pending.is_empty() {
                return error;
            }
            PolicyError::Unmigrated { pending, error: Box::new(error) }
        })?;
    }
    outcome.report.warnings.extend(extension.as_deref().map(session_jwt::note));
    Ok(outcome)
}

/// Looks at a database as it is, under the same lock and settings.
pub(super) async fn stand_still(transaction: &Transaction<'_>) -> Result<(), PolicyError> {
    lock(transaction).await?;
    if is_migrated(transaction).await? { Ok(()) } else { Err(PolicyError::NotMigrated) }
}

/// Every apply, the newest first.
pub(super) async fn history(client: &mut Client) -> Result<Vec<Entry>, PolicyError> {
    record::entries(&looking(client).await?).await
}

/// The files of a version: directory, name and text of each.
pub(super) async fn files_of_version(
    client: &mut Client,
    version: i32,
) -> Result<Vec<(String, String, String)>, PolicyError> {
    let set = record::files(&looking(client).await?, version).await?;
    let parts = |file: &SqlFile| (file.part().into(), file.stem().into(), file.text.clone());
    Ok(set.files.iter().map(parts).collect())
}

/// A transaction that will be undone, in which the history has its present form.
async fn looking(client: &mut Client) -> Result<Transaction<'_>, PolicyError> {
    let transaction =
        client.transaction().await.map_err(PolicyError::database("beginning a transaction"))?;
    if !is_migrated(&transaction).await? {
        return Err(PolicyError::NotMigrated);
    }
    record::prepare(&transaction).await?;
    Ok(transaction)
}

/// Runs the migrations that have not run yet: Rowgate's, another tool's, the project's. Returns their
/// names. Where the schema `auth` is an extension's, those of Rowgate's that make its contents have to wait.
pub(super) async fn versioned(
    transaction: &Transaction<'_>,
    source: &SqlSource,
    set: &SqlSet,
    extension: bool,
) -> Result<Vec<String>, PolicyError> {
    let auth = if extension { embedded::roles() } else { embedded::auth() };
    let ran = history::versioned(transaction, Kept::Auth, &auth, Path::new("sql/auth")).await?;
    let mut names: Vec<String> = ran.iter().map(|name| format!("auth/{name}")).collect();
    if extension {
        session_jwt::let_callers_in(transaction).await?;
    }
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

const CREATING: &str = "creating the schemas auth and rowgate";

/// Makes the schemas in which Rowgate keeps its own, unless `auth` is already somebody else's. The functions
/// of the extension `pg_session_jwt` may be there.
pub(super) async fn prepare(transaction: &Transaction<'_>) -> Result<(), PolicyError> {
    const DOING: &str = "looking for the schemas auth and rowgate";
    if is_migrated(transaction).await? {
        // The extension took its schema with it.
        let sql = "do $$ begin if pg_catalog.to_regnamespace('auth') is null then \
                   create schema auth; end if; end $$";
        return transaction.batch_execute(sql).await.map_err(PolicyError::database(CREATING));
    }
    // A handful of names is enough to recognise whose they are.
    let foreign = "select pg_catalog.string_agg(name, ', ') from (\
           select p.oid::pg_catalog.regprocedure::text as name from pg_catalog.pg_proc as p \
            where p.pronamespace = pg_catalog.to_regnamespace('auth') \
              and not exists (select from pg_catalog.pg_depend as d \
                                join pg_catalog.pg_extension as e on e.oid = d.refobjid \
                               where d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
                                 and d.objid = p.oid and d.deptype = 'e' \
                                 and e.extname = 'pg_session_jwt') \
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
               revoke all on schema rowgate from public";
    transaction.batch_execute(sql).await.map_err(PolicyError::database(CREATING))?;
    history::prepare(transaction).await
}

pub(super) async fn is_migrated(transaction: &Transaction<'_>) -> Result<bool, PolicyError> {
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
    wanted: Option<Cause>,
    options: &Options<'_>,
    outcome: &mut Outcome,
) -> Result<(), PolicyError> {
    let Outcome { report, plan } = outcome;
    let last = history::last_applied(transaction).await?;
    let before = State::read(transaction, schemas).await?;
    let left = match &last {
        Some((version, _)) => record::left(transaction, *version).await?,
        None => None,
    };
    let as_left = left.as_ref().is_some_and(|(print, _)| *print == before.fingerprint());
    report.applied = wanted.or_else(|| cause(last.as_ref(), set, as_left, report));
    if report.applied.is_none() {
        return Ok(());
    }
    take_back(transaction, schemas).await?;
    let version = last.map_or(1, |(version, _)| version + 1);
    history::repeatable(transaction, version, set).await?;

    let after = State::read(transaction, schemas).await?;
    report.changes = before.changes(&after);
    report.grants = before.grant_changes(&after);
    report.warnings = state::warnings(transaction, schemas).await?;
    let left = left.and_then(|(_, lines)| lines);
    plan.cause = report.applied;
    plan.changes = plan::compare(left.as_ref(), &before, &after);
    plan.warnings.clone_from(&report.warnings);
    if options.on_drift == OnDrift::Refuse && plan.drift().next().is_some() {
        return Err(PolicyError::ChangedByHand(
            plan.drift().map(|change| format!("{}: {change}", change.object)).collect(),
        ));
    }
    let (signature, summary) = (options.signature, report.summary());
    record::write(transaction, version, set, &after, signature, &summary).await
}

/// Why the files have to be applied, if they have.
fn cause(
    last: Option<&(i32, String)>,
    set: &Repeatable,
    as_left: bool,
    report: &Report,
) -> Option<Cause> {
    let Some((_, hash)) = last else {
        // A project without such files leaves the policies of its database alone.
        return (!set.files.is_empty()).then_some(Cause::First);
    };
    if *hash != set.hash {
        return Some(Cause::Edited);
    }
    if !report.migrations.is_empty() {
        return Some(Cause::Migrated);
    }
    (!as_left).then_some(Cause::Drift)
}

/// Drops the policies and revokes the privileges that the files are about to make anew.
pub(super) async fn take_back(
    transaction: &Transaction<'_>,
    schemas: Option<&[String]>,
) -> Result<(), PolicyError> {
    const DOING: &str = "taking back policies and grants";
    let roles = state::api_roles(transaction).await?;
    let rows = transaction.query(RESET, &[&schemas, &roles]).await;
    let rows = rows.map_err(PolicyError::database(DOING))?;
    let statements: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    let outcome = transaction.batch_execute(&statements.join(";\n")).await;
    outcome.map_err(PolicyError::database(DOING))
}

/// Whether trying again in a moment may help: a table was in use, or another database's roles were changing.
pub(super) fn is_passing(error: &PolicyError) -> bool {
    waited_for_table(error) || is_collision(error)
}

/// Whether a table was in use for too long. The lock of [`lock`] has an error of its own.
pub(super) fn waited_for_table(error: &PolicyError) -> bool {
    let unavailable = SqlState::LOCK_NOT_AVAILABLE;
    match error {
        PolicyError::Statement(error) => error.sqlstate == unavailable.code(),
        PolicyError::Database { source, .. } => source.code() == Some(&unavailable),
        _ => false,
    }
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
