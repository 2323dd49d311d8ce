//! The parts of policies that depend on the caller (claims, settings, the role) and their values.

use pg_query::NodeEnum;
use pg_query::protobuf::{AExprKind, Node};

use super::catalogue::Touched;
use super::report::Seen;
use super::session::Session;
use super::statement::mentions;
use crate::pg::control;

/// Operators whose result is true or false: their sides say more.
const COMPARISONS: [&str; 8] = ["=", "<>", "<", ">", "<=", ">=", "~~", "@>"];

/// The largest parts of an expression that ask who the caller is and depend on no row.
fn parts(expression: &str) -> Vec<String> {
    let Ok(parsed) = pg_query::parse(&format!("select {expression}"), 0) else { return Vec::new() };
    let mut found = Vec::new();
    for raw in &parsed.protobuf.stmts {
        if let Some(statement) = raw.stmt.as_deref() {
            collect(statement, &mut found);
        }
    }
    found
}

fn collect(node: &Node, found: &mut Vec<String>) {
    let Some(kind) = &node.node else { return };
    if stands_alone(kind) && is_value(kind) && asks_who(node) {
        if let Some(text) = text(node)
            && !found.contains(&text)
        {
            found.push(text);
        }
        return;
    }
    for child in children(kind) {
        collect(child, found);
    }
}

/// Whether it is a value by itself rather than a condition or a clause.
fn is_value(kind: &NodeEnum) -> bool {
    match kind {
        NodeEnum::FuncCall(_)
        | NodeEnum::TypeCast(_)
        | NodeEnum::SqlvalueFunction(_)
        | NodeEnum::CoalesceExpr(_) => true,
        NodeEnum::AExpr(expression) => {
            expression.kind() == AExprKind::AexprOp
                && !expression.name.iter().any(|part| {
                    matches!(&part.node, Some(NodeEnum::String(name))
                        if COMPARISONS.contains(&name.sval.as_str()))
                })
        }
        _ => false,
    }
}

fn stands_alone(kind: &NodeEnum) -> bool {
    serde_json::to_value(kind)
        .is_ok_and(|tree| !mentions(&tree, "ColumnRef") && !mentions(&tree, "SubLink"))
}

/// Whether a claim, a setting or the role is looked at.
fn asks_who(node: &Node) -> bool {
    let Ok(tree) = serde_json::to_value(node) else { return false };
    if mentions(&tree, "SqlvalueFunction") {
        return true;
    }
    let mut calls = Vec::new();
    functions(&tree, &mut calls);
    calls.iter().any(|call| call[0] == "auth" || call[call.len() - 1] == "current_setting")
}

/// The dotted names of all functions that are called; none is empty.
fn functions(tree: &serde_json::Value, found: &mut Vec<Vec<String>>) {
    match tree {
        serde_json::Value::Array(items) => items.iter().for_each(|item| functions(item, found)),
        serde_json::Value::Object(fields) => {
            if let Some(name) = fields.get("funcname").and_then(serde_json::Value::as_array) {
                let parts = name.iter().filter_map(|part| part["node"]["String"]["sval"].as_str());
                let parts: Vec<String> = parts.map(str::to_owned).collect();
                found.extend((!parts.is_empty()).then_some(parts));
            }
            fields.values().for_each(|field| functions(field, found));
        }
        _ => {}
    }
}

/// What an expression consists of, as far as policies are written; nothing of other nodes.
fn children(kind: &NodeEnum) -> Vec<&Node> {
    fn boxed(node: Option<&Node>) -> impl Iterator<Item = &Node> {
        node.into_iter()
    }
    match kind {
        NodeEnum::AExpr(e) => boxed(e.lexpr.as_deref()).chain(boxed(e.rexpr.as_deref())).collect(),
        NodeEnum::BoolExpr(e) => e.args.iter().collect(),
        NodeEnum::FuncCall(e) => e.args.iter().collect(),
        NodeEnum::TypeCast(e) => boxed(e.arg.as_deref()).collect(),
        NodeEnum::SubLink(e) => {
            boxed(e.testexpr.as_deref()).chain(boxed(e.subselect.as_deref())).collect()
        }
        NodeEnum::NullTest(e) => boxed(e.arg.as_deref()).collect(),
        NodeEnum::BooleanTest(e) => boxed(e.arg.as_deref()).collect(),
        NodeEnum::CoalesceExpr(e) => e.args.iter().collect(),
        NodeEnum::CaseExpr(e) => {
            boxed(e.arg.as_deref()).chain(&e.args).chain(boxed(e.defresult.as_deref())).collect()
        }
        NodeEnum::CaseWhen(e) => {
            boxed(e.expr.as_deref()).chain(boxed(e.result.as_deref())).collect()
        }
        NodeEnum::AArrayExpr(e) => e.elements.iter().collect(),
        NodeEnum::AIndirection(e) => boxed(e.arg.as_deref()).collect(),
        NodeEnum::CollateClause(e) => boxed(e.arg.as_deref()).collect(),
        NodeEnum::RowExpr(e) => e.args.iter().collect(),
        NodeEnum::List(e) => e.items.iter().collect(),
        NodeEnum::ResTarget(e) => boxed(e.val.as_deref()).collect(),
        NodeEnum::JoinExpr(e) => boxed(e.larg.as_deref())
            .chain(boxed(e.rarg.as_deref()))
            .chain(boxed(e.quals.as_deref()))
            .collect(),
        NodeEnum::RangeSubselect(e) => boxed(e.subquery.as_deref()).collect(),
        NodeEnum::SelectStmt(e) => {
            let lists = e.target_list.iter().chain(&e.from_clause);
            lists.chain(boxed(e.where_clause.as_deref())).collect()
        }
        _ => Vec::new(),
    }
}

fn text(node: &Node) -> Option<String> {
    // A statement of the parser's own: in one put together here, its enumerations would have no value.
    let parsed = pg_query::parse("select 1", 0).ok()?;
    let mut statement = parsed.protobuf.stmts.into_iter().next()?.stmt?.node?;
    if let NodeEnum::SelectStmt(select) = &mut statement
        && let Some(NodeEnum::ResTarget(target)) = &mut select.target_list.first_mut()?.node
    {
        target.val = Some(Box::new(node.clone()));
    }
    let text = statement.deparse(pg_query::DeparseOptions::default()).ok()?;
    text.strip_prefix("SELECT ").map(str::to_owned)
}

/// Evaluates what the policies of each table ask, as the role that they are asked for.
pub(super) async fn fill_in(
    session: &Session,
    all: &mut [Touched],
) -> Result<(), tokio_postgres::Error> {
    let mut known: Vec<(String, Seen)> = Vec::new();
    for touched in all {
        let table = &mut touched.table;
        for policy in table.groups.iter().flat_map(|group| &group.policies) {
            for expression in parts(&policy.qualified) {
                let same = |(role, seen): &&(String, Seen)| {
                    *role == table.role && seen.expression == expression
                };
                let seen = if let Some((_, seen)) = known.iter().find(same) {
                    seen.clone()
                } else {
                    let seen = evaluate(session, &table.role, expression).await?;
                    known.push((table.role.clone(), seen.clone()));
                    seen
                };
                if !table.values.contains(&seen) {
                    table.values.push(seen);
                }
            }
        }
    }
    Ok(())
}

async fn evaluate(
    session: &Session,
    role: &str,
    expression: String,
) -> Result<Seen, tokio_postgres::Error> {
    let sql = format!("select ({expression})::pg_catalog.text");
    let value = session.undone(async || {
        session.become_role(role).await?;
        let row = session.client().query_one(&sql, &[]).await?;
        row.try_get::<_, Option<String>>(0)
    });
    match value.await {
        Ok(value) => Ok(Seen { expression, value, error: None }),
        Err(error) if error.as_db_error().is_some() => {
            Ok(Seen { expression, value: None, error: Some(control::reason(&error)) })
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_the_caller_is_found_without_what_depends_on_the_row() {
        for (expression, expected) in [
            ("(user_id = auth.user_id())", vec!["auth.user_id()"]),
            ("(( SELECT auth.user_id() AS user_id) = user_id)", vec!["auth.user_id()"]),
            (
                "(org = ((auth.session() ->> 'org_id'::text))::uuid)",
                vec!["(auth.session() ->> 'org_id'::text)::uuid"],
            ),
            ("((owner = CURRENT_USER) OR is_public)", vec!["current_user"]),
            ("(auth.user_id() IS NOT NULL)", vec!["auth.user_id()"]),
            (
                "(EXISTS ( SELECT 1 FROM public.members m WHERE ((m.user_id = auth.user_id()) AND (m.org = todos.org))))",
                vec!["auth.user_id()"],
            ),
            (
                "(tenant = current_setting('app.tenant'::text))",
                vec!["current_setting('app.tenant'::text)"],
            ),
            ("is_public", vec![]),
            ("(lower(name) = 'x'::text)", vec![]),
        ] {
            let found: Vec<String> = parts(expression).iter().map(|t| t.to_lowercase()).collect();
            assert_eq!(found, expected, "{expression}");
        }
    }
}
