//! The server's plan: read from `EXPLAIN (FORMAT JSON)`, with what comes from policies marked.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::report::{Policy, Table};

/// Where a node keeps its conditions.
const CONDITIONS: [&str; 8] = [
    "Index Cond",
    "Recheck Cond",
    "Filter",
    "Join Filter",
    "Hash Cond",
    "Merge Cond",
    "One-Time Filter",
    "TID Cond",
];

/// Of these, those that are evaluated for each row.
const PER_ROW: [&str; 2] = ["Filter", "Join Filter"];

/// One node of a plan.
#[derive(Debug, Serialize)]
pub struct PlanNode {
    /// As in `Seq Scan on public.todos`.
    pub node: String,
    /// As in `InitPlan 1 (returns $0)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subplan: Option<String>,
    /// The planner's estimates.
    pub planned_rows: f64,
    /// The planner's cost, in its own units.
    pub cost: f64,
    /// Rows of all loops together, if it ran.
    pub rows: Option<f64>,
    /// How often it ran.
    pub loops: Option<f64>,
    /// Milliseconds of all loops together, children included.
    pub milliseconds: Option<f64>,
    /// Rows that its conditions removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<f64>,
    /// What rows must fulfil here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What there is to say about it in view of policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Where its rows come from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<PlanNode>,
}

/// A part of a condition; all parts must hold.
#[derive(Debug, Serialize)]
pub struct Condition {
    /// As in `Filter`.
    pub kind: &'static str,
    /// The server's words.
    pub text: String,
    /// The policies that it comes from; none: the statement itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// The caller is asked for in it anew for each of so many rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_asked_per_row: Option<f64>,
}

/// What a statement took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measure {
    /// Milliseconds, if it ran.
    pub milliseconds: Option<f64>,
    /// Rows, if it ran.
    pub rows: Option<f64>,
    /// The planner's cost.
    pub cost: f64,
    /// Blocks of 8 kB that were looked at, if it ran.
    pub blocks: Option<f64>,
}

/// The same statement with and without policies.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Comparison {
    /// As the caller runs it.
    pub with: Measure,
    /// As one runs it whom no policy concerns.
    pub without: Measure,
}

/// What `EXPLAIN` answered.
pub(super) struct RawPlan(Value);

impl RawPlan {
    pub(super) fn parse(json: &str) -> Option<Self> {
        let all: Value = serde_json::from_str(json).ok()?;
        let first = all.get(0)?;
        first["Plan"].is_object().then(|| Self(first.clone()))
    }

    pub(super) fn measure(&self) -> Measure {
        let plan = &self.0["Plan"];
        let number = |key: &str| plan[key].as_f64();
        let blocks = number("Shared Hit Blocks").zip(number("Shared Read Blocks"));
        Measure {
            milliseconds: self.0["Execution Time"].as_f64(),
            rows: number("Actual Rows").map(|rows| rows.max(self.changed().unwrap_or_default())),
            cost: number("Total Cost").unwrap_or_default(),
            blocks: blocks.map(|(hit, read)| hit + read),
        }
    }

    /// Rows that the statement changed, if it changes rows and ran: a write without RETURNING itself
    /// returns none.
    pub(super) fn changed(&self) -> Option<f64> {
        let top = &self.0["Plan"];
        let is_write = top["Node Type"] == "ModifyTable";
        let source = children(top).find(|child| child["Parent Relationship"] == "Outer");
        if is_write { source.and_then(|source| source["Actual Rows"].as_f64()) } else { None }
    }

    /// Every part of every condition, by the name of the relation in the statement.
    fn conditions(&self) -> HashMap<String, Vec<String>> {
        let mut all = HashMap::new();
        gather(&self.0["Plan"], &self.0["Plan"], &mut all);
        all
    }

    /// The tree. `without` is the plan of the same statement without policies, against which one sees what
    /// they add; without it, what asks for the caller is theirs.
    pub(super) fn tree(&self, tables: &[Table], without: Option<&Self>) -> PlanNode {
        let marker = Marker { tables, without: without.map(Self::conditions) };
        marker.node(&self.0["Plan"], &self.0["Plan"])
    }
}

fn gather(node: &Value, scan: &Value, all: &mut HashMap<String, Vec<String>>) {
    let known = all.entry(alias(scan)).or_default();
    for kind in CONDITIONS {
        let text = node[kind].as_str().unwrap_or_default();
        known.extend(split(text).iter().map(|part| comparable(part)));
    }
    children(node).for_each(|child| gather(child, scan_of(child, scan), all));
}

fn alias(node: &Value) -> String {
    node["Alias"].as_str().unwrap_or_default().to_owned()
}

fn children(node: &Value) -> impl Iterator<Item = &Value> {
    node["Plans"].as_array().into_iter().flatten()
}

/// Without the numbers that the planner gives: they differ from plan to plan.
fn comparable(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    let mut skipping = false;
    for (at, character) in part.char_indices() {
        let before = &part[..at];
        if before.ends_with('$') || before.ends_with("Plan ") {
            skipping = true;
        }
        skipping &= character.is_ascii_digit();
        if !skipping {
            out.push(character);
        }
    }
    out
}

/// The parts of a condition that AND joins at its top.
fn split(condition: &str) -> Vec<String> {
    let inner = unwrapped(condition.trim());
    let mut parts = Vec::new();
    let mut begin = 0;
    for at in outside(inner) {
        if at >= begin && inner[at..].starts_with(" AND ") {
            // BETWEEN is printed as two comparisons: no other AND stands outside of parentheses.
            parts.push(inner[begin..at].trim().to_owned());
            begin = at + " AND ".len();
        }
    }
    parts.push(inner[begin..].trim().to_owned());
    parts.retain(|part| !part.is_empty());
    parts
}

/// Without a pair of parentheses around all of it.
fn unwrapped(text: &str) -> &str {
    let Some(inner) = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) else {
        return text;
    };
    let mut depth = 0_i32;
    for (_, character) in unquoted(inner) {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return text;
        }
    }
    inner
}

/// Where characters stand that are in no parentheses and no quotes.
fn outside(text: &str) -> Vec<usize> {
    let mut depth = 0_i32;
    let mut places = Vec::new();
    for (at, character) in unquoted(text) {
        match character {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ if depth == 0 => places.push(at),
            _ => {}
        }
    }
    places
}

fn unquoted(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quote = None;
    text.char_indices().filter(move |(_, character)| match (quote, *character) {
        (None, '\'' | '"') => {
            quote = Some(*character);
            false
        }
        (Some(open), c) if open == c => {
            quote = None;
            false
        }
        (open, _) => open.is_none(),
    })
}

struct Marker<'a> {
    tables: &'a [Table],
    without: Option<HashMap<String, Vec<String>>>,
}

impl Marker<'_> {
    /// `scan` is the node that names the relation: the parent of a bitmap index scan does for it.
    fn node(&self, node: &Value, scan: &Value) -> PlanNode {
        let number = |key: &str| node[key].as_f64();
        let loops = number("Actual Loops");
        let times = |value: Option<f64>| value.zip(loops).map(|(value, loops)| value * loops);
        let removed = ["Rows Removed by Filter", "Rows Removed by Join Filter"]
            .iter()
            .filter_map(|key| number(key))
            .reduce(|one, other| one + other);
        let mut made = PlanNode {
            node: label(node),
            subplan: node["Subplan Name"].as_str().map(str::to_owned),
            planned_rows: number("Plan Rows").unwrap_or_default(),
            cost: number("Total Cost").unwrap_or_default(),
            rows: times(number("Actual Rows")),
            loops,
            milliseconds: times(number("Actual Total Time")),
            removed: times(removed),
            conditions: Vec::new(),
            notes: Vec::new(),
            children: children(node).map(|child| self.node(child, scan_of(child, scan))).collect(),
        };
        made.conditions = self.conditions(node, scan, &made);
        made.notes = self.notes(node, &made);
        made
    }

    fn conditions(&self, node: &Value, scan: &Value, made: &PlanNode) -> Vec<Condition> {
        let policies = self.policies(scan);
        let mut all = Vec::new();
        for kind in CONDITIONS {
            for text in split(node[kind].as_str().unwrap_or_default()) {
                let is_policys = !policies.is_empty() && self.adds(scan, kind, &text);
                let names = if is_policys { named(&policies, &text) } else { Vec::new() };
                let asked = is_policys && PER_ROW.contains(&kind) && asks_for_caller(&text);
                let rows = made.rows.map(|rows| rows + made.removed.unwrap_or_default());
                all.push(Condition {
                    kind,
                    text,
                    policies: names,
                    caller_asked_per_row: if asked {
                        rows.or(Some(made.planned_rows))
                    } else {
                        None
                    },
                });
            }
        }
        all
    }

    /// The policies that could have a condition in this node.
    fn policies(&self, node: &Value) -> Vec<&Policy> {
        let (schema, name) = (node["Schema"].as_str(), node["Relation Name"].as_str());
        let is_of = |table: &&Table| match name {
            Some(name) => schema == Some(table.schema.as_str()) && name == table.name,
            // A condition without a column stands above the scan.
            None => true,
        };
        self.tables.iter().filter(is_of).flat_map(Table::choosing).collect()
    }

    fn adds(&self, scan: &Value, kind: &str, text: &str) -> bool {
        // Join conditions are the statement's; policies see one table.
        if scan["Relation Name"].is_null() && kind != "One-Time Filter" {
            return false;
        }
        match &self.without {
            Some(without) => {
                let known = without.get(&alias(scan));
                !known.is_some_and(|parts| parts.contains(&comparable(text)))
            }
            None => asks_for_caller(text) || text.contains('$') || text.contains("InitPlan"),
        }
    }

    fn notes(&self, node: &Value, made: &PlanNode) -> Vec<String> {
        let mut notes = Vec::new();
        if made.subplan.as_deref().is_some_and(|name| name.starts_with("InitPlan"))
            && node["Output"].as_array().is_some_and(|columns| {
                columns.iter().any(|column| column.as_str().is_some_and(asks_for_caller))
            })
        {
            notes.push(match made.loops {
                Some(loops) if loops > 0.0 => "the caller is asked for once".to_owned(),
                Some(_) => "the caller was not asked for".to_owned(),
                None => "the caller is asked for once at most".to_owned(),
            });
        }
        if let (Some(without), Some(name)) = (&self.without, node["Relation Name"].as_str())
            && !without.contains_key(&alias(node))
        {
            notes.push(format!("{name} is read for the policies only"));
        }
        notes
    }
}

/// The policies that read like this condition; all of them where none does, because the server has joined
/// or simplified them.
fn named(policies: &[&Policy], condition: &str) -> Vec<String> {
    let words = words(condition);
    let alike = policies.iter().filter(|policy| self::words(&policy.expression) == words);
    let mut names: Vec<String> = alike.map(|policy| policy.name.clone()).collect();
    if names.is_empty() {
        names.extend(policies.iter().map(|policy| policy.name.clone()));
    }
    names.sort();
    names.dedup();
    names
}

/// The words of an expression in an order that does not depend on which side of an operator they stand on,
/// without parentheses and names of tables; `$` is whatever the server works out beforehand.
fn words(expression: &str) -> Vec<String> {
    let mut text = comparable(expression).replace("(InitPlan ).col1", "$");
    while let Some(begin) = text.find("( SELECT ") {
        let inside = &text[begin + 1..];
        let mut depth = 0_i32;
        let end = unquoted(inside).find(|(_, character)| {
            depth += i32::from(*character == '(') - i32::from(*character == ')');
            depth < 0
        });
        let Some((end, _)) = end.filter(|(end, _)| !inside[..*end].contains(" FROM ")) else {
            break;
        };
        text.replace_range(begin..begin + end + 2, "$");
    }
    let mut words: Vec<String> = text
        .split_whitespace()
        .map(|word| word.replace(['(', ')'], ""))
        .map(|word| match word.split_once('.') {
            Some((table, column)) if table != "auth" && !word.contains('\'') => column.to_owned(),
            _ => word,
        })
        .collect();
    words.sort();
    words
}

fn scan_of<'v>(child: &'v Value, parent: &'v Value) -> &'v Value {
    let kind = child["Node Type"].as_str().unwrap_or_default();
    let is_part = kind == "Bitmap Index Scan" || kind == "BitmapOr" || kind == "BitmapAnd";
    if is_part { parent } else { child }
}

/// Whether an expression calls a function that tells who the caller is.
fn asks_for_caller(text: &str) -> bool {
    text.contains("auth.") || text.contains("current_setting(") || text.contains("CURRENT_USER")
}

fn label(node: &Value) -> String {
    let text = |key: &str| node[key].as_str();
    let kind = text("Node Type").unwrap_or("?");
    let mut label = match text("Operation") {
        Some(operation) if kind == "ModifyTable" => operation.to_owned(),
        _ => kind.to_owned(),
    };
    if let Some(index) = text("Index Name") {
        // Writing into a String cannot fail.
        let _ = write!(label, " using {index}");
    }
    if let Some(name) = text("Relation Name").or(text("Function Name")).or(text("CTE Name")) {
        let schema = text("Schema").map(|schema| format!("{schema}.")).unwrap_or_default();
        let _ = write!(label, " on {schema}{name}");
        if let Some(alias) = text("Alias").filter(|alias| *alias != name) {
            let _ = write!(label, " {alias}");
        }
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_split_where_and_joins_them() {
        for (text, expected) in [
            ("", vec![]),
            ("(a = 1)", vec!["a = 1"]),
            ("((a = 1) AND (b = ' AND (') AND f(c))", vec!["(a = 1)", "(b = ' AND (')", "f(c)"]),
            ("((a = 1) OR ((b = 2) AND c))", vec!["(a = 1) OR ((b = 2) AND c)"]),
            ("((a = 1) AND ((b = 2) OR c))", vec!["(a = 1)", "((b = 2) OR c)"]),
            ("(a) AND (b)", vec!["(a)", "(b)"]),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn a_condition_is_known_again_as_its_policys() {
        for (condition, expression) in [
            ("notes.user_id = $0", "(user_id = ( SELECT auth.user_id() AS user_id))"),
            ("($1 = todos.user_id)", "(( SELECT auth.user_id() AS user_id) = user_id)"),
            ("n.user_id = (InitPlan 1).col1", "(user_id = ( SELECT auth.user_id() AS user_id))"),
            (
                "(n.org = (auth.session() ->> 'a.b'::text))",
                "(org = (auth.session() ->> 'a.b'::text))",
            ),
            ("t.is_public", "is_public"),
        ] {
            assert_eq!(words(condition), words(expression), "{condition}");
        }
        assert_ne!(words("n.a = $0"), words("(b = ( SELECT auth.user_id() AS user_id))"));
    }

    #[test]
    fn the_planners_numbers_do_not_count() {
        assert_eq!(
            comparable("(id = $12) AND (hashed SubPlan 3) AND x1"),
            "(id = $) AND (hashed SubPlan ) AND x1"
        );
        assert_eq!(comparable("((InitPlan 1).col1 = id)"), "((InitPlan ).col1 = id)");
    }
}
