//! Where the database is, and as whom requests log in.

use super::error::ConfigError;
use super::layers::{ConfigSources, Layers};
use super::reader::Reader;
use super::{DatabaseConfig, secrets, values};
use crate::pg::url::ConnectUrl;

/// The connections that commands other than `serve` need.
#[derive(Clone, Debug, Default)]
pub struct DatabaseUrls {
    /// `DATABASE_URL`
    pub owner: Option<ConnectUrl>,
    /// `DATABASE_AUTHENTICATED_URL`
    pub authenticated: Option<ConnectUrl>,
    /// `DATABASE_ANONYMOUS_URL`
    pub anonymous: Option<ConnectUrl>,
    /// `DATABASE_SUPERUSER_URL`: for `rowgate harden` alone.
    pub superuser: Option<ConnectUrl>,
}

impl DatabaseUrls {
    /// Reads the connections and nothing else: a command that needs no issuer asks for none.
    ///
    /// # Errors
    ///
    /// A file that is no TOML, or URLs that cannot be used.
    pub fn load(sources: &ConfigSources) -> Result<Self, ConfigError> {
        let layers = Layers::read(sources)?;
        let mut reader = Reader::new(&layers);
        let mut urls = database_urls(&mut reader);
        urls.superuser = reader.url(&secrets::SUPERUSER);
        reader.into_result(Some(urls))
    }
}

fn database_urls(reader: &mut Reader<'_>) -> DatabaseUrls {
    DatabaseUrls {
        owner: reader.url(&secrets::OWNER),
        authenticated: reader.url(&secrets::AUTHENTICATED),
        anonymous: reader.url(&secrets::ANONYMOUS),
        superuser: None,
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<DatabaseConfig> {
    let before = reader.problems.len();
    let urls = database_urls(reader);
    let revocation = reader.url(&secrets::REVOCATION);
    // Known here, and not read: a gateway must not hold a superuser's password.
    reader.ask(secrets::SUPERUSER.key);
    reader.ask(secrets::SUPERUSER.file_key);
    if reader.problems.len() == before {
        check_logins(reader, &urls);
    }
    let pool_size = reader.get("database.pool_size", 0, values::count);
    let acquire_timeout = reader.get("database.acquire_timeout", 0, values::duration);
    let max_waiting = reader.get("database.max_waiting", 0, values::count);
    let connect_timeout = reader.get("database.connect_timeout", 0, values::duration);
    let max_lifetime = reader.get("database.max_lifetime", 0, values::duration);
    let search_path = reader.get("database.search_path", 0, values::search_path);
    let recheck_interval = reader.get("database.recheck_interval", 0, values::duration);
    let slots = reader.get("database.slots", 0, values::count_or_off);
    let match_database_name = reader.get("database.match_database_name", 0, values::flag);
    let pooler = reader.get("database.pooler", 0, values::pooler);
    let defaults = DatabaseConfig::new(urls.authenticated?, urls.anonymous?);
    let slots = slots.unwrap_or(defaults.slots);
    let pool_size = pool_size.unwrap_or(defaults.pool_size);
    if slots.is_some_and(|slots| slots < pool_size) {
        let complaint = format!(
            "fewer than database.pool_size ({pool_size}): each connection takes a slot; twice as many \
             are best"
        );
        reader.complain("database.slots", complaint);
    }
    Some(DatabaseConfig {
        owner: urls.owner,
        revocation,
        pool_size,
        acquire_timeout: acquire_timeout.unwrap_or(defaults.acquire_timeout),
        max_waiting: max_waiting.unwrap_or(defaults.max_waiting),
        connect_timeout: connect_timeout
            .or(defaults.authenticated.connect_timeout())
            .unwrap_or(defaults.connect_timeout),
        max_lifetime: max_lifetime.unwrap_or(defaults.max_lifetime),
        search_path: search_path.unwrap_or(defaults.search_path),
        recheck_interval: recheck_interval.unwrap_or(defaults.recheck_interval),
        slots,
        match_database_name: match_database_name.unwrap_or(defaults.match_database_name),
        pooler: pooler.unwrap_or(defaults.pooler),
        ..defaults
    })
}

/// Both logins must be there, name their roles, and be different from each other: row-level security
/// tells requests apart by role. What the roles may do is for the database to say.
fn check_logins(reader: &mut Reader<'_>, urls: &DatabaseUrls) {
    let logins = [
        (&secrets::AUTHENTICATED, &urls.authenticated, "authenticated"),
        (&secrets::ANONYMOUS, &urls.anonymous, "anonymous"),
    ];
    for (secret, url, role) in logins {
        match url {
            None => {
                let variable = secret.variable();
                let example = format!("{variable}=postgresql://{role}@localhost/app");
                reader.complain(secret.key, format!("missing; set it, for example {example}"));
            }
            Some(url) if url.user().is_empty() => {
                let complaint =
                    format!("the URL names no role; expected postgresql://{role}@host/database");
                reader.complain(secret.key, complaint);
            }
            Some(_) => {}
        }
    }
    let (Some(authenticated), Some(anonymous)) = (&urls.authenticated, &urls.anonymous) else {
        return;
    };
    if authenticated.user() == anonymous.user() && !anonymous.user().is_empty() {
        let complaint = format!(
            "logs in as {:?}, as {} does; requests without a token need a role of their own",
            anonymous.user(),
            secrets::AUTHENTICATED.key,
        );
        reader.complain(secrets::ANONYMOUS.key, complaint);
    }
    let swapped = anonymous.user() == "authenticated" || authenticated.user() == "anonymous";
    if swapped && authenticated.user() != anonymous.user() {
        let complaint = format!(
            "the two logins are swapped: {} logs in as {:?}, {} as {:?}",
            secrets::AUTHENTICATED.key,
            authenticated.user(),
            secrets::ANONYMOUS.key,
            anonymous.user(),
        );
        reader.complain(secrets::ANONYMOUS.key, complaint);
    }
    if authenticated.database() != anonymous.database() {
        let complaint = format!(
            "names the database {:?}, but {} names {:?}; both must name the same",
            anonymous.database(),
            secrets::AUTHENTICATED.key,
            authenticated.database(),
        );
        reader.complain(secrets::ANONYMOUS.key, complaint);
    }
}
