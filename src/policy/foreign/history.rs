//! Which migrations of another tool a database has seen, and which policies they made.

use std::collections::HashSet;

use tokio_postgres::Transaction;

use super::{Folder, Foreign};
use crate::policy::error::PolicyError;
use crate::policy::run::{self, Mode};

/// A policy is found again by table and name, which survive a dump; object ids do not.
const TABLES: &str = "
create table if not exists rowgate.foreign_history (
  position   int4 primary key,
  name       text not null unique,
  checksum   text not null,
  applied_on timestamptz not null default now());
create table if not exists rowgate.foreign_policies (
  table_name regclass not null,
  policy     name not null,
  primary key (table_name, policy))";

const APPLIED: &str = "select name, checksum from rowgate.foreign_history order by position";

const NOTE: &str =
    "insert into rowgate.foreign_history (position, name, checksum) values ($1, $2, $3)";

/// All policies, and whether each is noted as another tool's.
const POLICIES: &str = "
select p.oid, f.policy is not null
  from pg_catalog.pg_policy as p
  left join rowgate.foreign_policies as f on f.table_name = p.polrelid and f.policy = p.polname";

/// $1: policies that are not another tool's.
const NOTE_POLICIES: &str = "
insert into rowgate.foreign_policies (table_name, policy)
select p.polrelid, p.polname from pg_catalog.pg_policy as p where p.oid <> all ($1)";

/// What drizzle-kit itself has applied, by the checksums that it keeps.
const BY_DRIZZLE: &str = "select hash from drizzle.__drizzle_migrations";

const DOING: &str = "reading or writing the history of another tool's migrations";

/// Makes the tables of this module, if they are not there.
pub(in crate::policy) async fn prepare(transaction: &Transaction<'_>) -> Result<(), PolicyError> {
    transaction.batch_execute(TABLES).await.map_err(PolicyError::database(DOING))
}

/// Applies those migrations of `folder` that this database has not seen. Returns their names.
///
/// `adopt`: on the first call, what drizzle-kit has applied itself is noted and not run again, and
/// the policies that are there are taken for that tool's.
pub(in crate::policy) async fn apply(
    transaction: &Transaction<'_>,
    folder: &Folder,
    adopt: bool,
) -> Result<Vec<String>, PolicyError> {
    let mut done = check(folder, &applied(transaction).await?)?;
    // Policies that are there and nobody's in particular stay what they are.
    let mut others = policies_of_others(transaction).await?;
    if done == 0 {
        let known = by_drizzle(transaction).await?;
        done = folder.migrations.iter().take_while(|m| known.contains(&m.checksum)).count();
        for (position, migration) in folder.migrations.iter().enumerate().take(done) {
            note(transaction, position, migration).await?;
        }
        if done > 0 && adopt {
            others.clear();
        }
    }
    for (position, migration) in folder.migrations.iter().enumerate().skip(done) {
        run::file(transaction, &migration.file, Mode::Plain).await?;
        note(transaction, position, migration).await?;
    }
    note_policies(transaction, &others).await?;
    let label = folder.label();
    Ok(folder.migrations[done..].iter().map(|m| format!("{label}/{}", m.name)).collect())
}

async fn applied(transaction: &Transaction<'_>) -> Result<Vec<(String, String)>, PolicyError> {
    let rows = transaction.query(APPLIED, &[]).await.map_err(PolicyError::database(DOING))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// How many of the folder's migrations are applied: they must be its first ones, unchanged.
fn check(folder: &Folder, applied: &[(String, String)]) -> Result<usize, PolicyError> {
    let is_applied = |m: &Foreign| applied.iter().any(|(name, _)| *name == m.name);
    for (position, (name, checksum)) in applied.iter().enumerate() {
        let Some(index) = folder.migrations.iter().position(|m| m.name == *name) else {
            return Err(PolicyError::Missing { name: name.clone(), directory: folder.dir.clone() });
        };
        if folder.migrations[index].checksum != *checksum {
            let path = folder.migrations[index].file.path.clone();
            return Err(PolicyError::Divergent { path });
        }
        // One that is not applied stands before it.
        if index != position
            && let Some(new) = folder.migrations[..index].iter().find(|m| !is_applied(m))
        {
            return Err(PolicyError::OutOfOrder { path: new.file.path.clone() });
        }
    }
    Ok(applied.len())
}

async fn note(
    transaction: &Transaction<'_>,
    position: usize,
    migration: &Foreign,
) -> Result<(), PolicyError> {
    // invariant: a folder does not hold two thousand million files.
    let position = i32::try_from(position).unwrap_or(i32::MAX);
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&position, &migration.name, &migration.checksum];
    let outcome = transaction.execute(NOTE, &values).await;
    outcome.map(drop).map_err(PolicyError::database(DOING))
}

/// Object ids of the policies that no migration of this kind made.
async fn policies_of_others(transaction: &Transaction<'_>) -> Result<Vec<u32>, PolicyError> {
    let rows = transaction.query(POLICIES, &[]).await.map_err(PolicyError::database(DOING))?;
    let others = rows.iter().filter(|row| !row.get::<_, bool>(1)).map(|row| row.get(0));
    Ok(others.collect())
}

/// Notes every policy that is not one of `others`: whatever was renamed keeps its object id.
async fn note_policies(transaction: &Transaction<'_>, others: &[u32]) -> Result<(), PolicyError> {
    let sql = "delete from rowgate.foreign_policies";
    transaction.execute(sql, &[]).await.map_err(PolicyError::database(DOING))?;
    let outcome = transaction.execute(NOTE_POLICIES, &[&others]).await;
    outcome.map(drop).map_err(PolicyError::database(DOING))
}

async fn by_drizzle(transaction: &Transaction<'_>) -> Result<HashSet<String>, PolicyError> {
    let sql = "select pg_catalog.to_regclass('drizzle.__drizzle_migrations') is not null";
    let row = transaction.query_one(sql, &[]).await.map_err(PolicyError::database(DOING))?;
    if !row.get::<_, bool>(0) {
        return Ok(HashSet::new());
    }
    let rows = transaction.query(BY_DRIZZLE, &[]).await.map_err(PolicyError::database(DOING))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
