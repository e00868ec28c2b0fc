//! The last time that anybody knew, for those who are called without one: the router's subscribers. Milliseconds, so
//! that it is one number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Of the first connection.
    began: OnceLock<Instant>,
    passed: AtomicU64,
}

impl Clock {
    /// When the first connection came; `now`, if this is it.
    pub(super) fn began(&self, now: Instant) -> Instant {
        *self.began.get_or_init(|| now)
    }

    /// It is so late.
    #[inline]
    pub(super) fn set(&self, now: Instant) {
        let passed = now.saturating_duration_since(self.began(now));
        let passed = passed.as_millis() as u64;
        self.passed.store(passed, Ordering::Relaxed);
    }

    /// How late it was when it was set last.
    pub(super) fn now(&self) -> Option<Instant> {
        let passed = Duration::from_millis(self.passed.load(Ordering::Relaxed));
        self.began.get()?.checked_add(passed)
    }
}
