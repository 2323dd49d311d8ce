//! Why a statement gives what it gives to one caller: which policies had a say, what they saw, which rows
//! they let through, and what they cost.
//!
//! Everything happens in one transaction of the owner's that is rolled back. Must never commit, and must
//! never be reached by a request: what it prints are rows.

mod bypass;
mod catalogue;
mod claims;
mod outcome;
mod plan;
mod report;
mod session;
mod statement;
mod terminal;
mod values;

use std::time::Duration;

use tokio_postgres::types::{FromSql, ToSql, Type};

pub use claims::Caller;
pub use plan::{Comparison, Condition, Measure, PlanNode};
pub use report::{
    DeniedRow, Explanation, Group, LockHeld, Outcome, Part, Policy, RowVerdict, Seen, ServerWords,
    Table,
};
pub use statement::Command;
pub use terminal::Terminal;

use crate::pg::control::{ControlError, reason};
use crate::pg::url::ConnectUrl;
use crate::policy::PolicyError;
use catalogue::Touched;
use claims::TextParameter;
use plan::RawPlan;
use session::Session;
use statement::Parsed;

/// How a statement is explained.
#[derive(Clone, Debug)]
pub struct Options {
    /// On whose behalf.
    pub caller: Caller,
    /// The role that the request would run as.
    pub role: String,
    /// Where names without a schema are looked up.
    pub search_path: String,
    /// The statement's parameters, as text.
    pub parameters: Vec<String>,
    /// Whether the plan of a write is measured as well.
    pub analyze: bool,
    /// Whether rows are counted and the plan without policies is made: this may lock tables.
    pub counts: bool,
    /// Limit on each statement.
    pub time_limit: Duration,
    /// Limit on the time that tables are locked.
    pub lock_limit: Duration,
}

/// Why nothing could be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// A call that cannot work.
    #[error("{0}")]
    Misuse(String),
    /// No connection as owner.
    #[error(transparent)]
    Connect(#[from] ControlError),
    /// The seal key could not be read.
    #[error(transparent)]
    SealKey(#[from] PolicyError),
    /// No claims could be signed.
    #[error("the claims cannot be signed: {0}")]
    Key(String),
    /// No such role.
    #[error("there is no role {0} in this database")]
    UnknownRole(String),
    /// The owner has no way to act as the role.
    #[error(
        "the owner may not act as the role {role} ({reason}); have a superuser grant it to the owner"
    )]
    CannotBecome {
        /// The role.
        role: String,
        /// The server's words.
        reason: String,
    },
    /// The server failed on a statement of ours.
    #[error("{doing} failed: {}", reason(.source))]
    Database {
        /// What was being done.
        doing: &'static str,
        /// The driver's error.
        source: tokio_postgres::Error,
    },
}

/// Explains one statement. Nothing is left behind but what transactions do not undo (sequences).
///
/// # Errors
///
/// A statement or claims that cannot be used; no connection as owner, or one with too few rights.
pub async fn explain(
    owner: &ConnectUrl,
    statement: &str,
    options: &Options,
) -> Result<Explanation, ExplainError> {
    let parsed = Parsed::new(statement)?;
    let (wanted, given) = (parsed.parameters, options.parameters.len());
    if wanted != given {
        return Err(ExplainError::Misuse(format!(
            "the statement has {wanted} parameters, and {given} values were given (--param)"
        )));
    }
    let session = session::open(owner, options).await?;
    let explanation = in_session(&session, &parsed, options).await;
    session.close().await;
    explanation
}

async fn in_session(
    session: &Session,
    parsed: &Parsed,
    options: &Options,
) -> Result<Explanation, ExplainError> {
    let values: Vec<TextParameter<'_>> =
        options.parameters.iter().map(|text| TextParameter(text)).collect();
    let parameters: Vec<&(dyn ToSql + Sync)> =
        values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    let mut all = catalogue::read(session, parsed).await?;
    let doing = session::failed("evaluating what the policies ask");
    values::fill_in(session, &mut all).await.map_err(doing)?;

    let terms = if !parsed.writes || options.analyze { MEASURED } else { PLANNED };
    let tried = outcome::try_it(session, parsed, &parameters, terms).await?;
    let denied = tried.error.as_ref().is_some_and(outcome::is_policys);
    // Where a privilege is missing, no policy was asked.
    let findings = if options.counts && (tried.error.is_none() || denied) {
        let wanted = bypass::Wanted {
            parsed,
            parameters: &parameters,
            plan: tried.plan.is_some().then_some(terms),
            denied,
        };
        let doing = session::failed("looking at what would be without policies");
        bypass::look(session, &mut all, wanted, options).await.map_err(doing)?
    } else {
        bypass::Findings::default()
    };
    report(session, parsed, options, all, (tried, findings)).await
}

async fn report(
    session: &Session,
    parsed: &Parsed,
    options: &Options,
    all: Vec<Touched>,
    (tried, findings): (outcome::Tried, bypass::Findings),
) -> Result<Explanation, ExplainError> {
    let outcome = outcome::tell(session, &all, &tried, findings.denied).await?;
    let tables: Vec<Table> = all.into_iter().map(|touched| touched.table).collect();
    let without = findings.plan.as_ref().and_then(|plan| plan.as_ref().ok());
    let plan = tried.plan.as_ref().map(|plan| plan.tree(&tables, without));
    let cost = tried
        .plan
        .as_ref()
        .zip(without)
        .map(|(with, without)| Comparison { with: with.measure(), without: without.measure() });
    let not_compared = findings.plan.and_then(Result::err);
    Ok(Explanation {
        statement: parsed.text.clone(),
        claims: serde_json::from_str(options.caller.claims()).unwrap_or_default(),
        role: session.role.clone(),
        outcome,
        tables,
        plan,
        cost,
        not_compared,
        lock: findings.lock,
    })
}

/// The terms of EXPLAIN: what runs is measured.
const MEASURED: &str = "analyze, buffers, verbose, format json";
const PLANNED: &str = "verbose, format json";

/// What EXPLAIN answers, in whatever transaction and as whatever role the session is now.
async fn explained(
    session: &Session,
    parsed: &Parsed,
    parameters: &[&(dyn ToSql + Sync)],
    terms: &str,
) -> Result<Option<RawPlan>, tokio_postgres::Error> {
    let sql = format!("explain ({terms}) {}", parsed.text);
    let row = session.client().query_one(&sql, parameters).await?;
    Ok(RawPlan::parse(row.try_get::<_, JsonText>(0)?.0))
}

/// A column of type `json`, as the text that it is.
struct JsonText<'a>(&'a str);

impl<'a> FromSql<'a> for JsonText<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(std::str::from_utf8(raw)?))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::JSON
    }
}
