//! The matrix itself: relation × role × command → who gets at which rows, and because of what.

use std::collections::HashMap;

use serde::Serialize;
use tokio_postgres::Row;

use super::expression::{Meaning, meaning};

/// What can be done with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// Reading.
    Select,
    /// Adding.
    Insert,
    /// Changing.
    Update,
    /// Removing.
    Delete,
}

impl Command {
    /// In the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Select, Self::Insert, Self::Update, Self::Delete];

    /// As SQL has it, in small letters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// `polcmd` of `pg_policy`.
    fn letter(self) -> &'static str {
        match self {
            Self::Select => "r",
            Self::Insert => "a",
            Self::Update => "w",
            Self::Delete => "d",
        }
    }
}

/// Whose rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// No privilege, or no policy that lets anything through.
    Nobody,
    /// Rows in which a column holds the caller's id.
    OwnRows,
    /// Rows that fulfil the policies' expressions.
    Condition,
    /// All rows.
    Everybody,
}

impl Access {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::OwnRows => "own rows",
            Self::Condition => "condition",
            Self::Everybody => "everybody",
        }
    }
}

/// A policy that has a say in a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Whether it adds rows (permissive) or takes some away (restrictive).
    pub permissive: bool,
    /// Which rows it lets the command see.
    #[serde(rename = "using", skip_serializing_if = "Option::is_none")]
    pub using: Option<String>,
    /// Which rows it lets the command leave behind.
    #[serde(rename = "with_check", skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
}

/// One role, one command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The role.
    pub role: String,
    /// The command.
    pub command: Command,
    /// Whose rows.
    pub access: Access,
    /// Why, in a few words, where it is not the policies' doing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<&'static str>,
    /// The only columns, if not all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// The policies that were asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Policy>,
}

/// What a relation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RelationKind {
    /// A table, partitioned ones included.
    Table,
    /// A view that reads with the caller's rights.
    InvokerView,
    /// A view that reads with its owner's rights.
    View,
    /// A materialized view: no policy can guard it.
    MaterializedView,
    /// A foreign table: no policy can guard it.
    ForeignTable,
}

/// One row of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Relation {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Whether row-level security is on.
    pub row_security: bool,
    /// Whether it holds for the owner, too.
    pub forced: bool,
    /// For each role each command, in the order of [`Matrix::roles`] and [`Command::ALL`].
    pub cells: Vec<Cell>,
}

/// Something that a role may do and that no policy decides about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WayAround {
    /// The role.
    pub role: String,
    /// What it may do, as in `may empty todos with TRUNCATE, …`.
    pub what: String,
}

/// Who may do what in one database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Matrix {
    /// The database.
    pub database: String,
    /// The roles, in the order in which they were asked for.
    pub roles: Vec<String>,
    /// In the order of their names.
    pub relations: Vec<Relation>,
    /// Ways around it.
    pub ways_around: Vec<WayAround>,
}

/// A policy as it holds for one role.
struct Holding {
    command: String,
    policy: Policy,
}

type Holdings = HashMap<(String, String, String), Vec<Holding>>;

impl Matrix {
    /// From the rows of `sql/show/*.sql`.
    pub(super) fn new(
        database: String,
        roles: Vec<String>,
        relations: &[Row],
        policies: &[Row],
        ways_around: &[Row],
    ) -> Self {
        let mut holdings = Holdings::new();
        for row in policies {
            let policy = Policy {
                name: row.get("policy"),
                permissive: row.get("permissive"),
                using: row.get("using"),
                check: row.get("check"),
            };
            let key = (row.get("schema"), row.get("name"), row.get("role"));
            let holding = Holding { command: row.get("command"), policy };
            holdings.entry(key).or_default().push(holding);
        }
        let mut all: Vec<Relation> = Vec::new();
        for row in relations {
            let (schema, name): (String, String) = (row.get("schema"), row.get("name"));
            if all.last().is_none_or(|last| last.schema != schema || last.name != name) {
                all.push(Relation {
                    kind: kind(row),
                    row_security: row.get("guarded"),
                    forced: row.get("forced"),
                    cells: Vec::new(),
                    schema: schema.clone(),
                    name: name.clone(),
                });
            }
            let key = (schema, name, row.get("role"));
            let held = holdings.get(&key).map_or(&[][..], Vec::as_slice);
            // invariant: one was pushed above.
            let Some(relation) = all.last_mut() else { continue };
            relation
                .cells
                .extend(Command::ALL.map(|command| cell(row, relation.kind, command, held)));
        }
        let ways_around = ways_around
            .iter()
            .map(|row| WayAround { role: row.get("role"), what: row.get("what") })
            .collect();
        Self { database, roles, relations: all, ways_around }
    }
}

fn kind(row: &Row) -> RelationKind {
    match (row.get("kind"), row.get("invoker")) {
        ("v", true) => RelationKind::InvokerView,
        ("v", false) => RelationKind::View,
        ("m", _) => RelationKind::MaterializedView,
        ("f", _) => RelationKind::ForeignTable,
        _ => RelationKind::Table,
    }
}

/// The columns that a role may use where it has no privilege on the whole relation.
fn columns(row: &Row, command: Command) -> Vec<String> {
    let column = match command {
        Command::Select => "readable",
        Command::Insert => "insertable",
        Command::Update => "updatable",
        Command::Delete => return Vec::new(),
    };
    row.get::<_, Option<Vec<String>>>(column).unwrap_or_default()
}

fn cell(row: &Row, kind: RelationKind, command: Command, held: &[Holding]) -> Cell {
    let whole: bool = row.get(format!("may_{}", command.name()).as_str());
    let columns = if whole { Vec::new() } else { columns(row, command) };
    let reaches: bool = row.get("reaches");
    let mut cell = Cell {
        role: row.get("role"),
        command,
        access: Access::Nobody,
        because: None,
        columns,
        policies: Vec::new(),
    };
    if !whole && cell.columns.is_empty() {
        return Cell { because: Some("no privilege"), ..cell };
    }
    if !reaches {
        return Cell { because: Some("no privilege on the schema"), ..cell };
    }
    let unguarded = |because| (Access::Everybody, Some(because));
    let (access, because) = match kind {
        RelationKind::View => unguarded("a view with its owner's rights"),
        RelationKind::InvokerView => (Access::Condition, Some("as the tables that the view reads")),
        RelationKind::MaterializedView => unguarded("a materialized view"),
        RelationKind::ForeignTable => unguarded("a foreign table"),
        RelationKind::Table if row.get("bypasses") => unguarded("the role bypasses policies"),
        RelationKind::Table if !row.get::<_, bool>("guarded") => {
            unguarded("row-level security is off")
        }
        RelationKind::Table if row.get("owns") && !row.get::<_, bool>("forced") => {
            unguarded("the role owns the table")
        }
        RelationKind::Table => {
            let of_command =
                |holding: &&Holding| holding.command == "*" || holding.command == command.letter();
            let asked = held.iter().filter(of_command).map(|holding| holding.policy.clone());
            cell.policies = asked.map(|policy| for_command(policy, command)).collect();
            let access = access(&cell.policies);
            let no_policy = cell.policies.iter().all(|policy| !policy.permissive);
            (access, no_policy.then_some("no policy"))
        }
    };
    Cell { access, because, ..cell }
}

/// Only what counts for the command: `with check` of a policy without one is its `using`
/// (CREATE POLICY, "Policies Applied by Command Type").
fn for_command(policy: Policy, command: Command) -> Policy {
    let check = policy.check.clone().or_else(|| policy.using.clone());
    match command {
        Command::Select | Command::Delete => Policy { check: None, ..policy },
        Command::Insert => Policy { using: None, check, ..policy },
        Command::Update => Policy { check, ..policy },
    }
}

/// Permissive policies add up; each restrictive one takes away.
fn access(policies: &[Policy]) -> Access {
    let meanings = |policy: &Policy| -> Meaning {
        let parts = [&policy.using, &policy.check].into_iter().flatten();
        let all: Vec<Meaning> = parts.map(|text| meaning(text)).collect();
        match all.as_slice() {
            [] => Meaning::Everything,
            _ if all.contains(&Meaning::Nothing) => Meaning::Nothing,
            _ if all.iter().all(|one| *one == all[0]) => all[0],
            // Own rows in one half and everything in the other: rows can be taken, or given away.
            _ => Meaning::Condition,
        }
    };
    let (permissive, restrictive): (Vec<_>, Vec<_>) =
        policies.iter().partition(|policy| policy.permissive);
    let added: Vec<Meaning> = permissive.into_iter().map(meanings).collect();
    let taken: Vec<Meaning> = restrictive.into_iter().map(meanings).collect();
    let some: Vec<Meaning> = added.into_iter().filter(|one| *one != Meaning::Nothing).collect();
    if some.is_empty() || taken.contains(&Meaning::Nothing) {
        return Access::Nobody;
    }
    let least = if some.contains(&Meaning::Everything) {
        Access::Everybody
    } else if some.iter().all(|one| *one == Meaning::Own) {
        Access::OwnRows
    } else {
        Access::Condition
    };
    match (least, taken.iter().all(|one| *one == Meaning::Everything)) {
        (access, true) => access,
        (Access::Everybody, false) if taken.iter().all(|one| *one != Meaning::Condition) => {
            Access::OwnRows
        }
        _ => Access::Condition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(permissive: bool, using: &str) -> Policy {
        Policy { name: "p".into(), permissive, using: Some(using.into()), check: None }
    }

    #[test]
    fn permissive_policies_add_up_and_restrictive_ones_take_away() {
        let own = "(user_id = auth.user_id())";
        for (policies, expected) in [
            (vec![], Access::Nobody),
            (vec![policy(true, "false")], Access::Nobody),
            (vec![policy(true, own)], Access::OwnRows),
            (vec![policy(true, own), policy(true, "false")], Access::OwnRows),
            (vec![policy(true, own), policy(true, "is_public")], Access::Condition),
            (vec![policy(true, own), policy(true, "true")], Access::Everybody),
            (vec![policy(true, "true"), policy(false, own)], Access::OwnRows),
            (vec![policy(true, "true"), policy(false, "is_public")], Access::Condition),
            (vec![policy(true, "true"), policy(false, "false")], Access::Nobody),
            (vec![policy(true, "true"), policy(false, "true")], Access::Everybody),
            (vec![policy(true, own), policy(false, "is_public")], Access::Condition),
            (vec![policy(false, "true")], Access::Nobody),
        ] {
            assert_eq!(access(&policies), expected, "{policies:?}");
        }
    }

    #[test]
    fn an_update_is_as_wide_as_both_of_its_halves() {
        let own = Some("(user_id = auth.user_id())".to_owned());
        let half = |using: Option<String>, check: Option<String>| {
            let policy = Policy { name: "p".into(), permissive: true, using, check };
            access(&[for_command(policy, Command::Update)])
        };
        assert_eq!(half(own.clone(), None), Access::OwnRows, "using stands for with check");
        assert_eq!(half(own.clone(), own.clone()), Access::OwnRows);
        assert_eq!(half(own.clone(), Some("is_public".into())), Access::Condition);
        assert_eq!(half(Some("true".into()), Some("true".into())), Access::Everybody);
        assert_eq!(half(own, Some("true".into())), Access::Condition, "rows can be given away");
    }
}
