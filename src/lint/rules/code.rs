//! Views and functions: code that runs with somebody's rights.

use super::super::catalogue::{Catalogue, Function, Relation};
use super::{Found, Object, list};

const ROWS: [&str; 4] = ["select", "insert", "update", "delete"];

/// Relations of a kind that the API roles may use, and whose comment does not say that they are meant to.
fn open(catalogue: &Catalogue, kind: char) -> impl Iterator<Item = (&Relation, String)> {
    let open = catalogue.relations.iter().filter(move |r| r.kind == kind && r.kept.is_none());
    open.filter_map(|relation| {
        let roles = relation.roles_with(&ROWS);
        (!roles.is_empty()).then(|| (relation, list(&roles)))
    })
}

pub(super) fn owner_view(catalogue: &Catalogue, found: &mut Found) {
    for (view, roles) in open(catalogue, 'v').filter(|(v, _)| !v.is_invoker && v.reads_relations) {
        let message = format!("{roles}: {} shows what its owner may see", view.sql);
        // Since PostgreSQL 15.
        let mend = (catalogue.version >= 150_000)
            .then(|| format!("alter view {} set (security_invoker = true);", view.sql));
        found.add(Object::of(view), message, mend);
    }
}

pub(super) fn materialized(catalogue: &Catalogue, found: &mut Found) {
    for (view, roles) in open(catalogue, 'm') {
        let message = format!("{roles} may read all of {}", view.sql);
        let mend = format!("revoke all on table {} from public, {roles};", view.sql);
        found.add(Object::of(view), message, Some(mend));
    }
}

pub(super) fn foreign_table(catalogue: &Catalogue, found: &mut Found) {
    for (table, roles) in open(catalogue, 'f') {
        let message = format!("{roles} may use all of {}", table.sql);
        let mend = format!("revoke all on table {} from public, {roles};", table.sql);
        found.add(Object::of(table), message, Some(mend));
    }
}

pub(super) fn definer(catalogue: &Catalogue, found: &mut Found) {
    for function in catalogue.functions.iter().filter(|f| f.is_definer && !f.is_trigger) {
        // Whoever reads a table must be able to call what its policies and defaults call.
        if function.callers.is_empty() || function.needed_by.is_some() || function.kept.is_some() {
            continue;
        }
        let callers: Vec<&str> = function.callers.iter().map(String::as_str).collect();
        let rights = if function.owner_bypasses { ", whom no policy binds" } else { "" };
        let message = format!("{} run it with the rights of its owner{rights}", list(&callers));
        let mend =
            format!("revoke execute on routine {} from public, {};", function.sql, list(&callers));
        found.add(Object::of_function(function), message, Some(mend));
    }
}

pub(super) fn unpinned(catalogue: &Catalogue, found: &mut Found) {
    for function in catalogue.functions.iter().filter(|f| f.is_definer && !f.is_pinned) {
        let message = "the names in its body mean what its caller's search_path says";
        let mend = format!(
            "alter routine {} set search_path = {}, pg_temp;",
            function.sql,
            quote(function)
        );
        found.add(Object::of_function(function), message, Some(mend));
    }
}

/// The function's schema as SQL wants it: the part of its name before the last dot outside quotes and
/// arguments.
fn quote(function: &Function) -> &str {
    let mut in_quotes = false;
    let end = function.sql.find(|character: char| {
        in_quotes ^= character == '"';
        character == '.' && !in_quotes
    });
    end.map_or("pg_catalog", |end| &function.sql[..end])
}

/// Names that stand for who is calling.
const IDENTITY: [&str; 4] = ["current_setting", "current_user", "session_user", "auth"];

pub(super) fn immutable_identity(catalogue: &Catalogue, found: &mut Found) {
    for function in catalogue.functions.iter().filter(|f| f.volatility == 'i') {
        let is_code = matches!(function.language.as_str(), "sql" | "plpgsql");
        let asks = is_code
            && function
                .source
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| IDENTITY.contains(&word.to_lowercase().as_str()));
        if asks {
            let message =
                "its answer depends on who is calling, and may be kept for the next caller";
            let mend = format!("alter routine {} stable;", function.sql);
            found.add(Object::of_function(function), message, Some(mend));
        }
    }
}

pub(super) fn leakproof(catalogue: &Catalogue, found: &mut Found) {
    for function in catalogue.functions.iter().filter(|function| function.is_leakproof) {
        let message = "it is called with rows that policies have not passed yet";
        let mend = format!("alter function {} not leakproof;", function.sql);
        found.add(Object::of_function(function), message, Some(mend));
    }
}
