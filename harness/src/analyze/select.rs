//! Which attempts count, and over which time.
//!
//! Left out of every figure are the warm-up (intended before it ended; counted beside) and attempts that
//! failed by the harness's own fault: those never reached the target, so they say nothing about it.

use crate::observe::{Attempt, Blame, Observations};

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

    /// Attempts per second of the time in which attempts were sent; 0 when there was none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts and times stay below 2^53")]
    pub fn rate(&self, attempts: usize) -> f64 {
        match self.sending_to_ns.saturating_sub(self.from_ns) {
            0 => 0.0,
            sending_ns => attempts as f64 / (sending_ns as f64 / 1e9),
        }
    }
}

/// Indices into the log, by stream and by what became of the attempt.
#[derive(Debug)]
pub struct Selection {
    /// In the order of the plan's streams; a stream that only the log knows is appended.
    pub streams: Vec<StreamSelection>,
}

/// The counted attempts of one stream.
#[derive(Debug, Default)]
pub struct StreamSelection {
    pub good: Vec<u32>,
    pub bad: Vec<u32>,
    /// Good or bad, ended more than the plan's `slow_ns` after the intended time.
    pub late: Vec<u32>,
    /// Good and bad together.
    pub sent: usize,
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

/// Sorts the counted attempts into their streams and finds the measured time.
#[must_use]
pub fn select(observations: &Observations) -> (Selection, Span) {
    let load = &observations.plan.load;
    let mut streams: Vec<StreamSelection> = Vec::new();
    streams.resize_with(load.streams.len(), StreamSelection::default);
    let (mut ended_last_ns, mut intended_last_ns) = (load.warmup_ns, load.warmup_ns);
    for (index, attempt) in (0_u32..).zip(&observations.attempts) {
        if !counts(attempt, load.warmup_ns) {
            continue;
        }
        let number = usize::from(attempt.stream);
        if number >= streams.len() {
            streams.resize_with(number + 1, StreamSelection::default);
        }
        let stream = &mut streams[number];
        stream.sent += 1;
        let kind = if attempt.ok() { &mut stream.good } else { &mut stream.bad };
        kind.push(index);
        if attempt.ended_ns.saturating_sub(attempt.intended_ns) > load.slow_ns {
            stream.late.push(index);
        }
        ended_last_ns = ended_last_ns.max(attempt.ended_ns);
        intended_last_ns = intended_last_ns.max(attempt.intended_ns);
    }
    let sending_to_ns = if observations.instrument.interrupted {
        intended_last_ns
    } else {
        load.duration_ns.max(load.warmup_ns)
    };
    let span = Span { from_ns: load.warmup_ns, to_ns: sending_to_ns.max(ended_last_ns), sending_to_ns };
    (Selection { streams }, span)
}
