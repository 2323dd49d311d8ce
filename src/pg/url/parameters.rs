//! Gives each parameter of a connection string its meaning (libpq's manual, "Parameter Key Words").
//!
//! A parameter that cannot be honoured and that would change who is trusted is refused, not ignored.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, Host, SslMode};

use super::syntax::Parameter;
use super::{ConnectUrl, DEFAULT_PORT, RootCertificates, SessionAttributes, TlsSettings, UrlError};
use crate::pg::tls::TlsMode;

/// What is refused, and what to write instead.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("hostaddr", "write the address as the host"),
    ("service", "write the service's parameters into the URL"),
    ("servicefile", "write the service's parameters into the URL"),
    ("requiressl", "write sslmode=require"),
    ("sslcrl", "revocation lists are not read; use short-lived certificates"),
    ("sslcrldir", "revocation lists are not read; use short-lived certificates"),
    ("sslpassword", "store the client's key unencrypted, readable by this process only"),
    ("requirepeer", "use TLS with sslmode=verify-full"),
    ("require_auth", "use channel_binding=require"),
    ("ssl_min_protocol_version", "TLS 1.2 is the least that is spoken"),
    ("ssl_max_protocol_version", "remove it; TLS 1.2 and 1.3 are spoken"),
    ("replication", "remove it"),
];

/// What does not matter here: other transports, and hints to libpq itself.
const IGNORED: &[&str] = &[
    "gsslib",
    "gssdelegation",
    "krbsrvname",
    "sslcompression",
    "sslsni",
    "fallback_application_name",
    "min_protocol_version",
    "max_protocol_version",
];

#[derive(Default)]
struct Draft {
    base: tokio_postgres::Config,
    hosts: Vec<String>,
    ports: Vec<u16>,
    session: SessionAttributes,
    mode: Option<TlsMode>,
    roots: Option<RootCertificates>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    password_file: Option<PathBuf>,
}

pub(super) fn build(parameters: Vec<Parameter>) -> Result<ConnectUrl, UrlError> {
    let mut draft = Draft::default();
    for (key, value) in parameters {
        draft.set(&key, value)?;
    }
    draft.finish()
}

impl Draft {
    fn set(&mut self, key: &str, value: String) -> Result<(), UrlError> {
        match key {
            "host" => self.hosts = value.split(',').map(str::to_owned).collect(),
            "port" => self.ports = ports(&value)?,
            "user" => drop(self.base.user(value)),
            "password" => drop(self.base.password(value)),
            "dbname" => drop(self.base.dbname(value)),
            "options" => drop(self.base.options(value)),
            "application_name" => drop(self.base.application_name(value)),
            "passfile" => self.password_file = Some(value.into()),
            "sslrootcert" if value == "system" => self.roots = Some(RootCertificates::System),
            "sslrootcert" => self.roots = Some(RootCertificates::File(value.into())),
            "sslcert" => self.certificate = Some(value.into()),
            "sslkey" => self.key = Some(value.into()),
            "connect_timeout"
            | "tcp_user_timeout"
            | "keepalives"
            | "keepalives_idle"
            | "keepalives_interval"
            | "keepalives_count" => self.set_number(key, &value)?,
            _ => self.set_word(key, &value)?,
        }
        Ok(())
    }

    fn set_number(&mut self, key: &str, value: &str) -> Result<(), UrlError> {
        let number: u32 = value.parse().map_err(|_| bad(key, "a whole number, such as 10"))?;
        let seconds = Duration::from_secs(number.into());
        match key {
            "keepalives" => drop(self.base.keepalives(number != 0)),
            // libpq: zero means the system's default.
            _ if number == 0 => {}
            "connect_timeout" => drop(self.base.connect_timeout(seconds)),
            "tcp_user_timeout" => {
                self.base.tcp_user_timeout(Duration::from_millis(number.into()));
            }
            "keepalives_idle" => drop(self.base.keepalives_idle(seconds)),
            "keepalives_interval" => drop(self.base.keepalives_interval(seconds)),
            _ => drop(self.base.keepalives_retries(number)),
        }
        Ok(())
    }

    fn set_word(&mut self, key: &str, value: &str) -> Result<(), UrlError> {
        match key {
            "sslmode" => self.mode = Some(tls_mode(value)?),
            "channel_binding" => drop(self.base.channel_binding(channel_binding(value)?)),
            "target_session_attrs" => self.session = session(value)?,
            "gssencmode" => only(key, value, &["disable", "prefer"], "disable")?,
            "sslnegotiation" => only(key, value, &["postgres"], "postgres")?,
            "sslcertmode" => only(key, value, &["allow"], "allow")?,
            "load_balance_hosts" => {
                only(key, value, &["disable"], "disable (hosts are tried in the given order)")?;
            }
            "client_encoding" => only(key, value, &["UTF8", "utf8", "UTF-8", "utf-8"], "UTF8")?,
            key if IGNORED.contains(&key) => {}
            key => return Err(refusal(key)),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<ConnectUrl, UrlError> {
        let hosts = self.servers()?;
        let mode = self.checked_mode()?;
        if self.certificate.is_some() != self.key.is_some() {
            let (key, expected) = ("sslcert", "both sslcert and sslkey, or neither");
            return Err(bad(key, expected));
        }
        self.base.ssl_mode(match mode {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        let tls = TlsSettings {
            mode,
            roots: self.roots,
            certificate: self.certificate,
            key: self.key,
            client: OnceLock::new(),
        };
        Ok(ConnectUrl {
            base: self.base,
            hosts,
            session: self.session,
            tls: Arc::new(tls),
            password_file: self.password_file,
        })
    }

    fn servers(&self) -> Result<Arc<[(Host, u16)]>, UrlError> {
        if self.hosts.iter().all(String::is_empty) {
            return Err(UrlError::Syntax("it names no host".to_owned()));
        }
        if self.ports.len() > 1 && self.ports.len() != self.hosts.len() {
            return Err(bad("port", "one port, or as many as there are hosts"));
        }
        let port = |index| self.ports.get(index).or(self.ports.first()).copied();
        self.hosts
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let host = match name.as_str() {
                    "" => return Err(bad("host", "a name between the commas")),
                    path if path.starts_with('/') => Host::Unix(path.into()),
                    name => Host::Tcp(name.to_owned()),
                };
                Ok((host, port(index).unwrap_or(DEFAULT_PORT)))
            })
            .collect()
    }

    /// libpq: `sslrootcert=system` defaults to, and allows only, `verify-full`.
    fn checked_mode(&self) -> Result<TlsMode, UrlError> {
        let system = self.roots == Some(RootCertificates::System);
        match self.mode {
            None if system => Ok(TlsMode::VerifyFull),
            Some(mode) if system && mode != TlsMode::VerifyFull => {
                Err(bad("sslmode", "verify-full together with sslrootcert=system"))
            }
            mode => Ok(mode.unwrap_or_default()),
        }
    }
}

fn ports(list: &str) -> Result<Vec<u16>, UrlError> {
    list.split(',')
        .map(|port| match port {
            "" => Ok(DEFAULT_PORT),
            port => port
                .parse()
                .ok()
                .filter(|number| *number != 0)
                .ok_or_else(|| bad("port", "a number from 1 to 65535 (a `/`, `?`, `#` or `@` in a password must be percent-encoded)")),
        })
        .collect()
}

fn tls_mode(value: &str) -> Result<TlsMode, UrlError> {
    Ok(match value {
        "disable" => TlsMode::Disable,
        "prefer" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => return Err(bad("sslmode", "disable, prefer, require, verify-ca or verify-full")),
    })
}

fn channel_binding(value: &str) -> Result<ChannelBinding, UrlError> {
    Ok(match value {
        "disable" => ChannelBinding::Disable,
        "prefer" => ChannelBinding::Prefer,
        "require" => ChannelBinding::Require,
        _ => return Err(bad("channel_binding", "disable, prefer or require")),
    })
}

fn session(value: &str) -> Result<SessionAttributes, UrlError> {
    Ok(match value {
        "any" => SessionAttributes::Any,
        "read-write" => SessionAttributes::ReadWrite,
        "read-only" => SessionAttributes::ReadOnly,
        "primary" => SessionAttributes::Primary,
        "standby" => SessionAttributes::Standby,
        "prefer-standby" => SessionAttributes::PreferStandby,
        _ => {
            let words = "any, read-write, read-only, primary, standby or prefer-standby";
            return Err(bad("target_session_attrs", words));
        }
    })
}

fn only(key: &str, value: &str, allowed: &[&str], expected: &'static str) -> Result<(), UrlError> {
    if allowed.contains(&value) { Ok(()) } else { Err(bad(key, expected)) }
}

/// A parameter that is not one may be a piece of a password: only what looks like a name is named.
fn refusal(key: &str) -> UrlError {
    if let Some((_, advice)) = UNSUPPORTED.iter().find(|(name, _)| *name == key) {
        return UrlError::Unsupported { key: key.to_owned(), advice };
    }
    let is_name = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if is_name {
        return UrlError::Unknown(key.to_owned());
    }
    UrlError::Syntax("what stands before a `=` is not a parameter's name".to_owned())
}

fn bad(key: &str, expected: &'static str) -> UrlError {
    UrlError::Value { key: key.to_owned(), expected }
}
