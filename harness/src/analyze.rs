//! What the observations mean: a pure fold of the plan and the logs into figures.
//!
//! A [`Partial`] is what some of a run's attempts amount to. It takes an attempt at a time and keeps a few
//! bytes of each, so that a log need not be held in memory; partials of the parts of a log, however it was
//! parted, [`merge`](Partial::merge) into that of the whole.
//!
//! The same observations give the same figures, in whatever order the log holds them. Figures are kept
//! exact (whole nanoseconds, whole counts); rounding is the report's business. What was not measured is
//! `None`, never zero. Deliberately absent: clocks, files, and any opinion; that is the verdict's.

pub mod attribution;
pub mod availability;
pub mod binomial;
pub mod contended;
pub mod contract;
pub mod control;
pub mod counts;
pub mod downtime;
pub mod excuse;
pub mod foreseen;
pub mod held;
pub mod intervals;
pub mod invariants;
pub mod latency;
pub mod load;
pub mod machine;
pub mod propagation;
pub mod retry;
pub mod select;
pub mod sla;
pub mod taxonomy;
mod transfer;
pub mod waits;

#[cfg(test)]
pub(crate) mod fixture;

use std::convert::Infallible;

use crate::observe::{Attempt, Background, EventOutcome, EventRecord, Observations};

use attribution::Attribution;
use availability::Availability;
use contended::Contended;
use contract::Windows;
use control::Control;
use counts::{Connections, Requests};
use downtime::{Bounds, Downtime, Outages};
use excuse::{Doubtful, Excuse};
use foreseen::Foreseen;
use intervals::Interval;
use invariants::{Invariant, Orders, Suspects};
use latency::Latency;
use load::Load;
use machine::Machine;
use propagation::{Propagation, Spreading};
use retry::Retries;
use select::{Reach, Span};
use sla::Sla;
use taxonomy::{Class, ClassFigures, Taxonomy};

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
    /// Failed attempts that no fault of the plan answers for.
    pub unforeseen: u64,
    /// Attempts that ran out of time and that a fault of the plan answers for.
    pub foreseen_timeouts: u64,
    /// The attempts that were not served, by what became of them.
    pub classes: Vec<(Class, ClassFigures)>,
    pub connections: Connections,
    pub availability: Availability,
    pub downtime: Downtime,
    pub sla: Sla,
    pub events: Events,
    pub latency: Latency,
    /// Within which half of the upgrades had moved their connections, milliseconds; `None` when none told it.
    pub transfer_p50_ms: Option<f64>,
    /// `None` when no gate asked for it.
    pub held: Option<held::Figures>,
    /// `None` when no gate asked for it, or nobody can tell.
    pub contended: Option<Contended>,
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
    /// `None`: after no fault orders had a way into MySQL.
    pub recovery: Option<Recovery>,
}

/// How soon the way of the orders into MySQL went on after the faults that had broken it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    pub faults: u64,
    /// From the end of a fault until a new order and all before it had arrived; `None`: they never did.
    pub longest_ms: Option<u64>,
}

/// Analyses a run.
#[must_use]
pub fn analyze(observations: &Observations) -> Analysis {
    let attempts = observations.attempts.iter().copied().map(Ok);
    let Ok(analysis) = analyze_log::<Infallible>(&observations.background, attempts);
    analysis
}

/// Analyses a run whose attempts come one by one, as a log's reader gives them; sixteen to thirty-two bytes of
/// each are kept, and thirty-two more of one that took a millisecond or longer: the instrument may explain it.
///
/// # Errors
/// The first of the log's.
pub fn analyze_log<E>(
    background: &Background,
    attempts: impl IntoIterator<Item = Result<Attempt, E>>,
) -> Result<Analysis, E> {
    let mut partial = Partial::new(background);
    for attempt in attempts {
        partial.add(&attempt?);
    }
    Ok(partial.finish())
}

/// What some of a run's attempts amount to, before it is set against the whole.
#[derive(Debug)]
pub struct Partial<'a> {
    background: &'a Background,
    reach: Reach,
    load: load::Partial,
    requests: Requests,
    foreseen: Foreseen,
    taxonomy: Taxonomy<'a>,
    outages: Outages,
    retries: Retries,
    windows: Windows,
    latency: latency::Partial,
    doubtful: Doubtful,
    spreading: Spreading,
    suspects: Suspects,
}

impl<'a> Partial<'a> {
    /// No attempts yet.
    #[must_use]
    pub fn new(background: &'a Background) -> Self {
        let load = &background.plan.load;
        Self {
            background,
            reach: Reach::new(load),
            load: load::Partial::default(),
            requests: Requests::new(load),
            foreseen: Foreseen::new(background),
            taxonomy: Taxonomy::new(background),
            outages: Outages::new(load),
            retries: Retries::default(),
            windows: Windows::new(load),
            latency: latency::Partial::new(background),
            doubtful: Doubtful::default(),
            spreading: Spreading::new(&background.events),
            suspects: Suspects::new(background),
        }
    }

    /// Takes one more attempt.
    pub fn add(&mut self, attempt: &Attempt) {
        let plan = &self.background.plan;
        self.requests.add(attempt, &plan.load);
        self.foreseen.add(attempt, &plan.load);
        self.spreading.add(attempt);
        self.suspects.add(attempt);
        self.load.add(attempt, &plan.load);
        self.doubtful.add(attempt, &plan.load);
        if !attempt.ok() && attempt.intended_ns >= plan.load.warmup_ns {
            self.taxonomy.add(attempt);
        }
        if select::was_sent(attempt) {
            self.retries.witness(attempt);
        }
        if !select::counts(attempt, plan.load.warmup_ns) {
            return;
        }
        self.reach.add(attempt);
        self.outages.add(attempt, plan.load.slow_ns);
        self.windows.add(attempt);
        self.latency.add(attempt);
        if retry::is_permitted(plan, attempt) {
            self.retries.add(attempt);
        }
    }

    /// What the attempts of both amount to; both must have the same background. The order is of no account.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.reach.merge(&other.reach);
        self.load.merge(&other.load);
        self.requests.merge(other.requests);
        self.foreseen.merge(&other.foreseen);
        self.taxonomy.merge(other.taxonomy);
        self.outages.merge(other.outages);
        self.retries.merge(other.retries);
        self.windows.merge(&other.windows);
        self.latency.merge(&other.latency);
        self.doubtful.merge(other.doubtful);
        self.spreading.merge(&other.spreading);
        self.suspects.merge(other.suspects);
        self
    }

    /// The figures of a run that had these attempts and no other.
    #[must_use]
    pub fn finish(self) -> Analysis {
        let Self { background, mut requests, .. } = self;
        let attribution = Attribution::new(&background.events);
        let span = self.reach.span(&background.plan.load, background.instrument.interrupted);
        let rescued = self.retries.rescued();
        let propagation = self.spreading.finish();
        let look = self.doubtful.look(background, &propagation);
        let excused_ns = look.as_ref().and_then(|look| look.hard_upper_ns(background, &self.outages, span));
        let (downtime, attributed) = downtime::measure(background, self.outages, span, &attribution);
        requests.attribute(attributed.failed, attributed.unattributed);
        let (invariants, orders) = invariants::check(background, &self.suspects, &propagation);
        Analysis {
            span,
            load: self.load.finish(background, &requests),
            control: control::measure(background),
            machine: machine::measure(
                &background.machine,
                Interval { from_ns: span.from_ns, to_ns: span.to_ns },
            ),
            excuse: look.and_then(|look| look.finish(background, &downtime, excused_ns)),
            unforeseen: self.foreseen.unforeseen(),
            foreseen_timeouts: self.foreseen.timeouts(),
            classes: self.taxonomy.finish(),
            connections: counts::connections(&background.plan, &background.connections),
            availability: availability::measure(&background.events, &requests, &downtime, span, rescued),
            sla: sla::measure(&background.events, &downtime, &requests, &self.windows, span),
            events: events(background, &downtime),
            latency: self.latency.finish(),
            transfer_p50_ms: transfer::p50_ms(&background.events),
            held: held::measure(background.environment.held, &background.events),
            contended: contended::measure(background),
            propagation,
            orders,
            invariants,
            store_read: background.environment.store_read,
            requests,
            downtime,
        }
    }
}

fn events(background: &Background, downtime: &Downtime) -> Events {
    let events = &background.events;
    let count =
        |wanted: &dyn Fn(&EventRecord) -> bool| events.iter().filter(|event| wanted(event)).count() as u64;
    let (planned, ran) = (background.plan.events.len() as u64, events.len() as u64);
    Events {
        planned,
        ran,
        unexpected: count(&|event| !event.as_expected) + planned.saturating_sub(ran),
        upgrades_ok: count(&|event| event.kind == "upgrade" && event.outcome == EventOutcome::Ok),
        hard: downtime.by_event(events.len()),
        recovery: recovery(events),
    }
}

fn recovery(events: &[EventRecord]) -> Option<Recovery> {
    let measured = events.iter().filter(|event| event.kind == "fault");
    let measured: Vec<_> = measured.filter_map(|event| event.detail.get("recovered_ms")).collect();
    let (faults, all) = (measured.len() as u64, measured.into_iter().map(serde_json::Value::as_u64));
    (faults > 0).then(|| Recovery {
        faults,
        longest_ms: all.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max()),
    })
}

#[cfg(test)]
mod tests;
