//! `rowgate policies rollback`: back to an earlier version.

use std::time::Duration;

use super::super::Failure;
use super::Author;
use crate::pg::control;
use crate::pg::url::ConnectUrl;
use crate::policy::{self, OnDrift, Options};

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

    /// Do everything, print what changed, and undo it
    #[arg(long)]
    dry_run: bool,

    /// Take back what was changed in the database by hand
    #[arg(long)]
    allow_drift: bool,

    /// Seconds to wait for tables in use
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,

    #[command(flatten)]
    author: Author,
}

pub(super) async fn run(args: Args, owner: &ConnectUrl) -> Result<(), Failure> {
    let mut client = control::connect(owner).await.map_err(policy::PolicyError::from)?;
    let mut author = args.author.complete();
    let back = format!("back to version {}", args.version);
    author.message = Some(author.message.map_or(back.clone(), |text| format!("{back}: {text}")));
    let options = Options {
        on_drift: if args.allow_drift { OnDrift::TakeBack } else { OnDrift::Refuse },
        signature: author.signature(),
        patience: Duration::from_secs(args.wait),
        is_rehearsal: args.dry_run,
    };
    let report = policy::roll_back(&mut client, args.version, &options).await?;
    println!("{report}");
    if args.dry_run {
        println!("(--dry-run: all of this was undone)");
    }
    Ok(())
}
