//! One private cluster: made when first started, kept between runs, stopped with its owner.
//!
//! Everything here blocks; asynchronous callers use `spawn_blocking`. Must never put a password on
//! a command line or into a log.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::place::Place;
use super::supervisor::{self, Supervisor};
use super::{Binaries, initdb, leftover};
use crate::dev::secret;

/// How long a server may take to accept connections; recovery after a crash is included.
const READY_LIMIT: Duration = Duration::from_mins(1);

/// Start attempts when a free port was taken by somebody else before the server got to it.
const PORT_ATTEMPTS: usize = 4;

/// How the server's log says that the port was taken meanwhile.
const PORT_TAKEN: &str = "could not bind";

/// Settings of every cluster. Parameters carry users' data: they stay out of the server's log.
const SETTINGS: [(&str, &str); 4] = [
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("log_parameter_max_length", "0"),
    ("log_parameter_max_length_on_error", "0"),
];

/// Settings of a cluster whose data need not survive a power cut.
const FORGETFUL_SETTINGS: [(&str, &str); 3] =
    [("fsync", "off"), ("synchronous_commit", "off"), ("full_page_writes", "off")];

/// Why a cluster did not start or stop.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Another process runs a server there.
    #[error(
        "{} is in use by another rowgate; stop that one, or choose another --data-dir", .0.display()
    )]
    InUse(PathBuf),
    /// The data was made by another major version.
    #[error(
        "{} was made by PostgreSQL {made_by}, but the programs found are PostgreSQL {found}; \
         set ROWGATE_PG_BIN to PostgreSQL {made_by}'s programs, or start over with --reset",
        dir.display()
    )]
    Version {
        /// The data directory.
        dir: PathBuf,
        /// The version that made it.
        made_by: String,
        /// The version found.
        found: u32,
    },
    /// The superuser's password is gone, and with it the way in.
    #[error("{} is missing, so nobody can log in; start over with --reset", .0.display())]
    PasswordLost(PathBuf),
    /// The port that was asked for is taken.
    #[error("port {0} on 127.0.0.1 is taken")]
    PortTaken(u16),
    /// `initdb` failed.
    #[error("initdb failed:\n{0}")]
    Initdb(String),
    /// The server ended, or did not get ready.
    #[error("PostgreSQL did not start ({reason}); the end of {}:\n{quoted}", log.display())]
    NotStarted {
        /// In short.
        reason: String,
        /// The server's log.
        log: PathBuf,
        /// Its last lines.
        quoted: String,
    },
    /// The system refused something.
    #[error("cannot prepare or run the private PostgreSQL: {0}")]
    Io(#[from] io::Error),
}

/// What kind of cluster is wanted.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Where its files go; made if need be.
    pub data_dir: PathBuf,
    /// The TCP port on 127.0.0.1; none: the one of the last start if free, else any.
    pub port: Option<u16>,
    /// Further settings, as in `postgresql.conf`.
    pub settings: Vec<(String, String)>,
    /// Whether data survives a power cut; costs an `fsync` per commit.
    pub durable: bool,
    /// Whether everything is removed when the server stops.
    pub ephemeral: bool,
}

impl ClusterOptions {
    /// A lasting cluster in `data_dir` with the settings that everybody gets.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            port: None,
            settings: Vec::new(),
            durable: true,
            ephemeral: false,
        }
    }
}

/// A running private cluster; stops when dropped.
#[derive(Debug)]
pub struct Cluster {
    supervisor: Supervisor,
    place: Place,
    port: u16,
    password: String,
    /// Held while the server runs; the system lets go of it when this process ends.
    _lock: File,
}

impl Cluster {
    /// Makes the cluster if there is none yet, ends what a crash left running, starts the server
    /// and waits until it takes connections.
    pub fn start(binaries: &Binaries, options: &ClusterOptions) -> Result<Self, ClusterError> {
        let place = Place::prepare(&options.data_dir)?;
        let lock = lock(place.dir())?;
        let data = place.dir().join("data");
        leftover::clear(&data)?;
        let password = ensure_data(binaries, &place, &data)?;
        let (supervisor, port) = start_on_a_port(binaries, &place, &data, options)?;
        Ok(Self { supervisor, place, port, password, _lock: lock })
    }

    /// Whether `data_dir` holds a cluster already.
    pub fn exists(data_dir: &Path) -> Result<bool, ClusterError> {
        Ok(Place::all_for(data_dir)?.iter().any(|dir| dir.join("data").is_dir()))
    }

    /// Stops what runs in `data_dir` unless another rowgate owns it, and removes all of it.
    pub fn remove(data_dir: &Path) -> Result<(), ClusterError> {
        for dir in Place::all_for(data_dir)? {
            let _lock = lock(&dir)?;
            leftover::clear(&dir.join("data"))?;
            fs::remove_dir_all(&dir)?;
        }
        Ok(())
    }

    /// Where its files are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.place.dir()
    }

    /// Whether its files had to go elsewhere than wanted (see [`Place`]).
    #[must_use]
    pub fn relocated(&self) -> bool {
        self.place.relocated()
    }

    /// The TCP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's log file.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        log_file(self.place.dir())
    }

    /// The postmaster's process id, while it runs.
    #[must_use]
    pub fn server_pid(&self) -> Option<i32> {
        self.supervisor.server_pid().map(nix::unistd::Pid::as_raw)
    }

    /// Whether the server still runs.
    pub fn is_running(&mut self) -> bool {
        self.supervisor.is_running()
    }

    /// The superuser's URL for the database `postgres`. Carries the password: not for output.
    #[must_use]
    pub fn superuser_url(&self) -> String {
        self.superuser_url_of("postgres")
    }

    /// The superuser's URL for any database.
    #[must_use]
    pub fn superuser_url_of(&self, database: &str) -> String {
        self.url(initdb::SUPERUSER, &self.password, database)
    }

    /// The superuser's password. Not for output.
    #[must_use]
    pub fn superuser_password(&self) -> &str {
        &self.password
    }

    /// A URL of this cluster. `password` needs no escaping if [`secret`] made it.
    #[must_use]
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgresql://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Shuts the server down in an orderly way; sessions still open are ended.
    pub fn stop(&mut self) -> Result<(), ClusterError> {
        Ok(self.supervisor.stop()?)
    }
}

/// One owner per directory.
fn lock(dir: &Path) -> Result<File, ClusterError> {
    let file = File::options().create(true).write(true).truncate(false).open(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ClusterError::InUse(dir.to_owned())),
        Err(TryLockError::Error(e)) => Err(e.into()),
    }
}

/// Makes the data directory unless it is there; answers the superuser's password.
fn ensure_data(binaries: &Binaries, place: &Place, data: &Path) -> Result<String, ClusterError> {
    let password_file = place.dir().join("superuser-password");
    if data.exists() {
        check_version(binaries, data)?;
        return secret::read(&password_file)?.ok_or(ClusterError::PasswordLost(password_file));
    }
    let password = secret::random_password()?;
    secret::write(&password_file, password.as_bytes())?;
    initdb::initdb(binaries, place, data, &password)?;
    Ok(password)
}

fn check_version(binaries: &Binaries, data: &Path) -> Result<(), ClusterError> {
    let made_by = fs::read_to_string(data.join("PG_VERSION"))?.trim().to_owned();
    if made_by == binaries.major().to_string() {
        return Ok(());
    }
    Err(ClusterError::Version { dir: data.to_owned(), made_by, found: binaries.major() })
}

/// Starts the server on the port asked for, on that of the last start, or on any.
fn start_on_a_port(
    binaries: &Binaries,
    place: &Place,
    data: &Path,
    options: &ClusterOptions,
) -> Result<(Supervisor, u16), ClusterError> {
    let remembered = place.dir().join("port");
    let mut failure = None;
    for attempt in 0..PORT_ATTEMPTS {
        let port = match options.port {
            Some(port) if is_free(port) => port,
            Some(port) => return Err(ClusterError::PortTaken(port)),
            None => pick_port(if attempt == 0 { read_port(&remembered) } else { None })?,
        };
        match start_server(binaries, place, data, options, port) {
            Err(ClusterError::NotStarted { quoted, reason, log })
                if quoted.contains(PORT_TAKEN) =>
            {
                failure = Some(ClusterError::NotStarted { reason, log, quoted });
            }
            Err(other) => return Err(other),
            Ok(supervisor) => {
                fs::write(&remembered, port.to_string())?;
                return Ok((supervisor, port));
            }
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::other("no free port found").into()))
}

fn start_server(
    binaries: &Binaries,
    place: &Place,
    data: &Path,
    options: &ClusterOptions,
    port: u16,
) -> Result<Supervisor, ClusterError> {
    let log = log_file(place.dir());
    if log.exists() {
        fs::rename(&log, log.with_extension("log.old"))?;
    }
    let mut supervisor = Supervisor::spawn(
        place,
        &binaries.program("postgres"),
        data,
        &arguments(options, port),
        File::options().create(true).append(true).open(&log)?,
        options.ephemeral.then(|| place.dir()),
    )?;
    let reason = match supervisor.wait_until_ready(READY_LIMIT) {
        Ok(None) => return Ok(supervisor),
        Ok(Some(status)) => status.to_string(),
        Err(e) => e.to_string(),
    };
    let quoted = supervisor::last_lines(&fs::read_to_string(&log).unwrap_or_default());
    Err(ClusterError::NotStarted { reason, log, quoted })
}

/// `-c name=value` for every setting; the caller's come last and win.
fn arguments(options: &ClusterOptions, port: u16) -> Vec<String> {
    let port = port.to_string();
    let forgetful: &[_] = if options.durable { &[] } else { &FORGETFUL_SETTINGS };
    let fixed = SETTINGS.iter().chain(forgetful).copied().chain([("port", port.as_str())]);
    let asked = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    fixed.chain(asked).flat_map(|(name, value)| ["-c".into(), format!("{name}={value}")]).collect()
}

fn log_file(dir: &Path) -> PathBuf {
    dir.join("server.log")
}

fn read_port(remembered: &Path) -> Option<u16> {
    fs::read_to_string(remembered).ok()?.trim().parse().ok()
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The remembered port if it is free, else one that the system chooses.
fn pick_port(remembered: Option<u16>) -> io::Result<u16> {
    match remembered.filter(|port| is_free(*port)) {
        Some(port) => Ok(port),
        None => Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()),
    }
}
