//! One transaction of the owner's that never commits, and in it the caller's role with sealed claims.
//!
//! What is tried in it is tried inside a savepoint and undone at once, locks included. Must never send
//! COMMIT.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::{ExplainError, Options};
use crate::pg::control;
use crate::pg::session_key::SessionKey;
use crate::pg::session_settings::FIXED;
use crate::pg::url::ConnectUrl;
use crate::policy;
use crate::session::pipeline;
use crate::session::seal::{self, Sealer};
use crate::session::sealing::{self, Installed};
use crate::session::session_jwt;

/// Numbers that are compared come from one snapshot.
const BEGIN: &str = "\
    begin isolation level repeatable read; \
    set local client_min_messages = warning; \
    set local idle_in_transaction_session_timeout = '60s'";

/// Settings that the role's own logins would begin with. A time limit is ours to set.
const ROLE_SETTINGS: &str = "\
    select pg_catalog.set_config(s.name, s.value, true) is null from ( \
      select pg_catalog.split_part(line, '=', 1) as name, \
             pg_catalog.substr(line, pg_catalog.strpos(line, '=') + 1) as value \
        from pg_catalog.pg_db_role_setting as d \
        join pg_catalog.pg_roles as r on r.oid = d.setrole and r.rolname = $1 \
       cross join pg_catalog.unnest(d.setconfig) as line \
       where d.setdatabase in (0, (select oid from pg_catalog.pg_database \
                                    where datname = pg_catalog.current_database())) \
       order by d.setdatabase = 0 desc \
    ) as s \
    join pg_catalog.pg_settings as g on g.name = s.name and g.context = 'user' \
   where s.name not like '%timeout' and s.name not in ('role', 'session_authorization')";

/// Two that make the owner a member of the same role wait for one another.
const MEMBERSHIP_WAIT: Duration = Duration::from_mins(1);

/// As the gateway sets them for each of its connections, over those of the role.
const GATEWAY_SETTINGS: &str = "\
    select pg_catalog.set_config(s.name, s.value, true) is null \
      from rows from (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) as s (name, value) \
     where s.name not like 'default_transaction%' \
       and s.name not in ('client_encoding', 'client_connection_check_interval')";

/// The transaction.
pub(super) struct Session {
    client: Client,
    pub(super) role: String,
}

/// Makes a transaction in which the caller can be acted for.
pub(super) async fn open(owner: &ConnectUrl, options: &Options) -> Result<Session, ExplainError> {
    let mut client = control::connect(owner).await?;
    let mut key = None;
    let installed =
        sealing::installed(&client).await.map_err(failed("looking for auth.session()"))?;
    if let Installed::PgSessionJwt(_) = installed {
        // The extension believes what is signed with the connection's own key alone.
        let own = SessionKey::generate().map_err(|error| ExplainError::Key(error.to_string()))?;
        let setting = session_jwt::KEYS.setting;
        client = control::connect(&owner.with_setting(setting, &own.public_jwk())).await?;
        let fixed = client.batch_execute(session_jwt::KEYS.fix.0).await;
        fixed.map_err(failed("giving the extension pg_session_jwt a key"))?;
        key = Some(own);
    }
    client.batch_execute(BEGIN).await.map_err(failed("beginning a transaction"))?;
    let session = Session { client, role: options.role.clone() };
    let limit = async |limit| session.limit(limit).await.map_err(failed("setting a time limit"));
    limit(MEMBERSHIP_WAIT).await?;
    session.may_become().await?;
    limit(options.time_limit).await?;
    session.seal(options.caller.claims(), key).await?;
    session.settings(&options.search_path).await.map_err(failed("taking over settings"))?;
    Ok(session)
}

/// For `map_err`: the server failed while `doing` something of ours.
pub(super) fn failed(
    doing: &'static str,
) -> impl FnOnce(tokio_postgres::Error) -> ExplainError + Copy {
    move |source| ExplainError::Database { doing, source }
}

impl Session {
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Sees to it that `set role` works, if the owner has the right to bring that about.
    async fn may_become(&self) -> Result<(), ExplainError> {
        let known = "select pg_catalog.current_setting('server_version_num')::int4, \
                     exists (select from pg_catalog.pg_roles where rolname = $1)";
        let name: [(&(dyn ToSql + Sync), Type); 1] = [(&self.role, Type::TEXT)];
        let row =
            self.client.query_typed_one(known, &name).await.map_err(failed("reading roles"))?;
        if !row.get::<_, bool>(1) {
            return Err(ExplainError::UnknownRole(self.role.clone()));
        }
        let become_it = async || self.become_role(&self.role).await;
        if self.undone(become_it).await.is_ok() {
            return Ok(());
        }
        // Before version 16 whoever may create roles may grant them; since, those who were given the right.
        let role = super::statement::quoted("", &self.role);
        let grant = policy::membership(&role, row.get::<_, i32>(0) >= 160_000);
        self.client.batch_execute(&grant).await.map_err(|source| ExplainError::CannotBecome {
            role: self.role.clone(),
            reason: control::reason(&source),
        })
    }

    /// What a request's session would have.
    async fn settings(&self, search_path: &str) -> Result<(), tokio_postgres::Error> {
        self.client.query_typed(ROLE_SETTINGS, &[(&self.role, Type::TEXT)]).await?;
        let mut names: Vec<&str> = FIXED.iter().map(|(name, _)| *name).collect();
        let mut values: Vec<&str> = FIXED.iter().map(|(_, value)| *value).collect();
        names.push("search_path");
        values.push(search_path);
        let both: [(&(dyn ToSql + Sync), Type); 2] =
            [(&names, Type::TEXT_ARRAY), (&values, Type::TEXT_ARRAY)];
        self.client.query_typed(GATEWAY_SETTINGS, &both).await.map(drop)
    }

    async fn seal(&self, claims: &str, key: Option<SessionKey>) -> Result<(), ExplainError> {
        let expires = seal::latest_expiry();
        let opened = if let Some(mut key) = key {
            let jwt = session_jwt::sign_text(claims, expires, &mut key)
                .map_err(|error| ExplainError::Key(error.to_string()))?;
            self.client.query_typed(session_jwt::OPEN.0, &[(&jwt, Type::TEXT)]).await
        } else {
            let key = policy::read_seal_key(&self.client).await?;
            let pid = self.client.query_typed_one("select pg_catalog.pg_backend_pid()", &[]).await;
            let pid: i32 = pid.map_err(failed("reading the process id"))?.get(0);
            let mut seal = Vec::new();
            Sealer::new(&key).seal_text(claims, expires, pid, &mut seal);
            let seal = String::from_utf8_lossy(&seal).into_owned();
            let values: [(&(dyn ToSql + Sync), Type); 2] =
                [(&claims, Type::TEXT), (&seal, Type::TEXT)];
            self.client.query_typed(pipeline::OPEN.0, &values).await
        };
        opened.map(drop).map_err(failed("sealing the claims"))
    }

    /// Until the end of the savepoint around it.
    pub(super) async fn become_role(&self, role: &str) -> Result<(), tokio_postgres::Error> {
        let sql = "select pg_catalog.set_config('role', $1, true)";
        self.client.query_typed(sql, &[(&role, Type::TEXT)]).await.map(drop)
    }

    /// Bounds each statement from now on, until the end of the savepoint around it.
    pub(super) async fn limit(&self, limit: Duration) -> Result<(), tokio_postgres::Error> {
        let sql = format!("set local statement_timeout = {}", limit.as_millis().max(1));
        self.client.batch_execute(&sql).await
    }

    /// Does something and undoes it, together with all locks that it took.
    pub(super) async fn undone<T, E: From<tokio_postgres::Error>>(
        &self,
        work: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.client.batch_execute("savepoint rowgate_try").await?;
        let outcome = work().await;
        let undo = "rollback to savepoint rowgate_try; release savepoint rowgate_try";
        self.client.batch_execute(undo).await?;
        outcome
    }

    /// Ends the transaction.
    pub(super) async fn close(self) {
        // The server does the same when the connection goes.
        let _ = self.client.batch_execute("rollback").await;
    }
}

/// Whether the server gave up because of a time limit, of ours or of the lock.
pub(super) fn took_too_long(error: &tokio_postgres::Error) -> bool {
    let limits = [SqlState::QUERY_CANCELED, SqlState::LOCK_NOT_AVAILABLE];
    error.code().is_some_and(|code| limits.contains(code))
}
