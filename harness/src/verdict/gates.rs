//! Limits held against figures.

use super::Outcome;
use crate::{
    analyze::{Analysis, latency::Quantiles},
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
    /// What the figure says beside the limit, a whole sentence.
    pub reason: String,
}

/// Judges the plan's gates and the implied ones.
pub(super) fn judge(plan: &Plan, analysis: &Analysis) -> Vec<GateResult> {
    plan.gates.iter().copied().chain(implied(plan)).map(|gate| judge_one(gate, analysis)).collect()
}

/// Gates that hold although the plan does not name them, each unless the plan sets its own limit.
///
/// - Everything planned is sent: otherwise the figures describe another load than the plan.
/// - 99 % of the attempts are sent within the plan's `slow_ns`: with a later generator, its own lateness
///   could not be told from the target's. A closed loop has no schedule to be late for.
/// - Every planned event ends as planned: a run must not pass because its upgrades did not happen.
fn implied(plan: &Plan) -> Vec<Gate> {
    let mut implied = vec![Gate::UnsentMax(0)];
    if plan.load.streams.iter().any(|stream| stream.arrival != Arrival::Closed) {
        implied.push(Gate::LatenessP99UsMax(plan.load.slow_ns / 1_000));
    }
    if !plan.events.is_empty() {
        implied.push(Gate::EventsFailedMax(0));
    }
    implied.retain(|gate| plan.gates.iter().all(|set| name(*set) != name(*gate)));
    implied
}

/// The word for a gate in scenario files and reports.
fn name(gate: Gate) -> &'static str {
    match gate {
        Gate::FailedMax(_) => "failed_max",
        Gate::AvailabilityMin(_) => "availability_min",
        Gate::HardDowntimeMsMax(_) => "hard_downtime_ms_max",
        Gate::BrownoutMsMax(_) => "brownout_ms_max",
        Gate::LatencyP99MsMax(_) => "latency_p99_ms_max",
        Gate::UpgradesMin(_) => "upgrades_min",
        Gate::EventsFailedMax(_) => "events_failed_max",
        Gate::ClosedByServerMax(_) => "closed_by_server_max",
        Gate::LatenessP99UsMax(_) => "lateness_p99_us_max",
        Gate::UnsentMax(_) => "unsent_max",
    }
}

/// A figure beside its limit, before it is judged.
struct Comparison {
    limit: f64,
    actual: Option<f64>,
    kept: bool,
    reason: String,
}

fn judge_one(gate: Gate, analysis: &Analysis) -> GateResult {
    let nothing_sent = analysis.requests.all.total == 0;
    let is_instrument = matches!(gate, Gate::LatenessP99UsMax(_) | Gate::UnsentMax(_));
    let of_events = matches!(gate, Gate::UpgradesMin(_) | Gate::EventsFailedMax(_));
    let Comparison { limit, actual, kept, reason } = compare(gate, analysis);
    if nothing_sent && !is_instrument && !of_events {
        let reason = format!("The gate {} has nothing to measure.", name(gate));
        return GateResult { name: name(gate), limit, actual: None, outcome: Outcome::Inconclusive, reason };
    }
    let outcome = match (kept, is_instrument) {
        (true, _) => Outcome::Pass,
        (false, false) => Outcome::Fail,
        (false, true) => Outcome::Inconclusive,
    };
    GateResult { name: name(gate), limit, actual, outcome, reason }
}

fn compare(gate: Gate, analysis: &Analysis) -> Comparison {
    match gate {
        Gate::FailedMax(limit) => {
            let failed = analysis.requests.all.failed;
            count(
                failed,
                failed <= limit,
                limit,
                format!("{} failed; the limit is {limit}.", counted(failed, "request")),
            )
        }
        Gate::AvailabilityMin(limit) => {
            let actual = analysis.availability.by_request.value();
            let kept = actual.is_some_and(|actual| actual >= limit);
            let percent = actual.unwrap_or_default() * 100.0;
            let reason = format!("The availability was {percent:.6} %; the limit is {} %.", limit * 100.0);
            Comparison { limit, actual, kept, reason }
        }
        Gate::HardDowntimeMsMax(limit) => milliseconds(analysis.downtime.hard.upper_ns, limit, "was down"),
        Gate::BrownoutMsMax(limit) => milliseconds(analysis.downtime.brownout_ns, limit, "was slow"),
        Gate::LatencyP99MsMax(limit) => latency(analysis, limit),
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
        Gate::LatenessP99UsMax(limit) => lateness(analysis.load.lateness, limit),
        Gate::UnsentMax(limit) => {
            let (unsent, planned) = (analysis.load.unsent, analysis.load.planned);
            let reason =
                format!("The generator could not send {unsent} of {planned} requests; the limit is {limit}.");
            count(unsent, unsent <= limit, limit, reason)
        }
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
fn latency(analysis: &Analysis, limit: f64) -> Comparison {
    let actual = analysis.latency.served_within.p99.map(|p99_ns| to_f64(p99_ns) / NS_PER_MS);
    let reason = actual.map_or_else(
        || "More than 1 % of the requests were never served, so no latency holds for 99 %.".to_owned(),
        |actual| format!("99 % of the requests were served within {actual:.3} ms; the limit is {limit} ms."),
    );
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

/// A number and its noun.
fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[expect(clippy::cast_precision_loss, reason = "counts and times stay below 2^53")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
