//! Stretches of time and their unions.
//!
//! Totals of downtime are measures of unions, never sums over attempts or streams: the same moment is
//! counted once, the order of the log plays no part, and one interval more never makes a union smaller.

/// From `from_ns` to `to_ns`, nanoseconds after the run's zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    pub from_ns: u64,
    pub to_ns: u64,
}

impl Interval {
    #[must_use]
    pub fn length_ns(&self) -> u64 {
        self.to_ns.saturating_sub(self.from_ns)
    }
}

/// The union as intervals in order that neither overlap nor touch.
#[must_use]
pub fn union(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort_unstable();
    intervals.dedup_by(|next, kept| {
        let joined = next.from_ns <= kept.to_ns;
        if joined {
            kept.to_ns = kept.to_ns.max(next.to_ns);
        }
        joined
    });
    intervals
}

/// The length of a union as [`union`] returns it.
#[must_use]
pub fn measure_ns(union: &[Interval]) -> u64 {
    union.iter().map(Interval::length_ns).sum()
}

/// Index of the interval that `at_ns` lies in, ends included, in a union as [`union`] returns it.
#[must_use]
pub fn position(union: &[Interval], at_ns: u64) -> Option<usize> {
    let after = union.partition_point(|interval| interval.from_ns <= at_ns);
    let index = after.checked_sub(1)?;
    (at_ns <= union[index].to_ns).then_some(index)
}

/// What `partition_point` finds, in few steps when it lies near a guess.
#[must_use]
pub fn partition_near<T>(sorted: &[T], guess: usize, holds: impl Fn(&T) -> bool) -> usize {
    let mut step = 1;
    if sorted.get(guess).is_some_and(&holds) {
        let mut low = guess + 1;
        while low + step <= sorted.len() && holds(&sorted[low + step - 1]) {
            low += step;
            step *= 2;
        }
        let high = sorted.len().min(low + step - 1);
        return low + sorted[low..high].partition_point(holds);
    }
    let mut high = guess.min(sorted.len());
    while high >= step && !holds(&sorted[high - step]) {
        high -= step;
        step *= 2;
    }
    let low = high.saturating_sub(step);
    low + sorted[low..high].partition_point(holds)
}

#[cfg(test)]
mod tests {
    use super::{Interval, measure_ns, partition_near, position, union};

    #[test]
    fn a_guess_changes_nothing_but_the_way() {
        for length in 0..40_usize {
            let sorted: Vec<usize> = (0..length).collect();
            for bound in 0..=length {
                for guess in 0..length + 3 {
                    assert_eq!(partition_near(&sorted, guess, |&value| value < bound), bound);
                }
            }
        }
    }

    fn intervals(pairs: &[(u64, u64)]) -> Vec<Interval> {
        pairs.iter().map(|&(from_ns, to_ns)| Interval { from_ns, to_ns }).collect()
    }

    #[test]
    fn overlapping_and_touching_ones_are_joined() {
        let joined = union(intervals(&[(20, 30), (0, 5), (5, 8), (22, 24), (29, 40), (50, 50)]));
        assert_eq!(joined, intervals(&[(0, 8), (20, 40), (50, 50)]));
        assert_eq!(measure_ns(&joined), 28);
        assert_eq!(position(&joined, 8), Some(0));
        assert_eq!(position(&joined, 9), None);
        assert_eq!(position(&joined, 20), Some(1));
        assert_eq!(position(&[], 20), None);
    }
}
