//! The run's clock: nanoseconds after `t0` on `CLOCK_MONOTONIC`, with one anchor in wall time.
//!
//! This is the only file of the harness that reads a clock for results.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A monotonic clock with its zero at the start of the load. Copies share the zero.
#[derive(Debug, Clone, Copy)]
pub struct RunClock {
    t0: Instant,
    anchor: Timestamp,
}

impl RunClock {
    /// A clock whose zero is `lead` from now, so that every thread can be ready before it.
    #[must_use]
    pub fn starting_in(lead: Duration) -> Self {
        Self { t0: Instant::now() + lead, anchor: Timestamp::now() + lead }
    }

    /// Nanoseconds after the zero; 0 before it.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        let elapsed = Instant::now().saturating_duration_since(self.t0);
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long until `at_ns`; zero when it is past.
    #[must_use]
    pub fn until(&self, at_ns: u64) -> Duration {
        self.instant(at_ns).saturating_duration_since(Instant::now())
    }

    /// The instant that is `at_ns` after the zero.
    #[must_use]
    pub fn instant(&self, at_ns: u64) -> Instant {
        self.t0 + Duration::from_nanos(at_ns)
    }

    /// The zero in wall time.
    #[must_use]
    pub fn anchor(&self) -> Timestamp {
        self.anchor
    }
}
