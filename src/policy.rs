//! SQL files: the schema `auth`, the application's migrations, its grants and policies.
//!
//! Everything that changes a database's schema or privileges goes through here: in one transaction,
//! under one lock, all or nothing. Never works over a connection that serves requests.
//!
//! - *Versioned* files (`sql/auth` in the program, `migrations/` of a project) run once, in order, and
//!   are not edited afterwards. `refinery` keeps their history.
//! - *Foreign* files (a folder that another tool wrote) run once as well, in that tool's order. The
//!   policies that they make are theirs.
//! - *Repeatable* files (`grants/`, `policies/`) are edited in place. When they differ from what was
//!   applied last, or the database differs from how they left it, all policies but those of foreign
//!   files are dropped, all privileges of the API roles revoked, and all files run again.

mod apply;
mod embedded;
mod error;
mod foreign;
mod history;
mod logins;
mod membership;
mod plan;
mod record;
mod rehearse;
mod report;
mod run;
mod seal_key;
mod session_jwt;
mod source;
/// Public for the fuzzer only.
#[doc(hidden)]
pub mod split;
mod state;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::{Client, Transaction};

pub use apply::{OnDrift, Options};
pub use embedded::templates;
pub use error::{PolicyError, StatementError};
pub use logins::{create_slots, set_login_passwords};
pub(crate) use membership::membership;
pub use plan::{Origin, Plan, PlannedChange};
pub use record::{Entry, Signature};
pub use rehearse::{is_applied, rehearse};
pub use report::{Cause, Report};
pub use seal_key::{
    Schedule, SealKeyRecord, SealKeyState, Wanted, list as list_seal_keys, read_seal_key,
    read_seal_keys, retire as retire_seal_key, rotate as rotate_seal_key,
};
pub use source::SqlSource;
pub use state::{Change, GrantChanges, Kind, api_roles};

/// Brings a database to its files: Rowgate's schema, migrations, grants and policies. Several
/// processes may do so at once; one works, the others wait and find nothing to do.
///
/// # Errors
///
/// A file that cannot be read or applied, with its line; nothing was changed then.
pub async fn migrate(
    client: &mut Client,
    source: &SqlSource,
    options: &Options<'_>,
) -> Result<Report, PolicyError> {
    let outcome = apply::run(client, apply::Work::Everything(source), options).await?;
    Ok(outcome.report)
}

/// Brings the grants and policies of a migrated database to their files.
///
/// # Errors
///
/// As [`migrate`]; a database that was never migrated; changes by hand, if these are to be refused.
pub async fn apply_policies(
    client: &mut Client,
    source: &SqlSource,
    options: &Options<'_>,
) -> Result<Report, PolicyError> {
    let outcome = apply::run(client, apply::Work::Policies(source), options).await?;
    Ok(outcome.report)
}

/// What [`apply_policies`] would do, or with migrations what [`migrate`] would: it is done, looked at, and
/// undone.
///
/// # Errors
///
/// As [`migrate`].
pub async fn plan(
    client: &mut Client,
    source: &SqlSource,
    with_migrations: bool,
    patience: Duration,
) -> Result<Plan, PolicyError> {
    let options = Options { is_rehearsal: true, patience, ..Options::default() };
    if with_migrations {
        let outcome = apply::run(client, apply::Work::Everything(source), &options).await?;
        return Ok(Plan { pending_migrations: outcome.report.migrations, ..outcome.plan });
    }
    Ok(apply::run(client, apply::Work::Policies(source), &options).await?.plan)
}

/// What a [`rehearse_in`] puts into its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing: the database as it is.
    AsItIs,
    /// The grants and policies of the files.
    Policies,
    /// The same after the migrations that have not run yet.
    Everything,
}

/// Brings the database to its files inside `transaction`, which the caller must roll back.
///
/// # Errors
///
/// As [`migrate`]. The transaction is of no use then.
pub async fn rehearse_in(
    transaction: &Transaction<'_>,
    source: &SqlSource,
    stage: Stage,
) -> Result<(), PolicyError> {
    let work = match stage {
        Stage::AsItIs => return apply::stand_still(transaction).await,
        Stage::Policies => apply::Work::Policies(source),
        Stage::Everything => apply::Work::Everything(source),
    };
    let options = Options { is_rehearsal: true, ..Options::default() };
    apply::carry_out(transaction, work, &options).await.map(drop)
}

/// Runs `sql` as a part of the file at `path`: in a `do` block for each statement, so that none can begin or end a
/// transaction. Text outside of the part is blank, so that lines count as in the file.
///
/// # Errors
///
/// The first statement that the server refuses, with its line.
pub(crate) async fn run_part(
    transaction: &Transaction<'_>,
    path: &Path,
    sql: &str,
) -> Result<(), PolicyError> {
    let file = source::SqlFile::checked(path.to_owned(), sql.to_owned())?;
    run::file(transaction, &file, run::Mode::Confined).await
}

/// The text and name of each file in a directory of SQL that is neither applied nor kept, in the order of names.
pub(crate) fn read_other(dir: &Path) -> Result<Vec<(PathBuf, String)>, PolicyError> {
    source::other(dir)
}

/// Applies the grants and policies of an earlier version again, as a new version.
///
/// # Errors
///
/// As [`apply_policies`]; a version that is not in the history.
pub async fn roll_back(
    client: &mut Client,
    version: i32,
    options: &Options<'_>,
) -> Result<Report, PolicyError> {
    Ok(apply::run(client, apply::Work::Version(version), options).await?.report)
}

/// Every apply, the newest first.
///
/// # Errors
///
/// No connection; a database that was never migrated.
pub async fn history(client: &mut Client) -> Result<Vec<Entry>, PolicyError> {
    apply::history(client).await
}

/// The files of a version: directory, name without `.sql`, and text of each.
///
/// # Errors
///
/// As [`history`]; a version that is not in it.
pub async fn files_of_version(
    client: &mut Client,
    version: i32,
) -> Result<Vec<(String, String, String)>, PolicyError> {
    apply::files_of_version(client, version).await
}
