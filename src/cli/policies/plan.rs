//! `rowgate policies plan`: what the files would change.

use std::time::Duration;

use super::super::Failure;
use super::{Files, print_json};
use crate::pg::control;
use crate::pg::url::ConnectUrl;
use crate::policy::{self, SqlSource};

/// There is something to do.
const TO_DO: u8 = 2;

/// Show what the files in grants/ and policies/ would change, and what somebody changed by hand
///
/// Connects as the owner of the tables (DATABASE_URL). Where the files or the database are not as the last
/// apply left them, applies the files, looks at the result, and undoes everything. For that moment
/// callers wait for the tables concerned; a table in use is waited for in short attempts.
///
/// Lines begin with + (to create), ~ (to change) or - (to drop). An exclamation mark stands where the
/// database was changed by hand since the last apply.
///
/// Exit status: 0 nothing to do, 2 something to do, 1 the files cannot be applied.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "the doc comments are the text of --help")]
pub struct Args {
    #[command(flatten)]
    files: Files,

    /// Also with the migrations that have not run yet, as `rowgate migrate` would
    #[arg(long)]
    with_migrations: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Seconds to wait for tables in use
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
}

pub(super) async fn run(args: Args, owner: &ConnectUrl) -> Result<(), Failure> {
    let mut client = control::connect(owner).await.map_err(policy::PolicyError::from)?;
    let source = SqlSource::new(args.files.sql);
    let patience = Duration::from_secs(args.wait);
    let plan = policy::plan(&mut client, &source, args.with_migrations, patience).await?;
    if args.json {
        print_json(&plan)?;
    } else {
        println!("{plan}");
    }
    if plan.is_empty() { Ok(()) } else { Err(Failure::silent(TO_DO)) }
}
