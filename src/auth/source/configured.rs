//! Owns the step from an issuer's configuration to the source of its keys.

use std::time::Duration;

use hyper::Uri;

use super::file::{FileSource, Format};
use super::remote::{self, RemoteSource};
use super::{Obtained, Source, SourceError};
use crate::auth::error::AuthSetupError;
use crate::auth::fetch::{self, Fetcher};
use crate::auth::keys::KeySet;
use crate::config::{IssuerConfig, KeySource, SharedSecret};

/// What a secret is good for: it changes with a new start only.
const FOR_EVER: Duration = Duration::from_hours(24 * 365);

/// The source of one issuer's keys, as configured.
pub(in crate::auth) enum IssuerSource {
    Remote(Box<RemoteSource>),
    File(FileSource),
    Secret(SharedSecret, Vec<jsonwebtoken::Algorithm>),
}

/// What is found where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsableKeys {
    /// How many could verify its tokens.
    pub count: usize,
    /// Where they are, in words.
    pub place: String,
}

/// Obtains an issuer's keys once, without keeping them.
///
/// # Errors
///
/// Why they could not be had, in words.
pub async fn usable_keys(config: &IssuerConfig) -> Result<UsableKeys, String> {
    let text = |error: AuthSetupError| error.to_string();
    IssuerSource::check(config).map_err(text)?;
    let fetcher = Fetcher::new(IssuerSource::needs_tls(config)).map_err(text)?;
    let mut source = IssuerSource::of(config, &fetcher).map_err(text)?;
    let obtained = source.obtain().await.map_err(|error| error.to_string())?;
    Ok(UsableKeys { count: obtained.keys.map_or(0, |keys| keys.len()), place: source.place() })
}

/// Whether the keys of this issuer may be fetched from where it says, if they are fetched.
///
/// # Errors
///
/// What is wrong with the URL, and what is expected.
pub fn check_keys_url(config: &IssuerConfig) -> Result<(), String> {
    url(config).map(drop)
}

/// What is fetched first, if anything is.
fn url(config: &IssuerConfig) -> Result<Option<Uri>, String> {
    match &config.keys.source {
        KeySource::Discovery => remote::document_of(&config.url).map(Some),
        KeySource::JwksUrl(url) => fetch::check_url(url).map(Some),
        KeySource::JwksFile(_) | KeySource::PublicKeyFile(_) | KeySource::Secret(_) => Ok(None),
    }
}

impl IssuerSource {
    /// Whether the configuration is one that can be safe.
    pub(in crate::auth) fn check(config: &IssuerConfig) -> Result<(), AuthSetupError> {
        let issuer = || config.url.clone();
        if config.algorithms.is_empty() {
            return Err(AuthSetupError::NoAlgorithm { issuer: issuer() });
        }
        let source = &config.keys.source;
        let objection = config.algorithms.iter().find_map(|one| source.objection_to(*one));
        if let Some(reason) = objection {
            return Err(AuthSetupError::Algorithm { issuer: issuer(), reason });
        }
        check_keys_url(config)
            .map_err(|reason| AuthSetupError::KeysUrl { issuer: issuer(), reason })
    }

    /// Whether its keys come over TLS.
    pub(in crate::auth) fn needs_tls(config: &IssuerConfig) -> bool {
        url(config).is_ok_and(|url| url.is_some_and(|url| fetch::needs_tls(&url)))
    }

    /// Nothing is obtained yet.
    pub(in crate::auth) fn of(
        config: &IssuerConfig,
        fetcher: &Fetcher,
    ) -> Result<Self, AuthSetupError> {
        let (algorithms, fetcher) = (config.algorithms.clone(), fetcher.clone());
        let unusable = |reason| AuthSetupError::KeysUrl { issuer: config.url.clone(), reason };
        Ok(match &config.keys.source {
            KeySource::Discovery => {
                let issuer = config.url.as_str().into();
                let source = RemoteSource::discovered(issuer, algorithms, fetcher);
                Self::Remote(Box::new(source.map_err(unusable)?))
            }
            KeySource::JwksUrl(url) => {
                let uri = fetch::check_url(url).map_err(unusable)?;
                Self::Remote(Box::new(RemoteSource::at(uri, algorithms, fetcher)))
            }
            KeySource::JwksFile(path) => {
                Self::File(FileSource::new(path, Format::Jwks, algorithms))
            }
            KeySource::PublicKeyFile(path) => {
                Self::File(FileSource::new(path, Format::Pem, algorithms))
            }
            KeySource::Secret(secret) => Self::Secret(secret.clone(), algorithms),
        })
    }
}

impl Source for IssuerSource {
    async fn obtain(&mut self) -> Result<Obtained, SourceError> {
        match self {
            Self::Remote(source) => source.obtain().await,
            Self::File(source) => source.obtain().await,
            Self::Secret(secret, algorithms) => {
                let keys = Some(KeySet::of_secret(secret, algorithms));
                Ok(Obtained { keys, lifetime: FOR_EVER })
            }
        }
    }

    async fn changed(&mut self) {
        match self {
            Self::Remote(source) => source.changed().await,
            Self::File(source) => source.changed().await,
            Self::Secret(..) => std::future::pending().await,
        }
    }

    fn place(&self) -> String {
        match self {
            Self::Remote(source) => source.place(),
            Self::File(source) => source.place(),
            Self::Secret(..) => "the shared secret".to_owned(),
        }
    }
}
