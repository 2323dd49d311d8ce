//! `rowgate policies …`: grants and policies, kept in SQL files.

mod apply;
mod explain;
mod history;
pub(super) mod lint;
mod plan;
mod rollback;
mod show;
mod test;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;

use super::Failure;
use crate::pg::url::ConnectUrl;
use crate::policy::{OnDrift, Options, Report, Signature};

/// Grants and policies, kept in SQL files
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "the commands' arguments say what they do")]
pub enum Command {
    Plan(plan::Args),
    Apply(apply::Args),
    History(history::Args),
    Rollback(rollback::Args),
    Show(show::Args),
    Lint(lint::Args),
    Explain(explain::Args),
    Test(test::Args),
}

/// Which files, for every command that reads them.
#[derive(Debug, clap::Args)]
struct Files {
    /// The directory that holds grants/ and policies/
    #[arg(long, value_name = "DIR", default_value = "sql")]
    sql: PathBuf,
}

/// How a command that changes the database goes about it.
#[derive(Debug, clap::Args)]
struct Changing {
    /// Do everything, print what changed, and undo it
    #[arg(long)]
    dry_run: bool,

    /// Take back what was changed in the database by hand
    #[arg(long)]
    allow_drift: bool,

    /// Seconds to wait for tables in use
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
}

impl Changing {
    fn options<'a>(&self, author: &'a Author) -> Options<'a> {
        Options {
            on_drift: if self.allow_drift { OnDrift::TakeBack } else { OnDrift::Refuse },
            signature: author.signature(),
            patience: Duration::from_secs(self.wait),
            is_rehearsal: self.dry_run,
        }
    }

    fn print(&self, report: &Report) {
        println!("{report}");
        if self.dry_run {
            println!("(--dry-run: all of this was undone)");
        }
    }
}

/// Who applies and why, for the history.
#[derive(Debug, clap::Args)]
struct Author {
    /// Why, in a few words, for the history
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,

    /// Who, for the history [default: the system's user and host]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl Author {
    /// The same with the system's words where the caller has none.
    fn complete(self) -> Self {
        let by = self.by.or_else(system_user);
        Self { by, ..self }
    }

    fn signature(&self) -> Signature<'_> {
        Signature { by: self.by.as_deref(), note: self.message.as_deref() }
    }
}

/// As in `kate@laptop`; containers often have no name for their user, and then it is the number.
pub(super) fn system_user() -> Option<String> {
    let uid = nix::unistd::getuid();
    let known = nix::unistd::User::from_uid(uid).ok().flatten();
    let user = known.map_or_else(|| format!("uid {uid}"), |user| user.name);
    let host = nix::unistd::gethostname().ok()?;
    Some(format!("{user}@{}", host.to_string_lossy()))
}

/// Runs one of the commands as the owner of the tables.
///
/// # Errors
///
/// What the command met, or the exit code that tells its result.
pub async fn run(command: Command, owner: &ConnectUrl) -> Result<(), Failure> {
    match command {
        Command::Plan(args) => plan::run(args, owner).await,
        Command::Apply(args) => apply::run(args, owner).await,
        Command::History(args) => history::run(args, owner).await,
        Command::Rollback(args) => rollback::run(args, owner).await,
        Command::Show(args) => show::run(args, owner).await,
        Command::Lint(args) => lint::run(args, owner).await,
        Command::Explain(args) => explain::run(args, owner).await,
        Command::Test(args) => test::run(args, owner).await,
    }
}

/// JSON for another program.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::runtime(format!("the result cannot be written: {error}")))?;
    println!("{text}");
    Ok(())
}

/// Where a kept file goes: below `dir`, and nowhere else.
fn place_of(dir: &Path, part: &str, stem: &str) -> PathBuf {
    dir.join(part).join(format!("{stem}.sql"))
}
