//! What the observations mean: a pure fold of the plan and the logs into figures.
//!
//! The same observations give the same figures, in whatever order the log holds them. Figures are kept
//! exact (whole nanoseconds, whole counts); rounding is the report's business. What was not measured is
//! `None`, never zero. Deliberately absent: clocks, files, and any opinion; that is the verdict's.

pub mod attribution;
pub mod availability;
pub mod binomial;
pub mod control;
pub mod counts;
pub mod downtime;
pub mod excuse;
pub mod intervals;
pub mod invariants;
pub mod latency;
pub mod load;
pub mod machine;
pub mod propagation;
pub mod select;
pub mod sla;
pub mod waits;

#[cfg(test)]
pub(crate) mod fixture;

use crate::observe::{EventOutcome, EventRecord, Observations};

use attribution::Attribution;
use availability::Availability;
use control::Control;
use counts::{Connections, Requests};
use downtime::{Bounds, Downtime};
use excuse::Excuse;
use intervals::Interval;
use invariants::{Invariant, Orders};
use latency::Latency;
use load::Load;
use machine::Machine;
use propagation::Propagation;
use select::Span;
use sla::Sla;

/// Every figure of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    pub span: Span,
    pub load: Load,
    /// `None` when the plan has no control.
    pub control: Option<Control>,
    /// In the measured time.
    pub machine: Option<Machine>,
    /// `None` when the instrument explains nothing of what was slow.
    pub excuse: Option<Excuse>,
    pub requests: Requests,
    pub connections: Connections,
    pub availability: Availability,
    pub downtime: Downtime,
    pub sla: Sla,
    pub events: Events,
    pub latency: Latency,
    /// Of each event that acknowledged a change, in the order of the acknowledgements.
    pub propagation: Vec<Propagation>,
    pub orders: Orders,
    pub invariants: Vec<Invariant>,
    /// The target's store was read after the run.
    pub store_read: bool,
}

/// The events as the verdict needs them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Events {
    pub planned: u64,
    /// Begun, whatever came of it.
    pub ran: u64,
    /// Planned ones that did not end as the plan expected, or did not run.
    pub unexpected: u64,
    /// Upgrades that ended `ok`.
    pub upgrades_ok: u64,
    /// Hard downtime of each event that ran, in the order of the observations.
    pub hard: Vec<Bounds>,
}

/// Analyses a run.
#[must_use]
pub fn analyze(observations: &Observations) -> Analysis {
    let attribution = Attribution::new(&observations.events);
    let (selection, span) = select::select(observations);
    let downtime = downtime::measure(observations, selection, span, &attribution);
    let requests = counts::requests(observations, &attribution, &downtime);
    let (invariants, orders) = invariants::check(observations);
    Analysis {
        span,
        load: load::measure(observations, &requests),
        control: control::measure(observations),
        machine: machine::measure(
            &observations.machine,
            Interval { from_ns: span.from_ns, to_ns: span.to_ns },
        ),
        excuse: excuse::measure(observations, span, &downtime),
        connections: counts::connections(&observations.plan, &observations.connections),
        availability: availability::measure(observations, &requests, &downtime, span),
        sla: sla::measure(&observations.events, &downtime),
        events: events(observations, &downtime),
        latency: latency::measure(observations),
        propagation: propagation::measure(observations),
        orders,
        invariants,
        store_read: observations.environment.store_read,
        requests,
        downtime,
    }
}

fn events(observations: &Observations, downtime: &Downtime) -> Events {
    let events = &observations.events;
    let count =
        |wanted: &dyn Fn(&EventRecord) -> bool| events.iter().filter(|event| wanted(event)).count() as u64;
    let (planned, ran) = (observations.plan.events.len() as u64, events.len() as u64);
    Events {
        planned,
        ran,
        unexpected: count(&|event| !event.as_expected) + planned.saturating_sub(ran),
        upgrades_ok: count(&|event| event.kind == "upgrade" && event.outcome == EventOutcome::Ok),
        hard: downtime.by_event(events.len()),
    }
}

#[cfg(test)]
mod tests;
