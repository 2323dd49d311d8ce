//! What tests stand on: roles that the owner can act as, tables that the owner can fill, sequences that nobody
//! moves. All of it belongs to the transaction and goes with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::Transaction;

use super::file::Test;
use crate::auth::Identity;
use crate::explain::Caller;
use crate::policy::{self, PolicyError, run_part};
use crate::session::seal::{self, Sealer};

/// Roles that exist and that the current user cannot act as.
const BEYOND: &str = "\
    select r.rolname::text, pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000 \
      from pg_catalog.pg_roles as r \
     where r.rolname = any ($1::text[]) \
       and not pg_catalog.pg_has_role(current_user, r.oid, \
             case when pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000 \
                  then 'set' else 'member' end) \
     order by 1";

/// Tables whose owner sees rows by the policies, as far as the current user owns them and is subject to policies.
const FORCED: &str = "\
    select c.oid::pg_catalog.regclass::text \
      from pg_catalog.pg_class as c \
     where c.relrowsecurity and c.relforcerowsecurity and pg_catalog.pg_has_role(c.relowner, 'usage') \
       and not (select r.rolsuper or r.rolbypassrls from pg_catalog.pg_roles as r where r.rolname = current_user) \
     order by 1";

/// Gives each sequence new storage at its present position: what draws from it then is undone, too.
const SEQUENCES: &str = "\
    select pg_catalog.format('alter sequence %I.%I restart with %s', s.schemaname, s.sequencename, next.value) \
      from pg_catalog.pg_sequences as s \
      join pg_catalog.pg_class as c \
        on c.oid = pg_catalog.format('%I.%I', s.schemaname, s.sequencename)::pg_catalog.regclass \
     cross join lateral (select coalesce(s.last_value::pg_catalog.numeric + s.increment_by, s.start_value)) as next (value) \
     where pg_catalog.pg_has_role(c.relowner, 'usage') and c.relpersistence <> 't' \
       and next.value between s.min_value and s.max_value \
     order by 1";

/// Where a role looks names up when it logs in.
const SEARCH_PATHS: &str = "\
    select r.rolname::text, coalesce( \
             (select pg_catalog.substr(setting, 13) \
                from pg_catalog.pg_db_role_setting as s, pg_catalog.unnest(s.setconfig) as setting \
               where s.setrole in (0, r.oid) \
                 and s.setdatabase in (0, (select d.oid from pg_catalog.pg_database as d \
                                            where d.datname = pg_catalog.current_database())) \
                 and setting like 'search\\_path=%' \
               order by s.setrole <> 0 desc, s.setdatabase <> 0 desc limit 1), \
             '\"$user\", public') \
      from pg_catalog.pg_roles as r where r.rolname = any ($1::text[])";

/// No statement of a test runs longer.
const STATEMENT_TIMEOUT: &str = "30s";

/// Prepared once in a transaction; then serves every test in it.
pub(super) struct Ground {
    sealer: Sealer,
    pid: i32,
    forced: Vec<String>,
    search_paths: BTreeMap<String, String>,
}

/// Makes the current user a member of the roles that tests act as, for this transaction. Roles that do not exist yet
/// are passed over.
pub(super) async fn become_able(
    transaction: &Transaction<'_>,
    roles: &BTreeSet<String>,
) -> Result<(), PolicyError> {
    const DOING: &str = "asking which roles can be tested";
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    let rows = transaction.query(BEYOND, &[&roles]).await.map_err(PolicyError::database(DOING))?;
    let Some(is_16) = rows.first().map(|row| row.get(1)) else { return Ok(()) };
    let roles: Vec<String> = rows.iter().map(|row| escape_identifier(row.get(0))).collect();
    let doing = "becoming a member of the role under test (a superuser can run: grant authenticated, \
                 anonymous to the owner)";
    let sql = policy::membership(&roles.join(", "), is_16);
    transaction.batch_execute(&sql).await.map_err(PolicyError::database(doing))
}

impl Ground {
    pub async fn prepare(
        transaction: &Transaction<'_>,
        sealer: Sealer,
        roles: &BTreeSet<String>,
    ) -> Result<Self, PolicyError> {
        const DOING: &str = "preparing the tests";
        let failed = || PolicyError::database(DOING);
        become_able(transaction, roles).await?;
        // Names are then printed with their schemas.
        let sql = "reset role; set local search_path to pg_catalog";
        transaction.batch_execute(sql).await.map_err(failed())?;
        let row = transaction.query_one("select pg_catalog.pg_backend_pid()", &[]).await;
        let pid = row.map_err(failed())?.get(0);
        let forced = transaction.query(FORCED, &[]).await.map_err(failed())?;
        let sequences = transaction.query(SEQUENCES, &[]).await.map_err(failed())?;
        let sequences: Vec<&str> = sequences.iter().map(|row| row.get(0)).collect();
        transaction.batch_execute(&sequences.join(";")).await.map_err(failed())?;
        let names: Vec<&str> = roles.iter().map(String::as_str).collect();
        let paths = transaction.query(SEARCH_PATHS, &[&names]).await.map_err(failed())?;
        let search_paths = paths.iter().map(|row| (row.get(0), row.get(1))).collect();
        Ok(Self {
            sealer,
            pid,
            forced: forced.iter().map(|row| row.get(0)).collect(),
            search_paths,
        })
    }

    /// Runs set-up SQL as the owner, for whom policies do not hold meanwhile. Afterwards they do again: functions and
    /// views may run with the owner's rights.
    pub async fn give(
        &self,
        transaction: &Transaction<'_>,
        path: &Path,
        sql: &str,
    ) -> Result<(), PolicyError> {
        const DOING: &str = "running the set-up of a test";
        let failed = || PolicyError::database(DOING);
        let before = self.alter_forced("no force");
        let before = format!("reset role; {before} {}", self.settings(None));
        transaction.batch_execute(&before).await.map_err(failed())?;
        run_part(transaction, path, sql).await?;
        // Checks that wait for the commit would be in the way of altering the tables.
        let after = format!(
            "reset session authorization; reset role; set constraints all immediate; {}",
            self.alter_forced("force")
        );
        transaction.batch_execute(&after).await.map_err(failed())
    }

    fn alter_forced(&self, how: &str) -> String {
        let alter = |name: &String| format!("alter table {name} {how} row level security;");
        self.forced.iter().map(alter).collect()
    }

    /// The SQL that makes the session what the gateway would make it for the caller of `test`.
    pub fn opening(&self, test: &Test) -> String {
        let role = escape_identifier(role_of(test));
        format!("reset role; {} set local role {role};", self.settings(Some(test)))
    }

    fn settings(&self, test: Option<&Test>) -> String {
        let path = test.and_then(|test| self.search_paths.get(role_of(test)));
        let (claims, seal) = test.map_or_else(Default::default, |test| self.sealed(&test.caller));
        let values = [
            ("standard_conforming_strings", "on"),
            ("row_security", "on"),
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("DateStyle", "ISO"),
            ("IntervalStyle", "postgres"),
            ("bytea_output", "hex"),
            ("search_path", path.map_or("public", String::as_str)),
            ("request.jwt.claims", &claims),
            ("rowgate.seal", &seal),
        ];
        let calls = values.iter().map(|(name, value)| {
            format!("pg_catalog.set_config('{name}', {}, true)", escape_literal(value))
        });
        format!("select {};", calls.collect::<Vec<_>>().join(", "))
    }

    /// The claims as the database gets them, and their seal.
    fn sealed(&self, caller: &Caller) -> (String, String) {
        let (claims, expires) = (caller.claims(), seal::expiry(&Identity::Anonymous));
        let mut seal = Vec::new();
        self.sealer.seal_text(claims, expires, self.pid, &mut seal);
        (claims.to_owned(), String::from_utf8_lossy(&seal).into_owned())
    }
}

/// The role that the statement of `test` runs as.
pub(super) fn role_of(test: &Test) -> &str {
    test.role.as_deref().unwrap_or_else(|| test.caller.usual_role())
}
