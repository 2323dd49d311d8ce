//! What has to be true before the first request is taken.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::sleep;
use tokio_postgres::Client;

use super::ServeError;
use super::revocations;
use super::watch::RoleWatch;
use crate::admit::{Gate, Rules};
use crate::auth::{AuthSetupError, Authenticator, Issuers};
use crate::config::{ConcurrentRequests, Config, DatabaseConfig, Pooler};
use crate::http::Gateway;
use crate::http::cors::Cors;
use crate::observe::{Event, Observer};
use crate::pg::catalog::Catalog;
use crate::pg::connect::Connector;
use crate::pg::control::{self, ControlError};
use crate::pg::pool::{Pool, PoolOptions};
use crate::pg::roles::{self, Standing};
use crate::pg::session_settings;
use crate::pg::slots::Slots;
use crate::pg::url::ConnectUrl;
use crate::places::{Places, PlacesOptions};
use crate::session::keyring::{KeySource, Keyring, KeyringError};
use crate::session::pipeline::Pooled;
use crate::session::seal::Sealer;
use crate::session::sealing::{self, Sealing};
use crate::session::session_jwt::{self, SessionJwts};
use crate::session::{Bounds, Sessions, proof};

/// The pause between two attempts to reach a database that is not there yet.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// The server's own time limit comes into force this long after ours, should ours fail.
const BACKSTOP: Duration = Duration::from_secs(5);
/// The settings that a pooler takes from clients and sets on whichever server connection it gives them
/// (`PgBouncer`'s manual, `ignore_startup_parameters`).
const POOLERS_KEEP: [&str; 4] =
    ["client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings"];
/// Says what the key derived from the seal key is for.
const SUBJECT_KEY_LABEL: &[u8] = b"rowgate: subjects in logs";

/// Assembles the gateway. The receiver ends when no clean-up task is left.
pub async fn gateway(
    config: Config,
    observer: Observer,
) -> Result<(Gateway, mpsc::Receiver<()>), ServeError> {
    let began = Instant::now();
    let database = &config.database;
    let issuers = start_issuers(&config, &observer);
    // Everything else waits for the database to be there, and then happens at once.
    let authenticated = log_in(&config, &database.authenticated, began, &observer).await?;
    let gate = Arc::new(Gate::start(Rules::new(&config.limits)).map_err(ServeError::Thread)?);
    // A task, because what follows from the catalogue takes some milliseconds to work out.
    let catalog = tokio::spawn(Catalog::load(
        database.authenticated.clone(),
        Arc::clone(&gate),
        observer.clone(),
    ));
    let catalog = async {
        let loaded = catalog.await.map_err(given_up)?;
        loaded.map_err(|source| {
            let seconds = began.elapsed().as_secs();
            ServeError::Database { seconds, source }
        })
    };
    let (catalog, (sealing, standing), revocations) = tokio::try_join!(
        Box::pin(catalog),
        Box::pin(seal_for_harmless_roles(&config, authenticated, began, &observer)),
        Box::pin(revocations::start(&config, &observer)),
    )?;
    catalog.spawn_refresher();
    let issuers = issuers.await.map_err(given_up)??;
    let authenticator =
        Authenticator::of(issuers, &config.auth, &subject_key(&sealing)?, observer.clone())?
            .with_revocations(revocations);
    let patience = config.server.startup_timeout.saturating_sub(began.elapsed());
    authenticator.wait_ready(patience.max(RETRY_PAUSE)).await?;

    let (sender, cleanups) = mpsc::channel(1);
    let pool = |url: &ConnectUrl| {
        Pool::new(
            connector(&config, &sealing, url),
            pool_options(database),
            sender.clone(),
            observer.clone(),
        )
    };
    let sessions = Sessions {
        authenticated: pool(&database.authenticated)?,
        anonymous: pool(&database.anonymous)?,
        sealing: Arc::clone(&sealing),
        mapped: database
            .roles
            .iter()
            .map(|role| Ok((role.id.name(), pool(&role.url)?)))
            .collect::<Result<_, ServeError>>()?,
        pooled: pooled(&config),
        catalog,
        gate,
        bounds: Bounds {
            deadline: config.limits.deadline,
            answer_bytes: config.limits.answer_bytes,
            rows: config.limits.rows.unwrap_or(u64::MAX),
        },
    };
    let cors = Cors::new(&config.cors);
    let places = places(&config);
    let gateway = Gateway { config, authenticator, sessions, standing, places, observer, cors };
    Ok((gateway, cleanups))
}

/// A task that panicked, or was cancelled with the runtime.
fn given_up(error: JoinError) -> ServeError {
    ServeError::Thread(io::Error::other(error))
}

/// Starts fetching the issuers' keys. The system's root certificates are hundreds of files, which are read on
/// another thread meanwhile.
fn start_issuers(
    config: &Config,
    observer: &Observer,
) -> JoinHandle<Result<Issuers, AuthSetupError>> {
    let (auth, observer) = (config.auth.clone(), observer.clone());
    spawn_blocking(move || Issuers::start(&auth, &observer))
}

/// Finds out how claims are sealed, and whether the login roles are harmless, now and from now on.
/// `authenticated` is a connection of that role.
async fn seal_for_harmless_roles(
    config: &Config,
    authenticated: Client,
    began: Instant,
    observer: &Observer,
) -> Result<(Arc<Sealing>, Arc<Standing>), ServeError> {
    let database = &config.database;
    let prover =
        async { control::connect(&database.authenticated).await.map_err(ServeError::Login) };
    let (anonymous, prover) =
        tokio::try_join!(log_in(config, &database.anonymous, began, observer), prover)?;
    let mut mapped = Vec::new();
    for role in &database.roles {
        mapped.push(log_in(config, &role.url, began, observer).await?);
    }
    let mut watch = RoleWatch::new(database, observer.clone());
    let sealing = Arc::new(sealing(config, &anonymous, &mapped, prover, observer).await?);
    watch.first(authenticated).await?;
    let standing = Arc::new(Standing::default());
    watch.spawn(&standing);
    Ok((sealing, standing))
}

/// Connects as a login role, waiting for a database that is still starting, and makes sure that the
/// role is harmless.
async fn log_in(
    config: &Config,
    url: &ConnectUrl,
    began: Instant,
    observer: &Observer,
) -> Result<Client, ServeError> {
    let client = connect_patiently(url, began, config.server.startup_timeout, observer).await?;
    let report = roles::verify_login_role(&client, &config.database.logins_of_users())
        .await
        .map_err(|error| ServeError::Role(error.to_string()))?;
    report.into_result().map_err(|error| ServeError::Role(error.to_string()))?;
    Ok(client)
}

/// Finds out how claims are to be sealed, and makes sure that every role's requests would be believed, and
/// forged ones would not. `prover`: a connection as `authenticated` over which keys are tried from now on.
async fn sealing(
    config: &Config,
    anonymous: &Client,
    mapped: &[Client],
    prover: Client,
    observer: &Observer,
) -> Result<Sealing, ServeError> {
    let database = &config.database;
    let unasked = |error| ServeError::Login(ControlError::Statement(error));
    let installed = sealing::installed(anonymous).await.map_err(unasked)?;
    let chosen = sealing::choose(config.seal.method, installed, database.pooler);
    let Some(version) = chosen.map_err(|error| ServeError::Sealing(error.to_string()))? else {
        let keyring = keyring(config, prover, observer).await?;
        prove(anonymous, &keyring.sealer()).await?;
        for (role, client) in database.roles.iter().zip(mapped) {
            may_read_claims(client, role.id.name()).await?;
            prove(client, &keyring.sealer()).await?;
        }
        keyring.spawn_refresher(config.seal.refresh);
        return Ok(Sealing::Own(keyring));
    };
    for login in database.logins() {
        session_jwt::proof::prove(login).await.map_err(|error| {
            ServeError::Sealing(format!("pg_session_jwt {version}, asked as {login}: {error}"))
        })?;
    }
    observer.emit(&Event::SessionJwtInForce { version });
    Ok(Sealing::PgSessionJwt(SessionJwts::new(observer.clone())))
}

/// Makes sure that this role's requests would be believed, too, and forged ones would not.
async fn prove(client: &Client, sealer: &Sealer) -> Result<(), ServeError> {
    let not_believed = |error: &tokio_postgres::Error| {
        let (kid, reason) = (sealer.kid().to_owned(), control::reason(error));
        not_sealing(&KeyringError::NotBelieved { kid, reason })
    };
    proof::believes(client, sealer).await.map_err(|error| not_believed(&error))?;
    match proof::doubts(client).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(ServeError::SealKey(
            "the database believes claims that nobody sealed, so auth.session() is not Rowgate's; \
             is it an extension's?"
                .to_owned(),
        )),
        Err(error) => Err(not_believed(&error)),
    }
}

/// A role of `[[role]]` is not one that `rowgate migrate` made.
async fn may_read_claims(client: &Client, role: &str) -> Result<(), ServeError> {
    const QUESTION: &str = "select pg_catalog.to_regprocedure('auth.session()') is not null \
                            and pg_catalog.has_schema_privilege('auth', 'usage') \
                            and pg_catalog.has_function_privilege('auth.session()', 'execute')";
    let refusal = |reason: &str| {
        ServeError::Role(format!(
            "role {role:?} may not read the claims of its requests{reason}; as the owner, run: \
             select auth.add_api_role('{role}')"
        ))
    };
    match client.query_typed_one(QUESTION, &[]).await {
        Ok(row) if row.get(0) => Ok(()),
        Ok(_) => Err(refusal("")),
        Err(error) => Err(refusal(&format!(" ({})", control::reason(&error)))),
    }
}

async fn connect_patiently(
    url: &ConnectUrl,
    began: Instant,
    patience: Duration,
    observer: &Observer,
) -> Result<Client, ServeError> {
    let mut told = false;
    loop {
        match control::connect(url).await {
            Ok(client) => return Ok(client),
            Err(source) if is_final(&source) => return Err(ServeError::Login(source)),
            Err(source) if began.elapsed() > patience => {
                return Err(ServeError::Database { seconds: began.elapsed().as_secs(), source });
            }
            Err(source) => {
                if !std::mem::replace(&mut told, true) {
                    let reason = source.to_string();
                    observer.emit(&Event::WaitingForDatabase { reason, limit: patience });
                }
                sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Whether waiting cannot help: the server answered, and refused the login or the database.
fn is_final(error: &ControlError) -> bool {
    matches!(error, ControlError::Refused { .. } | ControlError::Tls { .. })
}

/// The key that seals, and where the next ones will come from.
async fn keyring(
    config: &Config,
    prover: Client,
    observer: &Observer,
) -> Result<std::sync::Arc<Keyring>, ServeError> {
    let source = match (&config.seal.key_file, &config.database.owner) {
        (Some(file), _) => KeySource::File(file.clone()),
        _ if !config.seal.keys.is_empty() => KeySource::Fixed(config.seal.keys.clone()),
        (None, Some(owner)) => KeySource::Owner(Box::new(owner.clone())),
        (None, None) => {
            return Err(ServeError::SealKey(
                "there is none; set ROWGATE_SEAL_KEY_FILE to what `rowgate keys export` wrote, or DATABASE_URL to the owner's \
                 connection, over which the key is read"
                    .to_owned(),
            ));
        }
    };
    let bound = config.database.pooler == Pooler::None;
    let login = config.database.authenticated.clone();
    let opened = Keyring::open(source, bound, login, prover, observer.clone()).await;
    opened.map_err(|error| not_sealing(&error))
}

fn not_sealing(error: &KeyringError) -> ServeError {
    let advice = match error {
        KeyringError::NotBelieved { .. } => {
            "; is it the key that `rowgate keys export` wrote for this database, and was \
             `rowgate migrate` run?"
        }
        KeyringError::Unread(_) | KeyringError::Unasked(_) => "",
    };
    ServeError::SealKey(format!("{error}{advice}"))
}

/// A key for hashing subjects: the same in gateways of one database that started with the same seal key,
/// and no help in forging seals. Where there is none that gateways share, one of this process alone.
fn subject_key(sealing: &Sealing) -> Result<[u8; 32], ServeError> {
    match sealing {
        Sealing::Own(keyring) => Ok(keyring.sealer().derive(SUBJECT_KEY_LABEL)),
        Sealing::PgSessionJwt(_) => {
            let mut key = [0; 32];
            aws_lc_rs::rand::fill(&mut key)
                .map_err(|_| ServeError::Sealing("no randomness available".to_owned()))?;
            Ok(key)
        }
    }
}

/// What [`connector`] sends at start-up elsewhere.
fn pooled(config: &Config) -> Option<Pooled> {
    let search_path = config.database.search_path.clone();
    let backstop = backstop(config);
    (config.database.pooler == Pooler::Transaction).then_some(Pooled { search_path, backstop })
}

/// The server's own time limit, in milliseconds.
fn backstop(config: &Config) -> String {
    (config.limits.deadline + BACKSTOP).as_millis().to_string()
}

/// How many requests each caller may have in flight.
fn places(config: &Config) -> Option<Arc<Places>> {
    let each = match config.limits.concurrent_requests {
        ConcurrentRequests::HalfThePool => config.database.pool_size.div_ceil(2),
        ConcurrentRequests::AtMost(each) => each,
        ConcurrentRequests::Unlimited => return None,
    };
    let limits = &config.limits;
    let (waiting, patience) = (limits.concurrent_waiting, limits.concurrent_wait);
    Some(Places::new(PlacesOptions { each, waiting, patience }))
}

fn pool_options(database: &DatabaseConfig) -> PoolOptions {
    PoolOptions {
        size: database.pool_size,
        max_waiting: database.max_waiting,
        acquire_timeout: database.acquire_timeout,
        max_lifetime: database.max_lifetime,
    }
}

fn connector(config: &Config, sealing: &Sealing, url: &ConnectUrl) -> Connector {
    let backstop = backstop(config);
    let pooler = config.database.pooler;
    let configured = [config.database.search_path.clone(), backstop.clone(), backstop];
    let settings = session_settings::FIXED
        .map(|(name, value)| (name, value.to_owned()))
        .into_iter()
        .chain(session_settings::CONFIGURED.into_iter().zip(configured))
        .filter(|(name, _)| pooler == Pooler::None || POOLERS_KEEP.contains(name))
        .collect();
    Connector {
        url: url.clone(),
        settings,
        prepare: (pooler == Pooler::None).then_some(sealing.opening()),
        session_keys: sealing.session_keys(),
        timeout: config.database.connect_timeout,
        slots: config.database.slots.map(Slots::new),
    }
}
