//! Hard windows of one stream: the argument is in the parent's documentation.
//!
//! Works on intervals that are sorted once; time is linear after that.

use std::cmp::Reverse;

use super::{Bounds, Place, Window, WindowKind};
use crate::analyze::intervals::{self, Interval, partition_near};

/// Good attempts, one after the other, that a window needs behind it before the next failure counts as a
/// window of its own; with fewer the two are one that flapped. Two are needed to tell them apart at all,
/// and in a service that fails every other attempt at random five good ones in a row are rarer than 1 in
/// 32: such a service is one long window, not many short ones.
pub const RECOVERED_AFTER: usize = 5;

/// What one stream knows of outages.
#[derive(Debug)]
pub(super) struct Hard {
    pub(super) windows: Vec<Window>,
    /// Where the service is certain to have been down, a union in order.
    pub(super) cores: Vec<Interval>,
}

/// Finds the hard windows of one stream from its good and its failed attempts, each from its sending to its
/// end. Leaves the failed ones sorted.
pub(super) fn measure(good: Vec<Interval>, bad: &mut [Interval], place: Place<'_>) -> Hard {
    if bad.is_empty() {
        return Hard { windows: Vec::new(), cores: Vec::new() };
    }
    let mut evidence = Evidence::new(good);
    bad.sort_unstable();

    let mut windows: Vec<Window> = Vec::new();
    // The earliest end among the failures since the last proof of a working moment.
    let mut ended_first_ns = u64::MAX;
    for &failed in bad.iter() {
        let (before, after) = (evidence.before(failed), evidence.after(failed));
        // `before` never falls from one failure to the next, so the windows come in order.
        let from_ns = before.unwrap_or_else(|| place.span.from_ns.min(failed.from_ns));
        let interval = Interval { from_ns, to_ns: after.unwrap_or(place.span.to_ns) };
        let flapped = before.is_some_and(|sent_ns| sent_ns >= ended_first_ns);
        ended_first_ns = if flapped { failed.to_ns } else { ended_first_ns.min(failed.to_ns) };
        let next = Window {
            kind: WindowKind::Hard,
            interval,
            bounds: Bounds::default(),
            attempts: 1,
            flaps: 0,
            event: place.attribution.event(failed),
            open_start: before.is_none(),
            open_end: after.is_none(),
            streams: Vec::new(),
        };
        match windows.last_mut() {
            Some(window) if !evidence.recovered(window.interval.to_ns, from_ns) => {
                window.flaps += u64::from(flapped);
                window.join(&next);
            }
            _ => windows.push(Window { streams: vec![place.number], ..next }),
        }
    }

    let cores = cores(&mut evidence, bad);
    for window in &mut windows {
        window.bounds =
            Bounds { lower_ns: core_ns(&cores, window.interval), upper_ns: window.interval.length_ns() };
    }
    Hard { windows, cores }
}

/// How much of the cores lies in a window. A core never crosses a window's border.
pub(super) fn core_ns(cores: &[Interval], window: Interval) -> u64 {
    let first = cores.partition_point(|core| core.from_ns < window.from_ns);
    let end = cores.partition_point(|core| core.from_ns <= window.to_ns);
    intervals::measure_ns(&cores[first..end.max(first)])
}

/// The union of `[y.ended, z.sent]` over failed attempts without a good one wholly between them.
fn cores(evidence: &mut Evidence, by_sent: &[Interval]) -> Vec<Interval> {
    let mut by_ended: Vec<u64> = by_sent.iter().map(|failed| failed.to_ns).collect();
    by_ended.sort_unstable();
    let mut earliest = by_ended.into_iter().peekable();
    let mut cores: Vec<Interval> = Vec::new();
    for &failed in by_sent {
        // For each `z` the longest core reaches back to the first `y` that ended after `before(z)`.
        if let Some(before_ns) = evidence.before(failed) {
            while earliest.next_if(|&ended_ns| ended_ns <= before_ns).is_some() {}
        }
        let Some(&from_ns) = earliest.peek() else { break };
        if from_ns >= failed.from_ns {
            continue;
        }
        match cores.last_mut() {
            Some(core) if from_ns <= core.to_ns => core.to_ns = core.to_ns.max(failed.from_ns),
            _ => cores.push(Interval { from_ns, to_ns: failed.from_ns }),
        }
    }
    cores
}

/// The good attempts that prove something.
struct Evidence {
    /// In order of sending and of ending at once: none encloses another.
    innermost: Vec<Interval>,
    /// Where the last searches by end and by sending came out. The next one is not far from there.
    ended: usize,
    sent: usize,
}

impl Evidence {
    /// Drops every good attempt that encloses another one: the inner one says more about when the service
    /// worked, before and after.
    fn new(mut good: Vec<Interval>) -> Self {
        good.sort_unstable_by_key(|attempt| (attempt.to_ns, Reverse(attempt.from_ns)));
        let mut sent_last_ns = None;
        good.retain(|attempt| {
            let inner = sent_last_ns.is_none_or(|last| attempt.from_ns > last);
            if inner {
                sent_last_ns = Some(attempt.from_ns);
            }
            inner
        });
        Self { innermost: good, ended: 0, sent: 0 }
    }

    /// Number of good attempts that had ended by a time.
    fn ended_by(&mut self, at_ns: u64) -> usize {
        self.ended = partition_near(&self.innermost, self.ended, |attempt| attempt.to_ns <= at_ns);
        self.ended
    }

    /// Number of good attempts that had been sent before a time.
    fn sent_before(&mut self, at_ns: u64) -> usize {
        self.sent = partition_near(&self.innermost, self.sent, |attempt| attempt.from_ns < at_ns);
        self.sent
    }

    /// The earliest beginning of an outage that explains a failure, if any good attempt tells.
    fn before(&mut self, failed: Interval) -> Option<u64> {
        let last = self.ended_by(failed.from_ns).checked_sub(1)?;
        self.innermost.get(last).map(|good| good.from_ns)
    }

    /// The latest end of an outage that explains a failure, if any good attempt tells.
    fn after(&mut self, failed: Interval) -> Option<u64> {
        let first = self.sent_before(failed.to_ns);
        self.innermost.get(first).map(|good| good.to_ns)
    }

    /// Whether enough good attempts separate a window that ends at `to_ns` from a failure whose interval
    /// begins at `from_ns`. The two attempts that set these borders count, hence the `2`.
    fn recovered(&mut self, to_ns: u64, from_ns: u64) -> bool {
        if from_ns <= to_ns {
            return false;
        }
        let between = self.ended_by(from_ns).saturating_sub(self.sent_before(to_ns));
        between + 2 >= RECOVERED_AFTER
    }
}
