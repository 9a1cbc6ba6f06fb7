//! Hard windows of one stream: the argument is in the parent's documentation.
//!
//! Works on indices into the log, sorted once; time is linear after that but for binary searches.

use super::{Bounds, Place, Window, WindowKind};
use crate::{
    analyze::intervals::{self, Interval},
    observe::Attempt,
};

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

/// Finds the hard windows of one stream from the indices of its good and its failed attempts.
pub(super) fn measure(attempts: &[Attempt], good: Vec<u32>, bad: Vec<u32>, place: Place<'_>) -> Hard {
    if bad.is_empty() {
        return Hard { windows: Vec::new(), cores: Vec::new() };
    }
    let at = |index: u32| &attempts[index as usize];
    let evidence = Evidence { attempts, innermost: innermost(attempts, good) };
    let mut by_sent = bad;
    by_sent.sort_unstable_by_key(|&index| (at(index).sent_ns, at(index).ended_ns, at(index).id));

    let mut windows: Vec<Window> = Vec::new();
    // The earliest end among the failures since the last proof of a working moment.
    let mut ended_first_ns = u64::MAX;
    for &index in &by_sent {
        let bad = at(index);
        let (before, after) = (evidence.before(bad), evidence.after(bad));
        // `before` never falls from one failure to the next, so the windows come in order.
        let from_ns = before.unwrap_or_else(|| place.span.from_ns.min(bad.sent_ns));
        let interval = Interval { from_ns, to_ns: after.unwrap_or(place.span.to_ns) };
        let flapped = before.is_some_and(|sent_ns| sent_ns >= ended_first_ns);
        ended_first_ns = if flapped { bad.ended_ns } else { ended_first_ns.min(bad.ended_ns) };
        let event = place.attribution.event(Interval { from_ns: bad.sent_ns, to_ns: bad.ended_ns });
        let next = Window {
            kind: WindowKind::Hard,
            interval,
            bounds: Bounds::default(),
            attempts: 1,
            flaps: 0,
            event,
            open_start: before.is_none(),
            open_end: after.is_none(),
            streams: vec![place.number],
        };
        match windows.last_mut() {
            Some(window) if !evidence.recovered(window.interval.to_ns, from_ns) => {
                window.flaps += u64::from(flapped);
                window.join(&next);
                window.streams.truncate(1);
            }
            _ => windows.push(next),
        }
    }

    let cores = cores(&evidence, &by_sent);
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
fn cores(evidence: &Evidence<'_>, by_sent: &[u32]) -> Vec<Interval> {
    let at = |index: u32| &evidence.attempts[index as usize];
    let mut by_ended = by_sent.to_vec();
    by_ended.sort_unstable_by_key(|&index| at(index).ended_ns);
    let mut earliest = by_ended.iter().map(|&index| at(index).ended_ns).peekable();
    let mut cores: Vec<Interval> = Vec::new();
    for &index in by_sent {
        let bad = at(index);
        // For each `z` the longest core reaches back to the first `y` that ended after `before(z)`.
        if let Some(before_ns) = evidence.before(bad) {
            while earliest.next_if(|&ended_ns| ended_ns <= before_ns).is_some() {}
        }
        let Some(&from_ns) = earliest.peek() else { break };
        if from_ns >= bad.sent_ns {
            continue;
        }
        match cores.last_mut() {
            Some(core) if from_ns <= core.to_ns => core.to_ns = core.to_ns.max(bad.sent_ns),
            _ => cores.push(Interval { from_ns, to_ns: bad.sent_ns }),
        }
    }
    cores
}

/// The good attempts that prove something.
struct Evidence<'a> {
    attempts: &'a [Attempt],
    /// In order of sending and of ending at once: none encloses another.
    innermost: Vec<u32>,
}

impl Evidence<'_> {
    fn good(&self, position: usize) -> Option<&Attempt> {
        self.innermost.get(position).map(|&index| &self.attempts[index as usize])
    }

    /// Number of good attempts that had ended by a time.
    fn ended_by(&self, at_ns: u64) -> usize {
        self.innermost.partition_point(|&index| self.attempts[index as usize].ended_ns <= at_ns)
    }

    /// Number of good attempts that had been sent before a time.
    fn sent_before(&self, at_ns: u64) -> usize {
        self.innermost.partition_point(|&index| self.attempts[index as usize].sent_ns < at_ns)
    }

    /// The earliest beginning of an outage that explains a failure, if any good attempt tells.
    fn before(&self, bad: &Attempt) -> Option<u64> {
        let last = self.ended_by(bad.sent_ns).checked_sub(1)?;
        self.good(last).map(|good| good.sent_ns)
    }

    /// The latest end of an outage that explains a failure, if any good attempt tells.
    fn after(&self, bad: &Attempt) -> Option<u64> {
        self.good(self.sent_before(bad.ended_ns)).map(|good| good.ended_ns)
    }

    /// Whether enough good attempts separate a window that ends at `to_ns` from a failure whose interval
    /// begins at `from_ns`. The two attempts that set these borders count, hence the `2`.
    fn recovered(&self, to_ns: u64, from_ns: u64) -> bool {
        let between = self.ended_by(from_ns).saturating_sub(self.sent_before(to_ns));
        from_ns > to_ns && between + 2 >= RECOVERED_AFTER
    }
}

/// Drops every good attempt that encloses another one: the inner one says more about when the service
/// worked, before and after. What is left is in order of sending and of ending at once.
fn innermost(attempts: &[Attempt], mut good: Vec<u32>) -> Vec<u32> {
    let at = |index: u32| &attempts[index as usize];
    good.sort_unstable_by_key(|&index| (at(index).ended_ns, u64::MAX - at(index).sent_ns));
    let mut sent_last_ns = None;
    good.retain(|&index| {
        let inner = sent_last_ns.is_none_or(|last| at(index).sent_ns > last);
        if inner {
            sent_last_ns = Some(at(index).sent_ns);
        }
        inner
    });
    good
}
