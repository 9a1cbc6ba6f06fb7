//! What the generator did: the instrument has to vouch for itself before its figures mean anything.

use std::collections::BTreeMap;

use super::{
    counts::Requests,
    intervals::Interval,
    latency::{Quantiles, Times},
    machine::{self, Machine},
    select, waits,
};
use crate::{
    observe::{Attempt, Background, Cause},
    plan::{Arrival, LoadPlan},
};

/// The generator's own figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    pub planned: u64,
    pub sent: u64,
    /// Planned but not sent, whether the log says why or not.
    pub unsent: u64,
    /// What the log says about those not sent.
    pub unsent_by_cause: BTreeMap<Cause, u64>,
    /// Attempts that the generator says it sent and the log does not hold.
    pub lost: u64,
    pub in_flight_max: u32,
    /// From the intended time to the sending, nanoseconds, of all but closed loops; `None` when nothing was
    /// sent.
    pub lateness: Option<Quantiles>,
    /// The longest time for which an attempt was due and nothing sent it; `None` when none was due. The
    /// attempts at the control target count as well, and those that were given up unsent.
    pub blind: Option<Interval>,
    /// What the machine did in that time.
    pub blind_machine: Option<Machine>,
    /// Processor time of the sending threads, microseconds.
    pub cpu_us: u64,
    pub interrupted: bool,
    /// Reasons why the log cannot be trusted.
    pub gaps: Vec<String>,
}

/// When some of a run's attempts were sent, and when they should have been.
#[derive(Debug, Clone, Default)]
pub struct Partial {
    lateness: Times,
    blind: Option<Interval>,
}

impl Partial {
    /// Takes an attempt of the load.
    pub fn add(&mut self, attempt: &Attempt, plan: &LoadPlan) {
        self.wait(attempt, plan);
        let stream = plan.streams.get(usize::from(attempt.stream));
        // A closed loop cannot be late, and its zeros must not hide that others are.
        let closed = stream.is_some_and(|stream| stream.arrival == Arrival::Closed);
        if select::counts(attempt, plan.warmup_ns) && !closed {
            self.lateness.record(attempt.sent_ns.saturating_sub(attempt.intended_ns));
        }
    }

    /// A generator that stands still sends what was due meanwhile as soon as it goes on, so the first of
    /// these attempts waited for as long as it stood, less one gap of the schedule.
    fn wait(&mut self, attempt: &Attempt, plan: &LoadPlan) {
        if attempt.intended_ns >= plan.warmup_ns {
            self.blind = longer(self.blind, Some(waits::unsent(attempt)));
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.lateness.merge(&other.lateness);
        self.blind = longer(self.blind, other.blind);
    }

    /// Sets the generator's own word against the log.
    #[must_use]
    pub fn finish(mut self, background: &Background, requests: &Requests) -> Load {
        for attempt in &background.control {
            self.wait(attempt, &background.plan.load);
        }
        let Self { lateness, blind } = self;
        let instrument = &background.instrument;
        let logged: u64 = requests.unsent.values().sum();
        Load {
            planned: instrument.planned,
            sent: instrument.sent,
            unsent: instrument.planned.saturating_sub(instrument.sent).max(logged),
            unsent_by_cause: requests.unsent.clone(),
            lost: instrument.sent.saturating_sub(requests.sent),
            in_flight_max: instrument.in_flight_max,
            lateness: lateness.quantiles(),
            blind,
            blind_machine: blind.and_then(|blind| machine::measure(&background.machine, blind)),
            cpu_us: instrument.cpu_us,
            interrupted: instrument.interrupted,
            gaps: instrument.gaps.clone(),
        }
    }
}

/// The longer one, of several the earliest, whatever the order of the log.
fn longer(one: Option<Interval>, other: Option<Interval>) -> Option<Interval> {
    one.into_iter().chain(other).max_by_key(|wait| (wait.length_ns(), u64::MAX - wait.from_ns))
}
