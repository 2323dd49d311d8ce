//! What applying the files would change, told apart by who caused it: the files' editor, or somebody who
//! changed the database by hand. Compares states; never touches a database.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::report::Cause;
use super::state::{Key, Kind, State};

/// Who made a difference between the database and the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The files were edited since they were applied.
    Edited,
    /// The database was changed by hand, and the files do not say so.
    Drift,
    /// Both, and they do not agree.
    Both,
}

/// One line that would be different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedChange {
    /// What it is about.
    pub kind: Kind,
    /// The table, with its schema; for privileges also what it is, as in `table public.todos` or
    /// `routine public.f(integer)`.
    pub object: String,
    /// The policy, or the role that has the privilege.
    pub name: String,
    /// As the files left it when they were applied last; none: it was not there, or nobody knows.
    pub last_applied: Option<String>,
    /// As it is in the database.
    pub now: Option<String>,
    /// As the files would make it.
    pub planned: Option<String>,
    /// Whose difference it is.
    pub origin: Origin,
}

/// What `rowgate policies apply` would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Migrations that have not run yet and are not part of the plan, unless it was made with them.
    pub pending_migrations: Vec<String>,
    /// Why the files would be applied; none: nothing would be done.
    pub cause: Option<Cause>,
    /// Each line that would be different.
    pub changes: Vec<PlannedChange>,
    /// What callers could do afterwards although no policy guards it.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Whether there is anything to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.pending_migrations.is_empty()
    }

    /// What would be taken back because somebody changed it by hand.
    pub fn drift(&self) -> impl Iterator<Item = &PlannedChange> {
        self.changes.iter().filter(|change| change.origin != Origin::Edited)
    }
}

/// Lines that differ between `now` and `planned`. `left` is what the last apply left, if that is known.
pub(super) fn compare(left: Option<&State>, now: &State, planned: &State) -> Vec<PlannedChange> {
    let keys: BTreeSet<&Key> = now.keys().chain(planned.keys()).collect();
    let mut changes: Vec<PlannedChange> = keys
        .into_iter()
        .filter(|key| now.get(key) != planned.get(key))
        .map(|key| change(key, left, now, planned))
        .collect();
    changes.sort_by(|a, b| (a.table(), a.kind, &a.name).cmp(&(b.table(), b.kind, &b.name)));
    changes
}

fn change(key: &Key, left: Option<&State>, now: &State, planned: &State) -> PlannedChange {
    let line = |state: &State| state.get(key).cloned();
    let (now, planned) = (line(now), line(planned));
    let last_applied = left.and_then(line);
    let origin = match left {
        Some(_) if last_applied == planned => Origin::Drift,
        Some(_) if last_applied != now => Origin::Both,
        _ => Origin::Edited,
    };
    let (kind, object, name, _) = key.clone();
    PlannedChange { kind, object, name, last_applied, now, planned, origin }
}

impl PlannedChange {
    /// What it is grouped by: the table that a privilege is about, too.
    fn table(&self) -> &str {
        self.object.strip_prefix("table ").unwrap_or(&self.object)
    }

    fn subject(&self) -> String {
        match self.kind {
            Kind::Policy => format!("policy {}", self.name),
            Kind::RowSecurity => self.name.clone(),
            Kind::Grant => {
                let privilege = self.planned.as_ref().or(self.now.as_ref());
                format!("{} to {}", privilege.map_or("", String::as_str), self.name)
            }
        }
    }
}

/// One line; two more where both definitions matter.
impl fmt::Display for PlannedChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, detail) = match (&self.now, &self.planned) {
            (None, planned) => ('+', planned.as_ref()),
            (now, None) => ('-', now.as_ref()),
            _ => ('~', None),
        };
        write!(f, "{sign} {}", self.subject())?;
        match detail {
            Some(definition) if self.kind != Kind::Grant => write!(f, ": {definition}")?,
            _ => {}
        }
        f.write_str(match self.origin {
            Origin::Edited => "",
            Origin::Drift => "   ! changed by hand, would be taken back",
            Origin::Both => "   ! changed by hand and edited",
        })?;
        if let (Some(now), Some(planned)) = (&self.now, &self.planned) {
            write!(f, "\n      now:  {now}\n      then: {planned}")?;
        }
        if self.origin == Origin::Both {
            let left = self.last_applied.as_deref().unwrap_or("nothing");
            write!(f, "\n      last applied: {left}")?;
        }
        Ok(())
    }
}

/// Grouped by table, with a count of everything at the end.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.pending_migrations.is_empty() {
            writeln!(f, "migrations to run: {}", self.pending_migrations.join(", "))?;
        }
        let mut table = None;
        for change in &self.changes {
            if table != Some(change.table()) {
                table = Some(change.table());
                writeln!(f, "{}", change.table())?;
            }
            writeln!(f, "  {change}")?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))?;
        if self.changes.is_empty() {
            return f.write_str("policies and grants: nothing to change");
        }
        let count = |kind: fn(&PlannedChange) -> bool| {
            self.changes.iter().filter(|change| kind(change)).count()
        };
        write!(
            f,
            "policies and grants: {} to create, {} to change, {} to drop",
            count(|change| change.now.is_none()),
            count(|change| change.now.is_some() && change.planned.is_some()),
            count(|change| change.planned.is_none()),
        )?;
        match self.drift().count() {
            0 => Ok(()),
            drift => write!(f, "; {drift} changed by hand (!)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(lines: &[(Kind, &str, &str, &str)]) -> State {
        let json: Vec<_> = lines
            .iter()
            .map(|(kind, object, name, definition)| {
                let privilege = if *kind == Kind::Grant { definition } else { "" };
                ((kind, object, name, privilege), definition)
            })
            .collect();
        State::from_json(&serde_json::to_string(&json).unwrap()).unwrap()
    }

    fn policy(definition: &str) -> State {
        state(&[(Kind::Policy, "todos", "p", definition)])
    }

    fn origin(left: Option<&State>, now: &State, planned: &State) -> Option<Origin> {
        compare(left, now, planned).first().map(|change| change.origin)
    }

    #[test]
    fn edits_are_told_from_what_was_changed_by_hand() {
        let (a, b, c, none) = (policy("a"), policy("b"), policy("c"), state(&[]));
        assert_eq!(origin(Some(&a), &a, &b), Some(Origin::Edited));
        assert_eq!(origin(Some(&a), &b, &a), Some(Origin::Drift));
        assert_eq!(origin(Some(&a), &b, &c), Some(Origin::Both));
        assert_eq!(origin(Some(&a), &b, &b), None, "the files say what was done by hand");
        assert_eq!(origin(Some(&none), &a, &none), Some(Origin::Drift), "made by hand");
        assert_eq!(origin(Some(&a), &none, &a), Some(Origin::Drift), "dropped by hand");
        assert_eq!(origin(Some(&a), &none, &b), Some(Origin::Both));
        assert_eq!(origin(Some(&none), &none, &a), Some(Origin::Edited));
        assert_eq!(origin(None, &a, &b), Some(Origin::Edited), "nobody knows");
    }

    #[test]
    fn a_plan_reads_table_by_table() {
        let now = state(&[
            (Kind::Policy, "todos", "todos_select", "select using (true)"),
            (Kind::Grant, "table todos", "anonymous", "delete"),
            (Kind::RowSecurity, "notes", "row level security", "enabled"),
        ]);
        let planned = state(&[
            (Kind::Policy, "todos", "todos_select", "select using (mine)"),
            (Kind::Policy, "todos", "todos_insert", "insert with check (mine)"),
            (Kind::RowSecurity, "notes", "row level security", "enabled, forced"),
        ]);
        let left = state(&[
            (Kind::Policy, "todos", "todos_select", "select using (true)"),
            (Kind::RowSecurity, "notes", "row level security", "enabled"),
        ]);
        let changes = compare(Some(&left), &now, &planned);
        let plan = Plan { changes, ..Plan::default() };
        let expected = "\
notes
  ~ row level security
      now:  enabled
      then: enabled, forced
todos
  + policy todos_insert: insert with check (mine)
  ~ policy todos_select
      now:  select using (true)
      then: select using (mine)
  - delete to anonymous   ! changed by hand, would be taken back
policies and grants: 1 to create, 2 to change, 1 to drop; 1 changed by hand (!)";
        assert_eq!(plan.to_string(), expected);
    }
}
