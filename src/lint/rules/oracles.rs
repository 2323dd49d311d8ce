//! Constraints that tell a caller of rows that policies hide.

use std::collections::BTreeSet;

use super::super::catalogue::{Catalogue, Policy, Relation};
use super::policies::{identity_columns, reads};
use super::{Found, Object, list};

/// Columns that say whose a row is.
fn owners(table: &Relation) -> BTreeSet<String> {
    let policies = table.policies.iter().flat_map(Policy::conditions);
    policies.flat_map(|(_, tree, _)| identity_columns(tree, table)).collect()
}

pub(super) fn unique(catalogue: &Catalogue, found: &mut Found) {
    for table in catalogue.tables().filter(|table| table.has_rls) {
        let owners = owners(table);
        if owners.is_empty() || table.roles_with(&["insert", "update"]).is_empty() {
            continue;
        }
        for index in table.indexes.iter().filter(|index| index.is_unique) {
            let columns: Vec<_> = index
                .keys
                .iter()
                .filter_map(|key| table.columns.iter().find(|column| column.number == *key))
                .collect();
            let is_own = columns.iter().any(|column| owners.contains(&column.name));
            // Nobody guesses a uuid, and counted numbers tell nothing.
            let is_dull = !columns.is_empty()
                && columns.iter().all(|column| {
                    column.type_name == "uuid" || index.is_primary && column.has_default
                });
            if !is_own && !is_dull {
                let owner = owners.first().map_or("", String::as_str);
                let message = format!("{} spans all users: {owner} is not part of it", index.sql);
                found.add(Object::of(table), message, None);
            }
        }
    }
}

pub(super) fn foreign_key(catalogue: &Catalogue, found: &mut Found) {
    for table in catalogue.tables() {
        let writers = table.roles_with(&["insert", "update"]);
        if writers.is_empty() {
            continue;
        }
        for key in &table.foreign_keys {
            let Some(parent) = catalogue.relation(key.parent).filter(|parent| parent.has_rls)
            else {
                continue;
            };
            let columns: Vec<_> = table
                .columns
                .iter()
                .filter(|column| key.columns.contains(&column.number))
                .collect();
            let owners = owners(table);
            // A reference to oneself, or to rows that the policy has looked for first: a check comes
            // before the foreign key (execMain.c: WITH CHECK OPTION, then AFTER triggers).
            let is_own = columns.iter().any(|column| owners.contains(&column.name));
            let is_looked_for = table
                .policies
                .iter()
                .any(|policy| reads(catalogue, policy).iter().any(|read| read.oid == parent.oid));
            let guessable = columns.iter().any(|column| column.type_name != "uuid");
            if !is_own && !is_looked_for && guessable {
                let message = format!(
                    "{}: {} can find out which rows {} has; let the policy look for the row first",
                    key.sql,
                    list(&writers),
                    parent.sql
                );
                found.add(Object::of(table), message, None);
            }
        }
    }
}
