//! `rowgate policies apply`: brings the database to the edited grants and policies.

use super::super::Failure;
use super::{Author, Changing, Files};
use crate::pg::control;
use crate::pg::url::ConnectUrl;
use crate::policy::{self, SqlSource};

/// Bring the database to the edited files in grants/ and policies/
///
/// Connects as the owner of the tables (DATABASE_URL). All policies are dropped, all privileges of the
/// roles that requests run as revoked, and all files applied, in one transaction: requests
/// see the old rules or the new ones, nothing between. What no file says is gone afterwards; only the
/// policies that `rowgate migrate --from` made stay. Prints each policy that changed. An error names
/// the file and line and changes nothing.
///
/// Does nothing if the files are as they were and nobody changed the database by hand. What somebody did
/// change by hand is listed, and nothing is applied, unless --allow-drift takes it back.
///
/// A table in use is waited for in attempts of 0.3 s, between which callers go on.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "the doc comments are the text of --help")]
pub struct Args {
    #[command(flatten)]
    files: Files,

    #[command(flatten)]
    changing: Changing,

    #[command(flatten)]
    author: Author,
}

pub(super) async fn run(args: Args, owner: &ConnectUrl) -> Result<(), Failure> {
    let mut client = control::connect(owner).await.map_err(policy::PolicyError::from)?;
    let author = args.author.complete();
    let source = SqlSource::new(args.files.sql);
    let report =
        policy::apply_policies(&mut client, &source, &args.changing.options(&author)).await?;
    args.changing.print(&report);
    Ok(())
}
