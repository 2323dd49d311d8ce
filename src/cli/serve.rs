//! `rowgate serve`: the gateway itself.

use super::signals::Signals;
use super::{Failure, Overrides, runtime};
use crate::config::{Config, ConfigSources, Flag};
use crate::observe::{Observer, log};
use crate::server::{ServeError, Server};

const HELP: &str = "\
Needs two logins and an issuer; all of it may come from the environment:

  DATABASE_AUTHENTICATED_URL=postgresql://authenticated:…@db/app \\
  DATABASE_ANONYMOUS_URL=postgresql://anonymous:…@db/app \\
  DATABASE_URL=postgresql://owner:…@db/app \\
  ROWGATE_ISSUER_URL=https://issuer.example \\
  rowgate serve --listen 0.0.0.0:8080

DATABASE_URL is used to read the seal keys, and not at all if ROWGATE_SEAL_KEY_FILE is set.
Each of these variables has a twin that names a file instead: DATABASE_URL_FILE and so on.

SIGTERM or Ctrl-C: no new connections, running requests may finish (server.drain_timeout). A second
one ends the process at once. `rowgate check` tells beforehand what would keep it from starting.";

/// Serve SQL over HTTP
///
/// Refuses to start with a configuration that is not sound, with login roles that could step around
/// row-level security, and without a database or an issuer's keys in time.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Where clients connect [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,

    /// Where /metrics and /health are served for operators [default: none]
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_listen: Option<String>,

    /// How log lines look: json or pretty [default: json]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,

    /// What is logged: a level, or targets with levels such as warn,rowgate=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,

    #[command(flatten)]
    overrides: Overrides,
}

impl Args {
    /// The same as `--set` would say it.
    fn into_flags(self) -> impl Iterator<Item = Flag> {
        let flags = [
            ("--listen", "server.listen", self.listen),
            ("--admin-listen", "server.admin_listen", self.admin_listen),
            ("--log-format", "log.format", self.log_format),
            ("--log-filter", "log.filter", self.log_filter),
        ];
        let given = flags.into_iter().filter_map(|(name, key, value)| {
            Some(Flag { name: name.to_owned(), key: key.to_owned(), value: value? })
        });
        self.overrides.into_flags().chain(given)
    }
}

/// Serves until a signal comes.
///
/// # Errors
///
/// A configuration that cannot be used, or something the gateway needs and does not have.
pub fn run(args: Args, mut sources: ConfigSources) -> Result<(), Failure> {
    sources.flags.extend(args.into_flags());
    let config = Config::load(&sources).map_err(Failure::configuration)?;
    let _lines = log::start(&config.log)?;
    let threads = config.server.threads.unwrap_or_else(runtime::fitting_threads);
    runtime::block_on(threads, serve(config))
}

async fn serve(config: Config) -> Result<(), Failure> {
    let signals = Signals::start()?;
    let server = tokio::select! {
        bound = Server::bind(config, Observer::default()) => bound.map_err(explain)?,
        () = signals.came(1) => return Ok(()),
    };
    if let Ok(listen) = server.local_addr() {
        tracing::info!(%listen, admin = server.admin_addr().map(tracing::field::display), "serving");
    }
    tokio::select! {
        outcome = server.run(signals.came(1)) => outcome.map_err(explain),
        () = signals.came(2) => {
            Err(Failure::runtime("ended by a second signal; running requests were cut off"))
        }
    }
}

fn explain(error: ServeError) -> Failure {
    let hint = match &error {
        ServeError::Listen { .. } => Some("choose another address with --listen or server.listen"),
        ServeError::Role(_) => {
            Some("`rowgate check` lists everything that is wrong with the login roles")
        }
        ServeError::Database { .. } | ServeError::Login(_) | ServeError::Issuers(_) => {
            Some("`rowgate check` tries every connection by itself")
        }
        ServeError::Revocations(_) => {
            Some("docs/revocation.md says which login may read auth.revoked")
        }
        ServeError::SealKey(_)
        | ServeError::Sealing(_)
        | ServeError::Thread(_)
        | ServeError::Pool(_) => None,
    };
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}
