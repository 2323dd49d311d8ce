//! Owns the fetching of a key set over HTTP; must never wait or read without a limit, nor follow the
//! issuer's server to somewhere else.

use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::header::{ACCEPT, CACHE_CONTROL, HeaderMap, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::Algorithm;
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use super::error::AuthSetupError;
use super::keys::KeySet;

/// Limit on one fetch: connecting, TLS, the whole answer.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of the largest answer that is read. A set of ten RSA-4096 keys has about 10 KiB.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;
/// Time between refreshes if the answer does not say `max-age`.
pub(super) const DEFAULT_REFRESH: Duration = Duration::from_mins(10);
/// A smaller `max-age` counts as this.
pub(super) const MIN_REFRESH: Duration = Duration::from_mins(1);
/// A larger `max-age` counts as this: a key that the issuer withdrew lives no longer here.
pub(super) const MAX_REFRESH: Duration = Duration::from_hours(1);
/// Wait after a first failed refresh; doubles with each further one.
pub(super) const MIN_RETRY: Duration = Duration::from_secs(1);
/// Longest wait after a failed refresh.
pub(super) const MAX_RETRY: Duration = Duration::from_mins(1);
/// An issuer is asked for an unknown key id at most once in this time, whatever tokens come. It is also
/// how long strangers who use up that allowance can keep out tokens signed with a key that has just been
/// published, and so it is short: six small requests a minute burden no issuer.
pub(super) const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(10);
/// How long the request that has an unknown key id waits for the answer.
pub(super) const UNKNOWN_KEY_WAIT: Duration = Duration::from_secs(3);

const ACCEPTED_TYPES: &str = "application/jwk-set+json, application/json";
const USER_AGENT_NAME: &str = concat!("rowgate/", env!("CARGO_PKG_VERSION"));

/// Why a key set could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no complete answer within {} s", FETCH_TIMEOUT.as_secs())]
    TimedOut,
    #[error("the request failed: {0}")]
    Request(String),
    #[error("the answer is a redirect ({0}), which is not followed; configure the final URL")]
    Redirect(StatusCode),
    #[error("the answer has status {0} instead of 200")]
    Status(StatusCode),
    #[error("the answer is larger than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    #[error("the answer broke off: {0}")]
    Body(String),
    #[error("the answer is no JWK set (a JSON object with an array `keys`)")]
    NotAKeySet,
    #[error("the JWK set has no key that can verify tokens with the allowed algorithms")]
    NoUsableKey,
}

/// A fetched key set, not empty.
pub(super) struct Fetched {
    pub(super) keys: KeySet,
    /// When it is to be fetched anew.
    pub(super) refresh_in: Duration,
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

    /// Fetches a key set; `allowed` are the algorithms for which keys are wanted.
    pub(super) async fn fetch(
        &self,
        uri: &Uri,
        allowed: &[Algorithm],
    ) -> Result<Fetched, FetchError> {
        let (headers, body) = tokio::time::timeout(FETCH_TIMEOUT, self.get(uri))
            .await
            .map_err(|_| FetchError::TimedOut)??;
        let keys = KeySet::parse(&body, allowed).ok_or(FetchError::NotAKeySet)?;
        if keys.is_empty() {
            return Err(FetchError::NoUsableKey);
        }
        Ok(Fetched { keys, refresh_in: refresh_in(&headers) })
    }

    async fn get(&self, uri: &Uri) -> Result<(HeaderMap, Bytes), FetchError> {
        let request = Request::get(uri)
            .header(ACCEPT, ACCEPTED_TYPES)
            .header(USER_AGENT, USER_AGENT_NAME)
            .body(Empty::new())
            .map_err(|error| FetchError::Request(chain(&error)))?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| FetchError::Request(chain(&error)))?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_redirection() => return Err(FetchError::Redirect(status)),
            status => return Err(FetchError::Status(status)),
        }
        let (head, body) = response.into_parts();
        // Stops reading at the limit, whatever Content-Length said.
        match Limited::new(body, MAX_BODY_BYTES).collect().await {
            Ok(collected) => Ok((head.headers, collected.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge),
            Err(error) => Err(FetchError::Body(chain(&*error))),
        }
    }
}

/// How long to wait after the given number of failures in a row (at least one).
pub(super) fn retry_in(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1);
    MIN_RETRY.saturating_mul(2_u32.saturating_pow(doublings)).min(MAX_RETRY)
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
            return Err(format!(
                "{url} must start with https:// (http:// is allowed for loopback hosts only)"
            ));
        }
        scheme => return Err(format!("expected https://, found {scheme}:")),
    }
    parsed.as_str().parse().map_err(|error| format!("it is not a URL to fetch ({error})"))
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

/// RFC 9111 §5.2.2.1, within bounds: the first `max-age` that is a number.
fn refresh_in(headers: &HeaderMap) -> Duration {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|directive| directive.trim().split_once('='))
        .find_map(|(name, value)| {
            let seconds = value.trim_matches('"').parse().ok()?;
            name.eq_ignore_ascii_case("max-age").then(|| Duration::from_secs(seconds))
        })
        .map_or(DEFAULT_REFRESH, |age| age.clamp(MIN_REFRESH, MAX_REFRESH))
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

    fn refresh_for(cache_control: &[&str]) -> Duration {
        let mut headers = HeaderMap::new();
        for value in cache_control {
            headers.append(CACHE_CONTROL, value.parse().unwrap());
        }
        refresh_in(&headers)
    }

    #[test]
    fn max_age_is_honoured_within_bounds() {
        assert_eq!(refresh_for(&["public, max-age=90"]), Duration::from_secs(90));
        assert_eq!(refresh_for(&["Max-Age=\"90\""]), Duration::from_secs(90));
        assert_eq!(refresh_for(&["public", "max-age=90"]), Duration::from_secs(90));
        assert_eq!(refresh_for(&["max-age=0"]), MIN_REFRESH);
        assert_eq!(refresh_for(&["max-age=31536000"]), MAX_REFRESH);
    }

    #[test]
    fn without_max_age_the_default_counts() {
        for value in [&[][..], &["no-store"], &["max-age"], &["max-age=-1"], &["s-maxage=9"]] {
            assert_eq!(refresh_for(value), DEFAULT_REFRESH, "{value:?}");
        }
    }

    #[test]
    fn retries_back_off_to_a_bound() {
        let seconds: Vec<u64> = (1..=8).map(|failures| retry_in(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(retry_in(u32::MAX), MAX_RETRY);
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
