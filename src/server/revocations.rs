//! Reads `auth.revoked` again and again, for as long as somebody asks whether a token was revoked.
//!
//! Works over a control connection of its own, off the path of requests. The login is one that no request
//! runs as: the owner's, or a member of `rowgate_revocations`. A function that the login roles could call
//! would tell every caller who was revoked.
//!
//! What changed since the last reading is found by transaction: every row says which one wrote it last, and
//! all that was committed before the oldest one still running at the last reading was seen then. Rows that
//! were deleted are noticed by reading everything now and then. A reading that fails changes nothing but
//! the list's age.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::ServeError;
use crate::auth::{Revocations, Revoked, RevokedRow, TooManyRows};
use crate::config::{Config, RevocationConfig};
use crate::observe::{Event, Observer};
use crate::pg::control::{self, ControlError};
use crate::pg::url::ConnectUrl;

/// Limit on one reading, connecting included. Together with `revocation.refresh` it bounds how long a row
/// may go unnoticed while the database answers.
pub const READ_LIMIT: Duration = Duration::from_secs(3);
/// Every so many readings everything is read, so that rows that were deleted stop counting: once a minute
/// with the default `revocation.refresh`.
const READ_ALL_EVERY: u32 = 12;

/// The whole table: the transaction ids that came before all others are below this.
const FROM_THE_BEGINNING: &str = "0";

/// $1: rows written by this transaction and by later ones; $2: how many at most.
///
/// Always at least one row: the first columns say which transactions the next reading begins with, and
/// whether row-level security hides the table from this login. A row counts for ten minutes longer than it
/// says: tokens do, by the clocks' difference and the leeway (5 minutes at most). One that no longer counts
/// is of interest only if it was changed just now: it may have counted before.
const ROWS: &str = "\
    select pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.text as horizon, \
           pg_catalog.row_security_active('auth.revoked'::pg_catalog.regclass) \
             and not pg_catalog.pg_has_role('rowgate_revocations', 'usage') as hidden, \
           r.issuer, r.jti, r.sub, \
           case when pg_catalog.isfinite(r.issued_before) \
                then pg_catalog.ceil(pg_catalog.date_part('epoch', r.issued_before))::pg_catalog.int8 \
           end as issued_before, \
           case when pg_catalog.isfinite(r.expires_at) \
                then pg_catalog.ceil(pg_catalog.date_part('epoch', r.expires_at))::pg_catalog.int8 + 600 \
           end as until \
    from (values (1)) as one (row) \
    left join lateral ( \
      select * from auth.revoked as v \
       where v.changed_in >= $1::pg_catalog.text::pg_catalog.xid8 \
         and ($1 <> '0' or v.expires_at > pg_catalog.now() - '10 minutes'::pg_catalog.interval) \
       limit $2 \
    ) as r on true";

/// Why the list could not be read, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database cannot be asked, or refused.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// It did not answer.
    #[error("no answer within {} s", READ_LIMIT.as_secs())]
    Late,
    /// The login sees an empty table whatever is in it.
    #[error(
        "row level security hides auth.revoked from this login; grant rowgate_revocations to it, or use the \
         owner's"
    )]
    Hidden,
    /// More rows than are held.
    #[error(transparent)]
    TooMany(#[from] TooManyRows),
}

/// Reads the list once and keeps reading it; nothing if it is not asked for.
///
/// # Errors
///
/// The first reading failed: a gateway that does not know what was revoked does not start.
pub async fn start(
    config: &Config,
    observer: &Observer,
) -> Result<Option<Arc<Revocations>>, ServeError> {
    let RevocationConfig { enabled, refresh, max_age, rows } = config.revocation;
    if !enabled {
        return Ok(None);
    }
    let mut reader = Reader::new(url(config)?, rows);
    let list = Arc::new(Revocations::new(rows, max_age)?);
    reader.read(&list).await.map_err(|error| explain(&error))?;
    observer.emit(&Event::RevocationsRead { rows: list.len() });
    tokio::spawn(keep_reading(reader, Arc::downgrade(&list), refresh, observer.clone()));
    Ok(Some(list))
}

/// The list as it is now, for `rowgate check`; nothing if it is not asked for.
///
/// # Errors
///
/// As [`start`].
pub async fn read_once(config: &Config) -> Result<Option<Arc<Revocations>>, ServeError> {
    let RevocationConfig { enabled, max_age, rows, .. } = config.revocation;
    if !enabled {
        return Ok(None);
    }
    let list = Revocations::new(rows, max_age)?;
    let read = Reader::new(url(config)?, rows).read(&list).await;
    read.map_err(|error| explain(&error))?;
    Ok(Some(Arc::new(list)))
}

fn url(config: &Config) -> Result<ConnectUrl, ServeError> {
    let database = &config.database;
    database.revocation.as_ref().or(database.owner.as_ref()).cloned().ok_or_else(|| {
        let missing = "neither DATABASE_REVOCATION_URL nor DATABASE_URL is set";
        ServeError::Revocations(missing.to_owned())
    })
}

fn explain(error: &ReadError) -> ServeError {
    let is_missing = match error {
        ReadError::Control(ControlError::Statement(error)) => {
            // undefined_table, undefined_object (the role), invalid_schema_name
            error.code().is_some_and(|code| ["42P01", "42704", "3F000"].contains(&code.code()))
        }
        _ => false,
    };
    let advice = if is_missing { "; run `rowgate migrate`" } else { "" };
    ServeError::Revocations(format!("{error}{advice}"))
}

async fn keep_reading(
    mut reader: Reader,
    list: Weak<Revocations>,
    refresh: Duration,
    observer: Observer,
) {
    // From begin to begin: a slow reading takes nothing from the promise of how soon a row counts.
    let mut ticks = interval_at(tokio::time::Instant::now() + refresh, refresh);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(list) = list.upgrade() else { return };
        match reader.read(&list).await {
            Ok(()) => observer.emit(&Event::RevocationsRead { rows: list.len() }),
            Err(error) => {
                let (reason, stale) = (error.to_string(), list.is_stale());
                observer.emit(&Event::RevocationsUnread { reason, stale });
            }
        }
    }
}

struct Reader {
    url: ConnectUrl,
    limit: usize,
    /// Absent while in use, so that one that was given up half-way is closed.
    client: Option<Client>,
    /// From which transaction on rows may be new; none: everything is to be read.
    horizon: Option<String>,
    /// Readings since everything was read.
    since_all: u32,
}

impl Reader {
    fn new(url: ConnectUrl, limit: usize) -> Self {
        Self { url, limit, client: None, horizon: None, since_all: 0 }
    }

    async fn read(&mut self, list: &Revocations) -> Result<(), ReadError> {
        let outcome = timeout(READ_LIMIT, self.take(list)).await.unwrap_or(Err(ReadError::Late));
        if outcome.is_err() {
            // It may be another server next time, whose transactions are counted otherwise.
            self.horizon = None;
        }
        outcome
    }

    async fn take(&mut self, list: &Revocations) -> Result<(), ReadError> {
        let kept = self.client.take().filter(|client| !client.is_closed());
        let client = if let Some(client) = kept {
            client
        } else {
            self.horizon = None;
            control::connect(&self.url).await?
        };
        let began = Instant::now();
        self.since_all += 1;
        if self.since_all >= READ_ALL_EVERY {
            self.horizon = None;
        }
        let from = self.horizon.as_deref().unwrap_or(FROM_THE_BEGINNING).to_owned();
        // One more than may be held, to notice it.
        let limit = i64::try_from(self.limit).unwrap_or(i64::MAX).saturating_add(1);
        let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&from, Type::TEXT), (&limit, Type::INT8)];
        let answer = client.query_typed(ROWS, &values).await.map_err(ControlError::from)?;
        self.client = Some(client);
        // invariant: the query yields a row at least.
        let Some(first) = answer.first() else { return Err(ReadError::Hidden) };
        if first.get("hidden") {
            return Err(ReadError::Hidden);
        }
        let rows = answer.iter().filter_map(row).collect();
        if self.horizon.is_some() {
            list.add(rows, began)?;
        } else {
            list.replace(rows, began)?;
            self.since_all = 0;
        }
        self.horizon = Some(first.get("horizon"));
        Ok(())
    }
}

/// Nothing for the row that is there when there are none. Without a bound, times are for ever.
fn row(row: &Row) -> Option<RevokedRow> {
    let seconds = |name| {
        let seconds: Option<i64> = row.get(name);
        seconds.map_or(u64::MAX, |seconds| u64::try_from(seconds).unwrap_or(0))
    };
    let issuer: Option<String> = row.get("issuer");
    let what = match (row.get::<_, Option<String>>("jti"), row.get::<_, Option<String>>("sub")) {
        (Some(jti), _) => Revoked::Token(jti),
        (None, Some(sub)) => Revoked::User { sub, issued_before: seconds("issued_before") },
        (None, None) => return None,
    };
    Some(RevokedRow { issuer: issuer?, what, until: seconds("until") })
}
