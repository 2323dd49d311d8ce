//! The key that seals: the best one that the database believes, found out by asking it.
//!
//! Requests read it without waiting. It is looked for every few seconds, and at once when the database
//! did not believe a seal of ours. Must never show a key, nor give up one that is believed for one that
//! is not.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::Client;

use super::proof;
use super::seal::Sealer;
use crate::config::{SealKeyConfig, read_seal_key_file};
use crate::observe::{Event, Observer};
use crate::pg::control::{self, ControlError};
use crate::pg::url::ConnectUrl;
use crate::policy::{self, PolicyError, Wanted};

/// The pause between two rounds that requests ask for: callers can raise 28000 at will.
const ROUND_PAUSE: Duration = Duration::from_millis(50);
/// Limit on reading the keys, and on each proof.
const STEP_LIMIT: Duration = Duration::from_secs(5);
/// SQLSTATE of a seal that is not believed (`sql/auth/V3__session.sql`).
pub const NOT_BELIEVED: &str = "28000";

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// The configuration alone: they never change.
    Fixed(Vec<SealKeyConfig>),
    /// A file that may be replaced.
    File(PathBuf),
    /// The database, over its owner's connection.
    Owner(Box<ConnectUrl>),
}

/// Why no key can be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// None could be read.
    #[error("it cannot be read: {0}")]
    Unread(String),
    /// The database cannot be asked.
    #[error("the database cannot be asked about it: {0}")]
    Unasked(#[from] ControlError),
    /// The database refuses all that there are.
    #[error("the database does not believe claims sealed with key {kid:?} ({reason})")]
    NotBelieved {
        /// The best of them.
        kid: String,
        /// The server's words.
        reason: String,
    },
}

/// Who is to blame for a seal that was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Whoever wrote over the settings: the key in use is believed.
    Caller,
    /// Another key has taken the place of the one that sealed: trying again may help.
    Replaced,
    /// The gateway: it has no key that is known to be believed.
    Gateway,
}

/// Holds the key in use.
#[derive(Debug)]
pub struct Keyring {
    sealer: ArcSwap<Sealer>,
    /// Counts the keys that were in use.
    generation: AtomicU64,
    /// Rounds that have begun.
    begun: AtomicU64,
    keeper: Mutex<Keeper>,
    observer: Observer,
}

impl Keyring {
    /// Finds a key that the database believes when asked as `login` over `prover`, a connection as that
    /// login.
    pub async fn open(
        source: KeySource,
        bound: bool,
        login: ConnectUrl,
        prover: Client,
        observer: Observer,
    ) -> Result<Arc<Self>, KeyringError> {
        let mut keeper = Keeper {
            source,
            bound,
            login,
            prover: Some(prover),
            owner: None,
            completed: 0,
            began: Instant::now(),
            believed: true,
        };
        let found = keeper.find().await?;
        observer.emit(&Event::SealKeyTaken { kid: found.kid().to_owned() });
        Ok(Arc::new(Self {
            sealer: ArcSwap::from_pointee(found),
            generation: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            keeper: Mutex::new(keeper),
            observer,
        }))
    }

    /// What seals now.
    #[must_use]
    pub fn sealer(&self) -> Guard<Arc<Sealer>> {
        self.sealer.load()
    }

    /// Which key is in use, to be asked before [`Self::sealer`]: an older number than the key's does no
    /// harm in [`Self::doubt`].
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Looks for the key every `interval` for as long as somebody holds the ring.
    pub fn spawn_refresher(self: &Arc<Self>, interval: Duration) {
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                sleep(interval).await;
                let Some(ring) = weak.upgrade() else { return };
                let mut keeper = ring.keeper.lock().await;
                ring.round(&mut keeper).await;
            }
        });
    }

    /// The database did not believe a seal of `generation`: asks it about the key, after the fact, and
    /// takes up another one if that is what it takes. Requests that come together share one round.
    pub async fn doubt(&self, generation: u64) -> Verdict {
        if self.generation() != generation {
            return Verdict::Replaced;
        }
        let begun = self.begun.load(Ordering::Acquire);
        let mut keeper = self.keeper.lock().await;
        // A round that began before the failure says nothing about it.
        if keeper.completed <= begun {
            sleep_until(keeper.began + ROUND_PAUSE).await;
            self.round(&mut keeper).await;
        }
        if self.generation() != generation {
            Verdict::Replaced
        } else if keeper.believed {
            Verdict::Caller
        } else {
            Verdict::Gateway
        }
    }

    async fn round(&self, keeper: &mut Keeper) {
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        keeper.began = Instant::now();
        match keeper.find().await {
            Ok(found) => {
                keeper.believed = true;
                if found.kid() != self.sealer.load().kid() {
                    self.observer.emit(&Event::SealKeyTaken { kid: found.kid().to_owned() });
                    self.sealer.store(Arc::new(found));
                    self.generation.fetch_add(1, Ordering::AcqRel);
                }
            }
            Err(error) => {
                // The keys could not be read, or none of them is good; the one in use may be, still.
                let current = self.sealer.load_full();
                keeper.believed = matches!(keeper.prove(&current).await, Ok(Proof::Believed));
                let (reason, in_force) = (error.to_string(), keeper.believed);
                self.observer.emit(&Event::SealKeysUnusable { reason, in_force });
            }
        }
        keeper.completed = number;
    }
}

/// What the database says of a key.
enum Proof {
    Believed,
    Refused(String),
}

/// Works one round at a time.
#[derive(Debug)]
struct Keeper {
    source: KeySource,
    bound: bool,
    login: ConnectUrl,
    /// Connections that are kept between rounds; absent while in use, so that what was given up half-way
    /// is closed.
    prover: Option<Client>,
    owner: Option<Client>,
    /// The last round that came to its end.
    completed: u64,
    /// When the last one began.
    began: Instant,
    /// Whether the key in use was believed then.
    believed: bool,
}

impl Keeper {
    /// The best key that the database believes.
    async fn find(&mut self) -> Result<Sealer, KeyringError> {
        let keys = timeout(STEP_LIMIT, self.read()).await;
        let keys = keys.unwrap_or_else(|_| Err(KeyringError::Unread(late())))?;
        let mut refusal = None;
        for key in &keys {
            let sealer = Sealer::new(key);
            match self.prove(&sealer).await? {
                Proof::Believed => return Ok(sealer),
                Proof::Refused(reason) => {
                    let kid = key.kid.clone();
                    refusal.get_or_insert(KeyringError::NotBelieved { kid, reason });
                }
            }
        }
        let of_kind = if self.bound { "a key" } else { "an unbound key" };
        let none =
            || KeyringError::Unread(format!("there is not {of_kind} among those configured"));
        Err(refusal.unwrap_or_else(none))
    }

    async fn read(&mut self) -> Result<Vec<SealKeyConfig>, KeyringError> {
        let bound = self.bound;
        let of_kind = |keys: Vec<SealKeyConfig>| {
            keys.into_iter().filter(|key| key.bound == bound).collect::<Vec<_>>()
        };
        match &self.source {
            KeySource::Fixed(keys) => Ok(of_kind(keys.clone())),
            KeySource::File(path) => {
                let path = path.clone();
                // A mounted file can keep one waiting.
                let read = tokio::task::spawn_blocking(move || read_seal_key_file(&path)).await;
                let keys = read.unwrap_or_else(|_| Err("reading was given up".to_owned()));
                keys.map(of_kind).map_err(KeyringError::Unread)
            }
            KeySource::Owner(url) => {
                let url = url.clone();
                let wanted = Wanted { bound, coming: false };
                if let Some(client) = self.owner.take().filter(|client| !client.is_closed())
                    && let Ok(keys) = policy::read_seal_keys(&client, wanted).await
                {
                    self.owner = Some(client);
                    return Ok(keys);
                }
                let failed =
                    |error: &dyn std::error::Error| KeyringError::Unread(error.to_string());
                let client = control::connect(&url).await.map_err(|e| failed(&e))?;
                let keys = policy::read_seal_keys(&client, wanted).await;
                let keys = keys.map_err(|e: PolicyError| failed(&e))?;
                self.owner = Some(client);
                Ok(keys)
            }
        }
    }

    async fn prove(&mut self, sealer: &Sealer) -> Result<Proof, KeyringError> {
        let kept = self.prover.take().filter(|client| !client.is_closed());
        if let Some(client) = kept
            && let Ok(Ok(proof)) = timeout(STEP_LIMIT, prove_over(&client, sealer)).await
        {
            self.prover = Some(client);
            return Ok(proof);
        }
        let client = control::connect(&self.login).await?;
        let proof = timeout(STEP_LIMIT, prove_over(&client, sealer)).await;
        let proof = proof.map_err(|_| KeyringError::Unread(late()))?.map_err(ControlError::from)?;
        self.prover = Some(client);
        Ok(proof)
    }
}

/// An error only if the database did not say what it thinks of the key.
async fn prove_over(client: &Client, sealer: &Sealer) -> Result<Proof, tokio_postgres::Error> {
    match proof::believes(client, sealer).await {
        Ok(_) => Ok(Proof::Believed),
        Err(error) if error.as_db_error().is_some_and(|e| !is_outage(e.code().code())) => {
            Ok(Proof::Refused(control::reason(&error)))
        }
        Err(error) => Err(error),
    }
}

/// Whether a SQLSTATE says that the server, not the seal, is in trouble: insufficient resources,
/// operator intervention.
fn is_outage(sqlstate: &str) -> bool {
    sqlstate.starts_with("53") || sqlstate.starts_with("57")
}

fn late() -> String {
    format!("no answer within {} s", STEP_LIMIT.as_secs())
}
