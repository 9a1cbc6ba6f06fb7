//! What an event's downtime does to a day: the arithmetic of the service level.
//!
//! Availability of a day with `k` events of `d` seconds is `1 - k d / 86400`: five seconds once a day make
//! 99.994 %, twice 99.988 %. `d` is the upper bound of the downtime windows that belong to an event.

use super::{availability, downtime::Downtime};
use crate::observe::EventRecord;

/// Events a day that the table is made for: a release a day, two, one an hour or so, continuous delivery.
pub const EVENTS_PER_DAY: [u32; 4] = [1, 2, 10, 50];

/// Availabilities that contracts usually promise, in millionths.
pub const TARGETS_PPM: [u32; 4] = [999_000, 999_900, 999_990, 999_999];

const DAY_NS: u64 = 86_400_000_000_000;

/// Downtime per event and what it amounts to.
#[derive(Debug, Clone, PartialEq)]
pub struct Sla {
    /// The events that are counted: the upgrades, or all events of a run without an upgrade.
    pub events: u64,
    /// Mean of the events' upper bounds, rounded up; `None` without an event.
    pub mean_ns: Option<u64>,
    /// Largest of the events' upper bounds.
    pub max_ns: Option<u64>,
    /// Per event, what cannot be ruled out: the largest upper bound, or the shortest outage that the load
    /// would have met, whichever is longer. Nothing seen is not nothing lost.
    pub worst_ns: Option<u64>,
    pub daily: Vec<Daily>,
    pub budgets: Vec<Budget>,
}

/// Availability of a day with so many events.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Daily {
    pub events_per_day: u32,
    /// Each as long as the mean.
    pub availability: f64,
    /// Each as long as the worst.
    pub worst: f64,
}

/// What a promised availability leaves room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The promise in millionths.
    pub target_ppm: u32,
    /// Downtime of a day that keeps it.
    pub daily_ns: u64,
    /// Events of the worst length that fit; `None` when that length is zero.
    pub events_per_day_max: Option<u64>,
}

/// The service level from the windows that belong to events.
#[must_use]
pub fn measure(events: &[EventRecord], downtime: &Downtime) -> Sla {
    let by_event = downtime.by_event(events.len());
    let trials = availability::trials(events);
    let per_event: Vec<u64> = trials.iter().map(|&index| by_event[index].upper_ns).collect();
    from_downtimes(&per_event, downtime.min_detectable_ns)
}

/// The service level from the upper bound of each event.
fn from_downtimes(per_event_ns: &[u64], min_detectable_ns: Option<u64>) -> Sla {
    let max_ns = per_event_ns.iter().max().copied();
    let mean_ns = max_ns.map(|_| per_event_ns.iter().sum::<u64>().div_ceil(per_event_ns.len() as u64));
    // Without a single attempt nothing can be ruled out, so no figure is given.
    let worst_ns = max_ns.zip(min_detectable_ns).map(|(max, hidden)| max.max(hidden));
    let daily = mean_ns.zip(worst_ns).into_iter().flat_map(|(mean_ns, worst_ns)| {
        EVENTS_PER_DAY.map(|events_per_day| Daily {
            events_per_day,
            availability: availability_of_a_day(events_per_day, mean_ns),
            worst: availability_of_a_day(events_per_day, worst_ns),
        })
    });
    let budgets = worst_ns.into_iter().flat_map(|worst_ns| TARGETS_PPM.map(|ppm| budget(ppm, worst_ns)));
    Sla {
        events: per_event_ns.len() as u64,
        mean_ns,
        max_ns,
        worst_ns,
        daily: daily.collect(),
        budgets: budgets.collect(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "times stay below 2^53 nanoseconds")]
fn availability_of_a_day(events: u32, each_ns: u64) -> f64 {
    (1.0 - f64::from(events) * each_ns as f64 / DAY_NS as f64).max(0.0)
}

fn budget(target_ppm: u32, each_ns: u64) -> Budget {
    let daily_ns = DAY_NS / 1_000_000 * u64::from(1_000_000 - target_ppm);
    Budget { target_ppm, daily_ns, events_per_day_max: daily_ns.checked_div(each_ns) }
}

#[cfg(test)]
mod tests {
    use super::{Sla, from_downtimes};

    const S: u64 = 1_000_000_000;

    #[track_caller]
    fn daily(sla: &Sla) -> Vec<String> {
        sla.daily
            .iter()
            .map(|day| {
                format!("{} {:.3} {:.3}", day.events_per_day, day.availability * 100.0, day.worst * 100.0)
            })
            .collect()
    }

    /// The seed's own example: five seconds once a day are 99.994 %, two such restarts 99.988 %.
    #[test]
    fn five_seconds_a_day() {
        let sla = from_downtimes(&[5 * S], Some(S / 1_000));
        assert_eq!(
            daily(&sla),
            ["1 99.994 99.994", "2 99.988 99.988", "10 99.942 99.942", "50 99.711 99.711"]
        );
        let budgets: Vec<_> =
            sla.budgets.iter().map(|budget| (budget.daily_ns, budget.events_per_day_max)).collect();
        assert_eq!(
            budgets,
            [
                (86_400_000_000, Some(17)),
                (8_640_000_000, Some(1)),
                (864_000_000, Some(0)),
                (86_400_000, Some(0))
            ]
        );
    }

    /// Fifty milliseconds per restart allow 172 a day at 99.99 % and 17 at 99.999 %.
    #[test]
    fn fifty_milliseconds() {
        let sla = from_downtimes(&[S / 20, S / 20], Some(0));
        let fits: Vec<_> = sla.budgets.iter().map(|budget| budget.events_per_day_max).collect();
        assert_eq!(fits, [Some(1_728), Some(172), Some(17), Some(1)]);
    }

    #[test]
    fn the_mean_and_the_worst_differ_and_what_was_too_short_to_see_counts() {
        let sla = from_downtimes(&[0, 10 * S], Some(S));
        assert_eq!((sla.mean_ns, sla.max_ns, sla.worst_ns), (Some(5 * S), Some(10 * S), Some(10 * S)));
        assert_eq!(daily(&sla)[0], "1 99.994 99.988");
        let unseen = from_downtimes(&[0, 0], Some(S));
        assert_eq!((unseen.max_ns, unseen.worst_ns), (Some(0), Some(S)));
        assert_eq!(daily(&unseen)[0], "1 100.000 99.999");
    }

    #[test]
    fn without_events_or_attempts_there_is_no_figure() {
        for sla in [from_downtimes(&[], Some(S)), from_downtimes(&[S], None)] {
            assert!(sla.daily.is_empty() && sla.budgets.is_empty() && sla.worst_ns.is_none());
        }
    }
}
