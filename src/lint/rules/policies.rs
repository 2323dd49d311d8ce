//! What a policy says, and whether that can have been meant.

use std::collections::{BTreeSet, HashSet};

use super::super::catalogue::{Catalogue, Policy, Relation};
use super::super::tree::{Expr, How, Truth};
use super::{Found, Object, list};

fn always(expr: Option<&Expr>) -> bool {
    expr.is_some_and(|expr| expr.truth(false) == Truth::True)
}

/// Policies that are in force, and for a role that requests run as.
fn in_force(catalogue: &Catalogue) -> impl Iterator<Item = (&Relation, &Policy)> {
    catalogue
        .policies()
        .filter(|(table, policy)| table.has_rls && !catalogue.subjects(policy).is_empty())
}

pub(super) fn open_write(catalogue: &Catalogue, found: &mut Found) {
    for (table, policy) in in_force(catalogue).filter(|(_, policy)| policy.is_permissive) {
        let rows = policy.using.is_none() || always(policy.using.as_ref());
        let is_open = match policy.command.as_str() {
            "insert" => always(policy.check.as_ref()),
            "delete" => always(policy.using.as_ref()),
            "update" | "all" => rows && always(policy.effective_check()),
            _ => false,
        };
        if is_open {
            let roles = list(&catalogue.subjects(policy));
            let message = format!("{roles}: any row of {} may be written", table.sql);
            found.add(Object::of_policy(table, policy), message, None);
        }
    }
}

pub(super) fn open_read(catalogue: &Catalogue, found: &mut Found) {
    for (table, policy) in in_force(catalogue).filter(|(_, policy)| policy.is_permissive) {
        if policy.command == "select" && always(policy.using.as_ref()) {
            let roles = list(&catalogue.subjects(policy));
            let message = format!("{roles}: every row of {} is shown", table.sql);
            found.add(Object::of_policy(table, policy), message, None);
        }
    }
}

pub(super) fn missing_check(catalogue: &Catalogue, found: &mut Found) {
    for (table, policy) in catalogue.policies().filter(|(_, policy)| policy.check.is_none()) {
        let (message, mend) = match (policy.command.as_str(), &policy.using_text) {
            ("insert", _) => ("without WITH CHECK it lets nobody insert anything", None),
            // Where every row may be written, another rule speaks.
            ("update" | "all", Some(using)) if !always(policy.using.as_ref()) => (
                "USING also decides which rows may be left behind; say so",
                Some(format!("alter policy {} on {} with check ({using});", policy.sql, table.sql)),
            ),
            _ => continue,
        };
        found.add(Object::of_policy(table, policy), message, mend);
    }
}

pub(super) fn wider_check(catalogue: &Catalogue, found: &mut Found) {
    for (table, policy) in in_force(catalogue).filter(|(_, policy)| policy.is_permissive) {
        let (Some(using), Some(check)) = (&policy.using, &policy.check) else { continue };
        if always(Some(using)) || using == check {
            continue;
        }
        let (reads, writes) = (using.conjuncts(), check.conjuncts());
        let dropped: Vec<_> = reads.iter().filter(|part| !writes.contains(part)).collect();
        let is_part = writes.iter().all(|part| reads.contains(part)) && !dropped.is_empty();
        let owners = identity_columns(using, table);
        // One that asks who is calling, or about the owner, in any other way may well bind the row.
        let is_bound = |expr: &Expr| match expr {
            Expr::Column(path) => path.last().is_some_and(|name| owners.contains(name)),
            other => other.is_identity(),
        };
        let loses_owner =
            !owners.is_empty() && !check.any(is_bound) && check.truth(false) != Truth::False;
        if always(Some(check)) || is_part || loses_owner {
            let message = match owners.iter().next() {
                Some(owner) if loses_owner => format!("a row may be given another {owner}"),
                _ => "new rows are held to less than existing ones".to_owned(),
            };
            let mend = policy.using_text.as_ref().map(|using| {
                format!("alter policy {} on {} with check ({using});", policy.sql, table.sql)
            });
            found.add(Object::of_policy(table, policy), message, mend);
        }
    }
}

pub(super) fn true_without_token(catalogue: &Catalogue, found: &mut Found) {
    for (table, policy) in in_force(catalogue).filter(|(_, policy)| policy.is_permissive) {
        if !catalogue.subjects(policy).contains(&"anonymous") {
            continue;
        }
        for (clause, tree, _) in policy.conditions() {
            if tree.truth(true) == Truth::True && tree.truth(false) != Truth::True {
                let message = format!("without a token, {clause} is true for every row");
                found.add(Object::of_policy(table, policy), message, None);
                break;
            }
        }
    }
}

pub(super) fn for_public(catalogue: &Catalogue, found: &mut Found) {
    for (table, policy) in catalogue.policies() {
        if policy.is_permissive && policy.roles.iter().any(|role| role == "public") {
            let message =
                "it holds for every role, anonymous among them; name those it is meant for";
            let mend = format!("alter policy {} on {} to authenticated;", policy.sql, table.sql);
            found.add(Object::of_policy(table, policy), message, Some(mend));
        }
    }
}

pub(super) fn unknown_role(catalogue: &Catalogue, found: &mut Found) {
    for (table, policy) in catalogue.policies() {
        if catalogue.subjects(policy).is_empty() {
            let api: Vec<&str> = catalogue.api_roles().map(|role| role.name.as_str()).collect();
            let message = format!(
                "it is for {}, and requests run as {}",
                policy.roles.join(", "),
                list(&api)
            );
            found.add(Object::of_policy(table, policy), message, None);
        }
    }
}

pub(super) fn no_column(catalogue: &Catalogue, found: &mut Found) {
    for (table, policy) in in_force(catalogue).filter(|(_, policy)| policy.is_permissive) {
        for (clause, tree, _) in policy.conditions() {
            // A subquery is another rule's matter, a setting as well.
            let looks = tree.any(|expr| matches!(expr, Expr::Column(_)));
            let asks = tree.has_identity() && !tree.any(is_setting) && !tree.any(is_session_role);
            if !looks && asks && tree.truth(false) == Truth::Open && tree.truth(true) != Truth::True
            {
                let message =
                    format!("{clause} looks at no column: it holds for all rows or for none");
                found.add(Object::of_policy(table, policy), message, None);
                break;
            }
        }
    }
}

fn is_session_role(expr: &Expr) -> bool {
    matches!(expr, Expr::SessionRole)
}

pub(super) fn session_role(catalogue: &Catalogue, found: &mut Found) {
    for (table, policy) in catalogue.policies() {
        if policy.conditions().any(|(_, tree, _)| tree.any(is_session_role)) {
            let message =
                "it compares with the session's role, which all users share; use auth.user_id()";
            found.add(Object::of_policy(table, policy), message, None);
        }
    }
}

/// `current_setting` of a parameter that the application made up, or whose name is not written out.
fn is_setting(expr: &Expr) -> bool {
    let Expr::Call { name, arguments, .. } = expr else { return false };
    name == "current_setting"
        && match arguments.first().map(Expr::bare) {
            Some(Expr::Text(setting)) => setting.contains('.'),
            _ => true,
        }
}

pub(super) fn settable(catalogue: &Catalogue, found: &mut Found) {
    for (table, policy) in in_force(catalogue) {
        if policy.conditions().any(|(_, tree, _)| tree.any(is_setting)) {
            let message = "a caller can set what current_setting() returns; ask auth.session() or auth.user_id()";
            found.add(Object::of_policy(table, policy), message, None);
        }
    }
}

pub(super) fn circle(catalogue: &Catalogue, found: &mut Found) {
    for role in catalogue.api_roles() {
        let role = role.name.as_str();
        for (table, policy) in in_force(catalogue) {
            if !catalogue.subjects(policy).contains(&role) {
                continue;
            }
            let mut path = vec![table];
            if goes_in_circles(catalogue, role, policy, &mut path) {
                let tables: Vec<&str> = path.iter().map(|table| table.sql.as_str()).collect();
                let object = Object::of_policy(table, policy);
                if found.findings.iter().all(|finding| finding.object != object) {
                    let message = format!("it reads in a circle: {}", tables.join(" → "));
                    found.add(object, message, None);
                }
            }
        }
    }
}

/// Whether evaluating this policy reads a table that is being read already (rewriteHandler.c:
/// `fireRIRrules` with `activeRIRs`). Leaves the circle in `path`.
fn goes_in_circles<'c>(
    catalogue: &'c Catalogue,
    role: &str,
    policy: &Policy,
    path: &mut Vec<&'c Relation>,
) -> bool {
    for table in reads(catalogue, policy).into_iter().filter(|table| table.has_rls) {
        let again = path.iter().any(|active| active.oid == table.oid);
        path.push(table);
        if again {
            return true;
        }
        for next in table.policies.iter().filter(|next| next.concerns("select")) {
            if catalogue.subjects(next).contains(&role)
                && goes_in_circles(catalogue, role, next, path)
            {
                return true;
            }
        }
        path.pop();
    }
    false
}

/// The tables that a policy's subqueries read.
pub(super) fn reads<'c>(catalogue: &'c Catalogue, policy: &Policy) -> Vec<&'c Relation> {
    let mut seen = HashSet::new();
    let mut tables = Vec::new();
    for (_, tree, _) in policy.conditions() {
        tree.visit(&mut |expr| {
            if let Expr::Query(query) = expr {
                for (schema, name, _) in &query.relations {
                    tables.extend(catalogue.named(schema, name).filter(|t| seen.insert(t.oid)));
                }
            }
        });
    }
    tables
}

/// Claims that users edit themselves: Supabase's two names, and Clerk's.
const USER_EDITABLE: [&str; 4] =
    ["user_metadata", "raw_user_meta_data", "unsafe_metadata", "unsafeMetadata"];

pub(super) fn user_editable(catalogue: &Catalogue, found: &mut Found) {
    for (table, policy) in catalogue.policies() {
        let mut claims = BTreeSet::new();
        for (_, tree, _) in policy.conditions() {
            tree.visit(&mut |expr| match expr {
                // A key by itself, or in a path: '{user_metadata,role}'.
                Expr::Text(text) => {
                    let keys = text.split(['{', '}', ',', '"', ' ']);
                    claims.extend(keys.filter(|key| USER_EDITABLE.contains(key)));
                }
                Expr::Column(path) => {
                    claims.extend(
                        path.last().map(String::as_str).filter(|n| USER_EDITABLE.contains(n)),
                    );
                }
                _ => {}
            });
        }
        if let Some(claim) = claims.first() {
            let message =
                format!("users write {claim} themselves; use a claim that only the issuer sets");
            found.add(Object::of_policy(table, policy), message, None);
        }
    }
}

pub(super) fn nullable(catalogue: &Catalogue, found: &mut Found) {
    for table in catalogue.tables().filter(|table| table.has_rls) {
        let mut owners = BTreeSet::new();
        for policy in &table.policies {
            for (_, tree, _) in policy.conditions() {
                owners.extend(identity_columns(tree, table));
            }
        }
        for column in owners.iter().filter_map(|name| table.column(name)).filter(|c| !c.not_null) {
            let message = format!("{} may be null: such a row belongs to nobody", column.sql);
            let mend =
                format!("alter table {} alter column {} set not null;", table.sql, column.sql);
            found.add(Object::of(table), message, Some(mend));
        }
    }
}

/// LIKE, ILIKE, regular expressions, as `pg_get_expr` prints them.
const PATTERNS: [&str; 8] = ["~~", "!~~", "~~*", "!~~*", "~", "!~", "~*", "!~*"];

pub(super) fn pattern(catalogue: &Catalogue, found: &mut Found) {
    for (table, policy) in catalogue.policies() {
        let matches = |expr: &Expr| match expr {
            Expr::Operator { name, operands, .. } => {
                PATTERNS.contains(&name.as_str()) && operands.get(1).is_some_and(Expr::has_identity)
            }
            _ => false,
        };
        if policy.conditions().any(|(_, tree, _)| tree.any(matches)) {
            let message = "who is calling is used as a pattern; compare with = instead";
            found.add(Object::of_policy(table, policy), message, None);
        }
    }
}

pub(super) fn unbound_query(catalogue: &Catalogue, found: &mut Found) {
    for (table, policy) in in_force(catalogue).filter(|(_, policy)| policy.is_permissive) {
        let is_unbound = |expr: &Expr| match expr {
            Expr::Query(query) => {
                query.is_exists
                    && !query.relations.is_empty()
                    && query.stands_alone()
                    && !expr.has_identity()
                    // The tables that it reads may show each caller other rows.
                    && query.relations.iter().all(|(schema, name, _)| {
                        catalogue.named(schema, name).is_none_or(|read| !read.has_rls)
                    })
            }
            _ => false,
        };
        if policy.conditions().any(|(_, tree, _)| tree.any(is_unbound)) {
            let message = "its subquery mentions neither the caller nor the row";
            found.add(Object::of_policy(table, policy), message, None);
        }
    }
}

pub(super) fn duplicate(catalogue: &Catalogue, found: &mut Found) {
    for table in catalogue.tables() {
        for (at, policy) in table.policies.iter().enumerate() {
            let same = |other: &&Policy| {
                other.command == policy.command
                    && other.is_permissive == policy.is_permissive
                    && other.roles == policy.roles
                    && other.using_text == policy.using_text
                    && other.check_text == policy.check_text
            };
            if let Some(first) = table.policies[..at].iter().find(same) {
                let message = format!("it says the same as {}", first.sql);
                let mend = format!("drop policy {} on {};", policy.sql, table.sql);
                found.add(Object::of_policy(table, policy), message, Some(mend));
            }
        }
    }
}

pub(super) fn without_grant(catalogue: &Catalogue, found: &mut Found) {
    for (table, policy) in in_force(catalogue) {
        let commands: &[&str] = match policy.command.as_str() {
            "select" => &["select"],
            "insert" => &["insert"],
            "update" => &["update"],
            "delete" => &["delete"],
            _ => &["select", "insert", "update", "delete"],
        };
        let holders = table.roles_with(commands);
        // One that is for everybody is asked when anybody may.
        let is_asked = catalogue.subjects(policy).iter().any(|role| holders.contains(role));
        if !is_asked {
            let roles = list(&catalogue.subjects(policy));
            let message = format!("{roles} may not {} on {}", policy.command, table.sql);
            found.add(Object::of_policy(table, policy), message, None);
        }
    }
}

/// Columns of the table that are compared with who is calling.
pub(super) fn identity_columns(tree: &Expr, table: &Relation) -> BTreeSet<String> {
    let mut columns = BTreeSet::new();
    tree.visit_outside_queries(&mut |expr| {
        let Expr::Operator { name, how: How::Plain | How::Any, operands } = expr else { return };
        let [left, right] = operands.as_slice() else { return };
        if name != "=" {
            return;
        }
        for (column, other) in [(left, right), (right, left)] {
            if let Expr::Column(path) = column.bare() {
                let own = path.last().and_then(|name| table.column(name));
                if other.has_identity() {
                    columns.extend(own.map(|column| column.name.clone()));
                }
            }
        }
    });
    columns
}
