//! What became of the control target's attempts: measured as the target's are, by the same code.

use std::collections::BTreeMap;

use super::{
    attribution::Attribution,
    counts,
    downtime::{self, Bounds},
    intervals::Interval,
    latency::{self, Quantiles, Times},
    machine::{self, Machine},
    select,
};
use crate::observe::{Cause, Instrument, Observations};

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
pub fn measure(observations: &Observations) -> Option<Control> {
    let streams = observations.plan.load.control_streams();
    if streams.is_empty() {
        return None;
    }
    let alone = alone(observations);
    let load = &alone.plan.load;
    let attribution = Attribution::new(&[]);
    let (selection, span) = select::select(&alone);
    let downtime = downtime::measure(&alone, selection, span, &attribution);
    let requests = counts::requests(&alone, &attribution, &downtime);
    let mut lateness = Times::default();
    let mut lost_by_class: BTreeMap<Cause, u64> = BTreeMap::new();
    let mut lost_in: Option<Interval> = None;
    for attempt in alone.attempts.iter().filter(|attempt| attempt.intended_ns >= load.warmup_ns) {
        if select::was_sent(attempt) {
            lateness.record(attempt.sent_ns.saturating_sub(attempt.intended_ns));
        }
        if !attempt.ok() {
            *lost_by_class.entry(attempt.cause).or_default() += 1;
            let when = lost_in.unwrap_or(Interval { from_ns: u64::MAX, to_ns: 0 });
            lost_in = Some(Interval {
                from_ns: when.from_ns.min(attempt.intended_ns),
                to_ns: when.to_ns.max(attempt.ended_ns),
            });
        }
    }
    Some(Control {
        attempts: requests.all.total,
        lost_by_class,
        lost_when: lost_in.map(|when| (when, machine::measure(&observations.machine, when))),
        lateness: lateness.quantiles(),
        latency: latency::measure(&alone).all.intended,
        hard: downtime.hard,
        brownout_ns: downtime.brownout_ns,
        min_detectable_ns: downtime.min_detectable_ns,
    })
}

/// The control as if it were the target of a run of its own.
fn alone(observations: &Observations) -> Observations {
    let mut plan = observations.plan.clone();
    plan.load.streams = plan.load.control_streams();
    plan.events.clear();
    plan.gates.clear();
    Observations {
        plan,
        environment: observations.environment.clone(),
        instrument: Instrument { interrupted: observations.instrument.interrupted, ..Instrument::default() },
        attempts: observations.control.clone(),
        control: Vec::new(),
        machine: Vec::new(),
        connections: Vec::new(),
        buys: Vec::new(),
        events: Vec::new(),
        orders: Vec::new(),
        stock: Vec::new(),
    }
}
