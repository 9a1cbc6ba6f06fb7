//! Availability by several definitions side by side: they differ by orders of magnitude.

use super::{binomial, counts::Requests, downtime::Downtime, select::Span};
use crate::observe::EventRecord;

/// Availability of the target in the measured time. Fractions are kept as their two whole numbers, so
/// that nothing is rounded before the report is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Availability {
    /// Attempts answered as asked for, of all.
    pub by_request: Fraction,
    /// Nanoseconds outside the upper bounds of all hard windows, of the time in which attempts were sent:
    /// what the last ones waited for after that would only lengthen the time.
    pub by_time: Fraction,
    /// The same with the lower bounds: no truth is better.
    pub by_time_at_best: Fraction,
    /// As `by_request`, with one retry where HTTP permits it, see [`super::retry`].
    pub after_safe_retry: Fraction,
    pub per_request: Trials,
    pub per_event: Trials,
}

/// A part of a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fraction {
    pub part: u64,
    pub whole: u64,
}

impl Fraction {
    /// `None` of nothing.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts and times stay below 2^53")]
    pub fn value(&self) -> Option<f64> {
        (self.whole > 0).then(|| self.part as f64 / self.whole as f64)
    }
}

/// Trials, the bad ones among them, and how bad the truth can be.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Trials {
    pub trials: u64,
    pub bad: u64,
    /// The one-sided 95 % upper bound of the rate of bad ones; `None` without a trial.
    pub upper_bound_95: Option<f64>,
}

impl Trials {
    fn new(bad: u64, trials: u64) -> Self {
        Self { trials, bad, upper_bound_95: binomial::upper_bound_95(bad, trials) }
    }
}

/// Availability by all definitions, and what the counts say about the truth.
///
/// Losses come in clusters, so the trial that counts is the event, not the request: a million good
/// requests around a single swap say little about the next one.
#[must_use]
pub fn measure(
    events: &[EventRecord],
    requests: &Requests,
    downtime: &Downtime,
    span: Span,
    rescued: u64,
) -> Availability {
    let Requests { all, by_event, .. } = requests;
    // Time in which nothing was asked is not uptime.
    let measured_ns = if all.total == 0 { 0 } else { span.sending_ns() };
    let up = |down_ns: u64| Fraction { part: measured_ns.saturating_sub(down_ns), whole: measured_ns };
    let down_ns = downtime.hard_upper_until(span.sending_to_ns);
    let trials = trials(events);
    let bad = trials.iter().filter(|&&index| by_event[index] > 0 || !events[index].as_expected);
    Availability {
        by_request: Fraction { part: all.ok(), whole: all.total },
        by_time: up(down_ns),
        by_time_at_best: up(downtime.hard.lower_ns.min(down_ns)),
        after_safe_retry: Fraction { part: all.ok() + rescued, whole: all.total },
        per_request: Trials::new(all.failed, all.total),
        per_event: Trials::new(bad.count() as u64, trials.len() as u64),
    }
}

/// Indices of the events that count as trials: the upgrades, or every event of a run that has none.
#[must_use]
pub fn trials(events: &[EventRecord]) -> Vec<usize> {
    let of_kind = |wanted: &dyn Fn(&EventRecord) -> bool| -> Vec<usize> {
        (0..events.len()).filter(|&index| wanted(&events[index])).collect()
    };
    let upgrades = of_kind(&|event| event.kind == "upgrade");
    if upgrades.is_empty() { of_kind(&|_| true) } else { upgrades }
}

#[cfg(test)]
mod tests;
