//! Mentions + knowledge → verdict: which statements run, and what becomes of the connection afterwards.
//!
//! Must never look at the text itself: names come from the tree, where every spelling is one.

use std::collections::HashSet;

use pg_query::NodeEnum;
use pg_query::protobuf::{DefElem, ExplainStmt, ParseResult};

use super::knowledge::{Knowledge, is_lookup_type, is_system_schema, reaches_far};
use super::residue::Residue;
use super::tree::{self, Mentions, Name};
use super::{Admission, Refusal, Verdict};
use crate::config::{LimitsConfig, StatementKinds};

/// Kinds of statements that the configuration may admit besides those that read and change rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtraKind {
    /// Runs a procedure.
    Call,
    /// Runs code in a procedural language.
    Do,
    /// EXPLAIN with every option, ANALYZE and estimates among them.
    Explain,
    /// LISTEN and UNLISTEN: worth little here, since nobody is told.
    Listen,
    /// Locks tables.
    Lock,
    /// Sends a notification.
    Notify,
    /// Fills a materialized view anew.
    Refresh,
    /// SET and RESET.
    Set,
    /// Shows a setting.
    Show,
    /// Empties tables.
    Truncate,
}

/// The names of [`ExtraKind`]s in the configuration.
const EXTRA_KINDS: [(&str, ExtraKind); 10] = [
    ("call", ExtraKind::Call),
    ("do", ExtraKind::Do),
    ("explain", ExtraKind::Explain),
    ("listen", ExtraKind::Listen),
    ("lock", ExtraKind::Lock),
    ("notify", ExtraKind::Notify),
    ("refresh", ExtraKind::Refresh),
    ("set", ExtraKind::Set),
    ("show", ExtraKind::Show),
    ("truncate", ExtraKind::Truncate),
];

impl ExtraKind {
    /// The kind that the configuration calls by this name.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        EXTRA_KINDS.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind)
    }
}

/// Settings that drivers and tools ask for, and that tell a caller nothing but how his own session is set
/// up. No setting that an application, an extension or this gateway made is among them.
const OPEN_SETTINGS: &str = "
    application_name block_size bytea_output client_encoding datestyle default_transaction_deferrable
    default_transaction_isolation default_transaction_read_only extra_float_digits
    idle_in_transaction_session_timeout in_hot_standby integer_datetimes intervalstyle is_superuser
    lc_collate lc_ctype lc_messages lc_monetary lc_numeric lc_time lock_timeout max_identifier_length
    max_index_keys role row_security search_path server_encoding server_version server_version_num
    session_authorization standard_conforming_strings statement_timeout timezone transaction_deferrable
    transaction_isolation transaction_read_only transaction_timeout xmlbinary xmloption";

fn is_open_setting(name: &str) -> bool {
    OPEN_SETTINGS.split_ascii_whitespace().any(|open| open.eq_ignore_ascii_case(name))
}

/// What the configuration says of statements.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whether only statements that read and change rows run.
    pub kinds: StatementKinds,
    /// Kinds that run besides.
    pub extra: HashSet<ExtraKind>,
    /// Functions that callers may use although they are the system's; lower-case, without a schema.
    pub functions: HashSet<String>,
    /// Relations, likewise.
    pub relations: HashSet<String>,
    /// The longest statement, in bytes.
    pub statement_bytes: usize,
}

impl Rules {
    /// As configured.
    #[must_use]
    pub fn new(limits: &LimitsConfig) -> Self {
        Self {
            kinds: limits.statements,
            extra: limits.allow_statements.iter().copied().collect(),
            functions: limits.allow_functions.iter().cloned().collect(),
            relations: limits.allow_relations.iter().cloned().collect(),
            statement_bytes: limits.statement_bytes,
        }
    }

    /// Judges a statement that was parsed.
    pub fn judge(&self, tree: &ParseResult, knowledge: &Knowledge) -> Verdict {
        let Some(node) = tree::statement(tree) else {
            return Ok(Admission::Plain);
        };
        if tree.stmts.len() > 1 {
            // The extended protocol takes one statement at a time; let the server say so.
            return Ok(self.unread());
        }
        match node {
            NodeEnum::TransactionStmt(_) => return Err(Refusal::TransactionControl),
            NodeEnum::CopyStmt(_) => return Err(Refusal::Copy),
            _ => {}
        }
        let mentions = tree::mentions(tree);
        match self.refusal(node, &mentions, knowledge) {
            Some(Beyond::Refused(_)) if self.kinds == StatementKinds::All => Ok(Admission::Suspect),
            Some(Beyond::Refused(refusal)) => Err(refusal),
            Some(Beyond::Allowed) => Ok(Admission::Suspect),
            None => Ok(admission(&mentions, knowledge)),
        }
    }

    /// What becomes of a statement that cannot be read here.
    #[must_use]
    pub fn unread(&self) -> Admission {
        match self.kinds {
            StatementKinds::Data => Admission::Unread,
            StatementKinds::All => Admission::Suspect,
        }
    }

    /// The first thing in a statement that goes beyond reading and changing rows.
    fn refusal(
        &self,
        node: &NodeEnum,
        mentions: &Mentions,
        knowledge: &Knowledge,
    ) -> Option<Beyond> {
        let mut allowed = None;
        let found = [
            self.kind(node, mentions),
            self.functions(mentions, knowledge),
            self.relations(mentions, knowledge),
            types(mentions),
        ];
        for beyond in found.into_iter().flatten() {
            match beyond {
                Beyond::Refused(_) => return Some(beyond),
                Beyond::Allowed => allowed = Some(beyond),
            }
        }
        allowed
    }

    fn kind(&self, node: &NodeEnum, mentions: &Mentions) -> Option<Beyond> {
        if let NodeEnum::ExplainStmt(explain) = node {
            if mentions.foreign_node.is_none() && !shows_more_than_the_plan(explain) {
                return None;
            }
            let allowed =
                mentions.foreign_node.is_none() && self.extra.contains(&ExtraKind::Explain);
            return Some(Beyond::unless(allowed, || Refusal::Explain));
        }
        let foreign = mentions.foreign_node?;
        if let NodeEnum::VariableShowStmt(show) = node
            && is_open_setting(&show.name)
        {
            return None;
        }
        let allowed = extra_kind(node).is_some_and(|kind| self.extra.contains(&kind));
        Some(Beyond::unless(allowed, || match foreign {
            "IntoClause" => Refusal::SelectInto,
            _ => Refusal::Kind,
        }))
    }

    fn functions(&self, mentions: &Mentions, knowledge: &Knowledge) -> Option<Beyond> {
        let called = mentions.functions.iter().filter_map(|function| match &function.schema {
            _ if opens_sessions(function) => Some(&function.name),
            Some(schema) if !is_system_schema(schema) && !reaches_far(&function.name) => None,
            Some(schema) if schema.starts_with("pg_") && &**schema != "pg_catalog" => {
                Some(&function.name)
            }
            _ => Some(&function.name).filter(|name| knowledge.is_system_function(name)),
        });
        let noted = mentions.fields.iter().filter(|name| knowledge.may_call_system_function(name));
        let reads_closed = mentions.settings.iter().any(|setting| !is_open_setting(setting));
        let current_setting = Box::from("current_setting");
        let read = reads_closed.then_some(&current_setting);
        beyond(called.chain(noted).chain(read), &self.functions, |name| {
            Refusal::Function(name.into())
        })
    }

    fn relations(&self, mentions: &Mentions, knowledge: &Knowledge) -> Option<Beyond> {
        let system = mentions.relations.iter().filter(|relation| {
            relation.schema.as_deref().is_some_and(is_system_schema)
                || knowledge.is_system_relation(&relation.name)
        });
        beyond(system.map(|r| &r.name), &self.relations, |name| Refusal::Relation(name.into()))
    }
}

/// What the extension `pg_session_jwt` has for gateways. A caller has no JWT that it would believe, so these
/// are worth nothing to him; refused all the same, since nothing may rest on one layer.
fn opens_sessions(function: &Name) -> bool {
    matches!(
        (function.schema.as_deref(), &*function.name),
        (Some("auth"), "init" | "jwt_session_init") | (None, "jwt_session_init")
    )
}

/// Something that goes beyond reading and changing rows.
enum Beyond {
    Refused(Refusal),
    /// The configuration lets it run all the same.
    Allowed,
}

impl Beyond {
    fn unless(allowed: bool, refusal: impl FnOnce() -> Refusal) -> Self {
        if allowed { Self::Allowed } else { Self::Refused(refusal()) }
    }
}

fn beyond<'a>(
    names: impl Iterator<Item = &'a Box<str>>,
    allowed: &HashSet<String>,
    refusal: impl Fn(&str) -> Refusal,
) -> Option<Beyond> {
    let mut found = None;
    for name in names {
        if !allowed.contains(&**name) {
            return Some(Beyond::Refused(refusal(name)));
        }
        found = Some(Beyond::Allowed);
    }
    found
}

fn types(mentions: &Mentions) -> Option<Beyond> {
    let looked_up = |name: &Name| {
        is_lookup_type(&name.name)
            || name.schema.as_deref().is_some_and(|s| is_system_schema(s) && s != "pg_catalog")
    };
    let found = mentions.types.iter().find(|name| looked_up(name))?;
    Some(Beyond::Refused(Refusal::Type((&*found.name).into())))
}

/// What a statement leaves behind, by the names in it.
fn admission(mentions: &Mentions, knowledge: &Knowledge) -> Admission {
    let residues = &knowledge.residues;
    let named = mentions.functions.iter().map(|function| {
        let known = residues.get(&function.name);
        // A function that nobody has heard of was made since the catalogue was read.
        let unheard_of = || !knowledge.is_builtin(&function.name);
        known.unwrap_or(if unheard_of() { Residue::Session } else { Residue::None })
    });
    let relations = mentions.relations.iter().map(|relation| {
        let common = relation.schema.is_none() && mentions.common_tables.contains(&relation.name);
        let unheard_of = if common { Residue::None } else { Residue::Session };
        residues.get(&relation.name).unwrap_or(unheard_of)
    });
    let noted = mentions.fields.iter().filter_map(|name| residues.get(name));
    let types = mentions.types.iter().filter_map(|name| residues.get(&name.name));
    let sampled = if mentions.samples { Residue::Session } else { Residue::None };
    let worst = named.chain(relations).chain(noted).chain(types).max().unwrap_or_default();
    match worst.max(sampled).max(residues.everywhere()) {
        Residue::None => Admission::Plain,
        Residue::Session => Admission::Tainting,
        Residue::Process => Admission::Suspect,
    }
}

fn extra_kind(node: &NodeEnum) -> Option<ExtraKind> {
    Some(match node {
        NodeEnum::CallStmt(_) => ExtraKind::Call,
        NodeEnum::DoStmt(_) => ExtraKind::Do,
        NodeEnum::ListenStmt(_) | NodeEnum::UnlistenStmt(_) => ExtraKind::Listen,
        NodeEnum::LockStmt(_) => ExtraKind::Lock,
        NodeEnum::NotifyStmt(_) => ExtraKind::Notify,
        NodeEnum::RefreshMatViewStmt(_) => ExtraKind::Refresh,
        NodeEnum::VariableSetStmt(_) => ExtraKind::Set,
        NodeEnum::VariableShowStmt(_) => ExtraKind::Show,
        NodeEnum::TruncateStmt(_) => ExtraKind::Truncate,
        _ => return None,
    })
}

/// Estimates and counts are made of all rows, those that policies hide among them.
fn shows_more_than_the_plan(explain: &ExplainStmt) -> bool {
    let options = || {
        explain.options.iter().filter_map(|node| match &node.node {
            Some(NodeEnum::DefElem(option)) => Some(option),
            _ => None,
        })
    };
    let harmless = |option: &DefElem| match option.defname.as_str() {
        "verbose" | "format" | "generic_plan" => true,
        _ => is_off(option),
    };
    !options().any(|option| option.defname == "costs") || !options().all(|option| harmless(option))
}

/// `defGetBoolean` (define.c): off, false and 0 in any case.
fn is_off(option: &DefElem) -> bool {
    match option.arg.as_ref().and_then(|arg| arg.node.as_ref()) {
        Some(NodeEnum::String(word)) => {
            word.sval.eq_ignore_ascii_case("off") || word.sval.eq_ignore_ascii_case("false")
        }
        Some(NodeEnum::Boolean(value)) => !value.boolval,
        Some(NodeEnum::Integer(value)) => value.ival == 0,
        _ => false,
    }
}
