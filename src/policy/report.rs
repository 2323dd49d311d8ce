//! What an apply has done, in a form that people read.

use std::fmt;

use serde::Serialize;

use super::state::{Change, GrantChanges};

/// Why grants and policies were applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// For the first time in this database.
    First,
    /// Files were edited, added or removed.
    Edited,
    /// Migrations ran before, and may have made new tables.
    Migrated,
    /// The files are as they were, but somebody had changed policies or grants in the database.
    Drift,
    /// An earlier version was wanted back.
    RolledBack,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Versioned migrations that ran, as in `V1__todos`; those of Rowgate's own schema as in
    /// `auth/V1__roles`.
    pub migrations: Vec<String>,
    /// Why grants and policies were applied; none: they were left as they are.
    pub applied: Option<Cause>,
    /// Policies and flags that are not as they were before.
    pub changes: Vec<Change>,
    /// Privileges of the API roles that are not as they were before.
    pub grants: GrantChanges,
    /// What callers may do although no policy guards it.
    pub warnings: Vec<String>,
}

impl Report {
    /// Whether the database is exactly as it was.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.migrations.is_empty()
            && self.changes.is_empty()
            && self.grants == GrantChanges::default()
    }

    /// What changed, on one line.
    #[must_use]
    pub fn summary(&self) -> String {
        if self.is_unchanged() {
            return "nothing changed".to_owned();
        }
        let mut parts = Vec::new();
        if !self.migrations.is_empty() {
            parts.push(format!("migrated {}", self.migrations.join(", ")));
        }
        if self.applied == Some(Cause::Drift) {
            parts.push("repaired what was changed in the database by hand".to_owned());
        }
        parts.extend(self.changes.iter().map(|change| {
            let verb = match (&change.old, &change.new) {
                (None, _) => "created",
                (_, None) => "dropped",
                _ => "changed",
            };
            format!("{verb} {} on {}", change.name, change.table)
        }));
        if self.grants != GrantChanges::default() {
            parts.push(self.grants.to_string());
        }
        parts.join("; ")
    }
}

impl fmt::Display for GrantChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "privileges: {} granted, {} revoked", self.added, self.removed)
    }
}

/// One line, or two when both definitions matter.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, name, .. } = self;
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => {
                write!(f, "~ {table}: {name}: {new}\n    before: {old}")
            }
            (Some(old), None) => write!(f, "- {table}: {name}: {old}"),
            (None, new) => write!(f, "+ {table}: {name}: {}", new.as_deref().unwrap_or_default()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.migrations.is_empty() {
            writeln!(f, "migrations: {}", self.migrations.join(", "))?;
        }
        f.write_str(match self.applied {
            None => "policies and grants: unchanged",
            Some(Cause::First) => "policies and grants: applied",
            Some(Cause::Edited) => "policies and grants: applied, the files have changed",
            Some(Cause::Migrated) => "policies and grants: applied again after the migrations",
            Some(Cause::Drift) => {
                "policies and grants: applied again, they had been changed in the database by hand"
            }
            Some(Cause::RolledBack) => "policies and grants: an earlier version applied again",
        })?;
        self.changes.iter().try_for_each(|change| write!(f, "\n  {change}"))?;
        if self.grants != GrantChanges::default() {
            write!(f, "\n  {}", self.grants)?;
        }
        self.warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}
