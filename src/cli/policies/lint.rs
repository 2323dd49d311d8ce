//! `rowgate policies lint`: what is wrong with policies and grants.

use std::fs;
use std::path::PathBuf;

use crate::cli::Failure;
use crate::lint::{self, Level, Outcome, RULES, Scope, fix, report, sarif};
use crate::pg::control;
use crate::pg::url::ConnectUrl;
use crate::policy::SqlSource;

/// There are findings.
const FOUND: u8 = 1;
/// Nothing could be found out.
const UNKNOWN: u8 = 2;

const HELP: &str = "\
An exception stands in the SQL file, before the statement that it is about, and needs a reason:
  -- rowgate:allow RG-L011 the list of countries is for everybody

Examples:
  rowgate policies lint                       what the files in sql/ would make
  rowgate policies lint --live --fail-on warning
  rowgate policies lint --fix --dry-run       what could be mended in the files, as a diff
  rowgate policies lint --sarif > lint.sarif

Exit codes: 0 nothing as bad as --fail-on; 1 findings; 2 bad usage, no connection, files that fail.";

/// Find what is wrong with policies and grants, before they are applied
///
/// Connects as the owner of the tables (DATABASE_URL) and changes nothing there. If the files in sql/ are
/// not what was applied last, they are applied in a transaction that is rolled back: tables are locked for
/// as long as that takes. A table in use is waited for, for 0.3 seconds at a time. --live looks at the
/// database as it is, and locks nothing. docs/lints.md explains the rules.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
#[expect(clippy::doc_markdown, reason = "the doc comments are the text of --help")]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command")]
pub struct Args {
    /// The directory that holds migrations/, grants/ and policies/
    #[arg(long, value_name = "DIR", default_value = "sql")]
    sql: PathBuf,

    /// Look at the database as it is, whatever the files say
    #[arg(long)]
    live: bool,

    /// Fail if there is a finding of this level, or a worse one
    #[arg(long, value_name = "LEVEL", default_value = "error")]
    fail_on: Level,

    /// Print JSON
    #[arg(long, group = "format")]
    json: bool,

    /// Print SARIF 2.1.0
    #[arg(long, group = "format")]
    sarif: bool,

    /// Print annotations for GitHub Actions
    #[arg(long, group = "format")]
    github: bool,

    /// Print the table of rules
    #[arg(long, exclusive = true)]
    rules: bool,

    /// Mend in grants/ and policies/ what can be mended mechanically
    #[arg(long, conflicts_with = "format")]
    fix: bool,

    /// With --fix: print what would change, and write nothing
    #[arg(long, requires = "fix")]
    dry_run: bool,
}

impl Args {
    /// Whether a database is needed.
    #[must_use]
    pub fn needs_database(&self) -> bool {
        !self.rules
    }
}

/// Prints the rules.
pub fn print_rules() {
    for rule in RULES {
        println!("{}  {:<8} {}", rule.id, rule.level.word(), rule.title);
    }
}

/// Looks, prints, and with --fix writes.
///
/// # Errors
///
/// Findings that are as bad as --fail-on, or anything that kept from looking.
pub async fn run(args: Args, owner: &ConnectUrl) -> Result<(), Failure> {
    let outcome = look(&args, owner).await?;
    if args.json {
        println!("{:#}", report::json(&outcome));
    } else if args.sarif {
        println!("{:#}", sarif::sarif(&outcome));
    } else if args.github {
        print!("{}", report::github(&outcome));
    } else if args.fix {
        return mend(&args, owner, &outcome).await;
    } else {
        print!("{}", report::text(&outcome));
    }
    verdict(&args, &outcome)
}

async fn look(args: &Args, owner: &ConnectUrl) -> Result<Outcome, Failure> {
    let scope = if args.live { Scope::Live } else { Scope::Files };
    let unknown = |failure: Failure| failure.with_code(UNKNOWN);
    let mut client = control::connect(owner).await.map_err(|e| unknown(e.into()))?;
    let source = SqlSource::new(&args.sql);
    lint::run(&mut client, &source, scope).await.map_err(|e| unknown(e.into()))
}

async fn mend(args: &Args, owner: &ConnectUrl, outcome: &Outcome) -> Result<(), Failure> {
    let rewrites = fix::rewrites(outcome);
    for rewrite in &rewrites {
        if args.dry_run {
            print!("{}", rewrite.diff);
        } else {
            fs::write(&rewrite.path, &rewrite.text)?;
            println!("{}: mended {}", rewrite.path.display(), rewrite.mended);
        }
    }
    if args.dry_run || rewrites.is_empty() {
        if rewrites.is_empty() {
            println!("nothing can be mended mechanically");
        }
        return verdict(args, outcome);
    }
    let outcome = look(args, owner).await?;
    print!("{}", report::text(&outcome));
    verdict(args, &outcome)
}

fn verdict(args: &Args, outcome: &Outcome) -> Result<(), Failure> {
    match outcome.count_from(args.fail_on) {
        0 => Ok(()),
        count => {
            let level = args.fail_on.word();
            Err(Failure::left(FOUND, format!("findings of level {level} or worse: {count}")))
        }
    }
}
