//! Privileges, and who can get around policies altogether.

use super::super::catalogue::Catalogue;
use super::{Found, Object, list};

/// Words in a column's name that stand for what strangers should not read.
const SENSITIVE: [&str; 29] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "otp",
    "totp",
    "mfa",
    "hash",
    "salt",
    "email",
    "phone",
    "mobile",
    "address",
    "ssn",
    "passport",
    "birthday",
    "birthdate",
    "dob",
    "iban",
    "card",
    "cvv",
    "cvc",
    "salary",
    "tax",
    "medical",
    "ip",
];

pub(super) fn to_public(catalogue: &Catalogue, found: &mut Found) {
    for relation in catalogue.relations.iter().filter(|relation| !relation.to_public.is_empty()) {
        let kind = if relation.kind == 'S' { "sequence" } else { "table" };
        let message =
            format!("everybody has {} on {}", relation.to_public.join(", "), relation.sql);
        let mend = format!("revoke all on {kind} {} from public;", relation.sql);
        found.add(Object::of(relation), message, Some(mend));
    }
}

pub(super) fn anonymous_writes(catalogue: &Catalogue, found: &mut Found) {
    for table in
        catalogue.relations.iter().filter(|relation| matches!(relation.kind, 'r' | 'p' | 'v'))
    {
        let Some(access) = table.access.iter().find(|access| access.role == "anonymous") else {
            continue;
        };
        let writes: Vec<&str> = ["insert", "update", "delete"]
            .into_iter()
            .filter(|command| access.has(command))
            .collect();
        if !writes.is_empty() {
            let writes = list(&writes);
            let message = format!("anonymous may {writes} on {}", table.sql);
            let mend = format!("revoke {writes} on table {} from public, anonymous;", table.sql);
            found.add(Object::of(table), message, Some(mend));
        }
    }
}

pub(super) fn beyond_policies(catalogue: &Catalogue, found: &mut Found) {
    for table in catalogue.tables() {
        let privileges: Vec<&str> = ["truncate", "references", "trigger", "maintain"]
            .into_iter()
            .filter(|privilege| !table.roles_with(&[privilege]).is_empty())
            .collect();
        if !privileges.is_empty() {
            let (roles, names) = (list(&table.roles_with(&privileges)), list(&privileges));
            let message = format!("{roles}: {names} on {}", table.sql);
            let mend = format!("revoke {names} on table {} from public, {roles};", table.sql);
            found.add(Object::of(table), message, Some(mend));
        }
    }
}

pub(super) fn sensitive_column(catalogue: &Catalogue, found: &mut Found) {
    for relation in &catalogue.relations {
        // Where no policy shows anonymous requests a row, the columns are not shown either.
        let shows = !relation.has_rls
            || relation.policies.iter().any(|policy| {
                policy.is_permissive
                    && policy.concerns("select")
                    && catalogue.subjects(policy).contains(&"anonymous")
            });
        let sensitive: Vec<&str> = relation
            .columns
            .iter()
            .filter(|column| column.readers.iter().any(|role| role == "anonymous"))
            .filter(|column| {
                column.name.split('_').any(|word| SENSITIVE.contains(&&*word.to_lowercase()))
            })
            .map(|column| column.sql.as_str())
            .collect();
        let may_look = relation.access.iter().any(|access| access.role == "anonymous");
        if shows && may_look && !sensitive.is_empty() {
            let message = format!("anonymous may read {} of {}", list(&sensitive), relation.sql);
            found.add(Object::of(relation), message, None);
        }
    }
}

pub(super) fn sequence(catalogue: &Catalogue, found: &mut Found) {
    for sequence in catalogue.relations.iter().filter(|relation| relation.kind == 'S') {
        let roles = sequence.roles_with(&["select", "update"]);
        if !roles.is_empty() {
            let roles = list(&roles);
            let message = format!("{roles} may read or set {}", sequence.sql);
            let mend =
                format!("revoke select, update on sequence {} from public, {roles};", sequence.sql);
            found.add(Object::of(sequence), message, Some(mend));
        }
    }
}

pub(super) fn defaults(catalogue: &Catalogue, found: &mut Found) {
    for default in &catalogue.defaults {
        // Only what is everybody's is too much where policies are still to decide.
        let is_wide = default.grantee == "public" || default.kind != "functions";
        if is_wide {
            let (kind, creator, grantee) = (&default.kind, &default.creator, &default.grantee);
            let place =
                default.schema.as_ref().map(|s| format!(" in schema {s}")).unwrap_or_default();
            let message = format!(
                "new {kind} of {creator}{place}: {grantee} will have {}",
                default.privileges
            );
            let mend = format!(
                "alter default privileges for role {creator}{place} revoke {} on {kind} from {grantee};",
                default.privileges
            );
            let object =
                Object::Defaults(format!("defaults of {creator}{place}: {kind} to {grantee}"));
            found.add(object, message, Some(mend));
        }
    }
}

pub(super) fn create_in_schema(catalogue: &Catalogue, found: &mut Found) {
    for schema in catalogue.schemas.iter().filter(|s| s.is_open || !s.creators.is_empty()) {
        let roles: Vec<&str> = schema.creators.iter().map(String::as_str).collect();
        let takers = std::iter::once("public").chain(roles.iter().copied()).collect::<Vec<_>>();
        let message = format!("{} may create objects in {}", list(&roles), schema.sql);
        let mend = format!("revoke create on schema {} from {};", schema.sql, list(&takers));
        found.add(Object::Schema(schema.name.clone()), message, Some(mend));
    }
}

pub(super) fn escaping_role(catalogue: &Catalogue, found: &mut Found) {
    for role in catalogue.api_roles() {
        let mut ways: Vec<String> = Vec::new();
        for other in &catalogue.roles {
            let is_self = other.name == role.name;
            if !is_self && !role.reaches.contains(&other.name) {
                continue;
            }
            let who = if is_self {
                "it".to_owned()
            } else {
                format!("{}, which it may become,", other.sql)
            };
            let mut say = |is: bool, what: &str| {
                if is {
                    ways.push(format!("{who} {what}"));
                }
            };
            say(other.is_super, "is a superuser");
            say(other.bypasses, "has BYPASSRLS");
            say(other.can_create_roles, "may change roles");
            say(other.owns_relations, "owns tables");
        }
        if !ways.is_empty() {
            let object = Object::Role(role.name.clone());
            let others: Vec<&str> = catalogue
                .roles
                .iter()
                .filter(|other| role.reaches.contains(&other.name))
                .filter(|o| o.is_super || o.bypasses || o.can_create_roles || o.owns_relations)
                .map(|other| other.sql.as_str())
                .collect();
            let mend = (!others.is_empty())
                .then(|| format!("revoke {} from {};", list(&others), role.sql));
            found.add(object, ways.join("; "), mend);
        }
    }
}

pub(super) fn bypassing_login(catalogue: &Catalogue, found: &mut Found) {
    for role in &catalogue.roles {
        if role.bypasses && role.can_login && !role.is_super && !role.is_api {
            let mend = format!("alter role {} nobypassrls;", role.sql);
            found.add(
                Object::Role(role.name.clone()),
                "it sees every row of every table",
                Some(mend),
            );
        }
    }
}
