//! Whether policies are asked at all.

use super::super::catalogue::{Catalogue, Relation};
use super::{Found, Object, list};

/// What reads or changes rows.
const ROWS: [&str; 4] = ["select", "insert", "update", "delete"];

fn enable(table: &Relation) -> String {
    let name = &table.sql;
    format!(
        "alter table {name} enable row level security;\nalter table {name} force row level security;"
    )
}

pub(super) fn rls_off(catalogue: &Catalogue, found: &mut Found) {
    for table in catalogue.tables() {
        let roles = table.roles_with(&ROWS);
        let is_open = !table.has_rls && !roles.is_empty() && table.policies.is_empty();
        if is_open && guarded_ancestor(catalogue, table).is_none() {
            let message = format!("{} may use all rows of {}", list(&roles), table.sql);
            found.add(Object::of(table), message, Some(enable(table)));
        }
    }
}

pub(super) fn dormant_policies(catalogue: &Catalogue, found: &mut Found) {
    for table in catalogue.tables().filter(|t| !t.has_rls && !t.policies.is_empty()) {
        let message = format!("{} policies on {} do nothing", table.policies.len(), table.sql);
        found.add(Object::of(table), message, Some(enable(table)));
    }
}

pub(super) fn no_policy(catalogue: &Catalogue, found: &mut Found) {
    for table in catalogue.tables().filter(|t| t.has_rls && t.policies.is_empty()) {
        let roles = table.roles_with(&ROWS);
        if !roles.is_empty() {
            let message = format!("{} may use {}, and gets no row of it", list(&roles), table.sql);
            found.add(Object::of(table), message, None);
        }
    }
}

pub(super) fn not_forced(catalogue: &Catalogue, found: &mut Found) {
    for table in catalogue.tables().filter(|t| t.has_rls && !t.is_forced) {
        let message = format!("the owner of {} sees and changes all of its rows", table.sql);
        let mend = format!("alter table {} force row level security;", table.sql);
        found.add(Object::of(table), message, Some(mend));
    }
}

pub(super) fn only_restrictive(catalogue: &Catalogue, found: &mut Found) {
    for table in catalogue.tables().filter(|t| t.has_rls && !t.policies.is_empty()) {
        if table.policies.iter().all(|policy| !policy.is_permissive) {
            let message = format!("no permissive policy gives anybody a row of {}", table.sql);
            found.add(Object::of(table), message, None);
        }
    }
}

pub(super) fn grant_without_policy(catalogue: &Catalogue, found: &mut Found) {
    // Without any permissive policy, other rules speak.
    let tables = catalogue.tables().filter(|t| t.has_rls);
    for table in tables.filter(|t| t.policies.iter().any(|policy| policy.is_permissive)) {
        for access in &table.access {
            let unused: Vec<&str> = ["insert", "update", "delete"]
                .into_iter()
                .filter(|command| access.has(command))
                .filter(|command| {
                    !table.policies.iter().any(|policy| {
                        policy.is_permissive
                            && policy.concerns(command)
                            && catalogue.subjects(policy).contains(&access.role.as_str())
                    })
                })
                .collect();
            if !unused.is_empty() {
                let (role, commands) = (&access.role, list(&unused));
                let message =
                    format!("{role} may {commands} on {}, and no policy lets it", table.sql);
                found.add(Object::of(table), message, None);
            }
        }
    }
}

pub(super) fn child_in_the_open(catalogue: &Catalogue, found: &mut Found) {
    for table in catalogue.tables().filter(|t| !t.has_rls) {
        let roles = table.roles_with(&ROWS);
        let Some(ancestor) = guarded_ancestor(catalogue, table) else { continue };
        if !roles.is_empty() {
            let roles = list(&roles);
            let message = format!(
                "{roles} may use {} by name, where the policies of {} do not hold",
                table.sql, ancestor.sql
            );
            let mend = format!("revoke all on table {} from public, {roles};", table.sql);
            found.add(Object::of(table), message, Some(mend));
        }
    }
}

/// A table with row-level security that this one inherits from, however far up.
fn guarded_ancestor<'c>(catalogue: &'c Catalogue, table: &Relation) -> Option<&'c Relation> {
    let mut next = table.parents.clone();
    while let Some(parent) = next.pop().and_then(|oid| catalogue.relation(oid)) {
        if parent.has_rls {
            return Some(parent);
        }
        next.extend(&parent.parents);
    }
    None
}
