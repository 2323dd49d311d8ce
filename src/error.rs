//! Every failure that a client can meet: status, stable code, message, in one table.
//!
//! Modules have error types of their own; this is the only place that turns them into answers. Internal
//! text (socket errors, host names, the words of a refused login) never passes through here.

mod refused;

use std::borrow::Cow;

use hyper::StatusCode;
use serde::Serialize;

use crate::admit::{GateError, Refusal};
use crate::auth::AuthError;
use crate::pg::pool::AcquireError;
use crate::pg::{PgError, ServerError};
use crate::places::TooMany;
use crate::session::SessionError;

/// A failure as the client sees it.
#[derive(Debug)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable, for programs: `RG` and four digits whose first three are the status, or a SQLSTATE.
    pub code: Cow<'static, str>,
    body: Body,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u16>,
    /// The value of `WWW-Authenticate`.
    pub challenge: Option<&'static str>,
    /// The value of `Allow`.
    pub allow: Option<&'static str>,
    /// The configured limit that was met, by its key.
    pub limit: Option<&'static str>,
}

#[derive(Debug)]
enum Body {
    Own { message: Cow<'static, str>, hint: &'static str },
    Server(Box<ServerError>),
}

#[derive(Serialize)]
struct OwnBody<'a> {
    code: &'a str,
    message: &'a str,
    hint: &'a str,
}

/// What a client that cannot be served now should wait, in seconds.
const RETRY_AFTER: u16 = 1;

/// RFC 6750 §3: a token was needed, or was not acceptable.
const CHALLENGE_MISSING: &str = "Bearer";
const CHALLENGE_INVALID: &str = "Bearer error=\"invalid_token\"";

/// SQLSTATE classes and codes that say that the server, not the statement, is in trouble: insufficient
/// resources, operator intervention. (08P01 is a wrong number of parameters.)
const UNAVAILABLE: [&str; 5] = ["53", "57P01", "57P02", "57P03", "57P05"];

impl ApiError {
    /// A failure of the gateway's own.
    #[must_use]
    pub fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
        hint: &'static str,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            body: Body::Own { message: message.into(), hint },
            retry_after: None,
            challenge: None,
            allow: None,
            limit: None,
        }
    }

    /// Says which configured limit was met.
    fn limited_by(mut self, key: &'static str) -> Self {
        self.limit = Some(key);
        self
    }

    fn retry(mut self) -> Self {
        self.retry_after = Some(RETRY_AFTER);
        self
    }

    /// The JSON body.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let json = match &self.body {
            Body::Own { message, hint } => {
                serde_json::to_vec(&OwnBody { code: &self.code, message, hint })
            }
            Body::Server(error) => serde_json::to_vec(error),
        };
        // invariant: structs of strings always serialise.
        json.unwrap_or_default()
    }

    /// The SQLSTATE, if the database raised this.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        matches!(self.body, Body::Server(_)).then_some(&self.code)
    }

    /// 400: not even HTTP.
    #[must_use]
    pub fn not_http() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "RG4006",
            "this is no well-formed HTTP request",
            "see RFC 9112; a proxy on the way may have damaged it",
        )
    }

    /// 414
    #[must_use]
    pub fn target_too_long() -> Self {
        Self::new(
            StatusCode::URI_TOO_LONG,
            "RG4140",
            "the request's target is too long",
            "SQL goes to POST /sql, in the body",
        )
        .limited_by("limits.header_bytes")
    }

    /// 431
    #[must_use]
    pub fn head_too_large() -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "RG4310",
            "the request's head is too large, or has too many fields",
            "send fewer or shorter headers, or raise limits.header_bytes",
        )
        .limited_by("limits.header_bytes")
    }

    /// 404
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "RG4040",
            "there is nothing at this path",
            "SQL goes to POST /sql",
        )
    }

    /// 405; `allow` lists the methods of the path.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let mut error = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "RG4050",
            "this path does not take this method",
            "the Allow header lists the methods that it takes",
        );
        error.allow = Some(allow);
        error
    }

    /// 400: the body is not a request.
    #[must_use]
    pub fn bad_body(reason: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "RG4000",
            format!("the request's body is not understood: {reason}"),
            "send {\"query\": \"select $1\", \"params\": [1]} or {\"queries\": [{\"query\": …}, …]}",
        )
    }

    /// 400: a header's value is none of those that it may have.
    #[must_use]
    pub fn bad_header(name: &str, expected: &'static str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "RG4001",
            format!("the header {name} has a value that is not understood"),
            expected,
        )
    }

    /// 400: the connection string names another database.
    #[must_use]
    pub fn other_database() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "RG4003",
            "Neon-Connection-String names a database that is not served here",
            "name the database that the gateway is configured for, or leave the header out",
        )
    }

    /// 400: more statements than a batch may have.
    #[must_use]
    pub fn batch_too_long(limit: usize) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "RG4004",
            format!("a batch may have {limit} statements at most"),
            "send several batches, or one statement with arrays as parameters",
        )
        .limited_by("limits.batch_statements")
    }

    /// 400: more parameters than a statement may have.
    #[must_use]
    pub fn too_many_parameters(limit: usize) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "RG4005",
            format!("a statement may have {limit} parameters at most"),
            "send lists as arrays: … = any($1), or insert … select from unnest($1, $2)",
        )
        .limited_by("limits.parameters")
    }

    /// 429: one address has as many connections as it may have.
    #[must_use]
    pub fn too_many_connections(limit: usize) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "RG4291",
            format!("an address may have {limit} connections at most"),
            "send requests one after the other over the connections that are open",
        )
        .limited_by("server.connections_per_address")
        .retry()
    }

    /// 408
    #[must_use]
    pub fn body_too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "RG4080",
            "the request's body did not arrive in time",
            "send it at once, after preparing it",
        )
        .limited_by("server.body_timeout")
    }

    /// 413
    #[must_use]
    pub fn body_too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RG4130",
            format!("a request may have {limit} bytes at most"),
            "send less at a time, or raise limits.request_bytes",
        )
        .limited_by("limits.request_bytes")
    }

    /// 503: a login role was given power that callers must not have.
    #[must_use]
    pub fn harmful_roles() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "RG5034",
            "the database's login roles are not safe to serve with; nothing was run",
            "the operators find the reason in the log, and with `rowgate check`",
        )
        .retry()
    }

    /// 400: the client's body broke off.
    #[must_use]
    pub fn body_broken() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "RG4002",
            "the request's body broke off",
            "send as many bytes as Content-Length announces",
        )
    }
}

impl From<&AuthError> for ApiError {
    fn from(error: &AuthError) -> Self {
        // invariant: AuthError's statuses are 401 and 503.
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let hint = if status == StatusCode::UNAUTHORIZED {
            "send Authorization: Bearer <token>, with a token that the configured issuer signed"
        } else {
            "try again shortly"
        };
        let mut answer = Self::new(status, error.code(), error.to_string(), hint);
        if status == StatusCode::UNAUTHORIZED {
            let missing = matches!(error, AuthError::MissingToken);
            answer.challenge = Some(if missing { CHALLENGE_MISSING } else { CHALLENGE_INVALID });
        } else {
            answer = answer.retry();
        }
        answer
    }
}

impl From<TooMany> for ApiError {
    fn from(error: TooMany) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "RG4290",
            format!("{} requests of yours are running already; this one was not run", error.0),
            "wait for some of them, or send several statements as one batch",
        )
        .limited_by("limits.concurrent_requests")
        .retry()
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Server(error) => Self::server(error),
            SessionError::Gate(GateError::Refused(refusal)) => Self::refused(&refusal),
            SessionError::Gate(GateError::Busy) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "RG5035",
                "too many new statements wait to be read; nothing was run",
                "try again shortly; use parameters rather than literals, so that a statement is read once",
            )
            .retry(),
            SessionError::Parameter { .. } | SessionError::TooManyParameters(_) => Self::new(
                StatusCode::BAD_REQUEST,
                "RG4005",
                error.to_string(),
                "parameters are null, strings, numbers, booleans, objects, or lists of these",
            ),
            SessionError::Acquire(AcquireError::Busy) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "RG5030",
                "all database connections are busy; nothing was run",
                "try again shortly",
            )
            .limited_by("database.pool_size")
            .retry(),
            SessionError::NotBelieved
            | SessionError::Acquire(AcquireError::Connect(PgError::SessionKey(_))) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "RG5036",
                "the database did not believe the gateway's seal; nothing was changed",
                "try again shortly; if it lasts, the operator finds the reason in the gateway's log",
            )
            .retry(),
            SessionError::Acquire(AcquireError::Connect(_)) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "RG5032",
                "the database cannot be reached; nothing was run",
                "try again shortly",
            )
            .retry(),
            SessionError::Connection(error) => Self::connection(&error),
            SessionError::Answer(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "RG5001",
                "a value in the answer is not valid UTF-8; whether writes took effect is not known",
                "the database's encoding should be UTF8; select such values with encode(…, 'escape')",
            ),
            SessionError::TooManyRows(limit) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "RG5071",
                format!(
                    "the answer has more than {limit} rows; whether writes took effect is not known"
                ),
                "ask for fewer with LIMIT, or raise limits.rows",
            )
            .limited_by("limits.rows"),
            SessionError::TooLarge(limit) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "RG5070",
                format!(
                    "the answer is larger than {limit} bytes; whether writes took effect is not known"
                ),
                "ask for fewer rows or columns, or raise limits.answer_bytes",
            )
            .limited_by("limits.answer_bytes"),
            SessionError::Deadline { limit, confirmed } => {
                Self::deadline(limit.as_millis(), confirmed)
            }
            SessionError::NeedsOwnConnection => Self::new(
                StatusCode::FORBIDDEN,
                "RG4038",
                "this statement could leave something behind on a connection that others share",
                "leave out functions with side effects, or serve without a pooler in transaction mode",
            ),
            SessionError::TransactionBroken => Self::refused(&Refusal::TransactionControl),
        }
    }
}

impl ApiError {
    /// An error of the database. 400, because clients read its members only from that status.
    fn server(error: Box<ServerError>) -> Self {
        let unavailable =
            error.is_fatal() || UNAVAILABLE.iter().any(|code| error.code.starts_with(code));
        if unavailable {
            return Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "RG5032",
                format!(
                    "the database is not available ({}); whether the statement took effect is not known",
                    error.code
                ),
                "try again shortly",
            )
            .retry();
        }
        Self {
            status: StatusCode::BAD_REQUEST,
            code: error.code.clone().into(),
            body: Body::Server(error),
            retry_after: None,
            challenge: None,
            allow: None,
            limit: None,
        }
    }

    fn connection(error: &PgError) -> Self {
        if let PgError::Protocol(_) | PgError::FrameTooLong = error {
            return Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "RG5000",
                "the database's answer was not understood; whether the statement took effect is not known",
                "if the statement changes client_encoding, leave that out; otherwise report this",
            );
        }
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "RG5033",
            "the connection to the database was lost; whether the statement took effect is not known",
            "read before you write again",
        )
        .retry()
    }

    fn deadline(limit_ms: u128, confirmed: bool) -> Self {
        let fate = if confirmed {
            "it was cancelled and nothing was changed"
        } else {
            "it is being cancelled; whether it took effect is not known"
        };
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "RG5040",
            format!("the statement ran longer than {limit_ms} ms; {fate}"),
            "make the statement faster (explain it), or raise limits.deadline",
        )
        .limited_by("limits.deadline")
    }
}
