//! The database as the gateway would find it: logins, the owner, the seal, the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio_postgres::{Client, config::Host};

use super::findings::Findings;
use super::{protections, seal_method};
use crate::config::{Config, DatabaseConfig, Pooler, SealKeyConfig};
use crate::pg::control;
use crate::pg::roles::{self, RoleError};
use crate::pg::tls::TlsMode;
use crate::pg::url::ConnectUrl;
use crate::policy::{self, Wanted};
use crate::session::proof;
use crate::session::seal::SEAL_LIFETIME;

/// The oldest PostgreSQL that has every setting a session starts with.
const OLDEST_SERVER: i32 = 140_000;
/// Clocks further apart than this are not kept in step by anything.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

const SERVER: &str = "select pg_catalog.current_setting('server_version_num')::pg_catalog.int4, \
                             pg_catalog.current_setting('server_version'), \
                             pg_catalog.current_setting('max_connections')::pg_catalog.int8";
const CLOCK: &str = "select (extract(epoch from pg_catalog.clock_timestamp()))::pg_catalog.float8";
const AUTH_SCHEMA: &str = "select pg_catalog.to_regprocedure('auth.session()') is not null";

pub(super) async fn check(findings: &mut Findings, config: &Config) {
    let database = &config.database;
    for url in database.logins().chain(&database.revocation) {
        check_transport(findings, url);
    }
    let method = seal_method::ask(config).await;
    let key = check_owner(findings, config, method.is_own()).await;
    let authenticated = check_login(findings, config, &database.authenticated).await;
    let anonymous = check_login(findings, config, &database.anonymous).await;
    let mut mapped = Vec::new();
    for role in &database.roles {
        mapped.push(check_login(findings, config, &role.url).await);
    }
    method.check(findings, config).await;
    if let Some(client) = &authenticated {
        check_server(findings, client, &config.database).await;
        check_clock(findings, client).await;
        protections::check_logging(findings, client).await;
        protections::check_slots(findings, config, client).await;
    }
    if !method.is_own() {
        return;
    }
    let bound = config.database.pooler == Pooler::None;
    let configured = config.seal.keys.iter().find(|key| key.bound == bound);
    let Some(key) = configured.or(key.as_ref()) else { return };
    for client in [authenticated, anonymous].into_iter().chain(mapped).flatten() {
        check_seal(findings, &client, key).await;
    }
}

/// Who could listen on the way, or pose as the server.
fn check_transport(findings: &mut Findings, url: &ConnectUrl) {
    let is_remote = |host: Host| match host {
        Host::Tcp(name) => {
            let is_loopback = name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
            name != "localhost" && !is_loopback
        }
        Host::Unix(_) => false,
    };
    if url.tls_mode() < TlsMode::VerifyFull && url.hosts().any(|(host, _)| is_remote(host)) {
        findings.warning(format!(
            "connection {url}: without sslmode=verify-full somebody on the way could pose as the server"
        ));
    }
}

async fn check_login(findings: &mut Findings, config: &Config, url: &ConnectUrl) -> Option<Client> {
    let database = &config.database;
    let client = match control::connect_within(url, database.connect_timeout).await {
        Ok(client) => client,
        Err(error) => {
            findings.error(format!("login {url}: {error}"));
            return None;
        }
    };
    match roles::verify_login_role(&client, &database.logins_of_users()).await {
        Ok(report) => {
            if report.faults.is_empty() {
                findings
                    .ok(format!("login {url}: the role can do nothing but what is granted to it"));
            }
            report.faults.iter().for_each(|fault| findings.error(format!("login {url}: {fault}")));
            report
                .warnings
                .iter()
                .for_each(|text| findings.warning(format!("login {url}: {text}")));
        }
        Err(error @ (RoleError::Catalogue(_) | RoleError::Harmful(_))) => {
            findings.error(format!("login {url}: {error}"));
        }
    }
    Some(client)
}

async fn check_server(findings: &mut Findings, client: &Client, database: &DatabaseConfig) {
    let row = match client.query_typed_one(SERVER, &[]).await {
        Ok(row) => row,
        Err(error) => return findings.error(format!("server: {}", control::reason(&error))),
    };
    let (number, version, places): (i32, String, i64) = (row.get(0), row.get(1), row.get(2));
    if number < OLDEST_SERVER {
        findings.error(format!("server: PostgreSQL {version} is too old; 14 or newer is needed"));
    } else {
        findings.ok(format!("server: PostgreSQL {version}"));
    }
    let pools = database.logins().count();
    let pool_size = database.pool_size;
    let wanted = i64::try_from(pool_size.saturating_mul(pools)).unwrap_or(i64::MAX);
    if wanted > places {
        findings.warning(format!(
            "server: {pools} pools of {pool_size} connections (database.pool_size) do not fit into its \
             max_connections = {places}"
        ));
    }
}

/// The schema and, over the owner's connection, the key, if one is needed. Returns the key that `serve` would read.
async fn check_owner(
    findings: &mut Findings,
    config: &Config,
    needs_key: bool,
) -> Option<SealKeyConfig> {
    let bound = config.database.pooler == Pooler::None;
    let configured = config.seal.keys.iter().find(|key| key.bound == bound);
    let Some(url) = &config.database.owner else {
        if configured.is_none() && needs_key {
            findings.error(
                "seal: no key; set DATABASE_URL, over which it is read at start, or \
                 ROWGATE_SEAL_KEY_FILE to what `rowgate keys export` wrote",
            );
        }
        return None;
    };
    check_transport(findings, url);
    let client = match control::connect_within(url, config.database.connect_timeout).await {
        Ok(client) => client,
        Err(error) => {
            findings.error(format!("owner {url}: {error}"));
            return None;
        }
    };
    match client.query_typed_one(AUTH_SCHEMA, &[]).await {
        Ok(row) if row.get(0) => findings.ok(format!("owner {url}: the schema auth is there")),
        Ok(_) => {
            findings
                .error(format!("owner {url}: there is no auth.session(); run `rowgate migrate`"));
            return None;
        }
        Err(error) => {
            findings.error(format!("owner {url}: {}", control::reason(&error)));
            return None;
        }
    }
    if configured.is_some() || !needs_key {
        return None;
    }
    let wanted = Wanted { bound, coming: false };
    match policy::read_seal_keys(&client, wanted).await {
        Ok(keys) => {
            let key = keys.into_iter().next()?;
            findings.ok(format!("seal: key {:?} is read from the database", key.kid));
            Some(key)
        }
        Err(error) => {
            findings.error(format!("seal: the key cannot be read: {error}"));
            None
        }
    }
}

/// Whether the database believes a seal made here: the only proof that both have the same key.
async fn check_seal(findings: &mut Findings, client: &Client, key: &SealKeyConfig) {
    match proof::believed(client, key).await {
        Ok(user) => {
            findings.ok(format!("seal: believed with key {:?} when sent as {user}", key.kid));
        }
        Err(error) => {
            let code = error.code().map(tokio_postgres::error::SqlState::code);
            let advice = match code {
                Some("28000") => {
                    "; the key is not (or no longer) one of the database's, or the clocks differ"
                }
                Some("42501") => {
                    "; the role lacks a right; run `rowgate policies apply`, for a role of [[role]] \
                     auth.add_api_role('…') as the owner"
                }
                Some("3F000" | "42883") => "; run `rowgate migrate`",
                _ => "",
            };
            let reason = control::reason(&error);
            findings.error(format!("seal: not believed with key {:?}: {reason}{advice}", key.kid));
        }
    }
}

async fn check_clock(findings: &mut Findings, client: &Client) {
    let asked = Instant::now();
    let row = match client.query_typed_one(CLOCK, &[]).await {
        Ok(row) => row,
        Err(error) => return findings.error(format!("clock: {}", control::reason(&error))),
    };
    let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // The server looked at its clock about half-way between question and answer.
    let here = here.saturating_sub(asked.elapsed() / 2).as_secs_f64();
    let difference = row.get::<_, f64>(0) - here;
    if difference.abs() > CLOCK_TOLERANCE.as_secs_f64() {
        findings.warning(format!(
            "clock: the database's differs by {difference:.1} s; from {} s on no seal would be believed. \
             Keep both in step with NTP",
            SEAL_LIFETIME.as_secs()
        ));
    } else {
        findings.ok(format!("clock: the database's differs by {difference:.1} s"));
    }
}
