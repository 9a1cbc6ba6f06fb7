//! The rows of a comparison: what is taken from each event, each second, or each run.

use super::{EventFigures, Sample, SecondFigures, Unit, bootstrap::mean};
use crate::report::round::whole;

/// A figure of which less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    BadEvents,
    Failed,
    Hard,
    Brownout,
    Closed,
    LatencyNear,
    LatencyQuiet,
    FailedInAll,
}

impl Figure {
    pub(super) const ALL: [Self; 8] = [
        Self::BadEvents,
        Self::Failed,
        Self::Hard,
        Self::Brownout,
        Self::Closed,
        Self::LatencyNear,
        Self::LatencyQuiet,
        Self::FailedInAll,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BadEvents => "bad events, share",
            Self::Failed => "failed / event",
            Self::Hard => "hard / event, ms",
            Self::Brownout => "brownout / event, ms",
            Self::Closed => "closed / event",
            Self::LatencyNear => "p99 near events, ms",
            Self::LatencyQuiet => "p99 quiet, ms",
            Self::FailedInAll => "failed / second",
        }
    }

    /// What one value stands for when runs are compared by this unit.
    pub(super) fn unit(self, unit: Unit) -> Unit {
        match (unit, self) {
            (Unit::Event | Unit::Second, Self::LatencyQuiet | Self::FailedInAll) => Unit::Second,
            (unit, _) => unit,
        }
    }

    /// One value per unit; nothing where nothing was measured.
    pub(super) fn values(self, samples: &[Sample], unit: Unit) -> Vec<f64> {
        match unit {
            Unit::Run => samples.iter().filter_map(|sample| self.of_run(sample)).collect(),
            Unit::Event | Unit::Second => samples.iter().flat_map(|sample| self.within_run(sample)).collect(),
        }
    }

    fn of_run(self, sample: &Sample) -> Option<f64> {
        match self {
            Self::LatencyNear => sample.p99_near_ns.map(ms),
            Self::LatencyQuiet => sample.p99_quiet_ns.map(ms),
            _ => mean(&self.within_run(sample)),
        }
    }

    fn within_run(self, sample: &Sample) -> Vec<f64> {
        let events =
            |value: fn(&EventFigures) -> Option<f64>| sample.events.iter().filter_map(value).collect();
        let seconds =
            |value: fn(&SecondFigures) -> Option<f64>| sample.seconds.iter().filter_map(value).collect();
        match self {
            Self::BadEvents => events(|event| Some(f64::from(u8::from(event.bad)))),
            Self::Failed => events(|event| Some(whole(event.failed))),
            Self::Hard => events(|event| Some(ms(event.hard.upper_ns))),
            Self::Brownout => events(|event| Some(ms(event.brownout_ns))),
            Self::Closed => events(|event| Some(whole(event.closed_by_server))),
            Self::LatencyNear => events(|event| event.p99_ns.map(ms)),
            Self::LatencyQuiet => seconds(|second| second.p99_quiet_ns.map(ms)),
            Self::FailedInAll => seconds(|second| Some(whole(second.failed))),
        }
    }
}

fn ms(ns: u64) -> f64 {
    whole(ns) / 1e6
}
