//! What is kept of each apply: who, when, why, from which files, and what the database was left like. Enough
//! to tell later what somebody changed by hand, and to go back.

use std::path::Path;

use serde::Serialize;
use tokio_postgres::Transaction;

use super::error::PolicyError;
use super::source::{Repeatable, SqlFile};
use super::state::State;

/// The table of applied states. Databases of earlier versions have its first two columns only.
pub(super) const TABLE: &str = "
create table if not exists rowgate.policy_state (version int4 primary key, fingerprint text not null);
alter table rowgate.policy_state
  add column if not exists applied_at timestamptz,
  add column if not exists applied_by text,
  add column if not exists note       text,
  add column if not exists summary    text,
  add column if not exists program    text,
  add column if not exists lines      text,
  add column if not exists files      text";

const INSERT: &str = "
insert into rowgate.policy_state
  (version, fingerprint, applied_at, applied_by, note, summary, program, lines, files)
values ($1, $2, now(), session_user || coalesce(' (' || $3 || ')', ''), $4, $5, $6, $7, $8)";

const ENTRIES: &str = "
select version, to_char(applied_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS\"Z\"'), applied_by, note,
       summary, program, files is not null
  from rowgate.policy_state order by version desc";

const WRITING: &str = "noting the applied state";
const READING: &str = "reading the history of applied states";

/// Who applies, and why.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signature<'a> {
    /// Beside the database's own name for the session's user: a person, a machine, a job.
    pub by: Option<&'a str>,
    /// What for, in the applier's words.
    pub note: Option<&'a str>,
}

/// One apply in the history. Entries of earlier versions of Rowgate have a version only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Counts up from 1 in each database.
    pub version: i32,
    /// UTC, as in `2026-01-31 08:15:00Z`.
    pub applied_at: Option<String>,
    /// The session's user, and who that was.
    pub applied_by: Option<String>,
    /// What for.
    pub note: Option<String>,
    /// What changed, on one line.
    pub summary: Option<String>,
    /// Rowgate's version.
    pub program: Option<String>,
    /// Whether its files were kept, so that one can go back to it.
    pub has_files: bool,
}

/// Makes the table, or what an earlier version's lacks.
pub(super) async fn prepare(transaction: &Transaction<'_>) -> Result<(), PolicyError> {
    let sql = format!("create schema if not exists rowgate; {TABLE}");
    transaction.batch_execute(&sql).await.map_err(PolicyError::database(WRITING))
}

/// Notes what was applied, and what it left.
pub(super) async fn write(
    transaction: &Transaction<'_>,
    version: i32,
    set: &Repeatable,
    left: &State,
    signature: Signature<'_>,
    summary: &str,
) -> Result<(), PolicyError> {
    let files: Vec<(&str, &str, &str)> =
        set.files.iter().map(|file| (file.part(), file.stem(), file.text.as_str())).collect();
    let unwritable = |error: serde_json::Error| PolicyError::History(error.to_string());
    let (files, lines) =
        (serde_json::to_string(&files).map_err(unwritable)?, left.to_json().map_err(unwritable)?);
    let outcome = transaction
        .execute(
            INSERT,
            &[
                &version,
                &left.fingerprint(),
                &signature.by,
                &signature.note,
                &summary,
                &env!("CARGO_PKG_VERSION"),
                &lines,
                &files,
            ],
        )
        .await;
    outcome.map(drop).map_err(PolicyError::database(WRITING))
}

/// What version `version` left: its fingerprint, and its lines unless an earlier program noted it.
pub(super) async fn left(
    transaction: &Transaction<'_>,
    version: i32,
) -> Result<Option<(String, Option<State>)>, PolicyError> {
    let sql = "select fingerprint, lines from rowgate.policy_state where version = $1";
    let row = transaction.query_opt(sql, &[&version]).await;
    let Some(row) = row.map_err(PolicyError::database(READING))? else { return Ok(None) };
    let lines: Option<&str> = row.get(1);
    let state = lines.map(State::from_json).transpose();
    Ok(Some((row.get(0), state.map_err(|e| PolicyError::History(e.to_string()))?)))
}

/// The files that version `version` was applied from.
pub(super) async fn files(
    transaction: &Transaction<'_>,
    version: i32,
) -> Result<Repeatable, PolicyError> {
    let sql = "select files from rowgate.policy_state where version = $1";
    let row = transaction.query_opt(sql, &[&version]).await;
    let row = row.map_err(PolicyError::database(READING))?;
    let Some(text) = row.and_then(|row| row.get::<_, Option<String>>(0)) else {
        return Err(PolicyError::NoSuchVersion { version });
    };
    let kept: Vec<(String, String, String)> =
        serde_json::from_str(&text).map_err(|e| PolicyError::History(e.to_string()))?;
    let files = kept.into_iter().map(|(part, stem, text)| {
        // As it appears in error messages: no such file has to exist any more.
        let place = format!("version {version}/{part}/{stem}.sql");
        SqlFile::checked(Path::new(&place).to_owned(), text)
    });
    Ok(Repeatable::of(files.collect::<Result<_, _>>()?))
}

/// Every apply, the newest first.
pub(super) async fn entries(transaction: &Transaction<'_>) -> Result<Vec<Entry>, PolicyError> {
    let rows = transaction.query(ENTRIES, &[]).await.map_err(PolicyError::database(READING))?;
    let entry = |row: &tokio_postgres::Row| Entry {
        version: row.get(0),
        applied_at: row.get(1),
        applied_by: row.get(2),
        note: row.get(3),
        summary: row.get(4),
        program: row.get(5),
        has_files: row.get(6),
    };
    Ok(rows.iter().map(entry).collect())
}
