//! Owns one configured issuer: its rules and its keys. Must never verify with a key of another one.

use std::collections::HashSet;
use std::sync::Arc;

use hyper::Uri;
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use tokio::time::Instant;

use super::claims::ClaimRules;
use super::error::{AuthError, AuthSetupError};
use super::jwks::{self, Fetcher};
use super::keys::{Fingerprint, Selection, VerifyingKey};
use super::store::{KeySource, KeyStore, Refetch};
use super::token::Header;
use crate::config::IssuerConfig;
use crate::observe::Observer;

/// An issuer whose tokens are accepted.
pub(super) struct Issuer {
    rules: ClaimRules,
    algorithms: Vec<Algorithm>,
    keys: KeyStore,
}

/// Checks the configuration of every issuer, then starts fetching their keys.
pub(super) fn start_all(
    configs: &[IssuerConfig],
    observer: &Observer,
) -> Result<Vec<Issuer>, AuthSetupError> {
    let mut names = HashSet::new();
    let mut uris = Vec::new();
    for config in configs {
        if !names.insert(&config.url) {
            return Err(AuthSetupError::DuplicateIssuer { issuer: config.url.clone() });
        }
        uris.push(check(config)?);
    }
    let fetcher = Fetcher::new(uris.iter().any(jwks::needs_tls))?;
    configs
        .iter()
        .zip(uris)
        .map(|(config, uri)| Issuer::start(config, uri, fetcher.clone(), observer.clone()))
        .collect()
}

/// Fetches an issuer's keys once, without keeping them: how many could verify its tokens.
///
/// # Errors
///
/// Why they could not be had, in words.
pub async fn usable_keys(config: &IssuerConfig) -> Result<usize, String> {
    let uri = check(config).map_err(|error| error.to_string())?;
    let fetcher = Fetcher::new(jwks::needs_tls(&uri)).map_err(|error| error.to_string())?;
    let answer = fetcher.fetch(&uri, &config.algorithms).await;
    answer.map(|fetched| fetched.keys.len()).map_err(|error| error.to_string())
}

/// The URL of the keys, if the configuration is one that can be safe.
fn check(config: &IssuerConfig) -> Result<Uri, AuthSetupError> {
    let issuer = || config.url.clone();
    if config.algorithms.is_empty() {
        return Err(AuthSetupError::NoAlgorithm { issuer: issuer() });
    }
    let shared_secret = |algorithm: &&Algorithm| algorithm.family() == AlgorithmFamily::Hmac;
    if let Some(algorithm) = config.algorithms.iter().find(shared_secret) {
        let algorithm = format!("{algorithm:?}");
        return Err(AuthSetupError::SharedSecretAlgorithm { issuer: issuer(), algorithm });
    }
    jwks::check_url(&config.jwks_url)
        .map_err(|reason| AuthSetupError::JwksUrl { issuer: issuer(), reason })
}

impl Issuer {
    fn start(
        config: &IssuerConfig,
        uri: Uri,
        fetcher: Fetcher,
        observer: Observer,
    ) -> Result<Self, AuthSetupError> {
        let name: Arc<str> = config.url.as_str().into();
        let algorithms = config.algorithms.clone();
        let source = KeySource { issuer: Arc::clone(&name), uri, algorithms: algorithms.clone() };
        Ok(Self {
            rules: ClaimRules {
                issuer: name,
                audiences: config.audiences.clone(),
                leeway: config.leeway.as_secs(),
                token: config.rules.clone(),
            },
            algorithms,
            keys: KeyStore::start(source, fetcher, observer)?,
        })
    }

    /// Its `iss`.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.rules.issuer
    }

    /// What its tokens' claims are held to.
    pub(super) fn rules(&self) -> &ClaimRules {
        &self.rules
    }

    /// Whether its keys were ever loaded.
    pub(super) fn has_keys(&self) -> bool {
        !self.keys.keys().is_empty()
    }

    /// Whether it still publishes this key.
    pub(super) fn has_key(&self, key: &Fingerprint) -> bool {
        self.keys.keys().contains(key)
    }

    /// Waits until `deadline` for its keys; the error says what the last attempt met.
    pub(super) async fn keys_loaded(&self, deadline: Instant) -> Result<(), String> {
        self.keys.loaded(deadline).await
    }

    /// The key to verify a token with; asks for fresh keys once if the token names an unknown one.
    pub(super) async fn key_for(&self, header: &Header) -> Result<Arc<VerifyingKey>, AuthError> {
        if !self.algorithms.contains(&header.algorithm) {
            return Err(AuthError::AlgorithmNotAllowed);
        }
        let unavailable = || AuthError::KeysUnavailable { issuer: Arc::clone(self.name()) };
        if !self.has_keys() {
            return Err(unavailable());
        }
        match self.select(header) {
            // A token without a key id cannot show that a newer key exists.
            Err(AuthError::UnknownKey) if header.key_id.is_some() => {
                let refetch = self.keys.refetch().await;
                match self.select(header) {
                    // The key may exist by now: nobody can tell, so it is not the token's fault.
                    Err(AuthError::UnknownKey) if refetch == Refetch::Failed => Err(unavailable()),
                    selected => selected,
                }
            }
            selected => selected,
        }
    }

    fn select(&self, header: &Header) -> Result<Arc<VerifyingKey>, AuthError> {
        match self.keys.keys().select(header) {
            Selection::Found(key) => Ok(key),
            Selection::Unfit => Err(AuthError::AlgorithmNotAllowed),
            Selection::Unknown => Err(AuthError::UnknownKey),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn config(jwks_url: &str, algorithms: &[Algorithm]) -> IssuerConfig {
        IssuerConfig {
            jwks_url: jwks_url.into(),
            algorithms: algorithms.to_vec(),
            leeway: Duration::ZERO,
            ..IssuerConfig::new("https://issuer.example")
        }
    }

    fn error(configs: &[IssuerConfig]) -> Option<AuthSetupError> {
        start_all(configs, &Observer::default()).err()
    }

    const LOCAL: &str = "http://127.0.0.1:1/jwks";

    #[test]
    fn shared_secret_algorithms_are_refused() {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let config = config(LOCAL, &[Algorithm::RS256, algorithm]);
            let error = error(&[config]);
            assert!(matches!(error, Some(AuthSetupError::SharedSecretAlgorithm { .. })));
        }
    }

    #[test]
    fn issuer_without_algorithms_is_refused() {
        assert!(matches!(error(&[config(LOCAL, &[])]), Some(AuthSetupError::NoAlgorithm { .. })));
    }

    #[test]
    fn keys_over_plain_http_are_refused() {
        let config = config("http://issuer.example/jwks", &[Algorithm::RS256]);
        assert!(matches!(error(&[config]), Some(AuthSetupError::JwksUrl { .. })));
    }

    #[test]
    fn issuer_configured_twice_is_refused() {
        let config = config(LOCAL, &[Algorithm::RS256]);
        let error = error(&[config.clone(), config]);
        assert!(matches!(error, Some(AuthSetupError::DuplicateIssuer { .. })));
    }

    #[test]
    fn key_stores_need_a_runtime() {
        let config = config(LOCAL, &[Algorithm::RS256]);
        assert_eq!(error(&[config]), Some(AuthSetupError::NoRuntime));
    }

    #[tokio::test]
    async fn without_https_no_root_certificates_are_needed() {
        assert_eq!(error(&[config(LOCAL, &[Algorithm::RS256])]), None);
    }
}
