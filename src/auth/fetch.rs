//! Owns the fetching of a small document over HTTP; must never wait or read without a limit, nor follow
//! the issuer's server to another one.

use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use super::error::AuthSetupError;

/// Limit on one document: connecting, TLS, redirects, the whole answer.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of the largest answer that is read. A set of ten RSA-4096 keys has about 10 KiB.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;
/// Redirects followed for one document, each to the same scheme, host and port: a path that moved.
const MAX_REDIRECTS: usize = 2;
/// Bytes of the longest validator that is sent back.
const MAX_ETAG_BYTES: usize = 256;

const ACCEPTED_TYPES: &str = "application/jwk-set+json, application/json";
const USER_AGENT_NAME: &str = concat!("rowgate/", env!("CARGO_PKG_VERSION"));

/// Why a document could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no complete answer within {} s", FETCH_TIMEOUT.as_secs())]
    TimedOut,
    #[error("the request failed: {0}")]
    Request(String),
    #[error(
        "the answer is a redirect ({0}) to another server, or one too many, which is not followed; \
         configure the final URL"
    )]
    Redirect(StatusCode),
    #[error("the answer has status {0} instead of 200")]
    Status(StatusCode),
    #[error("the answer is larger than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    #[error("the answer broke off: {0}")]
    Body(String),
}

/// A document, or that it is the one fetched before.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    /// None: not changed since the answer whose validator was sent.
    pub(super) body: Option<Bytes>,
}

impl Answer {
    /// What to send next time, so that an unchanged document need not be sent again (RFC 9110 §8.8.3).
    pub(super) fn etag(&self) -> Option<HeaderValue> {
        self.headers.get(ETAG).filter(|etag| etag.len() <= MAX_ETAG_BYTES).cloned()
    }
}

/// The HTTP client of all issuers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Fetcher {
    /// `needs_tls` says whether an `https` URL will be fetched: only then is it an error if the system
    /// has no trusted root certificates.
    pub(super) fn new(needs_tls: bool) -> Result<Self, AuthSetupError> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(needs_tls)?)
            .https_or_http()
            .enable_http1()
            .build();
        // Minutes lie between two fetches: a connection kept open would be a stale one.
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client })
    }

    /// Fetches a document; `known` is the validator of the one that the caller has.
    pub(super) async fn fetch(
        &self,
        uri: &Uri,
        known: Option<&HeaderValue>,
    ) -> Result<Answer, FetchError> {
        tokio::time::timeout(FETCH_TIMEOUT, self.follow(uri, known))
            .await
            .map_err(|_| FetchError::TimedOut)?
    }

    async fn follow(&self, uri: &Uri, known: Option<&HeaderValue>) -> Result<Answer, FetchError> {
        let mut uri = uri.clone();
        let mut redirects = 0;
        loop {
            let response = self.request(&uri, known).await?;
            match response.status() {
                StatusCode::OK => return whole(response).await,
                StatusCode::NOT_MODIFIED if known.is_some() => {
                    return Ok(Answer { headers: response.into_parts().0.headers, body: None });
                }
                status if status.is_redirection() => {
                    redirects += 1;
                    uri = elsewhere_on_the_same_server(&uri, response.headers())
                        .filter(|_| redirects <= MAX_REDIRECTS)
                        .ok_or(FetchError::Redirect(status))?;
                }
                status => return Err(FetchError::Status(status)),
            }
        }
    }

    async fn request(
        &self,
        uri: &Uri,
        known: Option<&HeaderValue>,
    ) -> Result<Response<Incoming>, FetchError> {
        let mut request = Request::get(uri)
            .header(ACCEPT, ACCEPTED_TYPES)
            .header(USER_AGENT, USER_AGENT_NAME)
            .body(Empty::new())
            .map_err(|error| FetchError::Request(chain(&error)))?;
        if let Some(etag) = known {
            request.headers_mut().insert(IF_NONE_MATCH, etag.clone());
        }
        self.client.request(request).await.map_err(|error| FetchError::Request(chain(&error)))
    }
}

async fn whole(response: Response<Incoming>) -> Result<Answer, FetchError> {
    let (head, body) = response.into_parts();
    // Stops reading at the limit, whatever Content-Length said.
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(collected) => Ok(Answer { headers: head.headers, body: Some(collected.to_bytes()) }),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge),
        Err(error) => Err(FetchError::Body(chain(&*error))),
    }
}

/// Where a redirect leads, if that is the same scheme, host and port. Anywhere else could be anybody's: a
/// login page, or a server that only the gateway can reach.
fn elsewhere_on_the_same_server(from: &Uri, headers: &HeaderMap) -> Option<Uri> {
    let from = Url::parse(&from.to_string()).ok()?;
    let to = from.join(headers.get(LOCATION)?.to_str().ok()?).ok()?;
    let is_same =
        to.origin() == from.origin() && to.username().is_empty() && to.password().is_none();
    if is_same { to.as_str().parse().ok() } else { None }
}

/// A URL as it may stand in a log: without its query, which may hold an API key.
pub(super) fn shown(uri: &Uri) -> String {
    let text = uri.to_string();
    text.split_once('?').map_or(text.clone(), |(bare, _)| bare.to_owned())
}

/// Whether a key set may be fetched from this URL, and the URL as a client takes it. Keys that came
/// over plain `http` could be anybody's; only a loopback connection has nobody in between.
pub fn check_url(url: &str) -> Result<Uri, String> {
    let parsed = Url::parse(url).map_err(|error| format!("it is not a URL ({error})"))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("it must not contain a user name or a password".into());
    }
    match parsed.scheme() {
        "https" => {}
        "http" if is_loopback(&parsed) => {}
        "http" => {
            // The URL is not repeated: its query may hold an API key, and an issuer's document may
            // name one of any length.
            return Err(
                "it must start with https:// (http:// is allowed for loopback hosts only)".into()
            );
        }
        scheme => return Err(format!("expected https://, found {scheme}:")),
    }
    parsed.as_str().parse().map_err(|error| format!("it is not a URL to fetch ({error})"))
}

/// Whether what is fetched from this URL comes from this machine itself, as far as its name says.
pub(super) fn is_of_this_machine(uri: &Uri) -> bool {
    Url::parse(&uri.to_string()).is_ok_and(|url| is_loopback(&url))
}

/// Whether fetching from this URL needs TLS.
pub(super) fn needs_tls(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => Ipv4Addr::is_loopback(&address),
        Some(Host::Ipv6(address)) => Ipv6Addr::is_loopback(&address),
        None => false,
    }
}

fn tls_config(needs_roots: bool) -> Result<ClientConfig, AuthSetupError> {
    let native = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(native.certs);
    if usable == 0 && needs_roots {
        let reasons: Vec<String> = native.errors.iter().map(ToString::to_string).collect();
        return Err(AuthSetupError::Tls(format!(
            "the system has no trusted root certificates; install them (package ca-certificates) or \
             name a file in SSL_CERT_FILE {}",
            reasons.join("; ")
        )));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| AuthSetupError::Tls(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// An error with what caused it: the client's own text is only "client error".
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(from: &str, location: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
        elsewhere_on_the_same_server(&from.parse().unwrap(), &headers).map(|uri| uri.to_string())
    }

    #[test]
    fn redirects_stay_on_their_server() {
        let from = "https://issuer.example/a/jwks?x=1";
        for (location, to) in [
            ("/keys", "https://issuer.example/keys"),
            ("keys", "https://issuer.example/a/keys"),
            ("https://issuer.example:443/keys", "https://issuer.example/keys"),
            ("//issuer.example/keys", "https://issuer.example/keys"),
        ] {
            assert_eq!(redirect(from, location).as_deref(), Some(to));
        }
        for location in [
            "http://issuer.example/keys",
            "https://issuer.example:8443/keys",
            "https://www.issuer.example/keys",
            "https://user@issuer.example/keys",
            "//other.example/keys",
            "file:///etc/passwd",
            "https://",
        ] {
            assert_eq!(redirect(from, location), None, "{location}");
        }
    }

    #[test]
    fn queries_are_not_shown() {
        assert_eq!(shown(&"https://a.example/k?apikey=1".parse().unwrap()), "https://a.example/k");
    }

    #[test]
    fn key_sets_come_over_tls_or_from_this_machine() {
        for url in [
            "https://issuer.example/jwks",
            "http://localhost:8080/jwks",
            "http://127.0.0.2/jwks",
            "http://[::1]:1/jwks",
        ] {
            assert!(check_url(url).is_ok(), "{url}");
        }
        for url in [
            "http://issuer.example/jwks",
            "http://10.0.0.1/jwks",
            "http://localhost.example/jwks",
            "http://127.0.0.1.example/jwks",
            "https://user:secret@issuer.example/jwks",
            "http://issuer.example/jwks?apikey=secret",
            "http://127.0.0.1@issuer.example/jwks",
            "file:///etc/keys.json",
            "issuer.example/jwks",
            "",
        ] {
            let error = check_url(url);
            assert!(error.is_err(), "{url}");
            assert!(!error.unwrap_err().contains("secret"));
        }
    }
}
