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
mod report;
mod run;
mod seal_key;
mod source;
/// Public for the fuzzer only.
#[doc(hidden)]
pub mod split;
mod state;

use tokio_postgres::Client;

pub use embedded::templates;
pub use error::{PolicyError, StatementError};
pub use logins::{create_slots, set_login_passwords};
pub use report::{Cause, Report};
pub use seal_key::{
    Schedule, SealKeyRecord, SealKeyState, Wanted, list as list_seal_keys, read_seal_key,
    read_seal_keys, retire as retire_seal_key, rotate as rotate_seal_key,
};
pub use source::SqlSource;
pub use state::{Change, GrantChanges, api_roles};

/// Brings a database to its files: Rowgate's schema, migrations, grants and policies. Several
/// processes may do so at once; one works, the others wait and find nothing to do.
///
/// # Errors
///
/// A file that cannot be read or applied, with its line; nothing was changed then.
pub async fn migrate(client: &mut Client, source: &SqlSource) -> Result<Report, PolicyError> {
    apply::run(client, apply::Work::Everything(source)).await
}

/// Brings the grants and policies of a migrated database to their files.
///
/// # Errors
///
/// As [`migrate`]; and a database that was never migrated.
pub async fn apply_policies(
    client: &mut Client,
    source: &SqlSource,
) -> Result<Report, PolicyError> {
    apply::run(client, apply::Work::Policies(source)).await
}
