//! Owns keys that are published over HTTP: at a configured URL, or where the issuer's discovery document
//! (`OpenID` Connect Discovery 1.0 §4) says. Must never take a document that names another issuer.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::{StatusCode, Uri};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::{Obtained, Source, SourceError, usable};
use crate::auth::fetch::{FetchError, Fetcher, check_url, is_of_this_machine, needs_tls, shown};
use crate::auth::pace;

/// Limit on one round: the discovery document, if it is needed, and the keys.
pub(super) const ROUND_TIMEOUT: Duration = Duration::from_secs(5);
/// A discovery document is fetched anew after this time, and after any failure.
const DOCUMENT_LIFETIME: Duration = Duration::from_hours(1);
/// Characters of another issuer's name that are repeated in an error.
const SHOWN_CHARACTERS: usize = 200;

const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
const JWKS_PATH: &str = "/.well-known/jwks.json";

/// A key set behind a URL.
pub(in crate::auth) struct RemoteSource {
    fetcher: Fetcher,
    algorithms: Vec<Algorithm>,
    location: Location,
    /// The URL of the set last taken, and what tells whether it has changed since.
    last: Option<(Uri, HeaderValue)>,
}

enum Location {
    Configured(Uri),
    Discovered(Box<Discovery>),
}

struct Discovery {
    issuer: Arc<str>,
    document: Uri,
    /// Where keys are if there is no document.
    fallback: Uri,
    known: Option<Known>,
}

/// What the document said.
struct Known {
    keys: Uri,
    until: Instant,
}

impl RemoteSource {
    /// A key set at a URL that was checked.
    pub(in crate::auth) fn at(uri: Uri, algorithms: Vec<Algorithm>, fetcher: Fetcher) -> Self {
        Self { fetcher, algorithms, location: Location::Configured(uri), last: None }
    }

    /// The key set that an issuer's discovery document names.
    ///
    /// # Errors
    ///
    /// If the issuer's name is no URL to fetch from, in words.
    pub(in crate::auth) fn discovered(
        issuer: Arc<str>,
        algorithms: Vec<Algorithm>,
        fetcher: Fetcher,
    ) -> Result<Self, String> {
        let location = Location::Discovered(Box::new(Discovery {
            document: document_of(&issuer)?,
            fallback: below(&issuer, JWKS_PATH)?,
            known: None,
            issuer,
        }));
        Ok(Self { fetcher, algorithms, location, last: None })
    }

    async fn round(&mut self) -> Result<Obtained, SourceError> {
        let uri = match &mut self.location {
            Location::Configured(uri) => uri.clone(),
            Location::Discovered(discovery) => discovery.locate(&self.fetcher).await?,
        };
        let known = self.last.as_ref().filter(|(last, _)| *last == uri).map(|(_, etag)| etag);
        let answer = self
            .fetcher
            .fetch(&uri, known)
            .await
            .map_err(|error| SourceError::Fetch { place: shown(&uri), error })?;
        let lifetime = pace::lifetime(&answer.headers);
        let Some(body) = &answer.body else { return Ok(Obtained { keys: None, lifetime }) };
        let keys = usable(body, &self.algorithms, &shown(&uri))?;
        self.last = answer.etag().map(|etag| (uri, etag));
        Ok(Obtained { keys: Some(keys), lifetime })
    }
}

impl Source for RemoteSource {
    async fn obtain(&mut self) -> Result<Obtained, SourceError> {
        let outcome = timeout(ROUND_TIMEOUT, self.round()).await;
        let outcome = outcome.unwrap_or(Err(SourceError::TimedOut));
        if let (Err(_), Location::Discovered(discovery)) = (&outcome, &mut self.location) {
            // The keys may have moved.
            discovery.known = None;
        }
        outcome
    }

    async fn changed(&mut self) {
        pending::<()>().await;
    }

    fn place(&self) -> String {
        match &self.location {
            Location::Configured(uri) => shown(uri),
            Location::Discovered(discovery) => discovery.place(),
        }
    }
}

impl Discovery {
    async fn locate(&mut self, fetcher: &Fetcher) -> Result<Uri, SourceError> {
        if let Some(known) = self.known.as_ref().filter(|known| Instant::now() < known.until) {
            return Ok(known.keys.clone());
        }
        let place = shown(&self.document);
        let keys = match fetcher.fetch(&self.document, None).await {
            Ok(answer) => self.keys_of(&answer.body.unwrap_or_default(), place)?,
            Err(FetchError::Status(StatusCode::NOT_FOUND)) => self.fallback.clone(),
            Err(error) => return Err(SourceError::Fetch { place, error }),
        };
        self.known = Some(Known { keys: keys.clone(), until: Instant::now() + DOCUMENT_LIFETIME });
        Ok(keys)
    }

    /// The `jwks_uri` of a document that is this issuer's (§4.3: the names must be identical).
    fn keys_of(&self, document: &[u8], place: String) -> Result<Uri, SourceError> {
        #[derive(Deserialize)]
        struct Document {
            issuer: String,
            jwks_uri: String,
        }
        let Ok(Document { issuer, jwks_uri }) = serde_json::from_slice(document) else {
            return Err(SourceError::NotADocument { place });
        };
        if *issuer != *self.issuer {
            let found = issuer.chars().take(SHOWN_CHARACTERS).collect();
            return Err(SourceError::OtherIssuer { place, found });
        }
        let keys = match check_url(&jwks_uri) {
            Ok(keys) => keys,
            Err(reason) => return Err(SourceError::KeysElsewhere { place, reason }),
        };
        if needs_tls(&self.document) && !needs_tls(&keys) {
            let reason = "expected https://, as of the document itself".to_owned();
            return Err(SourceError::KeysElsewhere { place, reason });
        }
        if is_of_this_machine(&keys) && !is_of_this_machine(&self.document) {
            // A document from the network has no say over what this machine serves.
            let reason = "it leads to this machine, and the document is from another".to_owned();
            return Err(SourceError::KeysElsewhere { place, reason });
        }
        Ok(keys)
    }

    fn place(&self) -> String {
        match &self.known {
            Some(known) if known.keys == self.fallback => shown(&known.keys),
            Some(known) => format!("{} (named by {})", shown(&known.keys), shown(&self.document)),
            None => shown(&self.document),
        }
    }
}

/// Where an issuer's discovery document is, if that may be fetched.
pub(in crate::auth) fn document_of(issuer: &str) -> Result<Uri, String> {
    below(issuer, DISCOVERY_PATH)
}

/// §4.1: a slash at the end of the issuer's URL does not count.
fn below(issuer: &str, path: &str) -> Result<Uri, String> {
    check_url(issuer)?;
    check_url(&format!("{}{path}", issuer.strip_suffix('/').unwrap_or(issuer)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn discovery(issuer: &str) -> Discovery {
        Discovery {
            issuer: issuer.into(),
            document: document_of(issuer).unwrap(),
            fallback: below(issuer, JWKS_PATH).unwrap(),
            known: None,
        }
    }

    fn keys_of(issuer: &str, found: &str, jwks_uri: &str) -> Result<Uri, SourceError> {
        let document = json!({ "issuer": found, "jwks_uri": jwks_uri, "more": {} }).to_string();
        discovery(issuer).keys_of(document.as_bytes(), "x".into())
    }

    #[test]
    fn documents_are_below_the_issuer() {
        for (issuer, document) in [
            ("https://a.example", "https://a.example/.well-known/openid-configuration"),
            ("https://a.example/", "https://a.example/.well-known/openid-configuration"),
            ("https://a.example/t/1", "https://a.example/t/1/.well-known/openid-configuration"),
        ] {
            assert_eq!(document_of(issuer).unwrap().to_string(), document);
        }
        for issuer in ["http://a.example", "accounts", "https://u:p@a.example", ""] {
            assert!(document_of(issuer).is_err(), "{issuer}");
        }
    }

    #[test]
    fn documents_of_another_issuer_are_refused() {
        const KEYS: &str = "https://keys.example/jwks";
        assert_eq!(keys_of("https://a.example/", "https://a.example/", KEYS).unwrap(), KEYS);
        for other in ["https://a.example", "https://A.example/", "https://b.example/", ""] {
            let error = keys_of("https://a.example/", other, KEYS).unwrap_err();
            assert!(matches!(error, SourceError::OtherIssuer { .. }), "{other}");
        }
        let error = keys_of("https://a.example", &"x".repeat(5000), KEYS).unwrap_err();
        assert!(error.to_string().len() < 500);
    }

    #[test]
    fn keys_are_taken_over_https_or_where_the_issuer_is_on_loopback_from_there() {
        let of = |issuer: &str, jwks_uri: &str| keys_of(issuer, issuer, jwks_uri);
        let (far, near) = ("https://a.example", "http://127.0.0.1:9");
        assert!(of(far, "https://www.keys.example/jwks").is_ok());
        assert!(of(near, "http://localhost:8/jwks").is_ok());
        for (issuer, jwks_uri) in [
            (far, "http://a.example/jwks"),
            (far, "http://127.0.0.1/jwks"),
            (far, "https://127.0.0.1:8443/jwks"),
            (far, "https://localhost/jwks"),
            (far, "https://[::1]/jwks"),
            (far, "file:///etc/jwks"),
            (far, "https://u:p@a.example/jwks"),
            (far, "/jwks"),
            (near, "http://10.0.0.1/jwks"),
        ] {
            let error = of(issuer, jwks_uri).unwrap_err();
            assert!(matches!(error, SourceError::KeysElsewhere { .. }), "{jwks_uri}");
        }
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for text in ["", "[]", "{}", r#"{"issuer":"https://a.example"}"#, "<html>"] {
            let error = discovery("https://a.example").keys_of(text.as_bytes(), "x".into());
            assert!(matches!(error, Err(SourceError::NotADocument { .. })), "{text}");
        }
    }
}
