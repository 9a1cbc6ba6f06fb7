//! Limits held against figures.

mod contended;
mod held;
mod transfer;

use super::{Outcome, machine};
use crate::{
    analyze::{
        Analysis, Recovery,
        intervals::Interval,
        latency::Quantiles,
        load::Load,
        propagation::{Mechanism, Propagation, effect_p99},
    },
    observe::Cause,
    plan::{Arrival, Gate, Plan},
};

const NS_PER_MS: f64 = 1e6;
const NS_PER_US: f64 = 1e3;

/// A gate and what the run had to say to it.
#[derive(Debug, Clone, PartialEq)]
pub struct GateResult {
    /// The gate's name in a scenario file; its end names the unit.
    pub name: &'static str,
    pub limit: f64,
    /// `None` when there was nothing to measure, or when no finite value holds.
    pub actual: Option<f64>,
    pub outcome: Outcome,
    /// What the figure says beside the limit, in whole sentences.
    pub reason: String,
    /// It is in doubt only because the instrument itself was kept waiting: such a gate keeps a run from
    /// passing, and does not outweigh one that failed without any excuse.
    pub excused: bool,
}

/// What a generator may stand still, milliseconds: far beyond what a busy machine does to a thread, and as
/// long as an outage that people talk about.
const BLIND_MS_MAX: f64 = 1_000.0;

/// Judges the plan's gates and the implied ones.
pub(super) fn judge(plan: &Plan, analysis: &Analysis) -> Vec<GateResult> {
    plan.gates.iter().copied().chain(implied(plan)).map(|gate| judge_one(gate, analysis)).collect()
}

/// Gates that hold although the plan does not name them, each unless the plan sets its own limit.
///
/// - Everything planned is sent: otherwise the figures describe another load than the plan.
/// - 99 % of the attempts are sent within the plan's `slow_ns`: with a later generator, its own lateness
///   could not be told from the target's. A closed loop has no schedule to be late for.
/// - It never stands still for longer than [`BLIND_MS_MAX`]: nobody knows what the target did meanwhile.
/// - Every planned event ends as planned: a run must not pass because its upgrades did not happen.
fn implied(plan: &Plan) -> Vec<Gate> {
    let mut implied = vec![Gate::UnsentMax(0)];
    if plan.load.streams.iter().any(|stream| stream.arrival != Arrival::Closed) {
        implied.push(Gate::LatenessP99UsMax(plan.load.slow_ns / 1_000));
    }
    implied.push(Gate::BlindMsMax(BLIND_MS_MAX));
    if !plan.events.is_empty() {
        implied.push(Gate::EventsFailedMax(0));
    }
    implied.retain(|gate| plan.gates.iter().all(|set| name(*set) != name(*gate)));
    implied
}

/// The word for a gate in scenario files and reports.
pub(super) fn name(gate: Gate) -> &'static str {
    match gate {
        Gate::FailedMax(_) => "failed_max",
        Gate::UnforeseenMax(_) => "unforeseen_max",
        Gate::AvailabilityMin(_) => "availability_min",
        Gate::HardDowntimeMsMax(_) => "hard_downtime_ms_max",
        Gate::BrownoutMsMax(_) => "brownout_ms_max",
        Gate::LatencyP99MsMax(_) => "latency_p99_ms_max",
        Gate::UpgradesMin(_) => "upgrades_min",
        Gate::EventsFailedMax(_) => "events_failed_max",
        Gate::ClosedByServerMax(_) => "closed_by_server_max",
        Gate::StaleMsMax(_) => "stale_ms_max",
        Gate::PushP99MsMax(_) => "propagation_p99_ms_max.push",
        Gate::FileP99MsMax(_) => "propagation_p99_ms_max.file",
        Gate::EtcdP99MsMax(_) => "propagation_p99_ms_max.etcd",
        Gate::TimerP99MsMax(_) => "propagation_p99_ms_max.timer",
        Gate::RecoveryMsMax(_) => "recovery_ms_max",
        Gate::TransferP50MsMax(_) => "transfer_p50_ms_max",
        Gate::ProcessesLeftMax(_) => "processes_left_max",
        Gate::DescriptorsLeftMax(_) => "descriptors_left_max",
        Gate::MemoryGrowthKbMax(_) => "memory_growth_kb_max",
        Gate::GoodsContendedMin(_) => "goods_contended_min",
        Gate::LimitsContendedMin(_) => "limits_contended_min",
        Gate::LatenessP99UsMax(_) => "lateness_p99_us_max",
        Gate::UnsentMax(_) => "unsent_max",
        Gate::BlindMsMax(_) => "blind_ms_max",
    }
}

/// A figure beside its limit, before it is judged.
struct Comparison {
    limit: f64,
    actual: Option<f64>,
    kept: bool,
    reason: String,
}

/// Figures that the instrument's own waits can worsen.
#[derive(Clone, Copy)]
struct Figures<'a> {
    failed: u64,
    unforeseen: u64,
    availability: Option<f64>,
    hard_upper_ns: u64,
    brownout_ns: u64,
    served_p99_ns: Option<u64>,
    propagation: &'a [Propagation],
}

impl<'a> Figures<'a> {
    fn measured(analysis: &'a Analysis) -> Self {
        Self {
            failed: analysis.requests.all.failed,
            unforeseen: analysis.unforeseen,
            availability: analysis.availability.by_request.value(),
            hard_upper_ns: analysis.downtime.hard.upper_ns,
            brownout_ns: analysis.downtime.brownout_ns,
            served_p99_ns: analysis.latency.served_within.p99,
            propagation: &analysis.propagation,
        }
    }

    /// As they would have been without these waits; `None` when there was none.
    fn excused(analysis: &'a Analysis) -> Option<Self> {
        let excuse = analysis.excuse.as_ref()?;
        let all = analysis.requests.all;
        let failed = all.failed - excuse.timeouts;
        Some(Self {
            failed,
            // At least so many of them no fault answers for.
            unforeseen: analysis
                .unforeseen
                .saturating_sub(excuse.timeouts.saturating_sub(analysis.foreseen_timeouts)),
            availability: (all.total > 0).then(|| to_f64(all.total - failed) / to_f64(all.total)),
            hard_upper_ns: excuse.hard_upper_ns,
            brownout_ns: excuse.brownout_ns,
            served_p99_ns: excuse.served_p99_ns,
            propagation: &excuse.propagation,
        })
    }
}

fn judge_one(gate: Gate, analysis: &Analysis) -> GateResult {
    let nothing_sent = analysis.requests.all.total == 0;
    // What has to happen for a run to show anything is no fault of the target where it did not.
    let is_instrument = gate.is_of_contention()
        || matches!(gate, Gate::LatenessP99UsMax(_) | Gate::UnsentMax(_) | Gate::BlindMsMax(_));
    let of_events = matches!(gate, Gate::UpgradesMin(_) | Gate::EventsFailedMax(_));
    let Comparison { limit, actual, kept, mut reason } = compare(gate, analysis, Figures::measured(analysis));
    let is_unmeasured = match gate {
        Gate::StaleMsMax(_) | Gate::TransferP50MsMax(_) => actual.is_none(),
        Gate::RecoveryMsMax(_) => analysis.events.recovery.is_none(),
        gate if gate.is_of_rest() || gate.is_of_contention() => actual.is_none(),
        Gate::PushP99MsMax(_) => is_without(analysis, Mechanism::Push),
        Gate::FileP99MsMax(_) => is_without(analysis, Mechanism::File),
        Gate::EtcdP99MsMax(_) => is_without(analysis, Mechanism::Etcd),
        Gate::TimerP99MsMax(_) => is_without(analysis, Mechanism::Timer),
        _ => false,
    };
    if is_unmeasured || (nothing_sent && !is_instrument && !of_events) {
        let reason = match is_unmeasured {
            true => reason,
            false => format!("The gate {} has nothing to measure.", name(gate)),
        };
        let (name, outcome) = (name(gate), Outcome::Inconclusive);
        return GateResult { name, limit, actual: None, outcome, reason, excused: false };
    }
    let excused =
        !kept && Figures::excused(analysis).is_some_and(|figures| compare(gate, analysis, figures).kept);
    if excused && let Some(excuse) = &analysis.excuse {
        reason.push_str(&format!(
            " Without the time for which the harness itself was kept waiting, up to {:.0} ms at once, the \
             limit would have been kept.{}",
            to_f64(excuse.longest_ns) / NS_PER_MS,
            machine::sentence(excuse.machine.as_ref()),
        ));
    }
    let outcome = match (kept, is_instrument || excused) {
        (true, _) => Outcome::Pass,
        (false, false) => Outcome::Fail,
        (false, true) => Outcome::Inconclusive,
    };
    GateResult { name: name(gate), limit, actual, outcome, reason, excused }
}

fn compare(gate: Gate, analysis: &Analysis, figures: Figures<'_>) -> Comparison {
    match gate {
        Gate::FailedMax(limit) => {
            let failed = figures.failed;
            count(
                failed,
                failed <= limit,
                limit,
                format!("{} failed; the limit is {limit}.", counted(failed, "request")),
            )
        }
        Gate::UnforeseenMax(limit) => {
            let (failed, foreseen) = (figures.unforeseen, figures.failed - figures.unforeseen);
            let requests = counted(failed, "request");
            let reason = format!(
                "{requests} failed that no fault answers for, beside {foreseen} others; the limit is {limit}."
            );
            count(failed, failed <= limit, limit, reason)
        }
        Gate::AvailabilityMin(limit) => {
            let actual = figures.availability;
            let kept = actual.is_some_and(|actual| actual >= limit);
            let percent = actual.unwrap_or_default() * 100.0;
            let reason = format!("The availability was {percent:.6} %; the limit is {} %.", limit * 100.0);
            Comparison { limit, actual, kept, reason }
        }
        Gate::HardDowntimeMsMax(limit) => milliseconds(figures.hard_upper_ns, limit, "was down"),
        Gate::BrownoutMsMax(limit) => milliseconds(figures.brownout_ns, limit, "was slow"),
        Gate::LatencyP99MsMax(limit) => latency(figures.served_p99_ns, limit),
        Gate::UpgradesMin(limit) => {
            let ok = analysis.events.upgrades_ok;
            count(
                ok,
                ok >= limit,
                limit,
                format!("{} ended well; the least is {limit}.", counted(ok, "upgrade")),
            )
        }
        Gate::EventsFailedMax(limit) => {
            let failed = analysis.events.unexpected;
            let events = counted(failed, "event");
            let reason = format!("{events} did not end as planned, or did not run; the limit is {limit}.");
            count(failed, failed <= limit, limit, reason)
        }
        Gate::ClosedByServerMax(limit) => {
            let closed = analysis.connections.reused.closed_by_server;
            let connections = counted(closed, "kept-alive connection");
            let reason = format!("The server closed {connections}; the limit is {limit}.");
            count(closed, closed <= limit, limit, reason)
        }
        Gate::StaleMsMax(limit) => stale(analysis, limit),
        Gate::PushP99MsMax(limit) => effect(figures.propagation, Mechanism::Push, limit),
        Gate::FileP99MsMax(limit) => effect(figures.propagation, Mechanism::File, limit),
        Gate::EtcdP99MsMax(limit) => effect(figures.propagation, Mechanism::Etcd, limit),
        Gate::TimerP99MsMax(limit) => effect(figures.propagation, Mechanism::Timer, limit),
        Gate::RecoveryMsMax(limit) => recovery(analysis.events.recovery, limit),
        Gate::TransferP50MsMax(limit) => transfer::compare(analysis.transfer_p50_ms, limit),
        Gate::ProcessesLeftMax(_) | Gate::DescriptorsLeftMax(_) | Gate::MemoryGrowthKbMax(_) => {
            held::compare(gate, analysis.held.as_ref())
        }
        Gate::GoodsContendedMin(_) | Gate::LimitsContendedMin(_) => {
            contended::compare(gate, analysis.contended)
        }
        Gate::LatenessP99UsMax(limit) => lateness(analysis.load.lateness, limit),
        Gate::UnsentMax(limit) => {
            let unsent = analysis.load.unsent;
            count(unsent, unsent <= limit, limit, unsent_reason(&analysis.load, limit))
        }
        Gate::BlindMsMax(limit) => blind(&analysis.load, limit),
    }
}

fn count(actual: u64, kept: bool, limit: u64, reason: String) -> Comparison {
    Comparison { limit: to_f64(limit), actual: Some(to_f64(actual)), kept, reason }
}

fn milliseconds(actual_ns: u64, limit: f64, what: &str) -> Comparison {
    let actual = to_f64(actual_ns) / NS_PER_MS;
    let reason = format!("The service {what} for up to {actual:.3} ms; the limit is {limit} ms.");
    Comparison { limit, actual: Some(actual), kept: actual <= limit, reason }
}

/// The latency within which 99 % of all attempts were served: a failure counts as an endless wait, so
/// that failing fast never helps.
fn latency(served_p99_ns: Option<u64>, limit: f64) -> Comparison {
    let actual = served_p99_ns.map(|p99_ns| to_f64(p99_ns) / NS_PER_MS);
    let reason = actual.map_or_else(
        || "More than 1 % of the requests were never served, so no latency holds for 99 %.".to_owned(),
        |actual| format!("99 % of the requests were served within {actual:.3} ms; the limit is {limit} ms."),
    );
    Comparison { limit, actual, kept: actual.is_some_and(|actual| actual <= limit), reason }
}

/// The longest time for which a change was acknowledged and not everywhere.
fn stale(analysis: &Analysis, limit: f64) -> Comparison {
    let stale_ns = analysis.propagation.iter().filter_map(|change| change.stale_ns).max();
    let actual = stale_ns.map(|stale_ns| to_f64(stale_ns) / NS_PER_MS);
    let reason = actual.map_or_else(
        || "No answer to a request sent after an acknowledged change told its generation.".to_owned(),
        |actual| {
            format!(
                "An answer from before a change came to a request sent {actual:.3} ms after its \
                 acknowledgement; the limit is {limit} ms."
            )
        },
    );
    Comparison { limit, actual, kept: actual.is_some_and(|actual| actual <= limit), reason }
}

/// Nothing came by a mechanism, so nothing can be said of it.
fn is_without(analysis: &Analysis, mechanism: Mechanism) -> bool {
    effect_p99(&analysis.propagation, mechanism).is_none()
}

/// The time within which 99 % of the changes by a mechanism had their effect.
fn effect(changes: &[Propagation], mechanism: Mechanism, limit: f64) -> Comparison {
    let word = mechanism.word();
    let effect_ns = effect_p99(changes, mechanism);
    let actual = effect_ns.flatten().map(|effect_ns| to_f64(effect_ns) / NS_PER_MS);
    let reason = match (effect_ns, actual) {
        (None, _) => format!("No change by {word} was acknowledged, so nothing could spread."),
        (Some(_), None) => format!("A change by {word} never came to be seen; the limit is {limit} ms."),
        (Some(_), Some(actual)) => {
            format!(
                "99 % of the changes by {word} had their effect within {actual:.3} ms; the limit is {limit} ms."
            )
        }
    };
    Comparison { limit, actual, kept: actual.is_some_and(|actual| actual <= limit), reason }
}

/// How long after the end of a fault somebody had bought again and all orders up to that one were in MySQL.
fn recovery(recovery: Option<Recovery>, limit: f64) -> Comparison {
    let actual = recovery.and_then(|recovery| recovery.longest_ms).map(to_f64);
    let reason = match (recovery, actual) {
        (None, _) => "No fault ended after which orders had a way into MySQL.".to_owned(),
        (Some(Recovery { faults, .. }), None) => {
            format!(
                "After one of {faults} faults no new order ever got into MySQL, or not all before it; the limit is {limit} ms."
            )
        }
        (Some(Recovery { faults, .. }), Some(actual)) => format!(
            "After each of {faults} faults a new order and all before it were in MySQL within {actual:.0} ms; the limit \
             is {limit} ms."
        ),
    };
    Comparison { limit, actual, kept: actual.is_some_and(|actual| actual <= limit), reason }
}

fn lateness(lateness: Option<Quantiles>, limit: u64) -> Comparison {
    let actual = lateness.map(|lateness| to_f64(lateness.p99) / NS_PER_US);
    let reason = actual.map_or_else(
        || "Nothing was sent, so the generator's lateness is unknown.".to_owned(),
        |actual| {
            format!("The generator sent 1 % of the requests {actual:.0} us late or later; the limit is {limit} us.")
        },
    );
    let limit = to_f64(limit);
    Comparison { limit, actual, kept: actual.is_some_and(|actual| actual <= limit), reason }
}

/// How many were not sent, why, and what helps.
fn unsent_reason(load: &Load, limit: u64) -> String {
    let why = |cause: Cause| match cause {
        Cause::NoPorts => "no port was free",
        Cause::NoDescriptors => "no descriptor was free, ulimit -n allows more",
        Cause::InFlightMax => "in_flight_max were in flight already",
        Cause::Late => "the load was over before their turn came",
        _ => "another cause",
    };
    let causes: Vec<String> =
        load.unsent_by_cause.iter().map(|(&cause, number)| format!("{}: {number}", why(cause))).collect();
    let causes = if causes.is_empty() { String::new() } else { format!(" ({})", causes.join("; ")) };
    format!(
        "The generator could not send {} of {} requests{causes}; the limit is {limit}.",
        load.unsent, load.planned
    )
}

fn blind(load: &Load, limit: f64) -> Comparison {
    let actual = load.blind.map(|blind| to_f64(blind.length_ns()) / NS_PER_MS);
    let reason = match (load.blind, actual) {
        (Some(Interval { from_ns, .. }), Some(actual)) => format!(
            "The generator stood still for {actual:.0} ms from {:.3} s on: requests were due and none was \
             sent; the limit is {limit} ms. What the target did meanwhile is unknown.{}",
            to_f64(from_ns) / NS_PER_MS / 1e3,
            machine::sentence(load.blind_machine.as_ref()),
        ),
        _ => "Nothing was due, so nobody knows whether the generator stood still.".to_owned(),
    };
    Comparison { limit, actual, kept: actual.is_some_and(|actual| actual <= limit), reason }
}

/// A number and its noun.
fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[expect(clippy::cast_precision_loss, reason = "counts and times stay below 2^53")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
