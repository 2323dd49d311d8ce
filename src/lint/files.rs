//! The project's SQL files: which statement makes what, and the exceptions written beside them.
//!
//! ```sql
//! -- rowgate:allow RG-L011 the list of countries is for everybody
//! create policy countries_select on countries for select to anonymous using (true);
//! ```

use std::path::PathBuf;

use pg_query::protobuf::{GrantStmt, RangeVar, Token};
use pg_query::{NodeEnum, ParserOptions};

use super::rules::{self, Finding, Object};
use super::tree::{self, Expr};
use super::{Place, Reported};
use crate::policy::split;

/// What an exception begins with, in a comment.
const ALLOW: &str = "rowgate:allow";

/// The schema of names without one: the search path under which files are applied.
const DEFAULT_SCHEMA: &str = "public";

/// What a statement does to the objects that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Makes a policy.
    Policy,
    /// Switches row-level security.
    RowSecurity,
    /// Gives privileges.
    Grant,
    /// Makes something else, or changes it.
    Define,
}

/// A statement of a file.
#[derive(Debug)]
pub(super) struct Located {
    /// Where its first word begins, in bytes.
    pub start: usize,
    /// Where its last one ends.
    pub end: usize,
    /// The line of its first word.
    pub line: usize,
    /// What it does.
    pub deed: Deed,
    /// What it names, the most important first.
    pub objects: Vec<Object>,
}

/// A file.
#[derive(Debug)]
pub(super) struct File {
    pub path: PathBuf,
    pub text: String,
    pub statements: Vec<Located>,
    exceptions: Vec<Exception>,
}

#[derive(Debug)]
struct Exception {
    line: usize,
    /// The rule and the reason, or what is wrong with the exception.
    said: Result<(String, String), String>,
    statement: Option<usize>,
}

/// All files, in the order in which they are applied.
#[derive(Debug)]
pub struct Files(pub(super) Vec<File>);

impl Files {
    /// Reads what the statements do.
    #[must_use]
    pub fn read(texts: Vec<(PathBuf, String)>) -> Self {
        Self(texts.into_iter().map(|(path, text)| File::read(path, text)).collect())
    }

    /// Gives each finding its line and the exception that excuses it, and adds what is wrong with the
    /// exceptions themselves.
    pub(super) fn place(&self, findings: Vec<Finding>) -> Vec<Reported> {
        let mut used = vec![Vec::new(); self.0.len()];
        let mut reported: Vec<Reported> = findings
            .into_iter()
            .map(|finding| {
                let place = self.place_of(&finding);
                let allowed = self.excuse(&finding, &mut used);
                Reported { finding, place, allowed }
            })
            .collect();
        for (file, used) in self.0.iter().zip(&used) {
            let unused = file.exceptions.iter().enumerate().filter(|(at, _)| !used.contains(at));
            reported.extend(unused.map(|(_, exception)| file.complaint(exception)));
        }
        let key = |reported: &Reported| {
            let place = reported.place.as_ref().map(|place| (place.path.clone(), place.line));
            (place.is_none(), place)
        };
        reported.sort_by_cached_key(key);
        reported
    }

    fn place_of(&self, finding: &Finding) -> Option<Place> {
        let rank = |located: &Located| match located.deed {
            Deed::Policy if matches!(finding.object, Object::Policy(..)) => 0,
            Deed::Grant if finding.rule.id.starts_with("RG-L04") => 0,
            Deed::RowSecurity => 1,
            Deed::Define => 2,
            Deed::Policy => 3,
            Deed::Grant => 4,
        };
        // The first one that makes something, but the last one that grants: it was added.
        let order = |at: usize, deed| if deed == Deed::Grant { usize::MAX - at } else { at };
        self.statements_about(&finding.object)
            .enumerate()
            .min_by_key(|(at, (_, located))| (rank(located), order(*at, located.deed)))
            .map(|(_, (file, located))| Place { path: file.path.clone(), line: located.line })
    }

    /// The statements that name this object.
    pub(super) fn statements_about<'f>(
        &'f self,
        object: &'f Object,
    ) -> impl Iterator<Item = (&'f File, &'f Located)> {
        self.0.iter().flat_map(move |file| {
            let about = file.statements.iter().filter(|one| one.is_about(object));
            about.map(move |located| (file, located))
        })
    }

    fn excuse(&self, finding: &Finding, used: &mut [Vec<usize>]) -> Option<String> {
        let mut reason = None;
        for (file, used) in self.0.iter().zip(used) {
            for (at, exception) in file.exceptions.iter().enumerate() {
                let (Ok((rule, words)), Some(statement)) = (&exception.said, exception.statement)
                else {
                    continue;
                };
                if rule == finding.rule.id && file.statements[statement].is_about(&finding.object) {
                    used.push(at);
                    reason.get_or_insert_with(|| words.clone());
                }
            }
        }
        reason
    }
}

impl Located {
    fn is_about(&self, object: &Object) -> bool {
        self.objects.iter().any(|own| match (own, object) {
            // A file may leave out a function's arguments, or name their types otherwise.
            (Object::Function(s, n, _), Object::Function(schema, name, _)) => {
                s == schema && n == name
            }
            // `alter default privileges` does not name who runs it.
            (Object::Defaults(_), Object::Defaults(_)) => true,
            _ => own == object,
        })
    }
}

impl File {
    fn read(path: PathBuf, text: String) -> Self {
        let statements: Vec<Located> = split::statements(&text)
            .iter()
            .map(|statement| {
                // The statement is a part of the text.
                let start = statement.text.as_ptr() as usize - text.as_ptr() as usize;
                let (deed, objects) = deed(statement.text);
                let end = start + statement.text.len();
                Located { start, end, line: statement.line, deed, objects }
            })
            .collect();
        let exceptions = exceptions(&text, &statements);
        Self { path, text, statements, exceptions }
    }

    fn complaint(&self, exception: &Exception) -> Reported {
        let (id, message) = match (&exception.said, exception.statement) {
            (Err(problem), _) => ("RG-L901", problem.clone()),
            (Ok(_), None) => ("RG-L901", "no statement follows it".to_owned()),
            (Ok((rule, _)), Some(_)) => {
                ("RG-L900", format!("{rule} has nothing to say about the statement here"))
            }
        };
        // invariant: both ids are in the table of rules, as a test checks.
        let rule = rules::by_id(id).unwrap_or(&rules::RULES[0]);
        let object = Object::Line(self.path.display().to_string(), exception.line);
        let place = Some(Place { path: self.path.clone(), line: exception.line });
        Reported { finding: Finding { rule, object, message, mend: None }, place, allowed: None }
    }
}

fn exceptions(text: &str, statements: &[Located]) -> Vec<Exception> {
    let Ok(scanned) = pg_query::scan(text) else { return Vec::new() };
    let comments = scanned.tokens.iter().filter(|token| token.token == Token::SqlComment as i32);
    comments
        .filter_map(|token| {
            let start = usize::try_from(token.start).ok()?;
            let comment = text.get(start..usize::try_from(token.end).ok()?)?;
            let said = comment.trim_start_matches('-').trim().strip_prefix(ALLOW)?;
            let line = 1 + text[..start].matches('\n').count();
            let on_this_line =
                |one: &Located| one.end <= start && !text[one.end..start].contains('\n');
            let statement = statements.iter().position(|one| on_this_line(one) || start < one.end);
            Some(Exception { line, said: understand(said), statement })
        })
        .collect()
}

fn understand(said: &str) -> Result<(String, String), String> {
    let (id, reason) = said.trim().split_once(char::is_whitespace).unwrap_or((said.trim(), ""));
    match rules::by_id(id) {
        None => Err(format!("`{id}` is no rule")),
        Some(_) if reason.trim().is_empty() => {
            Err(format!("a reason is missing: -- {ALLOW} {id} because …"))
        }
        Some(rule) => Ok((rule.id.to_owned(), reason.trim().to_owned())),
    }
}

fn relation(range: Option<&RangeVar>) -> Option<Object> {
    let range = range?;
    let schema = if range.schemaname.is_empty() { DEFAULT_SCHEMA } else { &range.schemaname };
    Some(Object::Relation(schema.to_owned(), range.relname.clone()))
}

fn policy(table: &Object, name: &str) -> Option<Object> {
    let Object::Relation(schema, table) = table else { return None };
    Some(Object::Policy(schema.clone(), table.clone(), name.to_owned()))
}

/// What a statement does, and to what. A statement that is not understood names nothing.
fn deed(sql: &str) -> (Deed, Vec<Object>) {
    let Ok(parsed) = pg_query::parse(sql, ParserOptions::default()) else {
        return (Deed::Define, Vec::new());
    };
    let statement = parsed.protobuf.stmts.first().and_then(|raw| raw.stmt.as_ref());
    let Some(node) = statement.and_then(|node| node.node.as_ref()) else {
        return (Deed::Define, Vec::new());
    };
    match node {
        NodeEnum::CreatePolicyStmt(create) => {
            let table = relation(create.table.as_ref());
            let own = table.as_ref().and_then(|table| policy(table, &create.policy_name));
            (Deed::Policy, own.into_iter().chain(table).collect())
        }
        NodeEnum::AlterTableStmt(alter) => {
            let deed = if sql.to_ascii_lowercase().contains("level security") {
                Deed::RowSecurity
            } else {
                Deed::Define
            };
            (deed, relation(alter.relation.as_ref()).into_iter().collect())
        }
        NodeEnum::SelectStmt(_) => (Deed::Policy, crud_policies(node)),
        NodeEnum::GrantStmt(grant) => (Deed::Grant, granted(grant)),
        NodeEnum::GrantRoleStmt(grant) => {
            let names = grant.grantee_roles.iter().filter_map(|node| match node.node.as_ref()? {
                NodeEnum::RoleSpec(role) => Some(Object::Role(role.rolename.clone())),
                _ => None,
            });
            (Deed::Grant, names.collect())
        }
        NodeEnum::AlterDefaultPrivilegesStmt(_) => {
            (Deed::Grant, vec![Object::Defaults(String::new())])
        }
        other => (Deed::Define, defined(other).into_iter().collect()),
    }
}

fn defined(node: &NodeEnum) -> Option<Object> {
    match node {
        NodeEnum::CreateStmt(create) => relation(create.relation.as_ref()),
        NodeEnum::CreateForeignTableStmt(create) => {
            relation(create.base_stmt.as_ref().and_then(|base| base.relation.as_ref()))
        }
        NodeEnum::ViewStmt(create) => relation(create.view.as_ref()),
        NodeEnum::CreateTableAsStmt(create) => {
            relation(create.into.as_ref().and_then(|into| into.rel.as_ref()))
        }
        NodeEnum::CreateSeqStmt(create) => relation(create.sequence.as_ref()),
        NodeEnum::IndexStmt(create) => relation(create.relation.as_ref()),
        NodeEnum::CreateSchemaStmt(create) => Some(Object::Schema(create.schemaname.clone())),
        NodeEnum::CreateRoleStmt(create) => Some(Object::Role(create.role.clone())),
        NodeEnum::CreateFunctionStmt(create) => function(&create.funcname),
        _ => None,
    }
}

fn function(names: &[pg_query::protobuf::Node]) -> Option<Object> {
    let mut names: Vec<String> = names.iter().filter_map(text).collect();
    let name = names.pop()?;
    let schema = names.pop().unwrap_or_else(|| DEFAULT_SCHEMA.to_owned());
    Some(Object::Function(schema, name.clone(), name))
}

fn text(node: &pg_query::protobuf::Node) -> Option<String> {
    match node.node.as_ref()? {
        NodeEnum::String(string) => Some(string.sval.clone()),
        _ => None,
    }
}

fn granted(grant: &GrantStmt) -> Vec<Object> {
    let is_schema = grant.objtype == pg_query::protobuf::ObjectType::ObjectSchema as i32;
    let objects = grant.objects.iter().filter_map(|node| match node.node.as_ref()? {
        NodeEnum::RangeVar(range) => relation(Some(range)),
        NodeEnum::ObjectWithArgs(named) => function(&named.objname),
        NodeEnum::String(name) if is_schema => Some(Object::Schema(name.sval.clone())),
        _ => None,
    });
    objects.collect()
}

/// What `select auth.crud_policy('todos', 'authenticated', …)` makes.
fn crud_policies(node: &NodeEnum) -> Vec<Object> {
    let mut objects = Vec::new();
    let Ok(value) = serde_json::to_value(node) else { return objects };
    for expr in tree::parts(&value["SelectStmt"]["target_list"]) {
        let Expr::Call { schema, name, arguments, .. } = &expr else { continue };
        let strings: Vec<&str> = arguments
            .iter()
            .filter_map(|argument| match argument.bare() {
                Expr::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        let [table, role, ..] = strings.as_slice() else { continue };
        if (schema.as_str(), name.as_str()) != ("auth", "crud_policy") {
            continue;
        }
        let (schema, table) = table.split_once('.').unwrap_or((DEFAULT_SCHEMA, table));
        let table = Object::Relation(schema.to_owned(), table.to_owned());
        for command in ["select", "insert", "update", "delete"] {
            objects.extend(policy(&table, &format!("crud_{role}_{command}")));
        }
        objects.push(table);
    }
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_belong_to_the_statement_they_stand_at() {
        let text = "-- rowgate:allow RG-L011 first\ncreate policy a on t using (true);\n\
                    create policy b on t -- rowgate:allow RG-L015 inside\n using (true); \
                    -- rowgate:allow rg-l011 behind\n-- rowgate:allow RG-L999 no such\n\
                    -- rowgate:allow RG-L011\nselect '-- rowgate:allow RG-L011 in a string';\n\
                    -- rowgate:allow RG-L011 the end\n";
        let file = File::read("t.sql".into(), text.to_owned());
        let found: Vec<_> = file
            .exceptions
            .iter()
            .map(|e| (e.line, e.said.as_ref().map(|(id, _)| id.as_str()).is_ok(), e.statement))
            .collect();
        let expected = [
            (1, true, Some(0)),
            (3, true, Some(1)),
            (4, true, Some(1)),
            (5, false, Some(2)),
            (6, false, Some(2)),
            (8, true, None),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn statements_name_what_they_make() {
        let names =
            |sql: &str| -> Vec<String> { deed(sql).1.iter().map(ToString::to_string).collect() };
        assert_eq!(names("create policy p on app.t using (true)"), ["app.t: policy p", "app.t"]);
        assert_eq!(names("grant select on t, app.u to anonymous"), ["public.t", "app.u"]);
        assert_eq!(names("grant usage on schema app to anonymous"), ["schema app"]);
        assert_eq!(names("create function app.f(a int) returns int return a"), ["f"]);
        assert_eq!(
            names("select auth.crud_policy('notes', 'anonymous', read => true, modify => false)")
                [0],
            "public.notes: policy crud_anonymous_select"
        );
        assert_eq!(names("create materialized view m as select 1"), ["public.m"]);
        assert!(names("this is no sql").is_empty());
    }
}
