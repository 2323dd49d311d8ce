//! `rowgate policies test`: what callers may do, written down and tried.

use std::path::PathBuf;
use std::time::Duration;

use super::super::Failure;
use super::{Files, print_json};
use crate::pg::control;
use crate::pg::url::ConnectUrl;
use crate::policy::{PolicyError, SqlSource, Stage};
use crate::policy_test::{self, Report, Settings, TestError, TestFile};

/// Not every test passed, or a weakened policy was not noticed.
const FAILED: u8 = 1;

/// Test the policies: as this user, this statement returns these rows, or is refused
///
/// Connects as the owner of the tables (DATABASE_URL), applies the files in grants/ and
/// policies/, runs the tests in tests/*.sql as the roles that requests run as, with sealed
/// claims, and undoes everything: all of it happens in one transaction. Tables whose policies
/// or rows are touched stay locked until its end, so run tests where nobody is kept waiting.
///
/// A test is SQL with comments:
///
///   -- given
///   insert into todos (user_id, task) values ('alice', 'write'), ('bob', 'read');
///
///   -- test: bob sees his own todos only
///   -- as: bob
///   select task from todos;
///   -- returns:
///   -- task
///   -- read
///
/// Exit status: 0 every test passed, 1 one did not, or --mutate found a weakened policy that no
/// test noticed, 2 bad usage or a test file that cannot be understood.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[expect(clippy::doc_markdown, reason = "the doc comments are the text of --help")]
pub struct Args {
    #[command(flatten)]
    files: Files,

    /// The directory with the tests [default: tests/ beside policies/]
    #[arg(long, value_name = "DIR")]
    tests: Option<PathBuf>,

    /// Only tests whose names contain this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,

    #[command(flatten)]
    subject: Subject,

    /// Say which parts of which policies made no difference to any test
    #[arg(long)]
    coverage: bool,

    /// Weaken each policy in turn, and fail if no test notices
    #[arg(long)]
    mutate: bool,

    /// With --mutate: how many of a hundred weakened policies must be noticed
    #[arg(long, value_name = "PERCENT", requires = "mutate", default_value_t = 100,
          value_parser = clap::value_parser!(u8).range(0..=100))]
    min_score: u8,

    #[command(flatten)]
    form: Form,

    /// Also write JUnit's XML to this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Seconds to wait for tables in use
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
}

/// What is tested; none of them: what the files in grants/ and policies/ would make of the database.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(multiple = false)]
struct Subject {
    /// Test the database as it is, not what the files would make of it
    #[arg(long)]
    live: bool,

    /// Also run the migrations that have not run yet, as `rowgate migrate` would
    #[arg(long)]
    with_migrations: bool,
}

/// What it looks like.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(multiple = false)]
struct Form {
    /// TAP, version 14
    #[arg(long)]
    tap: bool,

    /// JSON for another program
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, owner: &ConnectUrl) -> Result<(), Failure> {
    let files = read(&args)?;
    let mut client = control::connect(owner).await.map_err(PolicyError::from)?;
    let stage = match args.subject {
        Subject { live: true, .. } => Stage::AsItIs,
        Subject { with_migrations: true, .. } => Stage::Everything,
        Subject { .. } => Stage::Policies,
    };
    let settings = Settings {
        stage,
        coverage: args.coverage,
        mutate: args.mutate,
        patience: Duration::from_secs(args.wait),
    };
    let source = SqlSource::new(&args.files.sql);
    let outcome = policy_test::run(&mut client, &source, &files, settings).await;
    let report = outcome.map_err(|error| match error {
        TestError::Extension => Failure::usage(error.to_string()),
        other => Failure::from(other),
    })?;
    if let Some(file) = &args.junit {
        std::fs::write(file, policy_test::junit(&report))
            .map_err(|error| Failure::runtime(format!("{}: {error}", file.display())))?;
    }
    match args.form {
        Form { json: true, .. } => print_json(&report)?,
        Form { tap: true, .. } => print!("{}", policy_test::tap(&report)),
        _ => println!("{report}"),
    }
    if is_good(&report, args.min_score) { Ok(()) } else { Err(Failure::silent(FAILED)) }
}

fn read(args: &Args) -> Result<Vec<TestFile>, Failure> {
    let dir = args.tests.clone().unwrap_or_else(|| args.files.sql.join("tests"));
    let mut files = TestFile::read_all(&dir).map_err(|error| Failure::usage(error.to_string()))?;
    if let Some(part) = &args.only {
        for file in &mut files {
            file.keep(part);
        }
    }
    if files.iter().all(|file| file.count() == 0) {
        let what = if args.only.is_some() { "test with such a name" } else { "test" };
        return Err(Failure::usage(format!("there is no {what} in {}", dir.display()))
            .with_hint("docs/policy-tests.md shows what one looks like"));
    }
    Ok(files)
}

fn is_good(report: &Report, min_score: u8) -> bool {
    report.failures().next().is_none() && report.score() >= f64::from(min_score)
}
