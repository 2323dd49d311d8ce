//! From the `Authorization` header to an [`Identity`].

use std::sync::Arc;

/// Who is asking.
#[derive(Clone, Debug)]
pub enum Identity {
    /// No token was sent.
    Anonymous,
    /// A token was sent and every check passed.
    Verified(Arc<VerifiedToken>),
}

/// The claims of a token that passed every check. Only the verifier makes one.
pub struct VerifiedToken {
    claims: Box<str>,
    expires_at: u64,
    issuer: Arc<str>,
    subject_hash: Box<str>,
}

impl VerifiedToken {
    /// The claims as the database gets them: one JSON object, ASCII only.
    #[must_use]
    pub fn claims(&self) -> &str {
        &self.claims
    }

    /// When the token ends, in seconds since the Unix epoch.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// The configured name of the issuer that signed it.
    #[must_use]
    pub fn issuer(&self) -> &Arc<str> {
        &self.issuer
    }

    /// A keyed hash of `sub`, for logs.
    #[must_use]
    pub fn subject_hash(&self) -> &str {
        &self.subject_hash
    }
}

impl std::fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedToken").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
