//! What one run gives to a comparison: its figures by event and by second, its plan and its surroundings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::difference::flatten;
use crate::{
    analyze::{
        Analysis,
        attribution::Attribution,
        availability::trials,
        counts,
        downtime::{Bounds, Downtime, WindowKind},
        intervals::Interval,
        invariants::InvariantOutcome,
        latency::{Pair, nearest_rank},
        select::{self, Span},
    },
    observe::{Attempt, Background, ClosedBy},
    plan::Plan,
    verdict::{Outcome, Verdict},
};

const NS_PER_S: u64 = 1_000_000_000;

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The run's folder, as the user would find it.
    pub name: String,
    /// The load and when its events are due, field by field. Runs can be compared only when it is the same.
    pub work: BTreeMap<String, String>,
    /// Everything else about the plan, and where it took place.
    pub surroundings: BTreeMap<String, String>,
    /// Why the instrument cannot vouch for the run; empty when it does.
    pub inconclusive: Vec<String>,
    /// Invariants that do not hold.
    pub violated: BTreeSet<String>,
    /// Attempts after the warm-up.
    pub requests: u64,
    pub failed: u64,
    /// The upgrades, or all events of a run without one, in the order of the log.
    pub events: Vec<EventFigures>,
    /// Whole seconds after the warm-up in which anything was sent.
    pub seconds: Vec<SecondFigures>,
    /// 99th percentile of the latency from the intended time near events, nanoseconds.
    pub p99_near_ns: Option<u64>,
    /// The same away from events.
    pub p99_quiet_ns: Option<u64>,
}

/// What belongs to one event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFigures {
    pub failed: u64,
    /// Those of `failed` on a fresh connection.
    pub failed_new: u64,
    /// Those on a reused one.
    pub failed_reused: u64,
    /// It lost something, or did not end as planned.
    pub bad: bool,
    pub hard: Bounds,
    pub brownout_ns: u64,
    /// Kept-alive connections that the server closed.
    pub closed_by_server: u64,
    /// 99th percentile of the latency from the intended time; `None` without an attempt.
    pub p99_ns: Option<u64>,
}

/// One second of the load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecondFigures {
    /// Failed attempts intended in it.
    pub failed: u64,
    /// 99th percentile of the latency from the intended time of its attempts away from events.
    pub p99_quiet_ns: Option<u64>,
}

impl Sample {
    /// Takes from a run what a comparison needs; its attempts come one by one, as a log's reader gives them.
    ///
    /// # Errors
    /// The first of the log's.
    pub fn new<E>(
        name: String,
        background: &Background,
        attempts: impl IntoIterator<Item = Result<Attempt, E>>,
        analysis: &Analysis,
        verdict: &Verdict,
    ) -> Result<Self, E> {
        let attribution = Attribution::new(&background.events);
        let mut times = Times::new(background, analysis.span);
        for attempt in attempts {
            times.add(&attempt?, background, analysis, &attribution);
        }
        let Times { near, quiet, failed, lost } = times;
        let (work, surroundings) = facts(background);
        let p99 = |pair: &Pair| pair.intended.map(|quantiles| quantiles.p99);
        Ok(Self {
            name,
            work,
            surroundings,
            inconclusive: inconclusive(verdict),
            violated: analysis
                .invariants
                .iter()
                .filter(|invariant| invariant.outcome == InvariantOutcome::Fail)
                .map(|invariant| invariant.name.to_owned())
                .collect(),
            requests: analysis.requests.all.total,
            failed: analysis.requests.all.failed,
            events: events(background, analysis, &attribution, near, &lost),
            seconds: failed
                .into_iter()
                .zip(quiet)
                .filter_map(|(failed, quiet)| {
                    Some(SecondFigures { failed: failed?, p99_quiet_ns: p99_of(quiet) })
                })
                .collect(),
            p99_near_ns: p99(&analysis.latency.around_events),
            p99_quiet_ns: p99(&analysis.latency.quiet),
        })
    }

    /// Why the run cannot be relied on, each with the run's name.
    pub(super) fn doubts(&self) -> impl Iterator<Item = String> {
        self.inconclusive.iter().map(|reason| format!("{}: {reason}", self.name))
    }
}

/// A run whose invariant is violated has a result, however late its load was; it is told elsewhere.
fn inconclusive(verdict: &Verdict) -> Vec<String> {
    if verdict.outcome == Outcome::Inconclusive { verdict.reasons.clone() } else { Vec::new() }
}

fn events(
    background: &Background,
    analysis: &Analysis,
    attribution: &Attribution,
    mut near: Vec<Vec<u64>>,
    lost: &[[u64; 2]],
) -> Vec<EventFigures> {
    let brownouts = brownouts(&analysis.downtime, background.events.len());
    let closed = closed(background, attribution);
    let figures = |index: usize| {
        let failed = analysis.requests.by_event[index];
        EventFigures {
            failed,
            failed_new: lost[index][0],
            failed_reused: lost[index][1],
            bad: failed > 0 || !background.events[index].as_expected,
            hard: analysis.events.hard[index],
            brownout_ns: brownouts[index],
            closed_by_server: closed[index],
            p99_ns: p99_of(std::mem::take(&mut near[index])),
        }
    };
    trials(&background.events).into_iter().map(figures).collect()
}

fn brownouts(downtime: &Downtime, events: usize) -> Vec<u64> {
    let mut sums = vec![0; events];
    for window in downtime.windows.iter().filter(|window| window.kind == WindowKind::Brownout) {
        if let Some(event) = window.event {
            sums[event] += window.bounds.upper_ns;
        }
    }
    sums
}

/// Kept-alive connections that the server closed, by the event that answers for it.
fn closed(background: &Background, attribution: &Attribution) -> Vec<u64> {
    let mut closed = vec![0; background.events.len()];
    for connection in &background.connections {
        let at = Interval { from_ns: connection.closed_ns, to_ns: connection.closed_ns };
        if connection.closed_by == ClosedBy::Server
            && counts::keeps_alive(&background.plan, connection)
            && let Some(event) = attribution.event(at)
        {
            closed[event] += 1;
        }
    }
    closed
}

/// Latencies and failures in the order of the load.
struct Times {
    /// From the intended time, of each event.
    near: Vec<Vec<u64>>,
    /// Of each second, away from events.
    quiet: Vec<Vec<u64>>,
    /// Failed attempts of each second; `None` when nothing was sent in it.
    failed: Vec<Option<u64>>,
    /// Failed attempts of each event, on fresh connections and on reused ones.
    lost: Vec<[u64; 2]>,
}

impl Times {
    fn new(background: &Background, span: Span) -> Self {
        let seconds = span.sending_to_ns.saturating_sub(span.from_ns) / NS_PER_S;
        let seconds = usize::try_from(seconds).unwrap_or(0);
        Self {
            near: vec![Vec::new(); background.events.len()],
            quiet: vec![Vec::new(); seconds],
            failed: vec![None; seconds],
            lost: vec![[0; 2]; background.events.len()],
        }
    }

    fn add(
        &mut self,
        attempt: &Attempt,
        background: &Background,
        analysis: &Analysis,
        attribution: &Attribution,
    ) {
        if !select::counts(attempt, background.plan.load.warmup_ns) {
            return;
        }
        let took =
            Interval { from_ns: attempt.intended_ns, to_ns: attempt.ended_ns.max(attempt.intended_ns) };
        let event = attribution.event(took);
        if let Some(event) = event {
            self.near[event].push(took.length_ns());
        }
        if !attempt.ok() {
            let when = Interval { from_ns: attempt.sent_ns, to_ns: attempt.ended_ns };
            let to_blame = attribution.event(when).or_else(|| analysis.downtime.event_of(when));
            if let Some(event) = to_blame {
                self.lost[event][usize::from(attempt.reused())] += 1;
            }
        }
        let second = (attempt.intended_ns - analysis.span.from_ns) / NS_PER_S;
        let second = usize::try_from(second).unwrap_or(usize::MAX);
        if let (Some(failed), Some(quiet)) = (self.failed.get_mut(second), self.quiet.get_mut(second)) {
            *failed.get_or_insert(0) += u64::from(!attempt.ok());
            if event.is_none() {
                quiet.push(took.length_ns());
            }
        }
    }
}

/// The 99th percentile by nearest rank; `None` of nothing.
fn p99_of(mut times_ns: Vec<u64>) -> Option<u64> {
    times_ns.sort_unstable();
    nearest_rank(&times_ns, 99)
}

/// Plan and surroundings, field by field: the work, and the rest.
fn facts(background: &Background) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let Plan { schema_version: _, scenario, description: _, seed, target, load, events, gates } =
        &background.plan;
    let due: BTreeMap<&str, u64> = events.iter().map(|event| (event.id.as_str(), event.at_ns)).collect();
    let actions: BTreeSet<String> = events
        .iter()
        .map(|event| serde_json::to_value(&event.action).unwrap_or_default().to_string())
        .collect();
    let environment = &background.environment;
    let work = fields(&json!({ "event_count": events.len(), "events_at_ns": due, "load": load }));
    let rest = json!({
        "plan": {
            "fingerprint": background.plan.fingerprint(),
            "scenario": scenario,
            "seed": seed,
            "target": target,
            "actions": actions,
            "gates": gates,
        },
        "environment": {
            "kernel": environment.kernel,
            "cpus": environment.cpus,
            "sysctls": environment.sysctls,
            "services": environment.services,
            "target": environment.target,
            "strategy": environment.strategy,
            "old": environment.old,
            "new": environment.new,
        },
    });
    (work, fields(&rest))
}

fn fields(value: &Value) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    flatten(value, "", &mut fields);
    fields
}
