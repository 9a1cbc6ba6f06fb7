//! Windows without service, with bounds that the log proves.
//!
//! # What an attempt proves
//! A good attempt proves that the service worked at some moment between its sending and its end; a failed
//! one that it did not, at some moment in the same interval. Nothing is known about which moment.
//!
//! # Upper bound
//! Let an outage have hurt the failed attempt `z`. A good attempt that was over when `z` was sent has its
//! working moment before the outage, so the outage began after that attempt's *sending*; the latest such
//! sending, `before(z)`, is the earliest possible beginning. In the same way the outage was over by
//! `after(z)`, the earliest *end* of a good attempt that was sent when `z` had ended. So no outage that
//! explains `z` reaches beyond `[before(z), after(z)]`, and the union of these intervals over all failed
//! attempts holds every outage that the log knows of. Its measure is the upper bound. Where no good
//! attempt lies before or after, the interval reaches to the border of the measured span and the window
//! is marked open. The intervals of two failures with a single good attempt between them overlap, so a
//! window closes only after two in a row; [`RECOVERED_AFTER`] asks for a few more.
//!
//! # Lower bound
//! Between the end of a failed attempt `y` and the sending of a failed attempt `z` the service is taken to
//! have been down throughout, when no good attempt lies wholly between them. (That is the one assumption:
//! a service that worked in that time and answered nobody is counted as down.) The union of `[y.ended,
//! z.sent]` over all such pairs has the lower bound as its measure; a single failure proves no duration.
//!
//! # Why unions
//! Both bounds are measures of unions over attempts, or over pairs of them, where a good attempt can only
//! take members away. So one failure more, or a success turned into a failure, never shortens a bound, and
//! the order of the log plays no part. The totals over all streams are unions too: the time in which at
//! least one stream was without service.
//!
//! # Brownouts
//! An attempt whose end came more than the plan's `slow_ns` after its intended time, whatever became of
//! it, kept its client waiting from the intended time to the end. The union of these is the brownout time;
//! it may overlap hard windows. The longest single wait is the window's lower bound.

mod attributed;
mod brownout;
mod detect;
mod hard;

use crate::{
    analyze::{
        attribution::Attribution,
        intervals::{self, Interval},
        select::Span,
    },
    observe::{Attempt, Background},
    plan::{Arrival, LoadPlan, lowest_share},
};

pub use attributed::Attributed;

pub use detect::DETECTION;
pub use hard::RECOVERED_AFTER;

/// Downtime of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downtime {
    /// Over all streams: the time in which at least one was down.
    pub hard: Bounds,
    /// Over all streams: the time in which at least one attempt waited longer than the limit.
    pub brownout_ns: u64,
    /// The shortest outage of all streams at once that the load would have met, see [`DETECTION`];
    /// `None` when nothing was sent but by closed loops.
    pub min_detectable_ns: Option<u64>,
    /// Over all streams, in order of time, hard ones first.
    pub windows: Vec<Window>,
    /// For each event the upper bounds of all hard windows with a failure in its time, in the order of the
    /// observations. A window that several events may have caused belongs to the first of them and is
    /// possible for each.
    pub possible_ns: Vec<u64>,
    /// In the order of the plan's streams.
    pub streams: Vec<StreamDowntime>,
}

/// What the windows are made of: some of a run's counted attempts, by stream and by what became of them.
#[derive(Debug, Clone, Default)]
pub struct Outages {
    /// In the order of the plan's streams; a stream that only the log knows is appended.
    streams: Vec<StreamOutages>,
}

/// Sixteen bytes for each attempt.
#[derive(Debug, Clone, Default)]
struct StreamOutages {
    /// From the sending to the end.
    good: Vec<Interval>,
    /// From the sending to the end.
    bad: Vec<Interval>,
    /// From the intended time to the end of those, good or bad, that took longer than the plan's `slow_ns`.
    late: Vec<Interval>,
}

impl Outages {
    #[must_use]
    pub fn new(load: &LoadPlan) -> Self {
        Self { streams: vec![StreamOutages::default(); load.streams.len()] }
    }

    /// Takes a counted attempt.
    pub fn add(&mut self, attempt: &Attempt, slow_ns: u64) {
        let number = usize::from(attempt.stream);
        if number >= self.streams.len() {
            self.streams.resize_with(number + 1, StreamOutages::default);
        }
        let stream = &mut self.streams[number];
        let kind = if attempt.ok() { &mut stream.good } else { &mut stream.bad };
        kind.push(Interval { from_ns: attempt.sent_ns, to_ns: attempt.ended_ns });
        if attempt.ended_ns.saturating_sub(attempt.intended_ns) > slow_ns {
            stream.late.push(Interval { from_ns: attempt.intended_ns, to_ns: attempt.ended_ns });
        }
    }

    /// These without some of the failed ones, given by their stream, sending and end.
    #[must_use]
    pub fn without(&self, mut failed: Vec<(u16, Interval)>) -> Self {
        failed.sort_unstable();
        let mut left = self.clone();
        for (number, stream) in (0_u16..).zip(&mut left.streams) {
            stream.bad.sort_unstable();
            let mut gone = failed.iter().filter(|(of, _)| *of == number).peekable();
            stream.bad.retain(|bad| gone.next_if(|(_, when)| when == bad).is_none());
        }
        left
    }

    pub fn merge(&mut self, other: Self) {
        let streams = self.streams.len().max(other.streams.len());
        self.streams.resize_with(streams, StreamOutages::default);
        for (own, other) in self.streams.iter_mut().zip(other.streams) {
            own.good.extend(other.good);
            own.bad.extend(other.bad);
            own.late.extend(other.late);
        }
    }
}

impl Downtime {
    /// The upper bound of hard downtime before a time.
    #[must_use]
    pub fn hard_upper_until(&self, to_ns: u64) -> u64 {
        let hard = self.windows.iter().filter(|window| window.kind == WindowKind::Hard);
        hard.map(|window| window.interval.to_ns.min(to_ns).saturating_sub(window.interval.from_ns)).sum()
    }

    /// Index of the event that answers for the last hard window that `what` meets.
    #[must_use]
    pub fn event_of(&self, what: Interval) -> Option<usize> {
        let brownouts = self.windows.partition_point(|window| window.kind == WindowKind::Hard);
        let hard = self.windows.get(..brownouts)?;
        let begun = hard.partition_point(|window| window.interval.from_ns <= what.to_ns);
        let window = hard.get(begun.checked_sub(1)?)?;
        window.event.filter(|_| what.from_ns <= window.interval.to_ns)
    }

    /// Sums of the hard windows that belong to each of so many events.
    #[must_use]
    pub fn by_event(&self, events: usize) -> Vec<Bounds> {
        let mut sums = vec![Bounds::default(); events];
        for window in self.windows.iter().filter(|window| window.kind == WindowKind::Hard) {
            if let Some(event) = window.event {
                sums[event].lower_ns += window.bounds.lower_ns;
                sums[event].upper_ns += window.bounds.upper_ns;
            }
        }
        sums
    }
}

/// Downtime as one stream saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamDowntime {
    pub hard: Bounds,
    pub brownout_ns: u64,
    pub min_detectable_ns: Option<u64>,
    pub windows: Vec<Window>,
}

/// What is certain and what is possible.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    pub lower_ns: u64,
    pub upper_ns: u64,
}

/// One interval without service, or with slow service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub kind: WindowKind,
    /// The earliest possible beginning and the latest possible end.
    pub interval: Interval,
    pub bounds: Bounds,
    /// Failed attempts in a hard window, late ones in a brownout.
    pub attempts: u64,
    /// How often a good attempt proves a working moment between two failures of the window.
    pub flaps: u64,
    /// Index of the event that answers for its first attributed attempt.
    pub event: Option<usize>,
    /// No good attempt came before it: it may have begun before the measuring did.
    pub open_start: bool,
    /// No good attempt came after it: it had not ended when the measuring did.
    pub open_end: bool,
    /// Indices of the streams that saw it, in order.
    pub streams: Vec<u16>,
}

/// What a stream's failures are set against.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    /// Index of the stream.
    number: u16,
    span: Span,
    attribution: &'a Attribution,
}

/// What was missing in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WindowKind {
    /// Failures.
    Hard,
    /// Answers, but later than the plan's limit.
    Brownout,
}

/// Finds the windows of each stream and of all together, and the events that failures belong to.
#[must_use]
pub fn measure(
    background: &Background,
    outages: Outages,
    span: Span,
    attribution: &Attribution,
) -> (Downtime, Attributed) {
    // An outage may come when the stages are at their lowest.
    let lowest_share = lowest_share(&background.plan.load.stages, span.from_ns, span.sending_to_ns);
    let mut streams = Vec::with_capacity(outages.streams.len());
    let mut cores = Vec::new();
    let mut probes = Vec::new();
    let mut failed = Vec::new();
    for (number, StreamOutages { good, mut bad, late }) in (0_u16..).zip(outages.streams) {
        let arrival = background.plan.load.streams.get(usize::from(number)).map(|plan| plan.arrival);
        // Whether a closed loop sends at all in an outage depends on the outage.
        let probe = (arrival != Some(Arrival::Closed) && !(good.is_empty() && bad.is_empty()))
            .then(|| (span.rate(good.len()) * lowest_share, arrival));
        let late = brownout::measure(late, number, attribution);
        let hard = hard::measure(good, &mut bad, Place { number, span, attribution });
        streams.push(StreamDowntime {
            hard: total(&hard.windows),
            brownout_ns: total(&late).upper_ns,
            min_detectable_ns: probe.map(|probe| detect::min_detectable_ns(&[probe], span)),
            windows: hard.windows.into_iter().chain(late).collect(),
        });
        cores.extend(hard.cores);
        probes.extend(probe);
        failed.push(bad);
    }
    let cores = intervals::union(cores);
    let of_kind = |kind| over_streams(&streams, kind, &cores);
    let (hard, late) = (of_kind(WindowKind::Hard), of_kind(WindowKind::Brownout));
    let mut attributed = Attributed::new(background.events.len());
    for failed in failed {
        attributed.add(&failed, &hard, attribution);
    }
    let downtime = Downtime {
        hard: total(&hard),
        brownout_ns: total(&late).upper_ns,
        min_detectable_ns: (!probes.is_empty()).then(|| detect::min_detectable_ns(&probes, span)),
        possible_ns: attributed.possible_ns(&hard),
        windows: hard.into_iter().chain(late).collect(),
        streams,
    };
    (downtime, attributed)
}

/// The windows of one kind over all streams: those that overlap are one.
fn over_streams(streams: &[StreamDowntime], kind: WindowKind, cores: &[Interval]) -> Vec<Window> {
    let mut parts: Vec<&Window> =
        streams.iter().flat_map(|stream| &stream.windows).filter(|window| window.kind == kind).collect();
    parts.sort_by_key(|window| (window.interval, window.streams.first().copied()));
    let mut windows: Vec<Window> = Vec::new();
    for part in parts {
        match windows.last_mut() {
            Some(window) if part.interval.from_ns <= window.interval.to_ns => window.join(part),
            _ => windows.push(part.clone()),
        }
    }
    for window in &mut windows {
        window.bounds.upper_ns = window.interval.length_ns();
        if kind == WindowKind::Hard {
            window.bounds.lower_ns = hard::core_ns(cores, window.interval);
        }
        window.streams.sort_unstable();
        window.streams.dedup();
    }
    windows
}

impl Window {
    /// Takes in another window of the same kind that overlaps this one and begins no earlier.
    fn join(&mut self, other: &Self) {
        self.interval.to_ns = self.interval.to_ns.max(other.interval.to_ns);
        self.bounds.lower_ns = self.bounds.lower_ns.max(other.bounds.lower_ns);
        self.attempts += other.attempts;
        self.flaps += other.flaps;
        self.event = self.event.or(other.event);
        self.open_start |= other.open_start;
        self.open_end |= other.open_end;
        self.streams.extend(&other.streams);
    }
}

/// The sums over windows that do not overlap.
fn total(windows: &[Window]) -> Bounds {
    windows.iter().fold(Bounds::default(), |sum, window| Bounds {
        lower_ns: sum.lower_ns + window.bounds.lower_ns,
        upper_ns: sum.upper_ns + window.bounds.upper_ns,
    })
}

#[cfg(test)]
mod tests;
