//! Owns what can go wrong with a token or with the issuers' set-up; must never carry a token's
//! content: claim *names* and *configured* values are the only parts that appear.

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
    /// `azp` is missing or is none of the issuer's configured parties.
    #[error(
        "the token's `azp` is no authorized party that this server accepts from its issuer: the token \
         was made for another application"
    )]
    AuthorizedParty,
    /// `client_id` is missing or is none of the issuer's configured ones.
    #[error(
        "the token's `client_id` is none that this server accepts from its issuer: the token was made \
         for another application, or is of another kind (an ID token?)"
    )]
    ClientId,
    /// A claim that the issuer's configuration demands is missing or has another value.
    #[error(
        "the token's `{name}` is not `{value}`, as this server demands of its issuer's tokens: the \
         token may be of another kind"
    )]
    RequiredClaim {
        /// The claim as configured.
        name: Arc<str>,
        /// Its value as configured.
        value: Arc<str>,
    },
    /// The claims cannot be used, whatever the signature says.
    #[error("the token's claims are not usable: {0}")]
    Claims(&'static str),
    /// The claim that names the user does not.
    #[error("the token's claims are not usable: `{claim}` {fault}")]
    UserId {
        /// The claim as configured.
        claim: Arc<str>,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// What the database would get is too much.
    #[error(
        "the token's claims are not usable: they are larger than {limit} bytes (the server's setting \
         `claims` can choose some of them)"
    )]
    ClaimsTooLarge {
        /// The configured limit.
        limit: usize,
    },
    /// The token, or all of its user's up to some time, were revoked.
    #[error("the token was revoked: get a new one from its issuer")]
    Revoked,
    /// What was revoked could not be read for too long to let anybody in.
    #[error("which tokens were revoked cannot be found out at present; nothing was run")]
    RevocationsUnknown,
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
            Self::Claims(_) | Self::UserId { .. } | Self::ClaimsTooLarge { .. } => "RG4019",
            Self::AuthorizedParty => "RG4020",
            Self::ClientId => "RG4021",
            Self::RequiredClaim { .. } => "RG4022",
            Self::Revoked => "RG4023",
            Self::KeysUnavailable { .. } => "RG5031",
            Self::RevocationsUnknown => "RG5037",
        }
    }

    /// The HTTP status: 401 for the token's faults, 503 when the server lacks the issuer's keys,
    /// or the list of what was revoked.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::KeysUnavailable { .. } | Self::RevocationsUnknown => 503,
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
