//! `rowgate policies apply`: brings the database to the edited grants and policies.

use std::path::PathBuf;

use crate::pg::control;
use crate::pg::url::ConnectUrl;
use crate::policy::{self, PolicyError, SqlSource};

/// Bring the database to the edited files in grants/ and policies/
///
/// Connects as the owner of the tables (DATABASE_URL). All policies are dropped, all privileges of the
/// roles that requests run as revoked (`authenticated`, `anonymous`, those of auth.api_roles), and all files applied, in one transaction: requests
/// see the old rules or the new ones, nothing between. What no file says is gone afterwards; only the
/// policies that `rowgate migrate --from` made stay. Prints each policy that changed. An error names
/// the file and line and changes nothing.
///
/// Does nothing if the files are as they were and nobody changed the database by hand.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "the doc comments are the text of --help")]
pub struct Args {
    /// The directory that holds grants/ and policies/
    #[arg(long, value_name = "DIR", default_value = "sql")]
    sql: PathBuf,
}

/// Applies, prints what changed.
///
/// # Errors
///
/// No connection, or a file that could not be applied.
pub async fn run(args: Args, owner: &ConnectUrl) -> Result<(), PolicyError> {
    let mut client = control::connect(owner).await?;
    let report = policy::apply_policies(&mut client, &SqlSource::new(args.sql)).await?;
    println!("{report}");
    Ok(())
}
