//! Which protections rest in the database now, which on the gateway alone, and what remains.
//!
//! Asked of the live catalogue: nothing here is taken from what was once applied.

use tokio_postgres::Client;

use super::findings::Findings;
use crate::config::{Config, StatementKinds};
use crate::harden::{self, Found, HardenError};
use crate::pg::control;
use crate::pg::roles::{Login, verify_role};
use crate::pg::slots;
use crate::pg::url::ConnectUrl;
use crate::session::sealing::{self, Installed};

/// Objects that a line names at most.
const NAMED: usize = 3;

/// How a refused login says that a role has all the connections it may have (SQLSTATE).
const IN_USE: &str = "(53300)";

/// Whether the functions that read claims are what `rowgate migrate` made, and nobody else has their rights.
const SEAL: &str = "\
    select coalesce((select p.prosecdef and p.proowner = pg_catalog.to_regrole('rowgate_sealer') \
                       from pg_catalog.pg_proc p \
                      where p.oid = pg_catalog.to_regprocedure('auth.session()')), false), \
           exists (select from pg_catalog.pg_auth_members \
                    where roleid = pg_catalog.to_regrole('rowgate_sealer'))";

/// What a session of the login role writes into the server's log.
const LOGGING: &str = "\
    select pg_catalog.current_setting('log_statement') <> 'none' \
             or pg_catalog.current_setting('log_min_duration_statement') <> '-1' \
             or pg_catalog.current_setting('log_min_duration_sample') <> '-1' \
             or pg_catalog.current_setting('log_transaction_sample_rate') <> '0', \
           pg_catalog.current_setting('log_parameter_max_length') <> '0', \
           pg_catalog.current_setting('log_parameter_max_length_on_error') <> '0'";

pub(super) async fn check(findings: &mut Findings, config: &Config) {
    let database = &config.database;
    let url = database.owner.as_ref().unwrap_or(&database.authenticated);
    // What is wrong with a connection has been said already.
    let Ok(mut client) = control::connect_within(url, database.connect_timeout).await else {
        return;
    };
    seal(findings, &client).await;
    let roles: Vec<&str> = database.logins().map(ConnectUrl::user).collect();
    match harden::survey(&mut client, &roles).await {
        Ok(found) => {
            for found in &found {
                one(findings, found, config);
            }
        }
        Err(error @ HardenError::MissingRole(_)) => {
            findings.error(format!("protection: {error}"));
        }
        Err(error @ HardenError::Database { .. }) => {
            findings.warning(format!("protection: could not be looked at: {error}"));
        }
    }
    statements(findings, config);
}

/// Who a request is.
async fn seal(findings: &mut Findings, client: &Client) {
    let title = "protection: being somebody else";
    match sealing::installed(client).await {
        Ok(Installed::PgSessionJwt(version)) => {
            return findings.ok(format!(
                "{title} · rests in the database (the extension pg_session_jwt {version} verifies a JWT for each \
                 request) · remains: a caller may read his own JWT, which is worth nothing on another connection \
                 or a second time; a JWT that is verified holds to the end of its request, also past its exp; \
                 somebody else's program that connects without a key (pg_session_jwt.jwk) and lets callers \
                 write settings is believed without proof from version 0.3 on"
            ));
        }
        Ok(Installed::Other) => {}
        Err(error) => {
            return findings.warning(format!("{title}: {}", control::reason(&error)));
        }
    }
    match client.query_one(SEAL, &[]).await.map(|row| (row.get(0), row.get(1))) {
        Ok((true, false)) => findings.ok(format!(
            "{title} · rests in the database (sealed claims) · remains: a token or a dump of auth.seal_keys in \
             the wrong hands"
        )),
        Ok((_, true)) => findings.error(format!(
            "{title} · rests on nothing · risk: rowgate_sealer has members, who can read the seal key; revoke \
             rowgate_sealer from them"
        )),
        Ok((false, false)) => findings.error(format!(
            "{title} · rests on nothing · risk: auth.session() is not the one that `rowgate migrate` makes"
        )),
        Err(error) => findings.warning(format!("{title}: {}", control::reason(&error))),
    }
}

/// A row of the table: protection · where it rests now · what remains.
fn one(findings: &mut Findings, found: &Found, config: &Config) {
    let measure = found.measure;
    let title = format!("protection: {}", measure.protection);
    let mut kept = String::new();
    if !found.kept.is_empty() {
        kept = format!("; left on purpose: {}", names(found.kept.iter().map(|(name, _)| name)));
    }
    if found.tasks.is_empty() {
        let remains = measure.remains;
        return findings.ok(format!("{title} · rests in the database · remains: {remains}{kept}"));
    }
    if config.database.slots.is_some() && measure.solved_by_slots {
        return findings.ok(format!(
            "{title} · rests in the database (slots) · remains: the statements of one's own connection{kept}"
        ));
    }
    let admits_all = config.limits.statements == StatementKinds::All;
    let rests = match measure.otherwise {
        "nothing" => "rests on nothing".to_owned(),
        otherwise if admits_all && otherwise.contains("admission") => {
            "rests on nothing, with limits.statements = \"all\"".to_owned()
        }
        otherwise => format!("rests on {otherwise} alone"),
    };
    let own = found.tasks.iter().any(|task| task.may);
    let who = if own { "" } else { " (takes a superuser)" };
    findings.warning(format!(
        "{title} · {rests} · risk: {}{kept}; `rowgate harden` would change{who}: {}",
        measure.risk,
        names(found.tasks.iter().map(|task| &task.object)),
    ));
}

fn names<'a>(objects: impl Iterator<Item = &'a String>) -> String {
    let mut objects: Vec<&str> = objects.map(String::as_str).collect();
    let more = objects.len().saturating_sub(NAMED);
    objects.truncate(NAMED);
    match more {
        0 => objects.join(", "),
        more => format!("{} and {more} more", objects.join(", ")),
    }
}

/// What no privilege can take: any role may change its own password and settings.
fn statements(findings: &mut Findings, config: &Config) {
    let title = "protection: changing the login role's own password and settings";
    let looks = format!(
        "`serve` looks at the roles every {:?} and closes when one became harmful",
        config.database.recheck_interval
    );
    match config.limits.statements {
        StatementKinds::Data => findings.ok(format!(
            "{title} · rests on the gateway's admission of statements alone (PostgreSQL lets every role) · remains: \
             {looks}"
        )),
        StatementKinds::All => findings.warning(format!(
            "{title} · rests on nothing, with limits.statements = \"all\" · risk: any caller can run ALTER ROLE, SET, \
             LISTEN and DO, and lock the gateway out; {looks}"
        )),
    }
}

/// Whether the server writes callers' parameters, claims and seals among them, into its log.
pub(super) async fn check_logging(findings: &mut Findings, client: &Client) {
    let row = match client.query_one(LOGGING, &[]).await {
        Ok(row) => row,
        Err(error) => return findings.warning(format!("log: {}", control::reason(&error))),
    };
    let (logs, with_parameters, on_error): (bool, bool, bool) =
        (row.get(0), row.get(1), row.get(2));
    if logs && with_parameters {
        findings.warning(
            "log: the server logs statements with their parameters, claims and seals among them; set \
             log_parameter_max_length = 0 for the login roles (`rowgate harden`)",
        );
    }
    if on_error {
        findings.warning(
            "log: the server logs the parameters of statements that fail, claims and seals among them; set \
             log_parameter_max_length_on_error = 0 for the login roles (`rowgate harden`)",
        );
    }
    if !(on_error || logs && with_parameters) {
        findings.ok("log: the server writes no parameters of callers into its log");
    }
}

/// The login roles of the slots: there, harmless, and open to the gateway.
pub(super) async fn check_slots(findings: &mut Findings, config: &Config, client: &Client) {
    let database = &config.database;
    let Some(count) = database.slots else { return };
    for url in [&database.authenticated, &database.anonymous] {
        let base = url.user();
        let mut faults = 0;
        for number in 1..=count {
            let login = Login { name: slots::login(base, number), base: Some(base.to_owned()) };
            match verify_role(client, &login, &database.logins_of_users()).await {
                Ok(report) => {
                    faults += report.faults.len();
                    for fault in &report.faults {
                        findings.error(format!("slots: {fault}"));
                    }
                }
                Err(error) => return findings.error(format!("slots: {error}")),
            }
        }
        if faults > 0 {
            continue;
        }
        // Any of them: they were given the same password. One that is in use (53300) has let a gateway in.
        let slot = url.with_user(&slots::login(base, count));
        let refused = control::connect_within(&slot, database.connect_timeout).await.err();
        match refused.filter(|error| !error.to_string().contains(IN_USE)) {
            None => {
                findings.ok(format!("slots: {count} login roles of {base} can do nothing more"));
            }
            Some(error) => findings.error(format!(
                "slots: {slot}: {error}; `rowgate migrate --slots {count}` sets their passwords"
            )),
        }
    }
}
