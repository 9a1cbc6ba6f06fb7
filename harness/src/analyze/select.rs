//! Which attempts count, and over which time.
//!
//! Left out of every figure are the warm-up (intended before it ended; counted beside) and attempts that
//! failed by the harness's own fault: those never reached the target, so they say nothing about it.

use crate::{
    observe::{Attempt, Blame},
    plan::LoadPlan,
};

/// The measured time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The end of the warm-up.
    pub from_ns: u64,
    /// The end of the load or of the last counted attempt, whichever is later.
    pub to_ns: u64,
    /// The end of sending: the planned one, or the last counted intended time of an interrupted run.
    pub sending_to_ns: u64,
}

impl Span {
    #[must_use]
    pub fn length_ns(&self) -> u64 {
        self.to_ns.saturating_sub(self.from_ns)
    }

    /// The time in which attempts were sent.
    #[must_use]
    pub fn sending_ns(&self) -> u64 {
        self.sending_to_ns.saturating_sub(self.from_ns)
    }

    /// Attempts per second of the time in which attempts were sent; 0 when there was none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts and times stay below 2^53")]
    pub fn rate(&self, attempts: usize) -> f64 {
        match self.sending_ns() {
            0 => 0.0,
            sending_ns => attempts as f64 / (sending_ns as f64 / 1e9),
        }
    }
}

/// How far the counted attempts reach.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    ended_last_ns: u64,
    intended_last_ns: u64,
}

impl Reach {
    #[must_use]
    pub fn new(load: &LoadPlan) -> Self {
        Self { ended_last_ns: load.warmup_ns, intended_last_ns: load.warmup_ns }
    }

    /// Takes a counted attempt.
    pub fn add(&mut self, attempt: &Attempt) {
        self.ended_last_ns = self.ended_last_ns.max(attempt.ended_ns);
        self.intended_last_ns = self.intended_last_ns.max(attempt.intended_ns);
    }

    pub fn merge(&mut self, other: &Self) {
        self.ended_last_ns = self.ended_last_ns.max(other.ended_last_ns);
        self.intended_last_ns = self.intended_last_ns.max(other.intended_last_ns);
    }

    /// The measured time.
    #[must_use]
    pub fn span(&self, load: &LoadPlan, interrupted: bool) -> Span {
        let sending_to_ns =
            if interrupted { self.intended_last_ns } else { load.duration_ns.max(load.warmup_ns) };
        Span { from_ns: load.warmup_ns, to_ns: sending_to_ns.max(self.ended_last_ns), sending_to_ns }
    }
}

/// Whether an attempt belongs to the figures.
#[must_use]
pub fn counts(attempt: &Attempt, warmup_ns: u64) -> bool {
    attempt.intended_ns >= warmup_ns && was_sent(attempt)
}

/// Whether an attempt reached the target, or the network on the way to it.
#[must_use]
pub fn was_sent(attempt: &Attempt) -> bool {
    attempt.cause.blame() != Blame::Harness
}
