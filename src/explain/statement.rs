//! The statement as PostgreSQL's grammar reads it: that it is one, that it reads or changes rows, and which
//! relations it names. Must refuse whatever could leave the transaction that it is tried in.

use pg_query::NodeEnum;
use pg_query::protobuf::{self, Node, RangeVar, ReturningClause};
use serde::Serialize;
use serde_json::Value;

use super::ExplainError;

/// What a statement does with a relation that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// Reads it.
    Select,
    /// Adds rows.
    Insert,
    /// Changes rows.
    Update,
    /// Removes rows.
    Delete,
}

impl Command {
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

    /// From [`Self::name`].
    pub(super) fn of_name(name: &str) -> Self {
        match name {
            "insert" => Self::Insert,
            "update" => Self::Update,
            "delete" => Self::Delete,
            _ => Self::Select,
        }
    }
}

/// A relation that the statement names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Quoted, as `to_regclass` takes it.
    pub(super) name: String,
    pub(super) command: Command,
    /// Whether the policies for reading hold as well: the statement reads columns of what it changes, or
    /// returns them (`get_row_security_policies` in rowsecurity.c asks for `ACL_SELECT`).
    pub(super) also_reads: bool,
    /// `for update` and the like: the policies for updating choose rows as well.
    pub(super) locks: bool,
}

/// One statement that may be tried.
pub(super) struct Parsed {
    pub(super) text: String,
    statement: NodeEnum,
    /// Each relation and command once.
    pub(super) named: Vec<Named>,
    /// Whether it changes rows anywhere, a WITH included.
    pub(super) writes: bool,
    /// The number of the last parameter.
    pub(super) parameters: usize,
}

impl Parsed {
    pub(super) fn new(text: &str) -> Result<Self, ExplainError> {
        let misuse = |text: String| ExplainError::Misuse(text);
        if text.contains('\0') {
            return Err(misuse("the statement contains a NUL character".into()));
        }
        let parsed = pg_query::parse(text, 0)
            .map_err(|error| misuse(format!("the statement cannot be read: {error}")))?;
        let [raw] = parsed.protobuf.stmts.as_slice() else {
            let found = parsed.protobuf.stmts.len();
            return Err(misuse(format!("exactly one statement can be explained, not {found}")));
        };
        let statement = raw.stmt.as_ref().and_then(|node| node.node.clone());
        let Some(
            statement @ (NodeEnum::SelectStmt(_)
            | NodeEnum::InsertStmt(_)
            | NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::MergeStmt(_)),
        ) = statement
        else {
            return Err(misuse(
                "only statements that read or change rows can be explained: select, insert, update, \
                 delete, merge"
                    .into(),
            ));
        };
        let tree = serde_json::to_value(&statement)
            .map_err(|error| misuse(format!("the statement cannot be read: {error}")))?;
        let mut walk = Walk::default();
        walk.value(&tree, &mut Vec::new());
        if walk.creates {
            return Err(misuse("select into creates a table and cannot be explained".into()));
        }
        let writes = walk.named.iter().any(|named| named.command != Command::Select);
        // A semicolon at the end would stand in the middle of an EXPLAIN in parentheses.
        let text = text.trim().trim_end_matches(';').to_owned();
        let (named, parameters) = (walk.named, walk.parameters);
        Ok(Self { text, statement, named, writes, parameters })
    }

    /// The relation that the statement itself (not a WITH of its) adds rows to or changes.
    pub(super) fn target(&self) -> Option<(String, Command)> {
        let (relation, command) = match &self.statement {
            NodeEnum::InsertStmt(insert) => (insert.relation.as_ref()?, Command::Insert),
            NodeEnum::UpdateStmt(update) => (update.relation.as_ref()?, Command::Update),
            _ => return None,
        };
        Some((quoted(&relation.schemaname, &relation.relname), command))
    }

    /// The same INSERT or UPDATE on `stand_in`, a view over all rows of its target, returning what it
    /// wrote; of an UPDATE only those rows for which `condition` holds, in which `{}` is the name by which
    /// the statement knows its target.
    pub(super) fn rewritten(&self, stand_in: &str, condition: &str) -> Option<String> {
        let mut statement = self.statement.clone();
        match &mut statement {
            NodeEnum::InsertStmt(insert) => {
                let known = replace(insert.relation.as_mut()?, stand_in);
                insert.returning_clause = Some(everything_of(&known));
            }
            NodeEnum::UpdateStmt(update) => {
                let known = replace(update.relation.as_mut()?, stand_in);
                let condition = condition.replace("{}", &quoted("", &known));
                let added = where_clause(&condition)?;
                update.where_clause = Some(match update.where_clause.take() {
                    None => Box::new(added),
                    Some(own) => Box::new(both(*own, added)),
                });
                update.returning_clause = Some(everything_of(&known));
            }
            _ => return None,
        }
        statement.deparse(pg_query::DeparseOptions::default()).ok()
    }
}

/// Lets a relation stand for another under the name that the statement knows; returns that name.
fn replace(relation: &mut RangeVar, stand_in: &str) -> String {
    let alias = relation.alias.take();
    let known = alias.map_or_else(|| relation.relname.clone(), |alias| alias.aliasname);
    "pg_temp".clone_into(&mut relation.schemaname);
    stand_in.clone_into(&mut relation.relname);
    relation.alias = Some(protobuf::Alias { aliasname: known.clone(), colnames: Vec::new() });
    known
}

fn everything_of(relation: &str) -> ReturningClause {
    let name =
        Node { node: Some(NodeEnum::String(protobuf::String { sval: relation.to_owned() })) };
    let star = Node { node: Some(NodeEnum::AStar(protobuf::AStar {})) };
    let column = protobuf::ColumnRef { fields: vec![name, star], location: 0 };
    let column = Box::new(Node { node: Some(NodeEnum::ColumnRef(column)) });
    let target = protobuf::ResTarget { val: Some(column), ..protobuf::ResTarget::default() };
    let target = Node { node: Some(NodeEnum::ResTarget(Box::new(target))) };
    ReturningClause { options: Vec::new(), exprs: vec![target] }
}

/// An expression as a tree.
fn where_clause(condition: &str) -> Option<Node> {
    let parsed = pg_query::parse(&format!("select where {condition}"), 0).ok()?;
    let raw = parsed.protobuf.stmts.into_iter().next()?;
    match raw.stmt?.node? {
        NodeEnum::SelectStmt(select) => select.where_clause.map(|node| *node),
        _ => None,
    }
}

fn both(one: Node, other: Node) -> Node {
    let both = protobuf::BoolExpr {
        boolop: protobuf::BoolExprType::AndExpr.into(),
        args: vec![one, other],
        ..protobuf::BoolExpr::default()
    };
    Node { node: Some(NodeEnum::BoolExpr(Box::new(both))) }
}

/// A name in quotes, with its schema if it has one.
pub(super) fn quoted(schema: &str, name: &str) -> String {
    let quote = |part: &str| format!("\"{}\"", part.replace('"', "\"\""));
    if schema.is_empty() { quote(name) } else { format!("{}.{}", quote(schema), quote(name)) }
}

/// Goes through a tree in its serialised form, which leads to every field of every node.
#[derive(Default)]
struct Walk {
    named: Vec<Named>,
    creates: bool,
    parameters: usize,
    locks: bool,
}

impl Walk {
    /// `ctes`: the names that a WITH gives here, which are no tables.
    fn value(&mut self, value: &Value, ctes: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.value(item, ctes)),
            Value::Object(fields) => {
                for (key, inside) in fields {
                    self.field(key, inside, ctes);
                }
            }
            _ => {}
        }
    }

    fn field(&mut self, kind: &str, inside: &Value, ctes: &mut Vec<String>) {
        let known = ctes.len();
        with_names(inside, ctes);
        match kind {
            "RangeVar" => self.name(inside, Command::Select, false, ctes),
            "InsertStmt" => {
                let conflict = &inside["on_conflict_clause"];
                let reads = !inside["returning_clause"].is_null() || !conflict["infer"].is_null();
                self.name(&inside["relation"], Command::Insert, reads, &[]);
                // OnConflictAction: 3 is DO UPDATE.
                if conflict["action"] == 3 {
                    self.name(&inside["relation"], Command::Update, true, &[]);
                }
            }
            "UpdateStmt" | "DeleteStmt" => {
                let reads = !inside["returning_clause"].is_null()
                    || mentions(&inside["where_clause"], "ColumnRef")
                    || mentions(&inside["target_list"], "ColumnRef");
                let command = if kind == "UpdateStmt" { Command::Update } else { Command::Delete };
                self.name(&inside["relation"], command, reads, &[]);
            }
            "MergeStmt" => self.merge(inside),
            "ParamRef" => {
                let number = inside["number"].as_u64().and_then(|number| number.try_into().ok());
                self.parameters = self.parameters.max(number.unwrap_or_default());
            }
            "SelectStmt" => {
                self.creates |= !inside["into_clause"].is_null();
                let locks = inside["locking_clause"].as_array().is_some_and(|l| !l.is_empty());
                let before = self.locks;
                self.locks |= locks;
                self.value(inside, ctes);
                self.locks = before;
                ctes.truncate(known);
                return;
            }
            _ => {}
        }
        self.value(inside, ctes);
        ctes.truncate(known);
    }

    fn merge(&mut self, inside: &Value) {
        // CmdType: 3 UPDATE, 4 INSERT, 5 DELETE.
        for (number, command) in [(3, Command::Update), (4, Command::Insert), (5, Command::Delete)]
        {
            let clauses = inside["merge_when_clauses"].as_array().into_iter().flatten();
            let mut actions = clauses.map(|c| &c["node"]["MergeWhenClause"]["command_type"]);
            if actions.any(|action| *action == number) {
                self.name(&inside["relation"], command, true, &[]);
            }
        }
    }

    fn name(&mut self, relation: &Value, command: Command, also_reads: bool, ctes: &[String]) {
        let text = |key: &str| relation[key].as_str().unwrap_or_default();
        let (schema, name) = (text("schemaname"), text("relname"));
        if schema.is_empty() && ctes.iter().any(|cte| cte == name) {
            return;
        }
        let name = quoted(schema, name);
        let locks = command == Command::Select && self.locks;
        let same = |named: &&mut Named| named.name == name && named.command == command;
        if let Some(there) = self.named.iter_mut().find(same) {
            there.also_reads |= also_reads;
            there.locks |= locks;
        } else {
            self.named.push(Named { name, command, also_reads, locks });
        }
    }
}

/// Adds the names that the WITH of this statement gives.
fn with_names(statement: &Value, ctes: &mut Vec<String>) {
    let given = statement["with_clause"]["ctes"].as_array().into_iter().flatten();
    let names = given.filter_map(|cte| cte["node"]["CommonTableExpr"]["ctename"].as_str());
    ctes.extend(names.map(str::to_owned));
}

/// Whether a node of this kind stands anywhere in a serialised tree.
pub(super) fn mentions(tree: &Value, kind: &str) -> bool {
    match tree {
        Value::Array(items) => items.iter().any(|item| mentions(item, kind)),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, inside)| (key == kind && !inside.is_null()) || mentions(inside, kind)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let parsed = Parsed::new(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let shown = |named: &Named| {
            let also = if named.also_reads { "+select" } else { "" };
            let locks = if named.locks { "+lock" } else { "" };
            format!("{} {}{also}{locks}", named.name, named.command.name())
        };
        parsed.named.iter().map(shown).collect()
    }

    #[test]
    fn relations_are_found_with_what_is_done_to_them() {
        for (text, expected) in [
            ("select 1", vec![]),
            ("select * from a join s.b using (id)", vec!["\"a\" select", "\"s\".\"b\" select"]),
            ("with a as (select * from t) select * from a", vec!["\"t\" select"]),
            ("select * from a for update", vec!["\"a\" select+lock"]),
            ("insert into a values (1)", vec!["\"a\" insert"]),
            (
                "insert into a select * from b returning id",
                vec!["\"a\" insert+select", "\"b\" select"],
            ),
            ("update a set x = 1", vec!["\"a\" update"]),
            ("update a set x = x + 1", vec!["\"a\" update+select"]),
            ("delete from a where x = 1", vec!["\"a\" delete+select"]),
            (
                "insert into a values (1) on conflict (id) do update set x = 1",
                vec!["\"a\" insert+select", "\"a\" update+select"],
            ),
            (
                "merge into a using b on a.i = b.i when matched then delete",
                vec!["\"a\" delete+select", "\"b\" select"],
            ),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_one_statement_about_rows_is_refused() {
        for text in [
            "",
            ";",
            "commit",
            "set role postgres",
            "select 1; commit",
            "select 1; select 2",
            "select * into t from u",
            "create table t ()",
            "truncate t",
            "copy t to stdout",
            "explain select 1",
            "do $$begin end$$",
            "call f()",
            "selec 1",
            "select 1 \0",
        ] {
            assert!(matches!(Parsed::new(text), Err(ExplainError::Misuse(_))), "{text}");
        }
    }

    #[test]
    fn a_write_is_rewritten_for_the_view_that_stands_in() {
        let insert = Parsed::new("insert into todos (task) values ($1) returning id;").unwrap();
        assert_eq!(
            insert.rewritten("v", "true").unwrap(),
            "INSERT INTO pg_temp.v todos (task) VALUES ($1) RETURNING todos.*"
                .replace(".v todos", ".v AS todos"),
        );
        let update = Parsed::new("update todos t set task = 'x' where t.id = 1 or true").unwrap();
        let text = update.rewritten("v", "{}.c in (select 1)").unwrap();
        assert_eq!(
            text,
            "UPDATE pg_temp.v t SET task = 'x' WHERE (t.id = 1 OR true) AND t.c IN (SELECT 1) \
             RETURNING t.*",
        );
        assert_eq!(insert.target(), Some(("\"todos\"".into(), Command::Insert)));
    }
}
