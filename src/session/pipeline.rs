//! A request → the frontend messages of one flush.
//!
//! Always in this order: what must be clean first, the transaction's options, the sealed claims, the
//! caller's statements, the commit, one Sync. Without options or suspicion there is no BEGIN: Postgres
//! treats everything up to the Sync as one transaction (protocol chapter "Pipelining").

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use super::seal::Sealer;
use super::sealing::Sealing;
use super::session_jwt;
use super::{Isolation, Request, SessionError, Sessions, Statement, TransactionOptions};
use crate::admit::Admission;
use crate::auth::Identity;
use crate::pg::PgError;
use crate::pg::connection::Connection;
use crate::pg::description::Description;
use crate::pg::sql::OwnSql;
use crate::pg::statements::{Preparation, Prepared};

/// Puts claims and seal where `auth.session()` looks for them, until the end of the transaction.
/// Returns two booleans rather than the settings, which may be long.
pub const OPEN: OwnSql = OwnSql(
    "select pg_catalog.set_config('request.jwt.claims', $1, true) is null, \
     pg_catalog.set_config('rowgate.seal', $2, true) is null",
);

/// The same where start-up settings do not reach the server: what the answers depend on, and what bounds a
/// statement, goes with each transaction. What is reported to a pooler (`client_encoding`, `DateStyle`, `TimeZone`,
/// `standard_conforming_strings`) is the pooler's to keep in step.
const OPEN_POOLED: OwnSql = OwnSql(
    "select pg_catalog.set_config('request.jwt.claims', $1, true) is null, \
     pg_catalog.set_config('rowgate.seal', $2, true) is null, \
     pg_catalog.set_config('search_path', $3, true) is null, \
     pg_catalog.set_config('statement_timeout', $4, true) is null, \
     pg_catalog.set_config('idle_in_transaction_session_timeout', $4, true) is null, \
     pg_catalog.set_config('IntervalStyle', 'postgres', true) is null, \
     pg_catalog.set_config('bytea_output', 'hex', true) is null, \
     pg_catalog.set_config('extra_float_digits', '1', true) is null, \
     pg_catalog.set_config('row_security', 'on', true) is null, \
     pg_catalog.set_config('client_connection_check_interval', '1000', true) is null",
);

/// Settings of a transaction that comes through a pooler.
#[derive(Clone, Debug)]
pub struct Pooled {
    /// Where names without a schema are looked up.
    pub search_path: String,
    /// The server's own time limit, in milliseconds.
    pub backstop: String,
}

/// Makes a connection as good as new, but for what a suspect statement is about to do to it.
const DISCARD: OwnSql = OwnSql("discard all");
const COMMIT: OwnSql = OwnSql("commit");

/// Int16 in Bind: the protocol counts no further.
const MAX_PARAMETERS: usize = u16::MAX as usize;

/// A part of the pipeline that the server answers as one.
#[derive(Debug)]
pub enum Unit {
    /// `DISCARD ALL` as a simple query: answered with a `ReadyForQuery` of its own.
    Discard,
    /// A statement of ours.
    Own,
    /// The statement of ours that brings the claims.
    Open,
    /// A statement of the caller's.
    Caller(CallerUnit),
}

/// What is needed to read the answer of a caller's statement.
#[derive(Debug)]
pub struct CallerUnit {
    /// Its columns, as soon as they are known.
    pub description: Option<Arc<Description>>,
    /// The name and text under which it will be kept once the server has parsed it.
    pub keep: Option<(Arc<str>, Arc<str>)>,
    /// Rows as arrays rather than objects.
    pub rows_as_arrays: bool,
}

/// What was assembled, in the order in which the server will answer.
#[derive(Debug)]
pub struct Sent {
    /// The units.
    pub units: Vec<Unit>,
}

impl Sent {
    /// Writes the whole request into the connection's outbox. On an error the outbox is empty and the
    /// connection untouched.
    pub fn assemble(
        connection: &mut Connection,
        sessions: &Sessions,
        identity: &Identity,
        request: &Request<'_>,
        admission: Admission,
    ) -> Result<Self, SessionError> {
        let mut assembly = Assembly {
            connection,
            units: Vec::with_capacity(request.statements.len() + 1),
            closing: Vec::new(),
        };
        let written = assembly.write(sessions, identity, request, admission);
        let Assembly { units, closing, .. } = assembly;
        if let Err(error) = written {
            connection.outbox().clear();
            for name in closing {
                connection.statements().give_up(name);
            }
            return Err(error);
        }
        Ok(Self { units })
    }
}

struct Assembly<'a> {
    connection: &'a mut Connection,
    units: Vec<Unit>,
    /// Statements that this flush closes on the server.
    closing: Vec<Arc<str>>,
}

impl Assembly<'_> {
    fn write(
        &mut self,
        sessions: &Sessions,
        identity: &Identity,
        request: &Request<'_>,
        admission: Admission,
    ) -> Result<(), SessionError> {
        let suspect = admission == Admission::Suspect;
        // A procedure may COMMIT in an implicit transaction but not in an explicit one.
        let runs = admission != Admission::Unread;
        let explicit = suspect || runs && request.options != TransactionOptions::default();
        if suspect {
            frontend::query(DISCARD.0, self.connection.outbox()).map_err(PgError::from)?;
            self.units.push(Unit::Discard);
        } else {
            self.close_evicted()?;
        }
        if explicit {
            self.own_once(&begin(request.options))?;
        }
        self.open(sessions, identity, suspect)?;
        for (index, statement) in request.statements.iter().enumerate() {
            self.caller(index, statement, admission, sessions.pooled.is_some())?;
        }
        if explicit {
            self.own_once(COMMIT.0)?;
        }
        frontend::sync(self.connection.outbox());
        Ok(())
    }

    fn close_evicted(&mut self) -> Result<(), SessionError> {
        self.closing = self.connection.statements().take_evicted();
        for name in &self.closing {
            frontend::close(b'S', name, self.connection.outbox()).map_err(PgError::from)?;
        }
        Ok(())
    }

    /// A statement of ours without parameters, parsed for this request only.
    fn own_once(&mut self, sql: &str) -> Result<(), SessionError> {
        let outbox = self.connection.outbox();
        frontend::parse("", sql, [], outbox).map_err(PgError::from)?;
        bind("", [], |(): (), _| Ok(IsNull::Yes), outbox)?;
        execute(outbox)?;
        self.units.push(Unit::Own);
        Ok(())
    }

    fn open(
        &mut self,
        sessions: &Sessions,
        identity: &Identity,
        suspect: bool,
    ) -> Result<(), SessionError> {
        match &*sessions.sealing {
            Sealing::Own(keyring) => {
                let mut seal = Vec::with_capacity(SEAL_CAPACITY);
                keyring.sealer().seal(identity, self.connection.pid(), &mut seal);
                let claims = Sealer::claims(identity).as_bytes();
                let pooled = sessions.pooled.as_ref();
                // DISCARD ALL has removed the prepared statement; behind a pooler there never is one.
                let once =
                    if pooled.is_some() { Some(OPEN_POOLED) } else { suspect.then_some(OPEN) };
                let values = [Some(claims), Some(seal.as_slice())].into_iter().chain([
                    pooled.map(|settings| settings.search_path.as_bytes()),
                    pooled.map(|settings| settings.backstop.as_bytes()),
                ]);
                self.open_with(once, values.flatten())?;
            }
            Sealing::PgSessionJwt(_) => {
                // A connection without a key can sign nothing, and so runs nothing.
                let key = self.connection.session_key().ok_or(SessionError::NotBelieved)?;
                let jwt =
                    session_jwt::sign(identity, key).map_err(|_| SessionError::NotBelieved)?;
                let once = suspect.then_some(session_jwt::OPEN);
                self.open_with(once, [jwt.as_bytes()].into_iter())?;
            }
        }
        self.units.push(Unit::Open);
        Ok(())
    }

    /// Runs the prepared statement, or `once` in its place.
    fn open_with<'v>(
        &mut self,
        once: Option<OwnSql>,
        values: impl Iterator<Item = &'v [u8]>,
    ) -> Result<(), PgError> {
        let name = if once.is_some() { Arc::from("") } else { self.connection.own_statement() };
        let outbox = self.connection.outbox();
        if let Some(sql) = once {
            frontend::parse("", sql.0, [], outbox)?;
        }
        let put = |value: &[u8], out: &mut BytesMut| {
            out.put_slice(value);
            Ok(IsNull::No)
        };
        bind(&name, values, put, outbox)?;
        execute(outbox)
    }

    fn caller(
        &mut self,
        index: usize,
        statement: &Statement<'_>,
        admission: Admission,
        pooled: bool,
    ) -> Result<(), SessionError> {
        if statement.params.len() > MAX_PARAMETERS {
            return Err(SessionError::TooManyParameters(index + 1));
        }
        let sql = statement.sql.text();
        let once = pooled || admission >= Admission::Suspect;
        let preparation =
            if once { Preparation::Once } else { self.connection.statements().prepare(sql) };
        let outbox = self.connection.outbox();
        let (name, unit) = match preparation {
            Preparation::Ready(Prepared { name, description }) => {
                let rows_as_arrays = statement.rows_as_arrays;
                (name, CallerUnit { description: Some(description), keep: None, rows_as_arrays })
            }
            Preparation::Keep(name) => {
                let keep = Some((Arc::clone(&name), Arc::from(sql)));
                parse_and_describe(&name, sql, outbox)?;
                (name, CallerUnit::unknown(keep, statement.rows_as_arrays))
            }
            Preparation::Once => {
                parse_and_describe("", sql, outbox)?;
                (Arc::from(""), CallerUnit::unknown(None, statement.rows_as_arrays))
            }
        };
        if admission != Admission::Unread {
            bind_caller(&name, index, statement, outbox)?;
            execute(outbox)?;
        }
        self.units.push(Unit::Caller(unit));
        Ok(())
    }
}

impl CallerUnit {
    fn unknown(keep: Option<(Arc<str>, Arc<str>)>, rows_as_arrays: bool) -> Self {
        Self { description: None, keep, rows_as_arrays }
    }
}

/// Room for a seal, in bytes: HMAC, key id and a time.
const SEAL_CAPACITY: usize = 96;

fn parse_and_describe(name: &str, sql: &str, outbox: &mut BytesMut) -> Result<(), PgError> {
    frontend::parse(name, sql, [], outbox)?;
    frontend::describe(b'S', name, outbox)?;
    Ok(())
}

/// Binds the unnamed portal; all parameters and results in text format.
fn bind<T>(
    name: &str,
    values: impl IntoIterator<Item = T>,
    write: impl FnMut(T, &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>>,
    outbox: &mut BytesMut,
) -> Result<(), PgError> {
    match frontend::bind("", name, [], values, write, [], outbox) {
        Ok(()) => Ok(()),
        Err(frontend::BindError::Serialization(error)) => Err(error.into()),
        Err(frontend::BindError::Conversion(_)) => {
            Err(PgError::Protocol("a value could not be bound"))
        }
    }
}

fn bind_caller(
    name: &str,
    index: usize,
    statement: &Statement<'_>,
    outbox: &mut BytesMut,
) -> Result<(), SessionError> {
    let mut hopeless = None;
    let mut position = 0;
    let bound = bind(
        name,
        statement.params,
        |param, out| {
            position += 1;
            crate::json::params::write(param, out).map_err(|source| {
                hopeless =
                    Some(SessionError::Parameter { statement: index + 1, index: position, source });
                "not representable".into()
            })
        },
        outbox,
    );
    hopeless.map_or_else(|| Ok(bound?), Err)
}

fn execute(outbox: &mut BytesMut) -> Result<(), PgError> {
    Ok(frontend::execute("", 0, outbox)?)
}

fn begin(options: TransactionOptions) -> String {
    let mut sql = String::from("start transaction");
    if let Some(level) = options.isolation {
        sql.push_str(match level {
            Isolation::ReadUncommitted => " isolation level read uncommitted",
            Isolation::ReadCommitted => " isolation level read committed",
            Isolation::RepeatableRead => " isolation level repeatable read",
            Isolation::Serializable => " isolation level serializable",
        });
    }
    if options.read_only {
        sql.push_str(" read only");
    }
    if options.deferrable {
        sql.push_str(" deferrable");
    }
    sql
}
