//! What a report says about time: availability, downtime, events and latency.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::Attempted;

/// Availabilities, 0 to 1, rounded down; `null` when nothing was sent.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Availability {
    /// Attempts that were answered, of all.
    pub by_request: Option<f64>,
    /// Time outside the upper bounds of the hard windows, of the time in which attempts were sent.
    pub by_time: Option<f64>,
    /// By request, when each client repeats once what HTTP permits to repeat.
    pub after_safe_retry: Option<f64>,
    /// How bad the truth can be, with 95 % confidence.
    pub failure_upper_bound_95: FailureBounds,
}

/// Exact one-sided binomial bounds (Clopper-Pearson).
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FailureBounds {
    /// Highest probability that a request fails; `null` without a request.
    pub per_request: Option<f64>,
    /// Highest probability that an event loses anything; `null` without an event.
    pub per_event: Option<f64>,
    pub requests: FailureBound,
    /// The trials are upgrades, or all events of a run without one.
    pub events: FailureBound,
}

/// The counts behind a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FailureBound {
    pub trials: u64,
    /// An event is bad when a failed attempt belongs to it, or when it did not end as planned.
    pub bad: u64,
}

/// Time without service, milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Downtime {
    /// Time in which at least one stream was down.
    pub hard_ms: Bounds,
    /// Time in which at least one attempt had waited longer than the scenario's limit; `null` when
    /// nothing was sent.
    pub brownout_ms: Option<f64>,
    /// The shortest outage of everything that the load meets with 95 % probability.
    pub min_detectable_ms: Option<f64>,
    /// Over all streams, in order of time, hard ones first.
    pub windows: Vec<Window>,
    /// Windows left out of the list because they are too many; the longest are kept.
    pub windows_omitted: u64,
}

/// What is certain and what is possible, milliseconds; `null` when nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Bounds {
    pub lower: Option<f64>,
    pub upper: Option<f64>,
}

/// An interval without service, or with slow service. Times are milliseconds after the start of the load.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Window {
    /// `hard` (failures) or `brownout` (later than the limit).
    pub kind: String,
    /// Earliest possible beginning.
    pub from_ms: f64,
    /// Latest possible end.
    pub to_ms: f64,
    pub lower_ms: f64,
    pub upper_ms: f64,
    /// Failed or late attempts in it.
    pub attempts: u64,
    /// How often the service worked in between, too briefly to count as recovered.
    pub flaps: u64,
    /// Id of the event that it belongs to.
    pub event: Option<String>,
    /// Names of the streams that saw it.
    pub streams: Vec<String>,
    /// It may have begun before the measuring did.
    pub open_start: bool,
    /// It had not ended when the measuring did.
    pub open_end: bool,
}

/// What the events' downtime does to a day.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Sla {
    /// Upper bound of the hard downtime of an event, mean, milliseconds; `null` without an event.
    pub per_event_downtime_ms: Option<f64>,
    /// The most that one event may have caused.
    pub per_event_downtime_ms_max: Option<f64>,
    /// What cannot be ruled out: the most, or `min_detectable_ms` if that is longer.
    pub per_event_downtime_ms_worst: Option<f64>,
    /// Number of events behind these figures.
    pub events: u64,
    pub daily: Vec<Daily>,
    /// The availability of the run, as differently as it is defined.
    pub definitions: Vec<Definition>,
    /// Empty when nothing was sent.
    pub budgets: Vec<Budget>,
    /// Burn-rate alerts over two windows.
    pub alerts: Vec<Alert>,
}

/// A definition of availability and what the run comes to by it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Definition {
    pub name: String,
    /// 0 to 1, rounded down; `null` when the run is shorter than a window, or nothing was sent.
    pub availability: Option<f64>,
    /// Windows that were measured; `null` for a definition without windows.
    pub windows: Option<u64>,
    /// How it is counted.
    pub rule: String,
    pub source: String,
}

/// Availability of a day with so many events.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Daily {
    pub events_per_day: u32,
    /// With events of the mean length.
    pub availability: f64,
    /// With events of the worst length.
    pub availability_worst: f64,
}

/// What a promised availability leaves room for, and what the run took of it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Budget {
    /// The promise, 0 to 1.
    pub target: f64,
    /// Downtime of a day that keeps it, milliseconds.
    pub daily_ms: f64,
    /// Failed requests of a day at the run's rate that keep it, rounded down.
    pub daily_requests: Option<u64>,
    /// The run's downtime, upper bound, of `daily_ms`: 1 is the budget of a whole day.
    pub used_by_time: f64,
    /// The run's failed requests of `daily_requests`.
    pub used_by_request: f64,
    /// The run's error rate over the budgeted one.
    pub burn_rate: f64,
    /// Events of the worst length that fit into it; `null` without an event, or when that length is zero.
    pub events_per_day_max: Option<u64>,
}

/// A burn-rate alert: it calls when the error rate is so high over both windows at once.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Alert {
    pub burn_rate: f64,
    pub long_s: u64,
    pub short_s: u64,
    /// The highest error rate over both windows at once; `null` when the run is shorter than the long one.
    pub error_rate: Option<f64>,
    /// The promises for which it would have called.
    pub calls_for: Vec<f64>,
}

/// A planned action and what came of it. Times are milliseconds after the start of the load.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Event {
    pub id: String,
    /// `upgrade`, `exec`, `http`, `signal`, `reload` or `fault`.
    pub kind: String,
    /// When it was due.
    pub at_ms: f64,
    pub started_ms: f64,
    /// When the one who was asked said that it is done.
    pub acked_ms: Option<f64>,
    pub ended_ms: Option<f64>,
    /// `ok`, `failed` or `refused`.
    pub outcome: String,
    /// The scenario expected this outcome.
    pub as_expected: bool,
    /// Failed attempts that belong to it.
    pub failed_requests: u64,
    /// Hard downtime that belongs to it.
    pub downtime_ms: Bounds,
    /// What the one who was asked answered.
    pub detail: serde_json::Value,
}

/// Latencies of attempts of every outcome, milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Latency {
    /// From the intended time to the end.
    pub intended: Quantiles,
    /// From the sending to the end.
    pub service: Quantiles,
    pub served_within: ServedWithin,
    /// Attempts under way between an event's start and one second after its end.
    pub around_events: LatencyGroup,
    /// All others.
    pub quiet: LatencyGroup,
}

/// Latencies of some of the attempts.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LatencyGroup {
    pub attempts: u64,
    pub intended: Quantiles,
    pub service: Quantiles,
}

/// Quantiles with three significant figures; `null` of nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Quantiles {
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
    pub max: Option<f64>,
}

/// The time within which so many of all attempts were served; `null` when fewer were.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct ServedWithin {
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
}

/// How a change spread. Times are milliseconds after it was made: a file's last system call, the answer of etcd or
/// of a push; of a request and of an upgrade after the event's start.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Propagation {
    pub event_id: String,
    /// `push` (a request told the server), `file`, `etcd`, `timer`, or `upgrade` (another program serves).
    pub mechanism: String,
    /// End of the first answer with the change; `null` when there was none.
    pub first_ms: Option<f64>,
    /// End of the last answer without it; `null` when there was none.
    pub last_ms: Option<f64>,
    /// Until somebody had asked who was answered with it, or an answer with it had come, and nobody who asked
    /// later was answered without it; `null` when it was never seen.
    pub effect_ms: Option<f64>,
    /// Answers without it to attempts that were sent after it had been acknowledged.
    pub stale_after_ack: u64,
    /// From the acknowledgement to the sending of the last of them, milliseconds; `null` when no answer to a
    /// later attempt told its generation.
    pub stale_ms: Option<f64>,
    /// Of each process that answered without it after it was made, and of the one that showed it first.
    pub processes: Vec<PropagationOfProcess>,
}

/// How a change came to one process.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PropagationOfProcess {
    /// Process generation; 0 of a server that does not tell it.
    pub process: u32,
    pub first_ms: Option<f64>,
    pub last_ms: Option<f64>,
}

/// One stream by itself.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Stream {
    pub name: String,
    /// `http1`, `http2`, or `reqwest`, whose failures are those left after the library's own retries.
    pub client: String,
    /// `new` or `reused`.
    pub connection: String,
    /// Planned attempts per second.
    pub rate: f64,
    pub requests: Attempted,
    /// Failed ones by cause.
    pub by_class: BTreeMap<String, u64>,
    pub hard_ms: Bounds,
    pub brownout_ms: Option<f64>,
    pub min_detectable_ms: Option<f64>,
    /// Hard windows that it saw.
    pub windows: u64,
    pub latency_ms: LatencyGroup,
}
