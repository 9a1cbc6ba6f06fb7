//! What became of the control target's attempts: measured as the target's are, by the same code.

use std::collections::BTreeMap;

use super::{
    Analysis, Partial,
    downtime::Bounds,
    intervals::Interval,
    latency::Quantiles,
    machine::{self, Machine},
};
use crate::{
    observe::{Background, Cause, Instrument},
    plan::StreamPlan,
};

/// The control target's figures, after the warm-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    pub attempts: u64,
    /// Failed ones and those that could not be sent, by cause.
    pub lost_by_class: BTreeMap<Cause, u64>,
    /// From the first to the last loss, with what the machine did.
    pub lost_when: Option<(Interval, Option<Machine>)>,
    pub lateness: Option<Quantiles>,
    /// From the intended time to the end.
    pub latency: Option<Quantiles>,
    pub hard: Bounds,
    pub brownout_ns: u64,
    pub min_detectable_ns: Option<u64>,
}

impl Control {
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost_by_class.values().sum()
    }
}

/// Measures the control; `None` when the plan has none.
#[must_use]
pub fn measure(background: &Background) -> Option<Control> {
    let streams = background.plan.load.control_streams();
    if streams.is_empty() {
        return None;
    }
    let alone = alone(background, streams);
    let mut partial = Partial::new(&alone);
    let mut lost_by_class: BTreeMap<Cause, u64> = BTreeMap::new();
    let mut lost_in: Option<Interval> = None;
    for attempt in &background.control {
        partial.add(attempt);
        if attempt.intended_ns >= alone.plan.load.warmup_ns && !attempt.ok() {
            *lost_by_class.entry(attempt.cause).or_default() += 1;
            let when = lost_in.unwrap_or(Interval { from_ns: u64::MAX, to_ns: 0 });
            lost_in = Some(Interval {
                from_ns: when.from_ns.min(attempt.intended_ns),
                to_ns: when.to_ns.max(attempt.ended_ns),
            });
        }
    }
    let Analysis { requests, load, latency, downtime, .. } = partial.finish();
    Some(Control {
        attempts: requests.all.total,
        lost_by_class,
        lost_when: lost_in.map(|when| (when, machine::measure(&background.machine, when))),
        lateness: load.lateness,
        latency: latency.all.intended,
        hard: downtime.hard,
        brownout_ns: downtime.brownout_ns,
        min_detectable_ns: downtime.min_detectable_ns,
    })
}

/// The background of the control as if it were the target of a run of its own, which has no control.
fn alone(background: &Background, streams: Vec<StreamPlan>) -> Background {
    let mut plan = background.plan.clone();
    plan.load.streams = streams;
    plan.load.control_rate = 0.0;
    plan.events.clear();
    plan.gates.clear();
    let instrument = Instrument { interrupted: background.instrument.interrupted, ..Instrument::default() };
    Background::new(plan, background.environment.clone(), instrument)
}
