//! What would be without policies: rows counted policy by policy, rows that were not to be written, and
//! the plan that the policies' cost is measured against.
//!
//! The owner of a table sees all of its rows unless the policies are forced on him. Where they are, this
//! takes `no force row level security` inside a savepoint, which keeps everybody else out of the table for
//! as long as the savepoint lasts: so it comes last, its time is bounded, and it is always said.
//!
//! Policies are evaluated by the caller's role over a temporary view that reads with the owner's rights:
//! what a policy asks of *other* tables it thus asks as the caller, with their policies in force.

use std::time::{Duration, Instant};

use tokio_postgres::types::ToSql;

use super::catalogue::Touched;
use super::plan::RawPlan;
use super::report::{DeniedRow, LockHeld, Part, RowVerdict};
use super::session::{Session, took_too_long};
use super::statement::{Command, Parsed, quoted};
use super::{Options, explained};
use crate::pg::control;

/// How long to wait for a table in use: others wait behind whoever waits.
const LOCK_WAIT: Duration = Duration::from_millis(300);

/// Rows shown of those that a policy did not let pass.
const ROWS_SHOWN: i64 = 10;

/// The view's name, and those of its columns that are not the table's.
const STAND_IN: &str = "rowgate_all_rows";
const ROW: &str = "rowgate_ctid";
const CHILD: &str = "rowgate_tableoid";

/// Why something could not be found out.
pub(super) enum Gap {
    /// The connection is of no use any more.
    Lost(tokio_postgres::Error),
    /// In words.
    Because(String),
}

impl From<tokio_postgres::Error> for Gap {
    fn from(error: tokio_postgres::Error) -> Self {
        if error.as_db_error().is_none() {
            return Self::Lost(error);
        }
        if took_too_long(&error) {
            return Self::Because("it would have taken too long".to_owned());
        }
        Self::Because(control::reason(&error))
    }
}

impl Gap {
    fn told(self) -> Result<String, tokio_postgres::Error> {
        match self {
            Self::Lost(error) => Err(error),
            Self::Because(reason) => Ok(reason),
        }
    }
}

/// What was found out.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) lock: Option<LockHeld>,
    /// The plan without policies, or why there is none.
    pub(super) plan: Option<Result<RawPlan, String>>,
    /// The rows that were denied, or why they are not known.
    pub(super) denied: Option<Result<Vec<DeniedRow>, String>>,
}

/// What is wanted, besides counts.
pub(super) struct Wanted<'a> {
    /// The statement.
    pub(super) parsed: &'a Parsed,
    /// Its parameters.
    pub(super) parameters: &'a [&'a (dyn ToSql + Sync)],
    /// The options of EXPLAIN for the plan without policies, if it is wanted.
    pub(super) plan: Option<&'a str>,
    /// Whether a policy did not let a row pass.
    pub(super) denied: bool,
}

/// Finds out all of it, and undoes everything.
pub(super) async fn look(
    session: &Session,
    all: &mut [Touched],
    wanted: Wanted<'_>,
    options: &Options,
) -> Result<Findings, tokio_postgres::Error> {
    let mut began = None;
    let mut findings = session
        .undone(async || {
            let locked = lock(session, all, options, &mut began).await?;
            let until = began.map(|at| at + options.lock_limit);
            let bypass = Bypass { session, until, limit: options.time_limit };
            bypass.everything(all, &wanted, locked).await
        })
        .await?;
    if let (Some(lock), Some(began)) = (&mut findings.lock, began) {
        lock.milliseconds = (began.elapsed().as_secs_f64() * 10_000.0).round() / 10.0;
    }
    Ok(findings)
}

/// Lifts FORCE where it stands in the way. Tables that cannot be dealt with get the reason instead.
async fn lock(
    session: &Session,
    all: &mut [Touched],
    options: &Options,
    began: &mut Option<Instant>,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut locked: Vec<String> = Vec::new();
    for touched in all.iter_mut().filter(|touched| touched.is_table) {
        let sql = "select pg_catalog.row_security_active($1::oid), \
                   pg_catalog.pg_has_role($2::pg_catalog.name, 'usage')";
        let client = session.client();
        let asked = client.query_one(sql, &[&touched.relid, &touched.owner]).await?;
        let name = touched.table.full_name();
        if !asked.get::<_, bool>(0) || locked.contains(&name) {
            continue;
        }
        if !asked.get::<_, bool>(1) || !touched.forced {
            touched.table.not_counted = Some(format!(
                "it belongs to {}, whose rights this connection lacks",
                touched.owner
            ));
            continue;
        }
        let left =
            began.map_or(options.lock_limit, |at| options.lock_limit.saturating_sub(at.elapsed()));
        let limit = options.lock_limit.as_millis().max(1);
        let limits = format!(
            "set local lock_timeout = {}; set local statement_timeout = {}; \
             set local idle_in_transaction_session_timeout = {limit}; \
             alter table only {} no force row level security",
            LOCK_WAIT.as_millis(),
            left.as_millis().max(1),
            quoted(&touched.table.schema, &touched.table.name),
        );
        // Not undone if it succeeds: that is for the caller.
        client.batch_execute("savepoint rowgate_lock").await?;
        match client.batch_execute(&limits).await {
            Ok(()) => {
                began.get_or_insert_with(Instant::now);
                locked.push(name);
            }
            Err(error) => {
                let reason = match Gap::from(error) {
                    Gap::Because(_) => "the table is in use; try again".to_owned(),
                    lost @ Gap::Lost(_) => lost.told()?,
                };
                touched.table.not_counted = Some(reason);
                client.batch_execute("rollback to savepoint rowgate_lock").await?;
            }
        }
    }
    Ok(locked)
}

struct Bypass<'s> {
    session: &'s Session,
    /// When the locks must be given up.
    until: Option<Instant>,
    limit: Duration,
}

impl Bypass<'_> {
    async fn everything(
        &self,
        all: &mut [Touched],
        wanted: &Wanted<'_>,
        locked: Vec<String>,
    ) -> Result<Findings, tokio_postgres::Error> {
        let mut findings = Findings::default();
        if wanted.denied {
            findings.denied = Some(match self.denied(all, wanted).await {
                Ok(rows) => Ok(rows),
                Err(gap) => Err(gap.told()?),
            });
        }
        for touched in all.iter_mut() {
            let counts = touched.table.groups.iter().any(|group| group.part == Part::Using);
            if counts
                && touched.table.not_counted.is_none()
                && let Err(gap) = self.count(touched).await
            {
                let about = match touched.estimate {
                    rows if rows >= 0.0 => format!("; it has about {rows} rows"),
                    _ => String::new(),
                };
                touched.table.not_counted = Some(format!("{}{about}", gap.told()?));
            }
        }
        if let Some(terms) = wanted.plan {
            let plan = self.limited(async || {
                // Where a policy would still have a say, this is an error.
                self.session.client().batch_execute("set local row_security = off").await?;
                let plan = explained(self.session, wanted.parsed, wanted.parameters, terms).await?;
                plan.ok_or_else(|| Gap::Because("the server's plan cannot be read".to_owned()))
            });
            findings.plan = Some(match plan.await {
                Ok(plan) => Ok(plan),
                Err(gap) => Err(gap.told()?),
            });
        }
        findings.lock =
            (!locked.is_empty()).then_some(LockHeld { tables: locked, milliseconds: 0.0 });
        Ok(findings)
    }

    /// Undoes what is done, and bounds it.
    async fn limited<T>(&self, work: impl AsyncFnOnce() -> Result<T, Gap>) -> Result<T, Gap> {
        let left = match self.until {
            None => self.limit,
            Some(until) => until.saturating_duration_since(Instant::now()).min(self.limit),
        };
        if left.is_zero() {
            let reason = "the tables could not be kept locked for longer (--lock-limit)";
            return Err(Gap::Because(reason.to_owned()));
        }
        let outcome = self.session.undone(async || {
            self.session.limit(left).await?;
            work().await
        });
        outcome.await
    }

    /// All rows of the table in a view that the role may use as it likes.
    async fn stand_in(&self, touched: &Touched) -> Result<(), tokio_postgres::Error> {
        let table = quoted(&touched.table.schema, &touched.table.name);
        let role = quoted("", &touched.table.role);
        let sql = format!(
            "create temporary view {STAND_IN} as \
             select t.*, t.ctid as {ROW}, t.tableoid as {CHILD} from {table} as t; \
             grant select, insert, update on pg_temp.{STAND_IN} to {role}"
        );
        self.session.client().batch_execute(&sql).await?;
        self.session.become_role(&touched.table.role).await
    }

    async fn count(&self, touched: &mut Touched) -> Result<(), Gap> {
        let sql = counting(touched);
        let shared = &*touched;
        let row = self.limited(async || {
            self.stand_in(shared).await?;
            Ok(self.session.client().query_one(&sql, &[]).await?)
        });
        let row = row.await?;
        let mut numbers = (0..row.len()).map(|column| row.get::<_, i64>(column));
        let table = &mut touched.table;
        table.rows = numbers.next();
        table.rows_after = numbers.next();
        for group in table.groups.iter_mut().filter(|group| group.part == Part::Using) {
            group.permitted = numbers.next();
            group.policies.iter_mut().for_each(|policy| policy.rows = numbers.next());
        }
        Ok(())
    }

    /// Writes the rows where no policy objects, and asks each policy about each row.
    async fn denied(&self, all: &[Touched], wanted: &Wanted<'_>) -> Result<Vec<DeniedRow>, Gap> {
        let because = |reason: &str| Gap::Because(reason.to_owned());
        let (target, command) = wanted.parsed.target().ok_or_else(|| {
            because("the rows are looked for where the statement itself is an insert or update")
        })?;
        let is_target = |touched: &&Touched| {
            touched.is_table
                && touched.table.command == command
                && (quoted("", &touched.table.name) == target
                    || quoted(&touched.table.schema, &touched.table.name) == target)
        };
        let touched = all
            .iter()
            .find(is_target)
            .ok_or_else(|| because("the rows are looked for in tables, not behind views"))?;
        if let Some(reason) = &touched.table.not_counted {
            return Err(because(reason));
        }
        let name = quoted("", &touched.table.name);
        let seen = condition(touched, Part::Using);
        let chosen = format!(
            "({{}}.{ROW}, {{}}.{CHILD}) in \
             (select {name}.{ROW}, {name}.{CHILD} from pg_temp.{STAND_IN} as {name} where {seen})"
        );
        let write = wanted
            .parsed
            .rewritten(STAND_IN, &chosen)
            .ok_or_else(|| because("the statement cannot be written anew"))?;
        let sql = asking(touched, &write);
        let rows = self.limited(async || {
            self.stand_in(touched).await?;
            Ok(self.session.client().query(&sql, wanted.parameters).await?)
        });
        let rows = rows.await?;
        Ok(rows.iter().map(|row| denied_row(touched, row)).collect())
    }
}

/// All groups of this half together.
fn condition(touched: &Touched, part: Part) -> String {
    let groups = touched.table.groups.iter().filter(|group| group.part == part);
    let all: Vec<String> = groups.map(|group| format!("({})", group.condition())).collect();
    if all.is_empty() { "true".to_owned() } else { all.join(" and ") }
}

/// One row of numbers: of the table, of all policies together, of each group and each of its policies.
fn counting(touched: &Touched) -> String {
    let mut conditions = vec!["true".to_owned(), condition(touched, Part::Using)];
    for group in touched.table.groups.iter().filter(|group| group.part == Part::Using) {
        conditions.push(group.permission());
        conditions.extend(group.policies.iter().map(|policy| policy.qualified.clone()));
    }
    let counts: Vec<String> = conditions
        .iter()
        .map(|condition| format!("pg_catalog.count(*) filter (where {condition})"))
        .collect();
    let name = quoted("", &touched.table.name);
    format!("select {} from pg_temp.{STAND_IN} as {name}", counts.join(", "))
}

/// The rows that `write` returns and that do not pass, with their columns and each policy's verdict.
fn asking(touched: &Touched, write: &str) -> String {
    let name = quoted("", &touched.table.name);
    let checks = touched.table.groups.iter().filter(|group| group.part == Part::WithCheck);
    let verdicts: Vec<&str> = checks
        .flat_map(|group| group.policies.iter().map(|policy| policy.qualified.as_str()))
        .collect();
    let verdicts = match verdicts.as_slice() {
        [] => "'{}'".to_owned(),
        all => format!("array[{}]", all.join(", ")),
    };
    format!(
        "with {name} as ({write}) \
         select array(select c.key from pg_catalog.json_each_text(pg_catalog.to_json({name}.*)) as c), \
                array(select c.value from pg_catalog.json_each_text(pg_catalog.to_json({name}.*)) as c), \
                {verdicts}::pg_catalog.bool[] \
           from {name} where ({}) is not true limit {ROWS_SHOWN}",
        condition(touched, Part::WithCheck),
    )
}

fn denied_row(touched: &Touched, row: &tokio_postgres::Row) -> DeniedRow {
    let names: Vec<String> = row.get(0);
    let values: Vec<Option<String>> = row.get(1);
    let verdicts: Vec<Option<bool>> = row.get(2);
    let checks = touched.table.groups.iter().filter(|group| group.part == Part::WithCheck);
    let policies =
        checks.flat_map(|group| group.policies.iter().map(move |policy| (group.command, policy)));
    let verdict =
        |((command, policy), passes): ((Command, &super::report::Policy), Option<bool>)| {
            RowVerdict {
                policy: policy.name.clone(),
                command,
                permissive: policy.permissive,
                expression: policy.expression.clone(),
                passes,
            }
        };
    DeniedRow {
        values: names
            .into_iter()
            .zip(values)
            .filter(|(name, _)| name != ROW && name != CHILD)
            .collect(),
        verdicts: policies.zip(verdicts).map(verdict).collect(),
    }
}
