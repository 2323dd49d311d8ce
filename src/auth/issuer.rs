//! Owns one configured issuer: its rules and its keys. Must never verify with a key of another one.

use std::collections::HashSet;
use std::sync::Arc;

use jsonwebtoken::Algorithm;
use tokio::time::Instant;

use super::claims::ClaimRules;
use super::error::{AuthError, AuthSetupError};
use super::fetch::Fetcher;
use super::keys::{Fingerprint, Selection, VerifyingKey};
use super::source::IssuerSource;
use super::store::{KeyStore, Refetch};
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
    for config in configs {
        if !names.insert(&config.url) {
            return Err(AuthSetupError::DuplicateIssuer { issuer: config.url.clone() });
        }
        IssuerSource::check(config)?;
    }
    let fetcher = Fetcher::new(configs.iter().any(IssuerSource::needs_tls))?;
    configs.iter().map(|config| Issuer::start(config, &fetcher, observer)).collect()
}

impl Issuer {
    fn start(
        config: &IssuerConfig,
        fetcher: &Fetcher,
        observer: &Observer,
    ) -> Result<Self, AuthSetupError> {
        let name: Arc<str> = config.url.as_str().into();
        let source = IssuerSource::of(config, fetcher)?;
        let (kept, observer) = (config.keys.kept, observer.clone());
        Ok(Self {
            keys: KeyStore::start(Arc::clone(&name), source, kept, observer)?,
            rules: ClaimRules {
                issuer: name,
                audiences: config.audiences.clone(),
                leeway: config.leeway.as_secs(),
                token: config.rules.clone(),
            },
            algorithms: config.algorithms.clone(),
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

    /// Whether its keys were loaded and are still in force.
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
        if !self.allows(header.algorithm) {
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

    /// Whether its tokens may be signed with this algorithm.
    pub(super) fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// How many of its keys could have made a signature with this header.
    pub(super) fn fitting_keys(&self, header: &Header) -> usize {
        self.keys.keys().fitting(header)
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
    use crate::config::{KeySource, KeysConfig, SharedSecret};

    fn config(jwks_url: &str, algorithms: &[Algorithm]) -> IssuerConfig {
        IssuerConfig {
            keys: KeysConfig::at(jwks_url),
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
            assert!(matches!(error, Some(AuthSetupError::Algorithm { .. })));
        }
    }

    #[test]
    fn secrets_verify_nothing_but_what_they_are_long_enough_for() {
        let with = |bytes: usize, algorithm| {
            let secret = SharedSecret::new(vec![7; bytes]).unwrap();
            let keys = KeysConfig::new(KeySource::Secret(secret));
            error(&[IssuerConfig { keys, ..config(LOCAL, &[algorithm]) }])
        };
        assert!(SharedSecret::new(vec![7; 31]).is_none());
        for (bytes, algorithm) in [
            (32, Algorithm::HS384),
            (63, Algorithm::HS512),
            (64, Algorithm::RS256),
            (64, Algorithm::EdDSA),
        ] {
            let error = with(bytes, algorithm);
            assert!(matches!(error, Some(AuthSetupError::Algorithm { .. })), "{algorithm:?}");
        }
        for (bytes, algorithm) in
            [(32, Algorithm::HS256), (48, Algorithm::HS384), (64, Algorithm::HS512)]
        {
            assert_eq!(
                with(bytes, algorithm),
                Some(AuthSetupError::NoRuntime),
                "as far as it gets"
            );
        }
    }

    #[test]
    fn issuer_without_algorithms_is_refused() {
        assert!(matches!(error(&[config(LOCAL, &[])]), Some(AuthSetupError::NoAlgorithm { .. })));
    }

    #[test]
    fn keys_over_plain_http_are_refused() {
        let config = config("http://issuer.example/jwks", &[Algorithm::RS256]);
        assert!(matches!(error(&[config]), Some(AuthSetupError::KeysUrl { .. })));
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
