//! Owns what can go wrong with a token or with the issuers' set-up; must never carry a token's
//! content: claim *names* and *configured* issuer URLs are the only parts that appear.

use std::sync::Arc;

/// Why a request has no identity. The text is meant for the developer who sent the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// No `Authorization` header, and anonymous requests are switched off.
    #[error("this server needs a token: send `Authorization: Bearer <jwt>`")]
    MissingToken,
    /// The header is not one bearer token, or the token is not a signed JWT.
    #[error("the `Authorization` header is not usable: {0}")]
    Malformed(&'static str),
    /// `alg` is unknown, not allowed for the issuer, or not what the named key is for.
    #[error("the token's `alg` is not allowed for its issuer and key")]
    AlgorithmNotAllowed,
    /// `iss` is missing or is none of the configured issuers, byte for byte.
    #[error("the token's `iss` is not one of this server's issuers (it must match byte for byte)")]
    UnknownIssuer,
    /// The issuer's key set has no key of that id.
    #[error("the token's `kid` names no key that its issuer publishes now")]
    UnknownKey,
    /// The signature was not made with the issuer's key over this token.
    #[error("the token's signature does not fit its content and its issuer's key")]
    BadSignature,
    /// `exp` has passed.
    #[error("the token has expired: its `exp` is not in the future")]
    Expired,
    /// `nbf` or `iat` (the given name) lies in the future.
    #[error("the token is not valid yet: its `{0}` lies in the future")]
    NotYetValid(&'static str),
    /// `aud` names none of the issuer's configured audiences.
    #[error("the token's `aud` names no audience that this server accepts from its issuer")]
    Audience,
    /// The claims cannot be used, whatever the signature says.
    #[error("the token's claims are not usable: {0}")]
    Claims(&'static str),
    /// The issuer is configured, but its keys could not be loaded so far, or not for longer than is
    /// tolerated, or could not be loaded anew for a token with an unknown `kid`.
    #[error("the keys of the issuer {issuer} cannot be fetched at present; try again later")]
    KeysUnavailable {
        /// The issuer as configured.
        issuer: Arc<str>,
    },
}

impl AuthError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingToken => "RG4010",
            Self::Malformed(_) => "RG4011",
            Self::AlgorithmNotAllowed => "RG4012",
            Self::UnknownIssuer => "RG4013",
            Self::UnknownKey => "RG4014",
            Self::BadSignature => "RG4015",
            Self::Expired => "RG4016",
            Self::NotYetValid(_) => "RG4017",
            Self::Audience => "RG4018",
            Self::Claims(_) => "RG4019",
            Self::KeysUnavailable { .. } => "RG5031",
        }
    }

    /// The HTTP status: 401 for the token's faults, 503 when the server lacks the issuer's keys.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::KeysUnavailable { .. } => 503,
            _ => 401,
        }
    }
}

/// Why tokens cannot be verified as configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthSetupError {
    /// Keys are to be fetched from something that is no URL, or one with parts that must not be there.
    #[error("issuer {issuer}: its keys cannot be fetched: {reason}")]
    KeysUrl {
        /// The issuer as configured.
        issuer: String,
        /// What is wrong with it and what is expected.
        reason: String,
    },
    /// An algorithm that must not be accepted with the issuer's kind of keys.
    #[error("issuer {issuer}: {reason}")]
    Algorithm {
        /// The issuer as configured.
        issuer: String,
        /// What is wrong with it and what is expected.
        reason: String,
    },
    /// An empty list of algorithms.
    #[error("issuer {issuer}: no algorithm is allowed; name at least one, for example RS256")]
    NoAlgorithm {
        /// The issuer as configured.
        issuer: String,
    },
    /// Two issuers with the same `iss`.
    #[error("issuer {issuer} is configured twice; keep one entry")]
    DuplicateIssuer {
        /// The issuer as configured.
        issuer: String,
    },
    /// TLS could not be set up.
    #[error("TLS to the issuers cannot be set up: {0}")]
    Tls(String),
    /// The operating system gave no random bytes.
    #[error("the system's random number generator failed")]
    Random,
    /// Called outside a Tokio runtime.
    #[error("key stores need a running Tokio runtime")]
    NoRuntime,
    /// The time to wait for keys is over.
    #[error("keys were not loaded in time: {}", .0.join("; "))]
    KeysNotLoaded(
        /// Each issuer without keys, with the last attempt's failure.
        Vec<String>,
    ),
}
