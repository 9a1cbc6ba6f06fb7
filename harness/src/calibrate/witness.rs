//! A witness of what the machine does: a thread that has nothing to do but to wake up in time.
//!
//! It keeps the schedule of the load and touches neither target nor generator, so whatever makes it late is
//! the machine. It cannot see everything (another processor may be the busy one), which is why the target's
//! own lateness and the generator's stand beside it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{Builder, JoinHandle},
};

use rustix::{thread::clock_nanosleep_absolute, time::ClockId};

use super::Error;
use crate::{analyze::intervals::Interval, clock::RunClock};

/// Wakes up every so often; what it keeps are the wakes that came late by more than this share of the time
/// between two of them.
const LATE_SHARE: u64 = 2;
/// It is never asked to wake up more often.
const PERIOD_NS_MIN: u64 = 200_000;

#[derive(Debug)]
pub(super) struct Witness {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Interval>>,
}

impl Witness {
    /// Begins at the clock's zero.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(period_ns: u64, clock: RunClock) -> Result<Self, Error> {
        let period_ns = period_ns.max(PERIOD_NS_MIN);
        let over = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&over);
        let thread = Builder::new()
            .name("calibrate-witness".to_owned())
            .spawn(move || watch(period_ns, clock, &asked))
            .map_err(Error::Witness)?;
        Ok(Self { over, thread })
    }

    /// When the machine kept it waiting: from the time at which it was to wake up to the time at which it did.
    ///
    /// # Errors
    /// When it panicked.
    pub(super) fn stop(self) -> Result<Vec<Interval>, Error> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Error::Witness(io::Error::other("its thread panicked")))
    }
}

fn watch(period_ns: u64, clock: RunClock, over: &AtomicBool) -> Vec<Interval> {
    let mut late = Vec::new();
    let mut due_ns = period_ns;
    while !over.load(Ordering::Relaxed) {
        // Woken early by a signal it only looks once more than it has to.
        let _woken = clock_nanosleep_absolute(ClockId::Monotonic, &clock.monotonic(due_ns));
        let woke_ns = clock.now_ns();
        if woke_ns.saturating_sub(due_ns) > period_ns / LATE_SHARE {
            late.push(Interval { from_ns: due_ns, to_ns: woke_ns });
        }
        due_ns = (woke_ns / period_ns + 1) * period_ns;
    }
    late
}
