//! What comes of a statement when the caller runs it, and why.

use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::types::{ToSql, Type};

use super::catalogue::Touched;
use super::explained;
use super::plan::RawPlan;
use super::report::{DeniedRow, Group, Outcome, Part, ServerWords, Table};
use super::session::{Session, failed};
use super::statement::{Parsed, quoted};
use super::{ExplainError, MEASURED};

/// What happened.
pub(super) struct Tried {
    pub(super) plan: Option<RawPlan>,
    rows: u64,
    pub(super) error: Option<DbError>,
}

/// Runs the statement as the caller, and undoes it.
pub(super) async fn try_it(
    session: &Session,
    parsed: &Parsed,
    parameters: &[&(dyn ToSql + Sync)],
    terms: &str,
) -> Result<Tried, ExplainError> {
    let mut tried = Tried { plan: None, rows: 0, error: None };
    let outcome = session.undone(async || {
        session.become_role(&session.role).await?;
        tried.plan = explained(session, parsed, parameters, terms).await?;
        if terms == MEASURED {
            let rows = tried.plan.as_ref().map(RawPlan::affected);
            tried.rows = rows.unwrap_or_default();
        } else {
            tried.rows = session.client().execute(&parsed.text, parameters).await?;
        }
        Ok::<_, tokio_postgres::Error>(())
    });
    if let Err(error) = outcome.await {
        let Some(refusal) = error.as_db_error() else {
            return Err(failed("trying the statement")(error));
        };
        tried.error = Some(refusal.clone());
    }
    Ok(tried)
}

/// Whether a policy refused a row, rather than a privilege being absent: both have the same SQLSTATE, and
/// the words may be translated.
pub(super) fn is_policys(error: &DbError) -> bool {
    *error.code() == SqlState::INSUFFICIENT_PRIVILEGE
        && error.routine() == Some("ExecWithCheckOptions")
}

/// The outcome in terms of policies and privileges.
pub(super) async fn tell(
    session: &Session,
    all: &[Touched],
    tried: &Tried,
    denied: Option<Result<Vec<DeniedRow>, String>>,
) -> Result<Outcome, ExplainError> {
    let Some(refusal) = &tried.error else {
        let because = if tried.rows == 0 { why_none(all) } else { Vec::new() };
        return Ok(Outcome::Ran { rows: tried.rows, because });
    };
    let error = ServerWords {
        code: refusal.code().code().to_owned(),
        message: refusal.message().to_owned(),
        detail: refusal.detail().map(str::to_owned),
        hint: refusal.hint().map(str::to_owned),
    };
    if is_policys(refusal) {
        let (rows, unknown) = match denied {
            Some(Ok(rows)) if rows.is_empty() => (rows, Some(NOT_ALONE.to_owned())),
            Some(Ok(rows)) => (rows, None),
            Some(Err(reason)) => (Vec::new(), Some(reason)),
            None => (Vec::new(), Some("it was not looked for (--no-counts)".to_owned())),
        };
        let because = closed(all, Part::WithCheck);
        return Ok(Outcome::DeniedByPolicy { error, rows, unknown, because });
    }
    if *refusal.code() == SqlState::INSUFFICIENT_PRIVILEGE {
        let (missing, grants) = privileges(session, all, refusal).await?;
        return Ok(Outcome::DeniedByPrivilege { error, missing, grants });
    }
    Ok(Outcome::Failed { error })
}

const NOT_ALONE: &str = "every row passes when it is written by itself; where ON CONFLICT turns an insert \
                         into an update, the policies for update judge the row that is there";

/// Groups without a permissive policy, in words.
fn closed(all: &[Touched], part: Part) -> Vec<String> {
    let guarded = all.iter().filter(|touched| touched.table.unguarded.is_none());
    let groups = guarded.flat_map(|t| t.table.groups.iter().map(move |group| (&t.table, group)));
    groups
        .filter(|(_, group)| group.part == part && group.is_closed())
        .map(|(table, group)| {
            format!(
                "no permissive policy for {} on {} holds for {}: nobody's rows",
                group.command.name(),
                table.full_name(),
                table.role
            )
        })
        .collect()
}

/// Why there are no rows.
fn why_none(all: &[Touched]) -> Vec<String> {
    let mut reasons = closed(all, Part::Using);
    let tables = || all.iter().map(|touched| &touched.table);
    reasons.extend(tables().filter_map(why_nothing_is_left));
    if !reasons.is_empty() {
        return reasons;
    }
    let left = tables().filter_map(|table| Some((table, table.rows_after?)));
    left.map(|(table, left)| {
        let name = table.full_name();
        format!("the policies let through {left} rows of {name}; the statement's own conditions chose none")
    })
    .collect()
}

/// Why a table has no row for the caller, if it has none although there are permissive policies.
fn why_nothing_is_left(table: &Table) -> Option<String> {
    let groups = || table.groups.iter().filter(|group| group.part == Part::Using);
    let name = table.full_name();
    let (rows, 0) = (table.rows?, table.rows_after?) else { return None };
    if groups().any(Group::is_closed) {
        return None;
    }
    if rows == 0 {
        return Some(format!("{name} is empty"));
    }
    let permitting = groups().filter(|group| group.permitted.is_some_and(|rows| rows > 0));
    let takers: Vec<&str> = permitting
        .flat_map(|group| &group.policies)
        .filter(|policy| !policy.permissive && policy.rows == Some(0))
        .map(|policy| policy.name.as_str())
        .collect();
    Some(if takers.is_empty() {
        format!("the policies let through none of the {rows} rows of {name}")
    } else {
        format!("{name}: the restrictive policy {} removed all rows", takers.join(", "))
    })
}

/// What the role lacks, and what would give it.
async fn privileges(
    session: &Session,
    all: &[Touched],
    refusal: &DbError,
) -> Result<(Vec<String>, Vec<String>), ExplainError> {
    let (mut missing, mut grants) = (Vec::new(), Vec::new());
    for touched in all {
        let table = &touched.table;
        let role = quoted_if_needed(&table.role);
        if touched.missing.schema {
            missing.push(format!("usage on the schema {}", table.schema));
            let schema = quoted_if_needed(&table.schema);
            grants.push(format!("grant usage on schema {schema} to {role}"));
        }
        for privilege in &touched.missing.privileges {
            let columns = &touched.missing.columns;
            let some = if *privilege == table.command.name() && !columns.is_empty() {
                format!(" (only on the columns {})", columns.join(", "))
            } else {
                String::new()
            };
            missing.push(format!("{privilege} on {}{some}", table.full_name()));
            let (schema, name) = (quoted_if_needed(&table.schema), quoted_if_needed(&table.name));
            grants.push(format!("grant {privilege} on {schema}.{name} to {role}"));
        }
    }
    // A function, a sequence, or a schema: only the message names it, between its last words.
    let sql = include_str!("../../sql/explain/denied_objects.sql");
    for word in refusal.message().split_whitespace() {
        let word = word.trim_matches(['"', '\'', '«', '»', '“', '”', '„']);
        let values: [(&(dyn ToSql + Sync), Type); 2] =
            [(&session.role, Type::TEXT), (&word, Type::TEXT)];
        let found = session.client().query_typed(sql, &values).await;
        for row in found.map_err(failed("looking for what the role may not use"))? {
            let grant: String = row.get(0);
            if !grants.contains(&grant) {
                missing.push(grant.replacen("grant ", "", 1));
                grants.push(grant);
            }
        }
    }
    Ok((missing, grants))
}

/// As people write it.
fn quoted_if_needed(name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { quoted("", name) }
}

impl RawPlan {
    /// Rows that a measured statement returned or, without RETURNING, changed.
    fn affected(&self) -> u64 {
        let rows = self.measure().rows.unwrap_or_default().max(self.changed().unwrap_or_default());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        {
            rows as u64
        }
    }
}
