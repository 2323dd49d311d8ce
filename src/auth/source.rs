//! Owns what a place that keys come from must be able to do, and what can be wrong with it.

mod configured;
mod file;
mod remote;

use std::future::Future;
use std::time::Duration;

use super::fetch::FetchError;
use super::keys::{KeySet, PemError};

pub use configured::{UsableKeys, check_keys_url, usable_keys};

pub(super) use configured::IssuerSource;

/// Where one issuer's keys come from.
pub(super) trait Source: Send + 'static {
    /// Obtains the keys as they are now. Takes no longer than [`remote::ROUND_TIMEOUT`].
    fn obtain(&mut self) -> impl Future<Output = Result<Obtained, SourceError>> + Send;

    /// Ends when the keys have changed earlier than [`Obtained::lifetime`] let expect, if that can be
    /// known. May be dropped and called again.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;

    /// Where the keys were obtained from, in words.
    fn place(&self) -> String;
}

/// What a source answered.
pub(super) struct Obtained {
    /// Not empty. None: the same as last time.
    pub(super) keys: Option<KeySet>,
    /// For how long they need not be looked at again.
    pub(super) lifetime: Duration,
}

/// Why keys could not be obtained.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error("{place}: {error}")]
    Fetch { place: String, error: FetchError },
    #[error("discovery and keys together took longer than {} s", remote::ROUND_TIMEOUT.as_secs())]
    TimedOut,
    #[error(
        "{place}: the answer is no discovery document (a JSON object with `issuer` and `jwks_uri`)"
    )]
    NotADocument { place: String },
    #[error(
        "{place}: the discovery document is of the issuer {found:?}; set issuer.url to that, byte for \
         byte, if tokens carry it as `iss`, or name the key set with jwks_url"
    )]
    OtherIssuer { place: String, found: String },
    #[error("{place}: the discovery document's jwks_uri cannot be used: {reason}")]
    KeysElsewhere { place: String, reason: String },
    #[error("{place}: it is no JWK set (a JSON object with an array `keys`)")]
    NotAKeySet { place: String },
    #[error("{place}: the JWK set has no key that can verify tokens with the allowed algorithms")]
    NoUsableKey { place: String },
    #[error("{place}: {reason}")]
    File { place: String, reason: String },
    #[error("{place}: {error}")]
    Pem { place: String, error: PemError },
}

/// The usable keys of a JWK set; at least one.
fn usable(
    body: &[u8],
    allowed: &[jsonwebtoken::Algorithm],
    place: &str,
) -> Result<KeySet, SourceError> {
    let place = || place.to_owned();
    let keys =
        KeySet::parse(body, allowed).ok_or_else(|| SourceError::NotAKeySet { place: place() })?;
    if keys.is_empty() { Err(SourceError::NoUsableKey { place: place() }) } else { Ok(keys) }
}
