//! `rowgate migrate`: brings a database to the project's SQL files.

use std::path::PathBuf;

use super::policies::system_user;
use crate::pg::control;
use crate::pg::url::ConnectUrl;
use crate::policy::{self, Options, PolicyError, Signature, SqlSource};

/// The project's directory if none is named.
const DEFAULT_SQL: &str = "sql";

/// Bring the database to the SQL files: migrations, then grants and policies
///
/// Connects as the owner of the tables (DATABASE_URL). In one transaction: creates or updates
/// Rowgate's own roles and the schema `auth`, runs the files of `migrations/` that have not run yet,
/// and applies `grants/` and `policies/` if they were edited. An error names the file and line and
/// changes nothing. It may run at the same time on several machines, and again at any time.
///
/// A file in `migrations/` is never edited once it has run anywhere; write a new one. Files in `grants/`
/// and `policies/` are edited in place.
///
/// With --from, the migrations of another tool run first, such as those that `drizzle-kit generate`
/// writes: the folder's .sql files (or its subfolders' migration.sql), in the order of drizzle's
/// meta/_journal.json or else of their names, each once, all in the same transaction. Files *.down.sql
/// are left out. Nothing else of that tool is needed. An edited, missing or inserted file is an error.
/// What `drizzle-kit migrate` has applied to this database already is noted and not run again.
///
/// Policies that these files make are theirs, and `rowgate policies apply` leaves them alone;
/// privileges are always Rowgate's: grant them in grants/, whose files may be the whole project. With
/// --from, the directory sql/ may also be absent; then policies and grants stay as the folder's files
/// make them.
///
/// The owner needs no superuser rights: CREATEROLE and ownership of the database are enough.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "the doc comments are the text of --help")]
pub struct Args {
    /// The directory that holds migrations/, grants/ and policies/ [default: sql]
    #[arg(long, value_name = "DIR")]
    sql: Option<PathBuf>,

    /// A folder of migrations that another tool wrote, such as drizzle/
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,

    /// Also give the two login roles the passwords in DATABASE_AUTHENTICATED_URL and DATABASE_ANONYMOUS_URL
    ///
    /// Only hashes of them are sent (SCRAM-SHA-256).
    #[arg(long)]
    login_passwords: bool,

    /// Also make N login roles for the connections of each of the two roles (database.slots)
    ///
    /// They get the passwords in DATABASE_AUTHENTICATED_URL and DATABASE_ANONYMOUS_URL, if these have any,
    /// and may have one connection each. Running it again, with the same or a larger number, is fine; so
    /// it is after a change of the passwords.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    slots: Option<u16>,
}

/// Migrates, prints what was done.
///
/// # Errors
///
/// No connection, or a file that could not be applied.
pub async fn run<'a>(
    args: Args,
    owner: &ConnectUrl,
    authenticated: Option<&'a ConnectUrl>,
    anonymous: Option<&'a ConnectUrl>,
) -> Result<(), PolicyError> {
    let logins = if args.login_passwords { logins(authenticated, anonymous)? } else { Vec::new() };
    let mut client = control::connect(owner).await?;
    let by = system_user();
    let signature = Signature { by: by.as_deref(), note: Some("rowgate migrate") };
    let options = Options { signature, ..Options::default() };
    let report = policy::migrate(&mut client, &source(args.sql, args.from), &options).await?;
    println!("{report}");
    if args.login_passwords {
        policy::set_login_passwords(&mut client, &logins).await?;
        let roles: Vec<&str> = logins.iter().map(|(role, _)| *role).collect();
        println!("passwords set: {}", roles.join(", "));
    }
    if let Some(count) = args.slots {
        let base = |url: Option<&'a ConnectUrl>, role| {
            (url.map_or(role, ConnectUrl::user), url.and_then(ConnectUrl::password))
        };
        let bases = [base(authenticated, "authenticated"), base(anonymous, "anonymous")];
        policy::create_slots(&mut client, &bases, count.into()).await?;
        println!("slots: {count} for each of {} and {}", bases[0].0, bases[1].0);
    }
    Ok(())
}

/// A directory that is named must be there; so must the default one, unless another tool's folder
/// is the project.
fn source(sql: Option<PathBuf>, from: Option<PathBuf>) -> SqlSource {
    match (sql, from) {
        (Some(sql), None) => SqlSource::new(sql),
        (None, None) => SqlSource::new(DEFAULT_SQL),
        (Some(sql), Some(from)) => SqlSource::new(sql).with_foreign(from),
        (None, Some(from)) => SqlSource::new(DEFAULT_SQL).optional().with_foreign(from),
    }
}

/// Roles and passwords of the two URLs; checked before anything is done.
fn logins<'a>(
    authenticated: Option<&'a ConnectUrl>,
    anonymous: Option<&'a ConnectUrl>,
) -> Result<Vec<(&'a str, &'a [u8])>, PolicyError> {
    let urls =
        [("DATABASE_AUTHENTICATED_URL", authenticated), ("DATABASE_ANONYMOUS_URL", anonymous)];
    urls.into_iter()
        .map(|(name, url)| match url.map(|url| (url.user(), url.password())) {
            Some((user, Some(password))) => Ok((user, password)),
            _ => Err(PolicyError::Login(format!(
                "--login-passwords takes the passwords from the URLs, and {name} has none"
            ))),
        })
        .collect()
}
