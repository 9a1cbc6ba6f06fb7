//! Availability by several definitions side by side: they differ by orders of magnitude.

use super::{
    binomial,
    counts::Requests,
    downtime::Downtime,
    select::{self, Span},
};
use crate::{
    observe::{Attempt, Cause, EventRecord, Observations, Phase},
    plan::{Op, Plan},
};

/// Availability of the target in the measured time. Fractions are kept as their two whole numbers, so
/// that nothing is rounded before the report is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Availability {
    /// Attempts answered as asked for, of all.
    pub by_request: Fraction,
    /// Nanoseconds outside the upper bounds of all hard windows, of the measured time.
    pub by_time: Fraction,
    /// As `by_request`, with the retries that HTTP permits, see [`after_safe_retry`].
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
    observations: &Observations,
    requests: &Requests,
    downtime: &Downtime,
    span: Span,
) -> Availability {
    let Requests { all, by_event, .. } = requests;
    let rescued = after_safe_retry(&observations.plan, &observations.attempts);
    let up_ns = span.length_ns().saturating_sub(downtime.hard.upper_ns);
    // Time in which nothing was asked is not uptime.
    let measured_ns = if all.total == 0 { 0 } else { span.length_ns() };
    let trials = trials(&observations.events);
    let bad = trials.iter().filter(|&&index| {
        let event = &observations.events[index];
        by_event[index] > 0 || !event.as_expected
    });
    Availability {
        by_request: Fraction { part: all.ok(), whole: all.total },
        by_time: Fraction { part: up_ns.min(measured_ns), whole: measured_ns },
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

/// How many failed attempts one immediate retry would have saved.
///
/// A retry is permitted where HTTP lets a client repeat a request by itself: the request was never
/// written (no connection could be made), or its method is idempotent and a connection that had served
/// before closed without a byte of the answer (RFC 9110, 9.2.2; RFC 9112, 9.3.1). A buying request is
/// neither. A timeout is not repeated: nothing says that the first one is over.
///
/// Whether the retry would have been served is read from the log, not assumed: it meets the fate of the
/// next attempt that was sent on a fresh connection, in any stream (of the next one at all, when the whole
/// log has no fresh one; without a next one it fails). So nobody is rescued in the middle of an outage.
fn after_safe_retry(plan: &Plan, attempts: &[Attempt]) -> u64 {
    let warmup_ns = plan.load.warmup_ns;
    let permitted = |attempt: &&Attempt| select::counts(attempt, warmup_ns) && may_retry(plan, attempt);
    let mut ended: Vec<u64> = attempts.iter().filter(permitted).map(|attempt| attempt.ended_ns).collect();
    if ended.is_empty() {
        return 0;
    }
    ended.sort_unstable();
    let witnesses = |fresh: bool| -> Vec<u32> {
        (0_u32..)
            .zip(attempts)
            .filter(|(_, attempt)| select::was_sent(attempt) && (!fresh || !attempt.reused()))
            .map(|(index, _)| index)
            .collect()
    };
    let mut by_sent = witnesses(true);
    if by_sent.is_empty() {
        by_sent = witnesses(false);
    }
    // Of several sent in the same nanosecond a failed one comes first: the doubt counts against us.
    by_sent.sort_unstable_by_key(|&index| {
        let attempt = &attempts[index as usize];
        (attempt.sent_ns, attempt.ok())
    });
    let mut next = by_sent.into_iter().map(|index| &attempts[index as usize]).peekable();
    let mut rescued = 0;
    for ended_ns in ended {
        while next.next_if(|witness| witness.sent_ns < ended_ns).is_some() {}
        rescued += u64::from(next.peek().is_some_and(|witness| witness.ok()));
    }
    rescued
}

/// Whether HTTP permits a client to repeat a failed attempt by itself.
fn may_retry(plan: &Plan, attempt: &Attempt) -> bool {
    match attempt.phase {
        Phase::Resolve | Phase::Connect | Phase::Tls => true,
        Phase::Write | Phase::Wait => {
            attempt.reused()
                && attempt.first_byte_ns == 0
                && matches!(attempt.cause, Cause::Reset | Cause::Eof)
                && is_idempotent(plan, attempt)
        }
        Phase::Done | Phase::Send | Phase::Body | Phase::Validate => false,
    }
}

/// The idempotent methods are those of RFC 9110, 9.2.2.
fn is_idempotent(plan: &Plan, attempt: &Attempt) -> bool {
    let stream = plan.load.streams.get(usize::from(attempt.stream));
    let request = stream.and_then(|stream| stream.requests.get(usize::from(attempt.request)));
    match request.map(|request| &request.op) {
        Some(Op::List | Op::Info | Op::Long | Op::Order) => true,
        Some(Op::Http { method, .. }) => {
            matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
        }
        Some(Op::Buy) | None => false,
    }
}

#[cfg(test)]
mod tests;
