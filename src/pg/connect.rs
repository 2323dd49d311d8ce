//! From a URL to a logged-in [`Connection`]: socket, TLS, start-up packet, password exchange
//! (protocol chapter "Start-up").

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_postgres::config::{ChannelBinding, Host};
use tokio_rustls::TlsConnector;

use super::PgError;
use super::cancel::CancelKey;
use super::connection::Connection;
use super::frame::{Reader, tag};
use super::server_error::ServerError;
use super::session_key::{SessionKey, SessionKeys};
use super::slots::Slots;
use super::sql::OwnSql;
use super::statements::Statements;
use super::stream::Stream;
use super::tls::{self, TlsMode};
use super::url::{ConnectUrl, SessionAttributes};

/// The longest message that start-up can bring, in bytes; more is not PostgreSQL.
const LONGEST_STARTUP_MESSAGE: usize = 64 * 1024;

/// Everything needed to open connections of one role.
#[derive(Clone, Debug)]
pub struct Connector {
    /// Where, as whom, and how protected.
    pub url: ConnectUrl,
    /// Settings sent in the start-up packet: they win over settings of the role or database, and
    /// survive RESET ALL.
    pub settings: Arc<[(&'static str, String)]>,
    /// A statement of our own, prepared on every connection under a name nobody can guess; none where a
    /// pooler gives each transaction another backend.
    pub prepare: Option<OwnSql>,
    /// If there are any, each connection has a signing key of its own.
    pub session_keys: Option<SessionKeys>,
    /// Limit on everything from the socket to `ReadyForQuery`, per host.
    pub timeout: Duration,
    /// If there are any, each connection logs in as one of their roles and runs as the URL's.
    pub slots: Option<Slots>,
}

/// SQLSTATE `too_many_connections`: of the server, or of a role with a connection limit.
const TOO_MANY_CONNECTIONS: &str = "53300";
/// The pause before all slots are tried again: a backend whose socket was closed has ended by then, unless
/// it was at work.
const SLOT_PAUSE: Duration = Duration::from_millis(20);

/// One server, and how to talk to it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    address: Address,
    tls: Option<Arc<Tls>>,
}

#[derive(Clone, Debug)]
enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

#[derive(Debug)]
struct Tls {
    required: bool,
    server_name: rustls::pki_types::ServerName<'static>,
    config: Arc<rustls::ClientConfig>,
}

impl Connector {
    /// Opens a connection to the first host that takes it and has the wanted session attributes.
    pub async fn connect(&self) -> Result<Connection, PgError> {
        match &self.slots {
            // Boxed: connecting is rare, and every request's future would have room for it.
            None => Box::pin(self.connect_as(&self.url, None)).await,
            Some(slots) => Box::pin(self.connect_in(slots)).await,
        }
    }

    /// Tries one slot after the other: another gateway, or a backend that is about to end, may have one.
    async fn connect_in(&self, slots: &Slots) -> Result<Connection, PgError> {
        let base = self.url.user();
        let began = Instant::now();
        loop {
            let mut occupied = Vec::new();
            while let Some(slot) = slots.take() {
                let url = self.url.with_user(&slot.login(base));
                match self.connect_as(&url, Some(base)).await {
                    Ok(mut connection) => {
                        connection.hold(slot);
                        return Ok(connection);
                    }
                    Err(PgError::Server(error)) if error.code == TOO_MANY_CONNECTIONS => {
                        occupied.push(slot);
                    }
                    Err(error) => return Err(error),
                }
            }
            if began.elapsed() > self.timeout {
                return Err(PgError::NoSlot(base.to_owned()));
            }
            drop(occupied);
            sleep(SLOT_PAUSE).await;
        }
    }

    async fn connect_as(
        &self,
        url: &ConnectUrl,
        role: Option<&str>,
    ) -> Result<Connection, PgError> {
        let mut last = PgError::NoHost("the URL names no host".to_owned());
        for preferred_only in url.session_attributes().passes() {
            for (host, port) in url.hosts() {
                let endpoint = self.endpoint(&host, port)?;
                let login = self.log_in(&endpoint, url, role, *preferred_only);
                let attempt = timeout(self.timeout, login).await;
                match attempt {
                    Ok(Ok(connection)) => return Ok(connection),
                    Ok(Err(error)) => last = error,
                    Err(_) => {
                        last = PgError::NoHost(format!("no answer within {:?}", self.timeout));
                    }
                }
            }
        }
        Err(last)
    }

    fn endpoint(&self, host: &Host, port: u16) -> Result<Endpoint, PgError> {
        match host {
            Host::Unix(directory) => Ok(Endpoint {
                address: Address::Unix(directory.join(format!(".s.PGSQL.{port}"))),
                tls: None,
            }),
            Host::Tcp(name) => Ok(Endpoint {
                address: Address::Tcp(name.clone(), port),
                tls: self.tls(name)?.map(Arc::new),
            }),
        }
    }

    fn tls(&self, host: &str) -> Result<Option<Tls>, PgError> {
        let mode = self.url.tls_mode();
        if mode == TlsMode::Disable {
            return Ok(None);
        }
        let config = tls::client_config(&self.url).map_err(|e| PgError::Tls(e.to_string()))?;
        let server_name = rustls::pki_types::ServerName::try_from(host.to_owned())
            .map_err(|e| PgError::Tls(e.to_string()))?;
        Ok(Some(Tls { required: mode != TlsMode::Prefer, server_name, config }))
    }

    async fn log_in(
        &self,
        endpoint: &Endpoint,
        url: &ConnectUrl,
        role: Option<&str>,
        preferred_only: bool,
    ) -> Result<Connection, PgError> {
        let stream = open_stream(endpoint).await?;
        let mut handshake = Handshake { stream, inbox: BytesMut::new(), outbox: BytesMut::new() };
        let session_key = self.session_keys.map(|_| SessionKey::generate()).transpose()?;
        let jwk = session_key.as_ref().map(SessionKey::public_jwk);
        let named = self.session_keys.as_ref().map(|keys| keys.setting).zip(jwk.as_deref());
        handshake.start(url, role, &self.settings, named)?;
        handshake.authenticate(url).await?;
        let started = handshake.until_ready().await?;
        if !started.satisfies(self.url.session_attributes(), preferred_only) {
            return Err(PgError::NoHost(
                "the server does not have the wanted target_session_attrs".to_owned(),
            ));
        }
        let key = CancelKey::new(started.pid, started.secret, endpoint.clone());
        let mut connection =
            Connection::new(handshake.stream, handshake.inbox, key, Statements::new()?);
        let own = async {
            if let Some((keys, key)) = self.session_keys.zip(session_key) {
                connection.fix_key(key, keys.fix).await?;
            }
            match self.prepare {
                Some(sql) => connection.prepare_own(sql).await,
                None => Ok(()),
            }
        };
        own.await.map_err(|error| match error {
            PgError::Server(error) if self.session_keys.is_some() && !error.is_outage() => {
                PgError::SessionKey(error)
            }
            error => error,
        })?;
        // Only a server that is broken is in a transaction by now, and whoever leases this must not be.
        if !connection.is_idle() {
            return Err(PgError::Protocol("a transaction that nobody began"));
        }
        Ok(connection)
    }
}

/// Opens the socket and, where the URL wants it, TLS (protocol chapter "SSL Session Encryption").
pub async fn open_stream(endpoint: &Endpoint) -> Result<Stream, PgError> {
    let mut socket = match &endpoint.address {
        Address::Unix(path) => return Ok(Stream::Unix(UnixStream::connect(path).await?)),
        Address::Tcp(host, port) => TcpStream::connect((host.as_str(), *port)).await?,
    };
    socket.set_nodelay(true)?;
    let Some(tls) = &endpoint.tls else { return Ok(Stream::Tcp(socket)) };
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    socket.write_all(&request).await?;
    match socket.read_u8().await? {
        b'S' => {
            let connector = TlsConnector::from(Arc::clone(&tls.config));
            let stream = connector
                .connect(tls.server_name.clone(), socket)
                .await
                .map_err(|e| PgError::Tls(e.to_string()))?;
            Ok(Stream::Tls(Box::new(stream)))
        }
        _ if tls.required => Err(PgError::Tls("the server does not offer TLS".to_owned())),
        _ => Ok(Stream::Tcp(socket)),
    }
}

/// What the server said of itself at start-up.
#[derive(Default)]
struct Started {
    pid: i32,
    secret: i32,
    in_hot_standby: bool,
    default_read_only: bool,
}

impl Started {
    fn note_parameter(&mut self, body: &[u8]) -> Result<(), PgError> {
        let mut reader = Reader::new(body);
        let (name, value) = (reader.cstr()?, reader.cstr()?);
        match name {
            b"in_hot_standby" => self.in_hot_standby = value == b"on",
            b"default_transaction_read_only" => self.default_read_only = value == b"on",
            _ => {}
        }
        Ok(())
    }

    fn satisfies(&self, wanted: SessionAttributes, preferred_only: bool) -> bool {
        wanted.accepts(self.in_hot_standby, self.default_read_only, preferred_only)
    }
}

/// A connection that is not logged in yet.
struct Handshake {
    stream: Stream,
    inbox: BytesMut,
    outbox: BytesMut,
}

/// `AuthenticationXXX` codes (protocol chapter "Message Formats").
mod method {
    pub const OK: i32 = 0;
    pub const CLEARTEXT: i32 = 3;
    pub const MD5: i32 = 5;
    pub const SASL: i32 = 10;
    pub const SASL_CONTINUE: i32 = 11;
    pub const SASL_FINAL: i32 = 12;
}

impl Handshake {
    fn start(
        &mut self,
        url: &ConnectUrl,
        role: Option<&str>,
        settings: &[(&'static str, String)],
        key: Option<(&str, &str)>,
    ) -> Result<(), PgError> {
        let application = url.application_name().unwrap_or("rowgate");
        let mut parameters = vec![
            ("user", url.user()),
            ("database", url.database()),
            ("application_name", application),
        ];
        parameters.extend(settings.iter().map(|(name, value)| (*name, value.as_str())));
        parameters.extend(key);
        // As a start-up parameter it is what RESET ROLE falls back to (guc.c: the reset value).
        parameters.extend(role.map(|role| ("role", role)));
        if let Some(options) = url.options() {
            parameters.push(("options", options));
        }
        frontend::startup_message(parameters, &mut self.outbox)?;
        Ok(())
    }

    async fn authenticate(&mut self, url: &ConnectUrl) -> Result<(), PgError> {
        let mut bound = false;
        loop {
            let body = self.expect(tag::AUTHENTICATION).await?;
            let mut reader = Reader::new(&body);
            match reader.i32()? {
                method::OK if url.channel_binding() == ChannelBinding::Require && !bound => {
                    return Err(PgError::Login(
                        "channel_binding=require, but the server used none",
                    ));
                }
                method::OK => return Ok(()),
                method::CLEARTEXT => {
                    let password = password(url)?;
                    frontend::password_message(password, &mut self.outbox)?;
                }
                method::MD5 => {
                    let salt = reader.i32()?.to_be_bytes();
                    let hash = md5_hash(url.user().as_bytes(), password(url)?, salt);
                    frontend::password_message(hash.as_bytes(), &mut self.outbox)?;
                }
                method::SASL => bound = self.scram(url, reader).await?,
                _ => {
                    return Err(PgError::Login(
                        "the server asks for a method other than a password or SCRAM-SHA-256",
                    ));
                }
            }
        }
    }

    /// SCRAM-SHA-256 (RFC 5802, RFC 7677). Returns whether the exchange was bound to the TLS channel.
    async fn scram(&mut self, url: &ConnectUrl, mut offered: Reader<'_>) -> Result<bool, PgError> {
        let (mut plain, mut plus) = (false, false);
        loop {
            match offered.cstr()? {
                b"" => break,
                b"SCRAM-SHA-256" => plain = true,
                b"SCRAM-SHA-256-PLUS" => plus = true,
                _ => {}
            }
        }
        let wanted = url.channel_binding() != ChannelBinding::Disable;
        let end_point = self.stream.server_certificate().and_then(tls::tls_server_end_point);
        let (mechanism, binding) = match end_point {
            Some(hash) if plus && wanted => {
                (sasl::SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(hash))
            }
            Some(_) if plain && wanted => {
                (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested())
            }
            _ if plain => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
            _ => {
                return Err(PgError::Login(
                    "the server offers no SCRAM mechanism that can be used",
                ));
            }
        };
        let bound = mechanism == sasl::SCRAM_SHA_256_PLUS;
        if url.channel_binding() == ChannelBinding::Require && !bound {
            return Err(PgError::Login(
                "channel_binding=require, but the server cannot bind the channel",
            ));
        }
        let mut scram = sasl::ScramSha256::new(password(url)?, binding);
        frontend::sasl_initial_response(mechanism, scram.message(), &mut self.outbox)?;
        let first = self.expect_method(method::SASL_CONTINUE).await?;
        scram.update(&first)?;
        frontend::sasl_response(scram.message(), &mut self.outbox)?;
        let last = self.expect_method(method::SASL_FINAL).await?;
        scram.finish(&last)?;
        Ok(bound)
    }

    async fn until_ready(&mut self) -> Result<Started, PgError> {
        let mut started = Started::default();
        loop {
            let (tag, body) = self.message().await?;
            match tag {
                tag::READY => return Ok(started),
                tag::BACKEND_KEY_DATA => {
                    let mut reader = Reader::new(&body);
                    started.pid = reader.i32()?;
                    started.secret = reader.i32()?;
                }
                tag::PARAMETER_STATUS => started.note_parameter(&body)?,
                _ => {}
            }
        }
    }

    async fn expect_method(&mut self, wanted: i32) -> Result<Vec<u8>, PgError> {
        let body = self.expect(tag::AUTHENTICATION).await?;
        let mut reader = Reader::new(&body);
        if reader.i32()? != wanted {
            return Err(PgError::Protocol("an authentication message out of order"));
        }
        Ok(body[4..].to_vec())
    }

    async fn expect(&mut self, wanted: u8) -> Result<Vec<u8>, PgError> {
        loop {
            match self.message().await? {
                (tag, body) if tag == wanted => return Ok(body),
                (tag::NOTICE, _) => {}
                _ => return Err(PgError::Protocol("a message out of order during log-in")),
            }
        }
    }

    /// Sends what is waiting and reads one message; an `ErrorResponse` is an error.
    async fn message(&mut self) -> Result<(u8, Vec<u8>), PgError> {
        if !self.outbox.is_empty() {
            self.stream.write_all(&self.outbox).await?;
            self.stream.flush().await?;
            self.outbox.clear();
        }
        let length = loop {
            match super::frame::length(&self.inbox)? {
                Some(length) if length > LONGEST_STARTUP_MESSAGE => {
                    return Err(PgError::Protocol("a start-up message too long to be one"));
                }
                Some(length) if length <= self.inbox.len() => break length,
                _ if self.stream.read_buf(&mut self.inbox).await? == 0 => {
                    return Err(PgError::Io(std::io::ErrorKind::UnexpectedEof.into()));
                }
                _ => {}
            }
        };
        let message = self.inbox.split_to(length);
        let frame = super::frame::whole(&message);
        if frame.tag == tag::ERROR {
            return Err(PgError::Server(Box::new(ServerError::parse(frame.body)?)));
        }
        Ok((frame.tag, frame.body.to_vec()))
    }
}

fn password(url: &ConnectUrl) -> Result<&[u8], PgError> {
    url.password().ok_or(PgError::Login("the server asks for a password and the URL has none"))
}
