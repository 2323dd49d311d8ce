//! Which relations a statement touches, as whom, and which policies have a say there.

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::ExplainError;
use super::report::{Group, Part, Policy, Table};
use super::session::{Session, failed};
use super::statement::{Command, Parsed};

/// A relation with what the report does not need.
pub(super) struct Touched {
    pub(super) table: Table,
    pub(super) relid: u32,
    pub(super) is_table: bool,
    pub(super) forced: bool,
    pub(super) owner: String,
    /// The planner's idea of its size; negative if there is none.
    pub(super) estimate: f64,
    pub(super) missing: Missing,
}

/// Privileges that the role does not have.
#[derive(Default)]
pub(super) struct Missing {
    pub(super) schema: bool,
    pub(super) privileges: Vec<&'static str>,
    /// Columns on which it has the command's privilege nevertheless.
    pub(super) columns: Vec<String>,
}

/// Everything that the statement touches, as its role sees it.
pub(super) async fn read(session: &Session, parsed: &Parsed) -> Result<Vec<Touched>, ExplainError> {
    session
        .undone(async || {
            session.become_role(&session.role).await?;
            let rows = tables(session, parsed).await?;
            let mut all = Vec::new();
            for row in &rows {
                all.push(touched(session, row).await?);
            }
            Ok::<_, tokio_postgres::Error>(all)
        })
        .await
        .map_err(failed("reading the catalogue"))
}

async fn tables(session: &Session, parsed: &Parsed) -> Result<Vec<Row>, tokio_postgres::Error> {
    let names: Vec<&str> = parsed.named.iter().map(|named| named.name.as_str()).collect();
    let commands: Vec<&str> = parsed.named.iter().map(|named| named.command.name()).collect();
    let reads: Vec<bool> = parsed.named.iter().map(|named| named.also_reads).collect();
    let locks: Vec<bool> = parsed.named.iter().map(|named| named.locks).collect();
    let values: [(&(dyn ToSql + Sync), Type); 5] = [
        (&names, Type::TEXT_ARRAY),
        (&commands, Type::TEXT_ARRAY),
        (&reads, Type::BOOL_ARRAY),
        (&locks, Type::BOOL_ARRAY),
        (&session.role, Type::TEXT),
    ];
    session.client().query_typed(include_str!("../../sql/explain/tables.sql"), &values).await
}

async fn touched(session: &Session, row: &Row) -> Result<Touched, tokio_postgres::Error> {
    let command = Command::of_name(row.get("command"));
    let kind: String = row.get("kind");
    let is_table = kind == "r" || kind == "p";
    let relid: u32 = row.get("relid");
    let role: String = row.get("as_role");
    let unguarded = unguarded(row, &kind);
    let groups = if is_table && unguarded.is_none() {
        let asked = asked(command, row.get("also_reads"), row.get("locks"));
        groups(session, relid, &role, &asked).await?
    } else {
        Vec::new()
    };
    let table = Table {
        schema: row.get("schema"),
        name: row.get("name"),
        command,
        role,
        via: row.get("via"),
        unguarded,
        groups,
        values: Vec::new(),
        rows: None,
        rows_after: None,
        not_counted: None,
    };
    Ok(Touched {
        table,
        relid,
        is_table,
        forced: row.get("forced"),
        owner: row.get("owner"),
        estimate: row.get("estimate"),
        missing: missing(row, command),
    })
}

fn unguarded(row: &Row, kind: &str) -> Option<&'static str> {
    match kind {
        "v" => Some("a view: the tables below decide"),
        "m" => Some("a materialized view: no policy can guard it"),
        "f" => Some("a foreign table: no policy can guard it"),
        _ if row.get("bypasses") => Some("the role bypasses policies"),
        _ if !row.get::<_, bool>("guarded") => Some("row-level security is off: every row"),
        _ if row.get("owns") && !row.get::<_, bool>("forced") => {
            Some("the role owns the table, and its policies are not forced on the owner")
        }
        _ => None,
    }
}

fn missing(row: &Row, command: Command) -> Missing {
    let mut missing = Missing { schema: !row.get::<_, bool>("reaches"), ..Missing::default() };
    if !row.get::<_, bool>("may") {
        missing.privileges.push(command.name());
    }
    if !row.get::<_, bool>("may_read") && !missing.privileges.contains(&"select") {
        missing.privileges.push("select");
    }
    if !row.get::<_, bool>("may_lock") {
        missing.privileges.push("update");
    }
    missing.columns = row.get("columns");
    missing
}

/// Which halves of which policies the server asks (`get_row_security_policies`, rowsecurity.c).
fn asked(command: Command, also_reads: bool, locks: bool) -> Vec<(Command, Part)> {
    let mut asked = Vec::new();
    if command != Command::Insert {
        asked.push((command, Part::Using));
    }
    if locks {
        asked.push((Command::Update, Part::Using));
    }
    if also_reads && matches!(command, Command::Update | Command::Delete) {
        asked.push((Command::Select, Part::Using));
    }
    if matches!(command, Command::Insert | Command::Update) {
        asked.push((command, Part::WithCheck));
        if also_reads {
            asked.push((Command::Select, Part::WithCheck));
        }
    }
    asked
}

/// The names in expressions are printed in full where the search path finds nothing.
const IN_FULL: &str = "set local search_path = ''";

async fn groups(
    session: &Session,
    relid: u32,
    role: &str,
    asked: &[(Command, Part)],
) -> Result<Vec<Group>, tokio_postgres::Error> {
    let sql = include_str!("../../sql/explain/policies.sql");
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&relid, Type::OID), (&role, Type::TEXT)];
    let shown = session.client().query_typed(sql, &values).await?;
    let qualified = session.undone(async || {
        session.client().batch_execute(IN_FULL).await?;
        session.client().query_typed(sql, &values).await
    });
    let qualified: Vec<Row> = qualified.await?;
    let group = |(command, part): &(Command, Part)| {
        let policies = shown.iter().zip(&qualified).filter_map(|(shown, qualified)| {
            Some(Policy {
                name: shown.get("policy"),
                permissive: shown.get("permissive"),
                expression: expression(shown, *command, *part)?,
                qualified: expression(qualified, *command, *part)?,
                rows: None,
            })
        });
        Group { command: *command, part: *part, policies: policies.collect(), permitted: None }
    };
    Ok(asked.iter().map(group).collect())
}

/// What a policy demands in this half, if it is for this command. Where `with check` is missing `using`
/// stands for it; rows that are written must be readable by `using` (`QUAL_FOR_WCO`, rowsecurity.c).
fn expression(row: &Row, command: Command, part: Part) -> Option<String> {
    let letter = match command {
        Command::Select => "r",
        Command::Insert => "a",
        Command::Update => "w",
        Command::Delete => "d",
    };
    let of: &str = row.get("command");
    if of != "*" && of != letter {
        return None;
    }
    let using: Option<String> = row.get("using");
    match part {
        Part::WithCheck if command != Command::Select => {
            row.get::<_, Option<String>>("check").or(using)
        }
        _ => using,
    }
}
