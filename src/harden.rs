//! Protections that can rest in the database: what is still to be revoked or set, the SQL that does it,
//! and the proof that it took.
//!
//! Everything is asked of the live catalogue, never remembered: a REVOKE that one may not make only warns
//! in PostgreSQL, so that only asking again tells. Must never grant the roles that requests run as
//! anything that they do not have already.

mod measures;
mod script;

use tokio_postgres::{Client, Row};

use crate::pg::control;
pub use measures::Measure;
use measures::{MEASURES, Question};
pub use script::Script;

/// Settings for the time of one transaction: what the queries and statements rely on. A statement that
/// waits for a table makes all others wait behind it, so it does not wait long.
const PREPARE: &str = "set local search_path to pg_catalog, pg_temp; set local lock_timeout = '5s'; \
     set local statement_timeout = '60s'; set local client_min_messages = error; \
     set local standard_conforming_strings = on";

const MISSING_ROLES: &str = "select name from pg_catalog.unnest($1::pg_catalog.text[]) as name \
     where pg_catalog.to_regrole(pg_catalog.quote_ident(name)) is null";

/// Why nothing could be found out, or nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum HardenError {
    /// The roles that requests run as are not there.
    #[error("there is no role {0}; run `rowgate migrate` first")]
    MissingRole(String),
    /// The database refused.
    #[error("{doing}: {}", control::reason(.source))]
    Database {
        /// What was being done.
        doing: String,
        /// The database's words.
        source: tokio_postgres::Error,
    },
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What it is about.
    pub object: String,
    /// What does it.
    pub statement: String,
    /// Whether the login that looked may run that.
    pub may: bool,
}

/// What was found about one protection.
#[derive(Debug)]
pub struct Found {
    /// Which.
    pub measure: &'static Measure,
    /// What is to be done; nothing: the protection rests in the database.
    pub tasks: Vec<Task>,
    /// What is left as it is, and why.
    pub kept: Vec<(String, String)>,
}

/// Looks at everything, over any login's connection. `roles` are those that requests run as.
///
/// # Errors
///
/// Missing roles, or a catalogue that cannot be asked.
pub async fn survey(client: &mut Client, roles: &[&str]) -> Result<Vec<Found>, HardenError> {
    let missing = client.query_opt(MISSING_ROLES, &[&roles]).await;
    if let Some(row) = missing.map_err(database("looking for the roles"))? {
        return Err(HardenError::MissingRole(row.get(0)));
    }
    let transaction = client.transaction().await.map_err(database("beginning a transaction"))?;
    transaction.batch_execute(PREPARE).await.map_err(database("beginning a transaction"))?;
    let mut found = Vec::with_capacity(MEASURES.len());
    for measure in MEASURES {
        let sql = measure.sql();
        let rows = match measure.question {
            Question::Own(_) => transaction.query(&sql, &[&roles]).await,
            Question::Functions(pattern, keepers) | Question::Views(pattern, keepers) => {
                transaction.query(&sql, &[&roles, &pattern, &keepers]).await
            }
            Question::Setting(name, harmless, value) => {
                transaction.query(&sql, &[&roles, &name, &harmless, &value]).await
            }
        };
        found.push(sorted(measure, &rows.map_err(database(measure.protection))?));
    }
    transaction.rollback().await.map_err(database("ending the transaction"))?;
    Ok(found)
}

fn sorted(measure: &'static Measure, rows: &[Row]) -> Found {
    let mut found = Found { measure, tasks: Vec::new(), kept: Vec::new() };
    for row in rows {
        let object = row.get("object");
        match row.get::<_, Option<String>>("kept") {
            Some(reason) => found.kept.push((object, reason)),
            None => found.tasks.push(Task {
                object,
                statement: row.get("statement"),
                may: row.get("may"),
            }),
        }
    }
    found
}

/// Runs everything that this login may run, in one transaction. Whether it took, only another
/// [`survey`] tells.
///
/// # Errors
///
/// The database's refusal; nothing was changed then.
pub async fn apply(client: &mut Client, found: &[Found]) -> Result<(), HardenError> {
    let transaction = client.transaction().await.map_err(database("beginning a transaction"))?;
    transaction.batch_execute(PREPARE).await.map_err(database("beginning a transaction"))?;
    for task in found.iter().flat_map(|found| &found.tasks).filter(|task| task.may) {
        let outcome = transaction.batch_execute(&task.statement).await;
        outcome.map_err(database(&task.object))?;
    }
    transaction.commit().await.map_err(database("the commit"))
}

fn database(doing: &str) -> impl FnOnce(tokio_postgres::Error) -> HardenError {
    let doing = doing.to_owned();
    move |source| HardenError::Database { doing, source }
}
