//! The rules, and what one of them says about an object.
//!
//! An id never changes its meaning and is never used again. `docs/lints.md` explains each.

mod code;
mod cost;
mod grants;
mod oracles;
mod policies;
mod tables;

use std::fmt;

use serde::Serialize;

use super::catalogue::{Catalogue, Function, Policy, Relation};
pub(super) use cost::wrap;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Probably not meant.
    Warning,
    /// Rows are open to those who should not have them, or requests fail.
    Error,
}

impl Level {
    /// In one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A rule.
pub struct Rule {
    /// As in `RG-L001`.
    pub id: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What it finds, in a few words.
    pub title: &'static str,
    /// Why that matters.
    pub why: &'static str,
    /// Looks for it; none: the exceptions in the files are looked at elsewhere.
    check: Option<fn(&Catalogue, &mut Found)>,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Object {
    /// A table, view or sequence: schema and name.
    Relation(String, String),
    /// A policy: the table's schema and name, and its own.
    Policy(String, String, String),
    /// A function: schema and name, and how it is shown.
    Function(String, String, String),
    /// A schema.
    Schema(String),
    /// A role.
    Role(String),
    /// Default privileges, in words.
    Defaults(String),
    /// A line of a file.
    Line(String, usize),
}

impl Object {
    /// A relation.
    pub(super) fn of(relation: &Relation) -> Self {
        Self::Relation(relation.schema.clone(), relation.name.clone())
    }

    /// A policy.
    pub(super) fn of_policy(relation: &Relation, policy: &Policy) -> Self {
        Self::Policy(relation.schema.clone(), relation.name.clone(), policy.name.clone())
    }

    /// A function.
    pub(super) fn of_function(function: &Function) -> Self {
        Self::Function(function.schema.clone(), function.name.clone(), function.sql.clone())
    }

    /// What kind of thing it is.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Relation(..) => "relation",
            Self::Policy(..) => "policy",
            Self::Function(..) => "function",
            Self::Schema(_) => "schema",
            Self::Role(_) => "role",
            Self::Defaults(_) => "default privileges",
            Self::Line(..) => "line",
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relation(schema, name) => write!(f, "{schema}.{name}"),
            Self::Policy(schema, table, name) => write!(f, "{schema}.{table}: policy {name}"),
            Self::Function(_, _, shown) => f.write_str(shown),
            Self::Schema(name) => write!(f, "schema {name}"),
            Self::Role(name) => write!(f, "role {name}"),
            Self::Defaults(words) => f.write_str(words),
            Self::Line(file, line) => write!(f, "{file}:{line}"),
        }
    }
}

/// What a rule says about an object.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// The object.
    pub object: Object,
    /// What is wrong with it.
    pub message: String,
    /// SQL that mends it, if there is one answer.
    pub mend: Option<String>,
}

/// Takes what a rule finds.
pub struct Found {
    rule: &'static Rule,
    findings: Vec<Finding>,
}

impl Found {
    fn add(&mut self, object: Object, message: impl Into<String>, mend: Option<String>) {
        let message = message.into();
        self.findings.push(Finding { rule: self.rule, object, message, mend });
    }
}

/// Everything that the rules find, the worst first.
#[must_use]
pub fn check(catalogue: &Catalogue) -> Vec<Finding> {
    let mut all = Vec::new();
    for rule in RULES {
        let mut found = Found { rule, findings: Vec::new() };
        if let Some(check) = rule.check {
            check(catalogue, &mut found);
        }
        all.append(&mut found.findings);
    }
    all
}

/// The rule with this id.
#[must_use]
pub fn by_id(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id.eq_ignore_ascii_case(id))
}

/// A list of names in words.
fn list(names: &[&str]) -> String {
    names.join(", ")
}

const fn rule(
    id: &'static str,
    level: Level,
    title: &'static str,
    why: &'static str,
    check: fn(&Catalogue, &mut Found),
) -> Rule {
    Rule { id, level, title, why, check: Some(check) }
}

use Level::{Error, Info, Warning};

/// All rules, in the order of their ids.
pub static RULES: &[Rule] = &[
    rule(
        "RG-L001",
        Error,
        "row-level security is off on a table that requests may use",
        "Every row is open to whoever holds the privilege; no policy is asked.",
        tables::rls_off,
    ),
    rule(
        "RG-L002",
        Error,
        "policies on a table whose row-level security is off",
        "The policies are kept and do nothing until row-level security is enabled.",
        tables::dormant_policies,
    ),
    rule(
        "RG-L003",
        Warning,
        "row-level security without a policy",
        "Requests may use the table, and no row is ever shown or taken.",
        tables::no_policy,
    ),
    rule(
        "RG-L004",
        Warning,
        "the table's owner is not subject to its policies",
        "Jobs, functions with the owner's rights and views of the owner see and change every row.",
        tables::not_forced,
    ),
    rule(
        "RG-L005",
        Warning,
        "only restrictive policies",
        "Restrictive policies take rows away from what permissive ones give; without one of these there is none.",
        tables::only_restrictive,
    ),
    rule(
        "RG-L006",
        Info,
        "a privilege to write that no policy lets anybody use",
        "Each such statement fails or changes nothing: either the grant or the policy was forgotten.",
        tables::grant_without_policy,
    ),
    rule(
        "RG-L007",
        Error,
        "a partition or child that can be reached around its parent's policies",
        "Policies hold for the table that a statement names, and are not inherited.",
        tables::child_in_the_open,
    ),
    rule(
        "RG-L010",
        Error,
        "a policy that lets every row be written",
        "Its condition is true whatever the row holds, so that everybody writes everybody's rows.",
        policies::open_write,
    ),
    rule(
        "RG-L011",
        Info,
        "a policy that shows every row",
        "Right for public lists, and a leak everywhere else.",
        policies::open_read,
    ),
    rule(
        "RG-L012",
        Warning,
        "a policy without WITH CHECK",
        "For INSERT nothing can be inserted; for UPDATE and ALL, USING silently decides about new rows as well.",
        policies::missing_check,
    ),
    rule(
        "RG-L013",
        Error,
        "WITH CHECK lets through what USING would not",
        "A caller can give rows away, or make rows in somebody else's name.",
        policies::wider_check,
    ),
    rule(
        "RG-L014",
        Error,
        "a policy that a missing token satisfies",
        "The functions of auth return null without a token, and `… is null or …` is then true for every row.",
        policies::true_without_token,
    ),
    rule(
        "RG-L015",
        Warning,
        "a policy for everybody (no TO, or TO PUBLIC)",
        "It holds for anonymous requests, and for every role that is made later.",
        policies::for_public,
    ),
    rule(
        "RG-L016",
        Warning,
        "a policy for a role that no request runs as",
        "Requests run as the API roles; a policy for another one is never asked.",
        policies::unknown_role,
    ),
    rule(
        "RG-L017",
        Warning,
        "a policy that looks at no column",
        "It decides who may see the table, not which rows: whoever passes has all of them.",
        policies::no_column,
    ),
    rule(
        "RG-L018",
        Warning,
        "a policy that compares with current_user or session_user",
        "All requests run as the same few roles, so that it tells no users apart.",
        policies::session_role,
    ),
    rule(
        "RG-L019",
        Error,
        "a policy that believes a setting which its caller can set",
        "Any statement may call set_config(); only auth.session(), auth.jwt(), auth.user_id() and auth.uid() \
         verify the seal of the claims.",
        policies::settable,
    ),
    rule(
        "RG-L020",
        Warning,
        "a policy that asks who is calling once for each row",
        "Written as (select auth.user_id()) it is evaluated once for a statement.",
        cost::once_per_row,
    ),
    rule(
        "RG-L021",
        Warning,
        "a policy that calls a volatile function",
        "It may answer differently for each row, cannot use an index, and may do something.",
        cost::volatile,
    ),
    rule(
        "RG-L022",
        Warning,
        "a column that a policy filters by has no index",
        "Every request reads everybody's rows to find its own.",
        cost::no_index,
    ),
    rule(
        "RG-L023",
        Warning,
        "a policy that wraps the column it filters by",
        "An index on the column itself cannot be used for an expression over it.",
        cost::wrapped_column,
    ),
    rule(
        "RG-L024",
        Info,
        "an index that requests cannot search by",
        "Its operators are not leakproof, so that a caller's condition waits until policies have been asked.",
        cost::not_leakproof,
    ),
    rule(
        "RG-L025",
        Warning,
        "several permissive policies for the same role and command",
        "Each of them is evaluated for each row, and together they allow more than any one says.",
        cost::several,
    ),
    rule(
        "RG-L026",
        Error,
        "policies that read each other's tables in a circle",
        "Each statement fails with 42P17 (infinite recursion detected in policy).",
        policies::circle,
    ),
    rule(
        "RG-L027",
        Error,
        "a policy that believes what users write about themselves",
        "user_metadata, raw_user_meta_data and unsafe_metadata can be edited by the user at the issuer.",
        policies::user_editable,
    ),
    rule(
        "RG-L028",
        Warning,
        "a unique index that tells strangers whether a row exists",
        "It spans the rows of all users: a conflict shows that another one has the value.",
        oracles::unique,
    ),
    rule(
        "RG-L029",
        Warning,
        "a foreign key that tells strangers whether a row exists",
        "It is checked without policies: the error shows whether the row that one may not see is there.",
        oracles::foreign_key,
    ),
    rule(
        "RG-L030",
        Info,
        "a policy filters by a column that may be null",
        "Such a row belongs to nobody, and to everybody as soon as a condition tolerates nulls.",
        policies::nullable,
    ),
    rule(
        "RG-L031",
        Warning,
        "a pattern that the caller provides",
        "With LIKE or a regular expression, a claim with % or .* in it matches other people's rows.",
        policies::pattern,
    ),
    rule(
        "RG-L032",
        Warning,
        "a subquery that has to do with neither the caller nor the row",
        "It is true for everybody as soon as it is true for anybody.",
        policies::unbound_query,
    ),
    rule(
        "RG-L033",
        Info,
        "a policy that is there twice",
        "It costs time for each row, and whoever edits one of them thinks that it is all.",
        policies::duplicate,
    ),
    rule(
        "RG-L034",
        Info,
        "a policy for a command that its roles have no privilege for",
        "Without the grant it is never asked.",
        policies::without_grant,
    ),
    rule(
        "RG-L040",
        Warning,
        "a privilege for everybody (PUBLIC) on a relation",
        "It holds for anonymous requests, and for every role that is made later.",
        grants::to_public,
    ),
    rule(
        "RG-L041",
        Warning,
        "anonymous requests may write",
        "Anybody on the network can fill the table; say with an exception that it is meant.",
        grants::anonymous_writes,
    ),
    rule(
        "RG-L042",
        Error,
        "TRUNCATE, REFERENCES, TRIGGER or MAINTAIN for a role that requests run as",
        "No policy is asked for them: TRUNCATE empties the table, REFERENCES shows which keys exist, TRIGGER runs \
         code in other people's statements.",
        grants::beyond_policies,
    ),
    rule(
        "RG-L043",
        Warning,
        "a sensitive-looking column that anonymous requests may read",
        "Grant the columns that are meant for everybody by name.",
        grants::sensitive_column,
    ),
    rule(
        "RG-L044",
        Warning,
        "a sequence that requests may read or set",
        "It shows how many rows there are, and setval() makes other people's inserts fail; a serial column needs \
         USAGE only, an identity column nothing.",
        grants::sequence,
    ),
    rule(
        "RG-L045",
        Warning,
        "default privileges that give away what will be made later",
        "A table that somebody forgets to protect is open from its first moment.",
        grants::defaults,
    ),
    rule(
        "RG-L046",
        Error,
        "requests may create objects in a schema",
        "What they create is found in place of what other statements mean.",
        grants::create_in_schema,
    ),
    rule(
        "RG-L050",
        Error,
        "a role that requests run as can escape the policies",
        "It is, or may become, a superuser, a role with BYPASSRLS, or the owner of tables.",
        grants::escaping_role,
    ),
    rule(
        "RG-L051",
        Info,
        "a login that no policy binds",
        "Whoever holds its password sees every row; keep it out of the gateway's reach.",
        grants::bypassing_login,
    ),
    rule(
        "RG-L060",
        Error,
        "a view that reads with its owner's rights",
        "The policies of its owner hold, not those of whoever asks.",
        code::owner_view,
    ),
    rule(
        "RG-L061",
        Error,
        "a materialized view that requests may read",
        "It is a copy, made with its owner's eyes; policies do not reach it.",
        code::materialized,
    ),
    rule(
        "RG-L062",
        Error,
        "a foreign table that requests may use",
        "It cannot have policies.",
        code::foreign_table,
    ),
    rule(
        "RG-L063",
        Warning,
        "a SECURITY DEFINER function that requests may call",
        "It sees and does what its owner may, whoever calls it.",
        code::definer,
    ),
    rule(
        "RG-L064",
        Warning,
        "a SECURITY DEFINER function without a search_path of its own",
        "Its caller's search_path decides which objects its body means.",
        code::unpinned,
    ),
    rule(
        "RG-L065",
        Error,
        "an IMMUTABLE function that asks who is calling",
        "Its answer is kept in a plan, and then given to the next user.",
        code::immutable_identity,
    ),
    rule(
        "RG-L066",
        Warning,
        "a function of the application that is LEAKPROOF",
        "It is called before policies are, with rows that the caller may not see.",
        code::leakproof,
    ),
    Rule {
        id: "RG-L900",
        level: Warning,
        title: "an exception that excuses nothing",
        why: "The mistake is gone, or the exception stands at the wrong statement; it would excuse the next one.",
        check: None,
    },
    Rule {
        id: "RG-L901",
        level: Error,
        title: "an exception that cannot be understood",
        why: "It needs the id of a rule, a reason, and a statement after it.",
        check: None,
    },
];
