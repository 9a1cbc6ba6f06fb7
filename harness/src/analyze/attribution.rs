//! Which event a failure belongs to.
//!
//! An event is answerable for what happens from its start until [`GRACE_NS`] after its end. Events run
//! one after the other, so the last one that had started is the one to ask. An outage that began in that
//! time belongs to the event to its end ([`super::downtime::Downtime::event_of`]). What no event explains
//! stays unattributed and is reported as such, never blamed on the nearest.

use super::intervals::Interval;
use crate::observe::EventRecord;

/// How long after its end an event still answers for a failure: the old process of a swap may be closing
/// its last connections, and a client notices a dead connection only when it uses it again.
pub const GRACE_NS: u64 = 1_000_000_000;

/// The events in the order they started.
#[derive(Debug)]
pub struct Attribution {
    /// Each event's interval and its index in the observations.
    events: Vec<(Interval, usize)>,
}

impl Attribution {
    #[must_use]
    pub fn new(events: &[EventRecord]) -> Self {
        let mut events: Vec<_> =
            events.iter().enumerate().map(|(index, event)| (interval(event), index)).collect();
        events.sort_unstable();
        Self { events }
    }

    /// Index of the event that answers for something that began and ended at these times: the last one
    /// that had started by its end, if that was not over for longer than the grace when it began.
    #[must_use]
    pub fn event(&self, what: Interval) -> Option<usize> {
        let after = self.events.partition_point(|(event, _)| event.from_ns <= what.to_ns);
        let (event, index) = self.events.get(after.checked_sub(1)?)?;
        (what.from_ns <= event.to_ns.saturating_add(GRACE_NS)).then_some(*index)
    }
}

/// From an event's start to its end; one whose end was not recorded is still going on.
#[must_use]
pub fn interval(event: &EventRecord) -> Interval {
    let to_ns = if event.ended_ns < event.started_ns { u64::MAX } else { event.ended_ns };
    Interval { from_ns: event.started_ns, to_ns }
}

#[cfg(test)]
mod tests {
    use super::{Attribution, Interval};
    use crate::analyze::fixture::{MS, upgrade};

    #[test]
    fn the_last_event_that_had_started_answers_within_its_grace() {
        // Out of order on purpose: the log's order plays no part.
        let mut open_ended = upgrade(2, 9_000, 9_100);
        open_ended.ended_ns = 0;
        let attribution = Attribution::new(&[upgrade(1, 3_000, 3_200), upgrade(0, 1_000, 1_200), open_ended]);
        for (from_ms, to_ms, expected) in [
            (0, 999, None),
            (0, 1_000, Some(1)),
            (1_100, 1_101, Some(1)),
            (2_200, 2_300, Some(1)),
            (2_201, 2_300, None),
            (1_150, 3_000, Some(0)),
            (4_200, 4_201, Some(0)),
            (4_201, 4_202, None),
            (60_000, 60_001, Some(2)),
        ] {
            let what = Interval { from_ns: from_ms * MS, to_ns: to_ms * MS };
            assert_eq!(attribution.event(what), expected, "{from_ms}..{to_ms}");
        }
    }
}
