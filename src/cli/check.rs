//! `rowgate check`: says in words what would keep `rowgate serve` from working.
//!
//! Changes nothing anywhere, and prints no secret and no claim.

mod database;
mod findings;
mod issuers;
mod protections;
mod revocations;
mod seal_method;

use std::path::PathBuf;

use hyper::Uri;

use super::{Failure, Overrides, live};
use crate::config::{Config, ConfigError, ConfigSources};
use findings::Findings;

const HELP: &str = "\
Looks at, in this order:
  - the configuration: unknown keys, bad values, secrets in the wrong place
  - the owner's connection, if DATABASE_URL is set: the schema `auth`, the seal key
  - the login roles: can they log in, and can they do nothing but what policies allow
  - the server: its version, its room for both pools, its clock
  - the seal: which of the two is in force (Rowgate's own, the extension pg_session_jwt), and does the
    database believe what this gateway would seal
  - each protection: does it rest in the database now, or on the gateway alone; what remains
  - auth.revoked: is it read, and how many rows count
  - each issuer: do its keys arrive, and how many can be used

One line for each finding, beginning with ok, warning or error. Exit code 1 if there is an error.

Examples:
  rowgate check
  rowgate check --token-file token.jwt        would this token be accepted, and if not, why
  rowgate check --live http://127.0.0.1:8080/health/ready      for a container's health check";

/// Check configuration, database and issuers, and say what is wrong
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Also verify the token in this file, as the gateway would
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Do nothing but ask a running gateway's health address (http) how it is
    #[arg(long, value_name = "URL", conflicts_with = "token_file")]
    live: Option<Uri>,

    #[command(flatten)]
    overrides: Overrides,
}

/// Runs all checks.
///
/// # Errors
///
/// If at least one finding is an error.
pub async fn run(args: Args, mut sources: ConfigSources) -> Result<(), Failure> {
    if let Some(url) = args.live {
        return live::probe(url).await;
    }
    sources.flags.extend(args.overrides.into_flags());
    let mut findings = Findings::default();
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(error) => {
            refuse(&mut findings, error);
            return findings.into_result();
        }
    };
    let place = sources.file.map_or_else(
        || "environment and flags".to_owned(),
        |file| format!("{}, environment and flags", file.display()),
    );
    findings.ok(format!("configuration: {place}"));
    Box::pin(database::check(&mut findings, &config)).await;
    protections::check(&mut findings, &config).await;
    revocations::check(&mut findings, &config).await;
    issuers::check(&mut findings, &config).await;
    if let Some(file) = args.token_file {
        issuers::check_token(&mut findings, &config, &file).await;
    }
    findings.into_result()
}

fn refuse(findings: &mut Findings, error: ConfigError) {
    match error {
        ConfigError::Invalid(problems) => {
            for problem in problems {
                findings.error(format!("configuration: {problem}"));
            }
        }
        other => findings.error(format!("configuration: {other}")),
    }
}
