//! The command line: one file per command, and what all of them share.
//!
//! Must never take a secret as an argument: every process on the machine can read those.

// The documentation of arguments is the text of `--help`, where backticks are noise.
#![allow(clippy::doc_markdown)]

pub mod check;
pub mod dev;
mod failure;
pub mod harden;
pub mod init;
pub mod keys;
mod live;
pub mod migrate;
pub mod policies;
mod runtime;
pub mod serve;
mod signals;
pub mod token;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

pub use failure::Failure;

use crate::config::{ConfigSources, DatabaseUrls, Environment, Flag};
use crate::pg::url::ConnectUrl;

/// The configuration file that is read if it is there and none is named.
const DEFAULT_CONFIG: &str = "rowgate.toml";

const COMMANDS_HELP: &str = "\
Where to start:
  rowgate dev                 a PostgreSQL of your own, tokens for alice and bob, ready to call
  rowgate init my-app         a new project: SQL files and a rowgate.toml
  rowgate migrate && rowgate policies apply && rowgate check && rowgate serve

Configuration comes from rowgate.toml, then the environment, then flags; the last one wins.
rowgate.example.toml (what `rowgate init` writes) explains every key. Secrets come from the environment or from files only.

Exit codes: 0 done, 1 failed, 2 bad usage or configuration; 3 `rowgate harden` found something to do.";

/// An authorization gateway that lets PostgreSQL itself decide who sees which row
///
/// Takes SQL over HTTP with a JWT, verifies the token, and runs the statement in PostgreSQL as a plain
/// role with the token's claims, so that row-level security policies decide.
#[derive(Debug, Parser)]
#[command(name = "rowgate", version, after_help = COMMANDS_HELP, max_term_width = 100)]
pub struct Cli {
    /// The configuration file [default: rowgate.toml, if it exists]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "ROWGATE_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

/// Keys of the configuration as flags, for commands that read all of it.
#[derive(Debug, clap::Args)]
struct Overrides {
    /// Set a key, such as --set limits.deadline=5s; repeatable
    #[arg(
        long,
        value_name = "KEY=VALUE",
        value_parser = key_and_value,
        help_heading = "Configuration"
    )]
    set: Vec<(String, String)>,
}

impl Overrides {
    fn into_flags(self) -> impl Iterator<Item = Flag> {
        self.set.into_iter().map(|(key, value)| Flag { name: "--set".to_owned(), key, value })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    #[command(flatten)]
    Other(Other),
}

/// Everything that needs no more than one thread.
#[derive(Debug, Subcommand)]
enum Other {
    Dev(dev::Args),
    Migrate(migrate::Args),
    #[command(subcommand)]
    Policies(policies::Command),
    Token(token::Args),
    Check(check::Args),
    Harden(harden::Args),
    Init(init::Args),
    /// The keys that protect claims on their way into SQL
    #[command(subcommand)]
    Keys(keys::Command),
}

impl Cli {
    /// Parses this process' arguments. On bad usage prints why and ends the process with code 2.
    #[must_use]
    pub fn from_process() -> Self {
        Self::parse()
    }

    /// Where this call's configuration comes from.
    fn sources(&self) -> ConfigSources {
        let default = || Path::new(DEFAULT_CONFIG).exists().then(|| DEFAULT_CONFIG.into());
        ConfigSources {
            file: self.config.clone().or_else(default),
            environment: Environment::of_process(),
            flags: Vec::new(),
        }
    }
}

/// Runs the command that the arguments name.
///
/// # Errors
///
/// What the command met, ready to be shown.
pub fn run(cli: Cli) -> Result<(), Failure> {
    let sources = cli.sources();
    match cli.command {
        Command::Serve(args) => serve::run(args, sources),
        Command::Other(command) => runtime::block_on(1, command.run(sources)),
    }
}

impl Other {
    async fn run(self, sources: ConfigSources) -> Result<(), Failure> {
        match self {
            Self::Check(args) => check::run(args, sources).await,
            Self::Dev(args) => dev::run(args, sources).await,
            Self::Token(args) => Ok(token::run(args).await?),
            Self::Init(args) => Ok(init::run(args).await?),
            Self::Migrate(args) => {
                let urls = urls(&sources)?;
                let owner = owner(&urls)?;
                let logins = (urls.authenticated.as_ref(), urls.anonymous.as_ref());
                Ok(migrate::run(args, owner, logins.0, logins.1).await?)
            }
            Self::Harden(args) => harden::run(args, &urls(&sources)?).await,
            Self::Policies(policies::Command::Lint(args)) if !args.needs_database() => {
                policies::lint::print_rules();
                Ok(())
            }
            Self::Policies(command) => policies::run(command, owner(&urls(&sources)?)?).await,
            Self::Keys(command) => {
                let urls = urls(&sources)?;
                Ok(keys::run(command, owner(&urls)?).await?)
            }
        }
    }
}

fn urls(sources: &ConfigSources) -> Result<DatabaseUrls, Failure> {
    DatabaseUrls::load(sources).map_err(Failure::configuration)
}

/// Administrative commands work as the owner of the tables.
fn owner(urls: &DatabaseUrls) -> Result<&ConnectUrl, Failure> {
    urls.owner.as_ref().ok_or_else(|| {
        Failure::usage(
            "this command needs the connection of the tables' owner, which is not configured",
        )
        .with_hint(
            "set DATABASE_URL=postgresql://owner:password@host/database, or DATABASE_URL_FILE",
        )
    })
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().into(), value.trim().into()))
        }
        _ => Err("expected KEY=VALUE, such as limits.deadline=5s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
