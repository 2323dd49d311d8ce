//! `[[role]]`: which claims mean which database role, and how that role logs in.
//!
//! Given in the file alone, but for the logins: one variable could not say which of several is meant.

use super::file::Raw;
use super::layers::variable;
use super::reader::Reader;
use super::{AuthConfig, DatabaseConfig, RoleId, RoleRule, values};
use crate::pg::slots;

const KEYS: [&str; 6] =
    ["role.issuer", "role.claim", "role.value", "role.role", "role.url", "role.url_file"];

/// Notes which keys there are, and refuses them where they cannot be.
pub(super) fn ask(reader: &mut Reader<'_>) {
    for key in KEYS {
        reader.ask(key);
        refuse_elsewhere(reader, key);
    }
}

/// Every `[[role]]`, in the order in which they are tried.
pub(super) fn read(reader: &mut Reader<'_>, database: &mut DatabaseConfig, auth: &mut AuthConfig) {
    for index in 0..reader.layers.file.roles.len() {
        if let Some(rule) = rule(reader, index, database, auth) {
            auth.roles.push(rule);
        }
    }
    if database.slots.is_some() && !database.roles.is_empty() {
        let complaint = "cannot be combined with [[role]]: the roles of [[role]] have no slots";
        reader.complain("database.slots", complaint);
    }
}

fn refuse_elsewhere(reader: &mut Reader<'_>, key: &'static str) {
    let layers = reader.layers;
    if let Some(found) = layers.in_flags(key).or_else(|| layers.in_environment(&variable(key))) {
        let complaint = "the roles are given in the file, headed [[role]]; only their logins may stand in \
                         the environment, as DATABASE_ROLE_<ROLE>_URL";
        reader.problem(found.origin, key, None, complaint);
    }
}

fn rule(
    reader: &mut Reader<'_>,
    index: usize,
    database: &mut DatabaseConfig,
    auth: &AuthConfig,
) -> Option<RoleRule> {
    let issuer = issuer(reader, index, auth);
    let claim = required(reader, "role.claim", index, values::claim_path);
    let value = required(reader, "role.value", index, values::claim_value);
    let role = required(reader, "role.role", index, values::role);
    let role = role.and_then(|role| login(reader, index, &role, database));
    Some(RoleRule { issuer: issuer?, claim: claim?, value: value?, role: role? })
}

fn required<T>(
    reader: &mut Reader<'_>,
    key: &'static str,
    index: usize,
    parse: fn(&Raw) -> values::Parsed<T>,
) -> Option<T> {
    let is_given = reader.layers.find(key, index).is_some();
    if !is_given {
        reader.complain(key, "missing; every [[role]] needs claim, value and role");
    }
    reader.get(key, index, parse)
}

/// Whose claims count. With several issuers that must be said: what one of them vouches for, another may
/// let its users choose.
fn issuer(reader: &mut Reader<'_>, index: usize, auth: &AuthConfig) -> Option<String> {
    let known = |url: &String| auth.issuers.iter().any(|issuer| issuer.url == *url);
    match reader.get("role.issuer", index, values::identifier) {
        Some(url) if known(&url) => Some(url),
        Some(url) => {
            let complaint = format!("{url:?} is the url of none of the [[issuer]]s");
            reader.complain("role.issuer", complaint);
            None
        }
        None => {
            if let [only] = auth.issuers.as_slice() {
                return Some(only.url.clone());
            }
            let complaint = "missing; with several [[issuer]]s each [[role]] names one by its url";
            reader.complain("role.issuer", complaint);
            None
        }
    }
}

/// The role's login: read with the first `[[role]]` that names it, shared by all that do.
fn login(
    reader: &mut Reader<'_>,
    index: usize,
    role: &str,
    database: &mut DatabaseConfig,
) -> Option<RoleId> {
    if let Some(known) = database.roles.iter().find(|known| known.id.name() == role) {
        let again = reader.layers.find("role.url", index);
        if let Some(found) = again.or_else(|| reader.layers.find("role.url_file", index)) {
            let complaint =
                format!("the login of {role:?} is given already, with a [[role]] above");
            reader.problem(found.origin, "role.url", None, complaint);
        }
        return Some(known.id);
    }
    // The first two are also what metrics and logs call the requests of those logins.
    let (authenticated, anonymous) = (database.authenticated.user(), database.anonymous.user());
    let others = ["authenticated", "anonymous", authenticated, anonymous];
    let is_owner = database.owner.as_ref().is_some_and(|owner| owner.user() == role);
    if others.contains(&role) || is_owner || slots::is_slot(role) {
        let complaint = format!("{role:?} is a login of another kind; a [[role]] has its own");
        reader.complain("role.role", complaint);
        return None;
    }
    let url = reader.role_url(index, role)?;
    let fault = if url.user() != role {
        format!("the URL of role {role:?} logs in as {:?}", url.user())
    } else if url.database() != database.authenticated.database() {
        format!("the URL of role {role:?} names another database than the other logins do")
    } else {
        return Some(database.add_role(url));
    };
    reader.complain("role.url", fault);
    None
}
