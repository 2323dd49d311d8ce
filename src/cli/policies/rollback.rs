//! `rowgate policies rollback`: back to an earlier version.

use super::super::Failure;
use super::{Author, Changing};
use crate::pg::control;
use crate::pg::url::ConnectUrl;
use crate::policy;

/// Apply the grants and policies of an earlier version again
///
/// Takes the files from the history in the database, not from the directory, and applies them as a new
/// version in one transaction. The directory is as it was: `rowgate policies plan` shows the difference,
/// and `rowgate policies history N --export DIR` writes that version's files.
///
/// Migrations are not rolled back: an error names what a policy misses then, and nothing is changed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The version, as `rowgate policies history` counts
    version: i32,

    #[command(flatten)]
    changing: Changing,

    #[command(flatten)]
    author: Author,
}

pub(super) async fn run(args: Args, owner: &ConnectUrl) -> Result<(), Failure> {
    let mut client = control::connect(owner).await.map_err(policy::PolicyError::from)?;
    let mut author = args.author.complete();
    let back = format!("back to version {}", args.version);
    author.message = Some(author.message.map_or(back.clone(), |text| format!("{back}: {text}")));
    let report =
        policy::roll_back(&mut client, args.version, &args.changing.options(&author)).await?;
    args.changing.print(&report);
    Ok(())
}
