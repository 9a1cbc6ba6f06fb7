//! Which events the failed attempts belong to.

use super::Window;
use crate::analyze::{
    attribution::Attribution,
    intervals::{Interval, partition_near},
};

/// Failed attempts by event. One belongs to the event that answers for its time, else to the event of the
/// hard window that it lies in: an outage belongs to its cause to the end.
#[derive(Debug)]
pub struct Attributed {
    /// Of each event, in the order of the observations.
    pub failed: Vec<u64>,
    pub unattributed: u64,
    /// Events that answer for the time of a failure, each with the index of the failure's window.
    possible: Vec<(usize, usize)>,
}

impl Attributed {
    pub(super) fn new(events: usize) -> Self {
        Self { failed: vec![0; events], unattributed: 0, possible: Vec::new() }
    }

    /// Takes the failed attempts of one stream, sorted; `hard` are the windows over all streams.
    pub(super) fn add(&mut self, failed: &[Interval], hard: &[Window], attribution: &Attribution) {
        let mut begun = 0;
        for &when in failed {
            begun = partition_near(hard, begun, |window| window.interval.from_ns <= when.to_ns);
            let window = begun.checked_sub(1).filter(|&index| when.from_ns <= hard[index].interval.to_ns);
            let direct = attribution.event(when);
            match direct.or_else(|| window.and_then(|index| hard[index].event)) {
                Some(event) => self.failed[event] += 1,
                None => self.unattributed += 1,
            }
            if let Some(pair) = direct.zip(window).filter(|pair| self.possible.last() != Some(pair)) {
                self.possible.push(pair);
            }
        }
    }

    /// For each event the upper bounds of the windows that it may have caused.
    pub(super) fn possible_ns(&mut self, hard: &[Window]) -> Vec<u64> {
        self.possible.sort_unstable();
        self.possible.dedup();
        let mut sums = vec![0; self.failed.len()];
        for &(event, window) in &self.possible {
            sums[event] += hard[window].bounds.upper_ns;
        }
        sums
    }
}
