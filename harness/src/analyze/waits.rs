//! How long the instrument itself was kept waiting, and how much of another wait that explains.
//!
//! A wait is the time from an attempt's intended time to the end of an attempt at the control target, or to
//! the sending of any attempt: in both the harness and the machine are alone with themselves. A wait of
//! less than [`WAIT_MIN_NS`] is what an answer usually takes and explains nothing.

use std::{cmp::Reverse, collections::BTreeMap};

use super::intervals::{self, Interval};
use crate::observe::{Attempt, Blame};

/// A sleeping thread runs within a tenth of it, and an echo answers within a third.
pub const WAIT_MIN_NS: u64 = 1_000_000;

/// How often a target's request may have to wait for a processor where the echo's waits once: its
/// connection is accepted, it is read, worked on, and answered, each perhaps by another thread. Without
/// this bound a target that keeps all processors busy, so that every echo waits a little, would be excused
/// for any wait of its own.
pub const STEPS: u64 = 4;

/// Around a wait in which threads were kept waiting for a processor, the waits of this long before and after
/// tell how much: the echo is asked too seldom to be hit by each turn of the scheduler.
const NEAR_NS: u64 = 1_000_000_000;

/// The waits of some of a run's attempts: the longest that begins in each millisecond is enough, and bounds
/// the memory by the length of the run.
#[derive(Debug, Clone, Default)]
pub struct LongestOf(BTreeMap<u64, Interval>);

impl LongestOf {
    pub fn add(&mut self, wait: Interval) {
        if wait.length_ns() < WAIT_MIN_NS {
            return;
        }
        let kept = self.0.entry(wait.from_ns / WAIT_MIN_NS).or_insert(wait);
        // Of two with one end the longer, whatever the order of the log.
        if (wait.to_ns, Reverse(wait.from_ns)) > (kept.to_ns, Reverse(kept.from_ns)) {
            *kept = wait;
        }
    }

    pub fn merge(&mut self, other: Self) {
        for wait in other.0.into_values() {
            self.add(wait);
        }
    }
}

/// The instrument's own waits.
#[derive(Debug, Default)]
pub struct Waits {
    /// None encloses another, so both their beginnings and their ends rise.
    waits: Vec<Interval>,
    /// Their union, and how much of it lies before each part.
    union: Vec<(Interval, u64)>,
    /// `longest[k][i]` is the longest of the `2^k` waits from `i` on.
    longest: Vec<Vec<u64>>,
    /// When threads of the machine were kept waiting for a processor.
    contended: Vec<Interval>,
}

impl Waits {
    /// `contended` are the times in which threads of the machine queued for the processors.
    #[must_use]
    pub fn new(longest_of: LongestOf, contended: Vec<Interval>) -> Self {
        let mut waits: Vec<Interval> = Vec::with_capacity(longest_of.0.len());
        for wait in longest_of.0.into_values() {
            if waits.last().is_none_or(|last| last.to_ns < wait.to_ns) {
                waits.push(wait);
            }
        }
        let mut before_ns = 0;
        let union = intervals::union(waits.clone()).into_iter().map(|part| {
            let so_far = before_ns;
            before_ns += part.length_ns();
            (part, so_far)
        });
        Self { union: union.collect(), longest: longest(&waits), waits, contended }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waits.is_empty()
    }

    /// How much of a wait the instrument's own ones explain: the time that they have in common, but no more
    /// than [`STEPS`] times the longest of them. While the processors were contended, [`STEPS`] times the
    /// longest wait from a second before to a second after.
    #[must_use]
    pub fn explain_ns(&self, what: Interval) -> u64 {
        let common_ns = self.up_to(what.to_ns).saturating_sub(self.up_to(what.from_ns));
        let seen_ns = common_ns.min(self.longest_ns(what).saturating_mul(STEPS));
        let begun = self.contended.partition_point(|busy| busy.from_ns < what.to_ns);
        let is_contended =
            begun.checked_sub(1).is_some_and(|index| self.contended[index].to_ns > what.from_ns);
        if !is_contended {
            return seen_ns;
        }
        let near = Interval {
            from_ns: what.from_ns.saturating_sub(NEAR_NS),
            to_ns: what.to_ns.saturating_add(NEAR_NS),
        };
        seen_ns.max(self.longest_ns(near).saturating_mul(STEPS)).min(what.length_ns())
    }

    /// The longest wait that has time in common with another.
    #[must_use]
    pub fn longest_ns(&self, what: Interval) -> u64 {
        let first = self.waits.partition_point(|wait| wait.to_ns <= what.from_ns);
        let end = self.waits.partition_point(|wait| wait.from_ns < what.to_ns);
        let Some(level) = end.checked_sub(first).and_then(usize::checked_ilog2) else { return 0 };
        let row = &self.longest[level as usize];
        row[first].max(row[end - (1 << level)])
    }

    /// How much of the union lies before a moment.
    fn up_to(&self, at_ns: u64) -> u64 {
        let begun = self.union.partition_point(|(part, _)| part.from_ns < at_ns);
        let Some((part, before_ns)) = begun.checked_sub(1).map(|index| self.union[index]) else { return 0 };
        before_ns + at_ns.min(part.to_ns) - part.from_ns
    }
}

/// The time for which an attempt was due and not sent.
#[must_use]
pub fn unsent(attempt: &Attempt) -> Interval {
    // One that was never sent waited until it was given up.
    let is_sent = attempt.cause.blame() != Blame::Harness;
    let to_ns = if is_sent { attempt.sent_ns } else { attempt.ended_ns };
    Interval { from_ns: attempt.intended_ns, to_ns }
}

/// A sparse table: the longest wait of any range is the longer one of two rows that overlap.
fn longest(waits: &[Interval]) -> Vec<Vec<u64>> {
    let mut rows = vec![waits.iter().map(Interval::length_ns).collect::<Vec<_>>()];
    while let Some(last) = rows.last().filter(|last| last.len() > 1 << (rows.len() - 1)) {
        let step = 1 << (rows.len() - 1);
        rows.push(last.iter().zip(&last[step..]).map(|(&one, &other)| one.max(other)).collect());
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{prop_assert_eq, proptest},
    };

    use super::{Interval, LongestOf, STEPS, Waits, intervals};
    use crate::analyze::fixture::MS;

    fn interval((from_ms, length_ms): (u64, u64)) -> Interval {
        Interval { from_ns: from_ms * MS, to_ns: (from_ms + length_ms) * MS }
    }

    fn seen(waits: impl Iterator<Item = Interval>, contended: Vec<Interval>) -> Waits {
        let mut longest_of = LongestOf::default();
        for wait in waits {
            longest_of.add(wait);
        }
        Waits::new(longest_of, contended)
    }

    #[test]
    fn a_wait_is_explained_by_what_was_seen_in_its_time() {
        let check = |waits: &[(u64, u64)], what, expected_ms| {
            let waits = seen(waits.iter().copied().map(interval), Vec::new());
            assert_eq!(waits.explain_ns(interval(what)), expected_ms * MS);
        };
        check(&[], (0, 1_000), 0);
        // One pause, seen by several; before, after, and around it.
        let pause = [(100, 300), (150, 250), (390, 10)];
        check(&pause, (90, 320), 300);
        check(&pause, (0, 100), 0);
        check(&pause, (400, 100), 0);
        check(&pause, (200, 100), 100);
        // A target that waits a second is not excused by echoes of which each waits 5 ms.
        let busy: Vec<(u64, u64)> = (0..300).map(|number| (number * 5, 5)).collect();
        check(&busy, (100, 1_000), 5 * STEPS);
        check(&busy, (100, 15), 15);
        // Nor by a pause at another time.
        let mut elsewhere = busy;
        elsewhere.push((2_000, 500));
        check(&elsewhere, (100, 1_000), 5 * STEPS);
    }

    /// Where threads queue for the processors, an echo that was asked a moment earlier tells for how long.
    #[test]
    fn contention_makes_the_neighbours_speak() {
        let contended = vec![interval((1_000, 500))];
        let waits = seen([(1_100, 10), (3_000, 100)].into_iter().map(interval), contended);
        for (what, expected_ms) in [
            ((1_300, 90), 10 * STEPS),
            ((1_300, 30), 30),
            ((1_300, 900), 100 * STEPS),
            ((1_600, 90), 0),
            ((500, 500), 0),
        ] {
            assert_eq!(waits.explain_ns(interval(what)), expected_ms * MS, "{what:?}");
        }
    }

    proptest! {
        #[test]
        fn ranges_are_searched_rightly(
            waits in vec((0_u64..300, 1_u64..60), 0..40),
            what in (0_u64..300, 1_u64..200),
        ) {
            let what = interval(what);
            let waits: Vec<Interval> = waits.into_iter().map(interval).collect();
            let cut = |wait: &Interval| Interval {
                from_ns: wait.from_ns.max(what.from_ns),
                to_ns: wait.to_ns.min(what.to_ns),
            };
            let met: Vec<Interval> = waits.iter().copied().filter(|wait| cut(wait).length_ns() > 0).collect();
            let longest_ns = met.iter().map(Interval::length_ns).max().unwrap_or(0);
            let common_ns = intervals::measure_ns(&intervals::union(met.iter().map(cut).collect()));
            let found = seen(waits.into_iter(), Vec::new());
            prop_assert_eq!(found.longest_ns(what), longest_ns);
            prop_assert_eq!(found.explain_ns(what), common_ns.min(longest_ns * STEPS));
        }
    }
}
