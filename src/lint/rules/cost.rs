//! What policies cost each request.

use std::collections::BTreeSet;

use super::super::catalogue::{Catalogue, Relation};
use super::super::tree::{self, Expr, How};
use super::{Found, Object, list};

pub(super) fn once_per_row(catalogue: &Catalogue, found: &mut Found) {
    for (table, policy) in catalogue.policies() {
        let mut clauses = Vec::new();
        let mut calls = BTreeSet::new();
        for (clause, tree, text) in policy.conditions() {
            let mut bare = Vec::new();
            per_row_calls(catalogue, tree, &mut bare);
            if bare.is_empty() {
                continue;
            }
            calls.extend(bare.iter().map(|(name, _)| name.clone()));
            let places: Vec<usize> = bare.into_iter().map(|(_, at)| at).collect();
            clauses.extend(wrap(text, &places).map(|wrapped| format!("{clause} ({wrapped})")));
        }
        if !calls.is_empty() {
            let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
            let message = format!("{} for each row; write (select {}())", list(&calls), calls[0]);
            let mend =
                format!("alter policy {} on {} {};", policy.sql, table.sql, clauses.join(" "));
            found.add(Object::of_policy(table, policy), message, Some(mend));
        }
    }
}

/// Calls that only depend on the session, and are evaluated for each row all the same.
fn per_row_calls(catalogue: &Catalogue, expr: &Expr, into: &mut Vec<(String, usize)>) {
    match expr {
        Expr::Query(query) if query.stands_alone() => {
            return query.test.iter().for_each(|test| per_row_calls(catalogue, test, into));
        }
        Expr::Call { schema, name, at, .. } => {
            let depends = expr.any(|part| matches!(part, Expr::Column(_) | Expr::Query(_)));
            let own = catalogue.function(schema, name).is_some_and(|f| f.volatility == 's');
            if !depends && (schema == "auth" || name == "current_setting" || own) {
                let shown =
                    if schema.is_empty() { name.clone() } else { format!("{schema}.{name}") };
                return into.push((shown, at.0));
            }
        }
        _ => {}
    }
    for child in expr.children() {
        per_row_calls(catalogue, child, into);
    }
}

/// The text with the calls that begin at these places in queries of their own.
pub(in super::super) fn wrap(text: &str, places: &[usize]) -> Option<String> {
    let mut places = places.to_vec();
    places.sort_unstable();
    places.dedup();
    let mut wrapped = text.to_owned();
    for start in places.into_iter().rev() {
        let end = tree::call_end(text, start)?;
        wrapped.replace_range(start..end, &format!("(select {})", &text[start..end]));
    }
    Some(wrapped)
}

pub(super) fn volatile(catalogue: &Catalogue, found: &mut Found) {
    for (table, policy) in catalogue.policies() {
        let mut names = BTreeSet::new();
        for (_, tree, _) in policy.conditions() {
            tree.visit(&mut |expr| {
                if let Expr::Call { schema, name, .. } = expr {
                    let schema = if schema.is_empty() { "pg_catalog" } else { schema.as_str() };
                    if catalogue.volatile.contains(&(schema.to_owned(), name.clone())) {
                        names.insert(name.clone());
                    }
                }
            });
        }
        if let Some(name) = names.first() {
            let message = format!("{name}() is volatile: it may answer differently for each row");
            found.add(Object::of_policy(table, policy), message, None);
        }
    }
}

/// Conditions that an index could answer: one side is about a row, the other is the same for all rows.
fn filters(tree: &Expr, table: &Relation) -> Vec<Expr> {
    let is_own = |expr: &Expr| {
        matches!(expr, Expr::Column(path)
            if path.last().is_some_and(|name| table.column(name).is_some()))
    };
    let mut sides = Vec::new();
    tree.visit_outside_queries(&mut |expr| {
        let Expr::Operator { name, how: How::Plain | How::Any, operands } = expr else { return };
        let [left, right] = operands.as_slice() else { return };
        if name != "=" {
            return;
        }
        for (side, other) in [(left, right), (right, left)] {
            // Who is calling, or rows of another table: nothing that a boolean flag is compared with.
            let steady = other.has_identity() || matches!(other, Expr::Query(_));
            if side.any(is_own) && !other.any(is_own) && steady {
                sides.push(side.clone());
            }
        }
    });
    // `column in (select …)` is a query with something that is compared with its rows.
    tree.visit(&mut |expr| {
        if let Expr::Query(query) = expr
            && query.stands_alone()
            && let Some(test) = query.test.as_deref().filter(|test| test.any(is_own))
        {
            sides.push(test.clone());
        }
    });
    sides
}

/// The column, if nothing is done to it that an index on it would not survive.
fn plain_column<'t>(
    side: &Expr,
    table: &'t Relation,
) -> Option<&'t super::super::catalogue::Column> {
    match side {
        Expr::Column(path) => path.last().and_then(|name| table.column(name)),
        // varchar and text are the same bytes: no conversion takes place.
        Expr::Cast(inner, to) if to == "text" => plain_column(inner, table)
            .filter(|column| matches!(column.type_name.as_str(), "text" | "character varying")),
        _ => None,
    }
}

/// Each side that policies filter existing rows of this table by, once.
fn filtered(table: &Relation) -> Vec<Expr> {
    let mut sides: Vec<Expr> = Vec::new();
    for policy in table.policies.iter().filter(|policy| policy.command != "insert") {
        for side in policy.using.iter().flat_map(|using| filters(using, table)) {
            if !sides.contains(&side) {
                sides.push(side);
            }
        }
    }
    sides
}

pub(super) fn no_index(catalogue: &Catalogue, found: &mut Found) {
    for table in catalogue.tables().filter(|table| table.has_rls) {
        let mut done = BTreeSet::new();
        for side in filtered(table) {
            let Some(column) = plain_column(&side, table) else { continue };
            let leads =
                table.indexes.iter().any(|index| index.keys.first() == Some(&column.number));
            if !leads && done.insert(column.number) {
                let message =
                    format!("policies filter by {}, and no index begins with it", column.sql);
                let mend = format!("create index on {} ({});", table.sql, column.sql);
                found.add(Object::of(table), message, Some(mend));
            }
        }
    }
}

pub(super) fn wrapped_column(catalogue: &Catalogue, found: &mut Found) {
    for table in catalogue.tables().filter(|table| table.has_rls) {
        for side in filtered(table) {
            if plain_column(&side, table).is_some() {
                continue;
            }
            let fits = |text: &String| {
                tree::condition(text)
                    .is_some_and(|indexed| indexed == side || indexed.bare() == &side)
            };
            if table.indexes.iter().any(|index| index.expressions.first().is_some_and(fits)) {
                continue;
            }
            let mut names = BTreeSet::new();
            side.visit(&mut |expr| {
                if let Expr::Column(path) = expr {
                    names.extend(path.last().cloned());
                }
            });
            let columns: Vec<&str> = names.iter().map(String::as_str).collect();
            let message = format!(
                "policies filter by an expression over {}; index that expression, or compare the column itself",
                list(&columns)
            );
            found.add(Object::of(table), message, None);
        }
    }
}

pub(super) fn not_leakproof(catalogue: &Catalogue, found: &mut Found) {
    for table in catalogue.tables().filter(|table| table.has_rls && !table.policies.is_empty()) {
        if table.roles_with(&["select"]).is_empty() {
            continue;
        }
        let own: Vec<i16> = filtered(table)
            .iter()
            .filter_map(|side| plain_column(side, table).map(|column| column.number))
            .collect();
        for index in table.indexes.iter().filter(|index| !index.is_leakproof) {
            // Policies themselves may use any operator.
            if index.keys.first().is_some_and(|key| own.contains(key)) {
                continue;
            }
            let message = format!(
                "index {} ({}): its operators are not leakproof, so that requests cannot search by it",
                index.sql, index.operators
            );
            found.add(Object::of(table), message, None);
        }
    }
}

pub(super) fn several(catalogue: &Catalogue, found: &mut Found) {
    for table in catalogue.tables().filter(|table| table.has_rls) {
        let mut crowds: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
        for role in catalogue.api_roles() {
            for command in ["select", "insert", "update", "delete"] {
                let names: Vec<&str> = table
                    .policies
                    .iter()
                    .filter(|policy| policy.is_permissive && policy.concerns(command))
                    .filter(|policy| catalogue.subjects(policy).contains(&role.name.as_str()))
                    .map(|policy| policy.name.as_str())
                    .collect();
                if names.len() < 2 || table.roles_with(&[command]).is_empty() {
                    continue;
                }
                match crowds.iter_mut().find(|(_, crowd)| *crowd == names) {
                    Some((commands, _)) if commands.contains(&command) => {}
                    Some((commands, _)) => commands.push(command),
                    None => crowds.push((vec![command], names)),
                }
            }
        }
        for (commands, names) in crowds {
            let message = format!("{}: {} add up", list(&commands), list(&names));
            found.add(Object::of(table), message, None);
        }
    }
}
