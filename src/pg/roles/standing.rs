//! Whether the login roles were harmless when they were last looked at.

use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by whoever looks at the roles and whoever lets requests in.
#[derive(Debug)]
pub struct Standing(AtomicBool);

impl Default for Standing {
    /// `serve` starts only with harmless roles.
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

impl Standing {
    /// Whether requests may run.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Notes what was found; returns whether that is news.
    pub fn note(&self, harmless: bool) -> bool {
        self.0.swap(harmless, Ordering::AcqRel) != harmless
    }
}
