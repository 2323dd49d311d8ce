//! What there is to say about a statement. Holds rows of the tables: for the owner's eyes.

use serde::Serialize;
use serde_json::Value;

use super::plan::{Comparison, PlanNode};
use super::statement::Command;

/// Why a statement gives what it gives to one caller.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// The statement.
    pub statement: String,
    /// Whose claims.
    pub claims: Value,
    /// The role that it ran as.
    pub role: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Each relation and what is done with it.
    pub tables: Vec<Table>,
    /// How the server goes about it, if it got that far.
    pub plan: Option<PlanNode>,
    /// The same statement with and without policies.
    pub cost: Option<Comparison>,
    /// Why there is no `cost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<String>,
    /// What other callers had to wait for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockHeld>,
}

/// A lock that kept everybody else out of these tables.
#[derive(Debug, Serialize)]
pub struct LockHeld {
    /// The tables.
    pub tables: Vec<String>,
    /// For how long, in milliseconds.
    pub milliseconds: f64,
}

/// What came of a statement.
#[derive(Debug, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// It ran.
    Ran {
        /// Rows returned, or changed.
        rows: u64,
        /// Why none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        because: Vec<String>,
    },
    /// A policy did not let a row pass.
    DeniedByPolicy {
        /// The server's words.
        error: ServerWords,
        /// The rows, as they would have been written; the first few.
        rows: Vec<DeniedRow>,
        /// Why the rows are not known.
        #[serde(skip_serializing_if = "Option::is_none")]
        unknown: Option<String>,
        /// Groups of policies that let nothing pass at all, in words.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        because: Vec<String>,
    },
    /// A privilege is missing.
    DeniedByPrivilege {
        /// The server's words.
        error: ServerWords,
        /// What is missing, in words.
        missing: Vec<String>,
        /// Statements that would give it.
        grants: Vec<String>,
    },
    /// The server refused it for another reason.
    Failed {
        /// The server's words.
        error: ServerWords,
    },
}

impl Outcome {
    /// Whether a request with this statement would succeed.
    #[must_use]
    pub fn would_run(&self) -> bool {
        matches!(self, Self::Ran { .. })
    }
}

/// An error of the server.
#[derive(Clone, Debug, Serialize)]
pub struct ServerWords {
    /// SQLSTATE.
    pub code: String,
    /// Its message.
    pub message: String,
    /// Its detail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Its hint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A row that was not to be written.
#[derive(Debug, Serialize)]
pub struct DeniedRow {
    /// Its columns, in their order.
    pub values: Vec<(String, Option<String>)>,
    /// What each policy says of it.
    pub verdicts: Vec<RowVerdict>,
}

/// One policy about one row.
#[derive(Debug, Serialize)]
pub struct RowVerdict {
    /// The policy.
    pub policy: String,
    /// The command that it is for here.
    pub command: Command,
    /// Whether it adds rows.
    pub permissive: bool,
    /// What it demands.
    pub expression: String,
    /// What that amounts to: null counts as false.
    pub passes: Option<bool>,
}

/// A relation and a command.
#[derive(Debug, Serialize)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What is done with it.
    pub command: Command,
    /// As whom.
    pub role: String,
    /// The view through which it is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Why no policy has a say, if none has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unguarded: Option<&'static str>,
    /// The policies.
    pub groups: Vec<Group>,
    /// Calls in the policies that depend on the caller, and their values.
    pub values: Vec<Seen>,
    /// All rows of the table.
    pub rows: Option<i64>,
    /// Those that the policies let through.
    pub rows_after: Option<i64>,
    /// Why rows were not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_counted: Option<String>,
}

impl Table {
    /// As in `public.todos`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The policies that choose rows.
    pub(super) fn choosing(&self) -> impl Iterator<Item = &Policy> {
        let groups = self.groups.iter().filter(|group| group.part == Part::Using);
        groups.flat_map(|group| &group.policies)
    }
}

/// Which half of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Chooses the rows that a command sees.
    Using,
    /// Judges the rows that it writes.
    WithCheck,
}

/// Policies that are asked together: one of the permissive ones and all of the restrictive ones must agree.
#[derive(Debug, Serialize)]
pub struct Group {
    /// The command that they are for. Reading is part of most changes.
    pub command: Command,
    /// Which half of them.
    pub part: Part,
    /// The policies.
    pub policies: Vec<Policy>,
    /// Rows that at least one permissive policy lets through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permitted: Option<i64>,
}

impl Group {
    /// Whether nothing gets through, whatever the row.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !self.policies.iter().any(|policy| policy.permissive)
    }

    /// The group as one expression.
    pub(super) fn condition(&self) -> String {
        let of = |permissive: bool| {
            self.policies
                .iter()
                .filter(move |policy| policy.permissive == permissive)
                .map(|policy| format!("({})", policy.qualified))
        };
        let permitted: Vec<String> = of(true).collect();
        if permitted.is_empty() {
            return "false".to_owned();
        }
        let parts: Vec<String> =
            std::iter::once(format!("({})", permitted.join(" or "))).chain(of(false)).collect();
        parts.join(" and ")
    }

    /// The permissive policies as one expression.
    pub(super) fn permission(&self) -> String {
        let permissive = self.policies.iter().filter(|policy| policy.permissive);
        let all: Vec<String> = permissive.map(|p| format!("({})", p.qualified)).collect();
        if all.is_empty() { "false".to_owned() } else { all.join(" or ") }
    }
}

/// A policy.
#[derive(Debug, Serialize)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Whether it adds rows.
    pub permissive: bool,
    /// What it demands.
    pub expression: String,
    /// The same with every name in full, for evaluation anywhere.
    #[serde(skip)]
    pub(super) qualified: String,
    /// How many of the table's rows it lets through by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<i64>,
}

/// A part of a policy that depends on who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// As in `auth.user_id()`.
    pub expression: String,
    /// Its value.
    pub value: Option<String>,
    /// Why it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
