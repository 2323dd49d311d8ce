//! `rowgate policies explain`: why a statement gives what it gives.

use std::path::PathBuf;
use std::time::Duration;

use super::super::Failure;
use super::print_json;
use crate::explain::{self, Caller, ExplainError, Options, Terminal};
use crate::pg::url::ConnectUrl;

/// The statement would be denied or fail.
const DENIED: u8 = 1;

/// Explain what the policies do to one statement of one caller
///
/// Connects as the owner of the tables (DATABASE_URL), and runs the statement in a transaction that is rolled
/// back, with the caller's role and sealed claims. Shows which policies had a say on each table, the
/// values they saw, how many rows each lets through, the plan, and what the policies cost; of a write that is
/// denied, the rows and which policy refused them; of a missing privilege, the GRANT.
///
/// The output holds rows of your tables.
///
/// Sequences that the statement moves stay moved. Rows are counted as the owner; where policies are forced
/// on the owner, the table is locked for that, for no longer than --lock-limit: see --no-counts.
///
/// Exit status: 0 the statement would run, 1 it would be denied or fail, 2 bad usage.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "the doc comments are the text of --help")]
pub struct Args {
    /// The statement: one select, insert, update, delete or merge
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    statement: Option<String>,

    /// Read the statement from this file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Whose claims: a JSON object, or the claim sub alone; not a token
    #[arg(long = "as", value_name = "CLAIMS", required_unless_present = "anonymous")]
    caller: Option<String>,

    /// Somebody without a token
    #[arg(long, conflicts_with = "caller")]
    anonymous: bool,

    /// The role that the request would run as [default: authenticated, or anonymous]
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,

    /// The value of $1, $2, …; repeatable
    #[arg(long = "param", value_name = "VALUE", allow_hyphen_values = true)]
    parameters: Vec<String>,

    /// Where names without a schema are looked up, as database.search_path says
    #[arg(long, value_name = "SCHEMAS", default_value = "public")]
    search_path: String,

    #[command(flatten)]
    extent: Extent,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How far it goes.
#[derive(Debug, clap::Args)]
struct Extent {
    /// Measure the plan of a write, too
    #[arg(long)]
    analyze: bool,

    /// Count no rows and compare no plans: no table is locked
    #[arg(long)]
    no_counts: bool,

    /// Limit on each statement
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    time_limit: u64,

    /// Limit on the time that tables are locked for the counts
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    lock_limit: u64,
}

pub(super) async fn run(args: Args, owner: &ConnectUrl) -> Result<(), Failure> {
    let statement = match (args.statement, &args.file) {
        (Some(statement), _) => statement,
        (None, Some(file)) => std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?,
        (None, None) => String::new(),
    };
    let caller = match &args.caller {
        Some(claims) => Caller::parse(claims).map_err(failure)?,
        None => Caller::Anonymous,
    };
    let options = Options {
        role: args.role.unwrap_or_else(|| caller.usual_role().to_owned()),
        caller,
        search_path: args.search_path,
        parameters: args.parameters,
        analyze: args.extent.analyze,
        counts: !args.extent.no_counts,
        time_limit: Duration::from_secs(args.extent.time_limit),
        lock_limit: Duration::from_millis(args.extent.lock_limit),
    };
    let explanation = explain::explain(owner, &statement, &options).await.map_err(failure)?;
    if args.json {
        print_json(&explanation)?;
    } else {
        print!("{}", Terminal(&explanation));
    }
    if explanation.outcome.would_run() { Ok(()) } else { Err(Failure::silent(DENIED)) }
}

/// A bad call is told from a failure: 1 says something about the statement.
fn failure(error: ExplainError) -> Failure {
    match error {
        ExplainError::Misuse(text) => Failure::usage(text),
        ExplainError::UnknownRole(_) => Failure::usage(error.to_string()),
        other => other.into(),
    }
}
