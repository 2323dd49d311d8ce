//! Who may do what: the matrix of table, command and role, read from the catalogue of a database.
//!
//! Only reads, and decides nothing: what it says of a policy is a summary of its expression, which is always
//! shown beside it.

mod expression;
mod html;
mod markdown;
mod matrix;
mod terminal;

use tokio_postgres::{Client, IsolationLevel};

pub use html::page as html;
pub use markdown::document as markdown;
pub use matrix::{Access, Cell, Command, Matrix, Policy, Relation, RelationKind, WayAround};
pub use terminal::Terminal;

/// Whether an expression lets exactly those rows through whose column holds the caller's id: none for a caller without
/// one. False wherever that is not certain.
pub(crate) fn is_own_rows(expression: &str) -> bool {
    expression::meaning(expression) == expression::Meaning::Own
}

/// Names inside expressions are printed with their schemas where these are not obvious.
const SETTINGS: &str = "set local search_path to public, pg_catalog";

/// Why the matrix could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the catalogue cannot be read: {}", crate::pg::control::reason(.0))]
pub struct ShowError(#[from] tokio_postgres::Error);

/// Reads the matrix for these roles, in one read-only transaction that takes no lock which anybody
/// could wait for. Roles that do not exist have no columns.
///
/// # Errors
///
/// The database refused or went away.
pub async fn read(
    client: &mut Client,
    roles: &[String],
    schemas: Option<&[String]>,
) -> Result<Matrix, ShowError> {
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    transaction.batch_execute(SETTINGS).await?;
    let database = transaction.query_one("select pg_catalog.current_database()::text", &[]).await?;
    let known =
        "select name from pg_catalog.unnest($1::text[]) with ordinality as r (name, position)
                  where pg_catalog.to_regrole(pg_catalog.quote_ident(name)) is not null
                  order by position";
    let known = transaction.query(known, &[&roles]).await?;
    let relations = include_str!("../sql/show/relations.sql");
    let relations = transaction.query(relations, &[&roles, &schemas]).await?;
    let policies = include_str!("../sql/show/policies.sql");
    let policies = transaction.query(policies, &[&roles, &schemas]).await?;
    let ways_around = include_str!("../sql/show/ways_around.sql");
    let ways_around = transaction.query(ways_around, &[&roles, &schemas]).await?;
    let roles = known.iter().map(|row| row.get(0)).collect();
    Ok(Matrix::new(database.get(0), roles, &relations, &policies, &ways_around))
}
