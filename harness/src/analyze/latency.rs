//! Latency in HDR histograms of three significant figures (G. Tene, "How NOT to measure latency").

use hdrhistogram::Histogram;

use super::{
    attribution,
    intervals::{self, Interval},
};
use crate::observe::{Attempt, Background, EventRecord};

/// How long after its end an event still counts as near: as long as it answers for failures.
const NEAR_NS: u64 = attribution::GRACE_NS;

/// Significant decimal figures of every quantile.
const FIGURES: u8 = 3;

/// Latencies of a run, nanoseconds. Attempts of every outcome are included with the times they really
/// took, so a refused connection is a *fast* one: [`ServedWithin`] is the figure that failures worsen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latency {
    pub all: Pair,
    pub served_within: ServedWithin,
    /// Attempts in flight between an event's start and one second after its end.
    pub around_events: Pair,
    /// All others.
    pub quiet: Pair,
    /// In the order of the plan's streams.
    pub by_stream: Vec<Pair>,
}

/// The two clocks of a latency.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pair {
    pub attempts: u64,
    /// From the intended time to the end: what a user feels, the generator's lateness included.
    pub intended: Option<Quantiles>,
    /// From the sending to the end: what the target did.
    pub service: Option<Quantiles>,
}

/// Quantiles of times, nanoseconds; each is the upper end of its histogram's bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantiles {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// The time within which so many of *all* attempts were served, from the intended time; a failed attempt
/// was never served. `None` when fewer were, however long one waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServedWithin {
    pub p50: Option<u64>,
    pub p90: Option<u64>,
    pub p99: Option<u64>,
    pub p999: Option<u64>,
}

/// A histogram that grows with its values, and their exact extremes.
#[derive(Debug, Clone)]
pub struct Times {
    histogram: Histogram<u64>,
    min: u64,
    max: u64,
}

/// The extremes of some values, exact, and their median with three significant figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    pub min: u64,
    pub median: u64,
    pub max: u64,
}

impl Default for Times {
    fn default() -> Self {
        let histogram = Histogram::new(FIGURES).expect("three figures must be a valid precision");
        Self { histogram, min: u64::MAX, max: 0 }
    }
}

impl Times {
    pub fn record(&mut self, time_ns: u64) {
        self.histogram.record(time_ns).expect("a growing histogram must take any value");
        self.min = self.min.min(time_ns);
        self.max = self.max.max(time_ns);
    }

    pub fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("a growing histogram must take any other");
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// `None` of nothing.
    #[must_use]
    pub fn spread(&self) -> Option<Spread> {
        let median = self.histogram.value_at_quantile(0.5).clamp(self.min.min(self.max), self.max);
        (!self.histogram.is_empty()).then_some(Spread { min: self.min, median, max: self.max })
    }

    /// `None` of nothing.
    #[must_use]
    pub fn quantiles(&self) -> Option<Quantiles> {
        let at = |quantile| self.histogram.value_at_quantile(quantile).min(self.max);
        (!self.histogram.is_empty()).then(|| Quantiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.max,
        })
    }

    /// The time that `per_mille` of `whole` values lie within, where the missing ones lie beyond all: the upper
    /// end of its bucket, and no more than `largest`. That must be the largest of the missing ones too, or a
    /// failure that takes the largest value away would better the figure.
    #[must_use]
    pub fn within(&self, per_mille: u64, whole: u64, largest: u64) -> Option<u64> {
        let wanted = u64::try_from((u128::from(whole) * u128::from(per_mille)).div_ceil(1_000)).ok()?;
        let mut counted = 0;
        self.histogram.iter_recorded().find_map(|step| {
            counted += step.count_since_last_iteration();
            (wanted > 0 && counted >= wanted).then(|| step.value_iterated_to().min(largest))
        })
    }
}

/// The value that so many per cent of sorted values do not exceed, by nearest rank; `None` of nothing.
#[must_use]
pub fn nearest_rank(sorted: &[u64], per_cent: usize) -> Option<u64> {
    sorted.get((sorted.len() * per_cent).div_ceil(100).checked_sub(1)?).copied()
}

/// The two clocks of some attempts while they are recorded.
#[derive(Debug, Clone, Default)]
struct Clocks {
    intended: Times,
    service: Times,
}

impl Clocks {
    fn record(&mut self, attempt: &Attempt) {
        self.intended.record(attempt.ended_ns.saturating_sub(attempt.intended_ns));
        self.service.record(attempt.ended_ns.saturating_sub(attempt.sent_ns));
    }

    fn merge(&mut self, other: &Self) {
        self.intended.merge(&other.intended);
        self.service.merge(&other.service);
    }

    fn sum<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Pair {
        let mut sum = Self::default();
        for part in parts {
            sum.merge(part);
        }
        Pair {
            attempts: sum.intended.histogram.len(),
            intended: sum.intended.quantiles(),
            service: sum.service.quantiles(),
        }
    }
}

/// Latencies of some of a run's counted attempts.
#[derive(Debug, Clone)]
pub struct Partial {
    near: Vec<Interval>,
    /// For each stream: near an event, and quiet.
    clocks: Vec<[Clocks; 2]>,
    served: Times,
}

impl Partial {
    #[must_use]
    pub fn new(background: &Background) -> Self {
        let streams = background.plan.load.streams.len();
        let clocks = vec![[Clocks::default(), Clocks::default()]; streams];
        Self { near: near(&background.events), clocks, served: Times::default() }
    }

    /// Takes a counted attempt.
    pub fn add(&mut self, attempt: &Attempt) {
        let number = usize::from(attempt.stream);
        if number >= self.clocks.len() {
            self.clocks.resize(number + 1, [Clocks::default(), Clocks::default()]);
        }
        let is_quiet = usize::from(!is_near(&self.near, attempt));
        self.clocks[number][is_quiet].record(attempt);
        if attempt.ok() {
            self.served.record(attempt.ended_ns.saturating_sub(attempt.intended_ns));
        }
    }

    pub fn merge(&mut self, other: &Self) {
        let streams = self.clocks.len().max(other.clocks.len());
        self.clocks.resize(streams, [Clocks::default(), Clocks::default()]);
        for (own, other) in self.clocks.iter_mut().flatten().zip(other.clocks.iter().flatten()) {
            own.merge(other);
        }
        self.served.merge(&other.served);
    }

    #[must_use]
    pub fn finish(&self) -> Latency {
        let all = Clocks::sum(self.clocks.iter().flatten());
        let largest = all.intended.map_or(0, |quantiles| quantiles.max);
        let within = |per_mille| self.served.within(per_mille, all.attempts, largest);
        Latency {
            served_within: ServedWithin {
                p50: within(500),
                p90: within(900),
                p99: within(990),
                p999: within(999),
            },
            all,
            around_events: Clocks::sum(self.clocks.iter().map(|[near, _]| near)),
            quiet: Clocks::sum(self.clocks.iter().map(|[_, quiet]| quiet)),
            by_stream: self.clocks.iter().map(Clocks::sum).collect(),
        }
    }
}

/// The time near events.
fn near(events: &[EventRecord]) -> Vec<Interval> {
    let widened = events.iter().map(|event| {
        let Interval { from_ns, to_ns } = attribution::interval(event);
        Interval { from_ns, to_ns: to_ns.saturating_add(NEAR_NS) }
    });
    intervals::union(widened.collect())
}

/// Whether an attempt was under way near an event.
fn is_near(near: &[Interval], attempt: &Attempt) -> bool {
    let first_that_ends_later = near.partition_point(|interval| interval.to_ns < attempt.intended_ns);
    near.get(first_that_ends_later).is_some_and(|interval| interval.from_ns <= attempt.ended_ns)
}

#[cfg(test)]
mod tests {
    use super::{Spread, Times};
    use crate::{
        analyze::{
            analyze,
            fixture::{Log, MS, upgrade},
        },
        observe::Cause,
    };

    #[test]
    fn failures_count_with_their_own_time_but_are_never_served() {
        let mut log = Log::new();
        for number in 0..99 {
            log.good(number * 10, number * 10 + 2);
        }
        log.bad(990, 990, Cause::Refused);
        let latency = analyze(&log.finish()).latency;
        assert_eq!(latency.all.attempts, 100);
        let intended = latency.all.intended.expect("there are attempts");
        assert_eq!((intended.p50, intended.max), (2 * MS, 2 * MS));
        assert_eq!(latency.served_within.p99, Some(2 * MS));
        assert_eq!(latency.served_within.p999, None);
    }

    #[test]
    fn latency_counts_from_the_intended_time_and_near_events_apart() {
        let mut log = Log::new();
        log.good(0, 1).late_by(7);
        log.good(2_000, 2_050);
        log.good(2_999, 3_060);
        log.good(5_000, 5_002);
        log.event(upgrade(1, 2_010, 2_020));
        let latency = analyze(&log.finish()).latency;
        assert_eq!((latency.around_events.attempts, latency.quiet.attempts), (2, 2));
        let (intended, service) = (latency.quiet.intended.unwrap(), latency.quiet.service.unwrap());
        assert_eq!((intended.max, service.max), (8 * MS, 2 * MS));
    }

    #[test]
    fn quantiles_of_nothing_are_nothing() {
        assert_eq!(Times::default().quantiles(), None);
        assert_eq!(Times::default().within(990, 0, 0), None);
        assert_eq!(Times::default().spread(), None);
    }

    #[test]
    fn a_spread_has_exact_extremes() {
        let mut times = Times::default();
        for time_ns in [1_234_567, 5_000, 9_999_999] {
            times.record(time_ns);
        }
        let Spread { min, median, max } = times.spread().expect("there are values");
        assert_eq!((min, max), (5_000, 9_999_999));
        assert!(median.abs_diff(1_234_567) < 1_235, "{median}");
    }
}
