//! The run's clock: nanoseconds after `t0` on `CLOCK_MONOTONIC`, with one anchor in wall time.
//!
//! This is the only file of the harness that reads a clock for results.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime};

const NS_PER_S: u64 = 1_000_000_000;

/// A monotonic clock with its zero at the start of the load. Copies share the zero.
#[derive(Debug, Clone, Copy)]
pub struct RunClock {
    t0: Instant,
    /// The zero on `CLOCK_MONOTONIC`, in the form that the kernel's timers take.
    t0_monotonic_ns: u64,
    anchor: Timestamp,
}

impl RunClock {
    /// A clock whose zero is `lead` from now, so that every thread can be ready before it.
    #[must_use]
    pub fn starting_in(lead: Duration) -> Self {
        let lead_ns = u64::try_from(lead.as_nanos()).unwrap_or(u64::MAX);
        // In this order: what waits for the kernel's zero must find that `t0` has passed.
        Self {
            t0: Instant::now() + lead,
            t0_monotonic_ns: as_ns(clock_gettime(ClockId::Monotonic)).saturating_add(lead_ns),
            anchor: Timestamp::now() + lead,
        }
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

    /// The point of `CLOCK_MONOTONIC` that is `at_ns` after the zero, for a timer with an absolute time.
    #[must_use]
    pub fn monotonic(&self, at_ns: u64) -> Timespec {
        let ns = self.t0_monotonic_ns.saturating_add(at_ns);
        Timespec {
            tv_sec: i64::try_from(ns / NS_PER_S).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(ns % NS_PER_S).unwrap_or_default(),
        }
    }

    /// What the wall clock shows `at_ns` after the zero, if nobody sets it meanwhile.
    #[must_use]
    pub fn wall(&self, at_ns: u64) -> Timestamp {
        self.anchor + Duration::from_nanos(at_ns)
    }

    /// The zero in wall time.
    #[must_use]
    pub fn anchor(&self) -> Timestamp {
        self.anchor
    }
}

/// Processor time that the calling thread has used, microseconds.
#[must_use]
pub fn thread_cpu_us() -> u64 {
    as_ns(clock_gettime(ClockId::ThreadCPUTime)) / 1_000
}

/// Processor time that all threads of the process have used, microseconds.
#[must_use]
pub fn process_cpu_us() -> u64 {
    as_ns(clock_gettime(ClockId::ProcessCPUTime)) / 1_000
}

fn as_ns(time: Timespec) -> u64 {
    let (seconds, ns) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or_default() * NS_PER_S + ns.unwrap_or_default()
}
