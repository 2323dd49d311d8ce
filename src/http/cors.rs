//! Which pages may read answers (Fetch standard, "CORS protocol").

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use super::Answer;
use super::body::AnswerBody;
use crate::config::CorsConfig;

/// Everything that clients of SQL over HTTP send; `*` would not cover Authorization.
const ALLOW_HEADERS: &str = "Authorization, Content-Type, Neon-Connection-String, Neon-Raw-Text-Output, \
     Neon-Array-Mode, Neon-Batch-Isolation-Level, Neon-Batch-Read-Only, Neon-Batch-Deferrable, X-Request-Id";
/// Headers of answers that pages may read.
const EXPOSE_HEADERS: &str = "X-Request-Id, Retry-After, WWW-Authenticate, Neon-Batch-Isolation-Level, \
     Neon-Batch-Read-Only, Neon-Batch-Deferrable";
/// How long a browser may remember a preflight, in seconds.
const MAX_AGE: &str = "86400";

/// The configured origins.
#[derive(Clone, Debug)]
pub enum Cors {
    /// Every page may read answers: they are guarded by tokens, which pages must have themselves.
    Any,
    /// Only these origins' pages.
    Listed(Vec<HeaderValue>),
}

impl Cors {
    /// Origins that could not stand in a header match nothing.
    #[must_use]
    pub fn new(config: &CorsConfig) -> Self {
        if config.allowed_origins.iter().any(|origin| origin == "*") {
            return Self::Any;
        }
        Self::Listed(
            config.allowed_origins.iter().filter_map(|o| HeaderValue::from_str(o).ok()).collect(),
        )
    }

    /// Adds to an answer what lets the page at `origin` read it.
    pub fn decorate(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let allowed = match self {
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Listed(origins) => {
                headers.append(header::VARY, HeaderValue::from_static("Origin"));
                origin.filter(|origin| origins.contains(origin)).cloned()
            }
        };
        if let Some(value) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
            headers.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static(EXPOSE_HEADERS),
            );
        }
    }
}

/// The answer to a preflight. Needs no token: browsers send none with it.
#[must_use]
pub fn preflight() -> Answer {
    let mut answer = Response::new(AnswerBody::whole(Vec::new()));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOW_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}
