//! The cases: which plan and which script belong together, and what has to come out.
//!
//! Every expectation of a class stands in one table, [`LOSSES`]. A case is a run of some milliseconds, and is
//! repeated in turn with all others, so that a bad moment of the machine does not meet one case alone.

use super::{
    pipe::spacing_ns,
    target::{Kills, Script, Step, StepKind, Victims, Way, digest},
};
use crate::{
    observe::{Cause, Phase},
    plan::{
        Arrival, Client, ConnectionMode, ExternalPlan, Gate, LoadPlan, Op, PLAN_SCHEMA_VERSION, Pace, Plan,
        RequestPlan, StreamPlan, TargetPlan,
    },
};

const MS: u64 = 1_000_000;
const US: u64 = 1_000;

/// How much of the calibration is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Every case.
    Full,
    /// Every class of loss; the shorter stalls and outages.
    Quick,
    /// A few of each kind, for the tests.
    Short,
}

/// One run with a known fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Case {
    /// Several stalls of one length under one rate.
    Stalls { rate_hz: f64, stall_ms: u64 },
    /// Some requests lost in one way.
    Losses { loss: Loss, reused: bool },
    /// The target is away once.
    Outage { away_ms: u64 },
    /// Nothing happens.
    Quiet,
}

/// A way to lose a request, and what has to be said about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) name: &'static str,
    fault: Fault,
    pub(super) phase: Phase,
    pub(super) cause: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The listener is closed for a while: only who needs a new connection is hurt.
    NoListener,
    Killed(Way),
}

const fn loss(name: &'static str, way: Way, phase: Phase, cause: Cause) -> Loss {
    Loss { name, fault: Fault::Killed(way), phase, cause }
}

/// Every class of loss with the phase and the cause that the report has to give.
pub(super) const LOSSES: [Loss; 12] = [
    Loss {
        name: "connection refused",
        fault: Fault::NoListener,
        phase: Phase::Connect,
        cause: Cause::Refused,
    },
    loss("reset, no answer", Way::Reset, Phase::Wait, Cause::Reset),
    loss("closed, no answer", Way::Eof, Phase::Wait, Cause::Eof),
    loss("never answered", Way::Silence, Phase::Wait, Cause::Timeout),
    loss("closed in the head", Way::TruncatedHead, Phase::Body, Cause::Eof),
    loss("closed in the body", Way::ShortBody, Phase::Body, Cause::ShortBody),
    loss("closed in the chunks", Way::EofInChunks, Phase::Body, Cause::ShortBody),
    loss("reset in the body", Way::ResetInBody, Phase::Body, Cause::Reset),
    loss("no HTTP", Way::Garbage, Phase::Body, Cause::Parse),
    loss("status 503", Way::BadStatus, Phase::Validate, Cause::BadStatus),
    loss("a second answer", Way::Surplus, Phase::Validate, Cause::Surplus),
    loss("another body", Way::WrongDigest, Phase::Validate, Cause::WrongDigest),
];

/// Requests lost in a run of losses.
pub(super) const LOST: u64 = 7;
/// Not a divisor of the number of connections, so that the losses go round.
const LOST_EVERY: u64 = 11;
const LOSS_RATE_HZ: f64 = 1_000.0;
/// Far beyond what a busy machine makes of an answer.
const TIMEOUT_NS: u64 = 5_000 * MS;
/// Where a timeout is the fault itself the run has to wait for it.
const TIMEOUT_SHORT_NS: u64 = 300 * MS;
/// The default of scenarios.
const SLOW_NS: u64 = 250 * MS;
/// The least that a scenario has when it says nothing. Where the faults are known the truth needs no echo.
const CONTROL_RATE_HZ: f64 = 50.0;
/// Of each stream in the runs with two of them.
const OUTAGE_RATE_HZ: f64 = 1_000.0;
const CONNECTIONS: u32 = 8;
/// More than the longest stall holds back at the highest rate.
const IN_FLIGHT_MAX: u32 = 8_192;
/// Before the first fault of a run: every pool is open, and the generator has found its pace.
const BEFORE_NS: u64 = 50 * MS;

/// The cases of an extent, in the order in which they take their turns.
pub(super) fn cases(extent: Extent) -> Vec<Case> {
    let (rates, stalls, outages): (&[f64], &[u64], &[u64]) = match extent {
        Extent::Full => (&[1_000.0, 2_000.0, 5_000.0], &[1, 5, 20, 100, 1_000], &[200, 1_000, 3_000]),
        Extent::Quick => (&[1_000.0, 5_000.0], &[1, 20, 100], &[200, 1_000]),
        Extent::Short => (&[1_000.0], &[5, 100], &[200]),
    };
    let stalls = rates
        .iter()
        .flat_map(|&rate_hz| stalls.iter().map(move |&stall_ms| Case::Stalls { rate_hz, stall_ms }));
    let losses = LOSSES.into_iter().flat_map(|loss| {
        // A connection that is there needs no listener.
        let both = loss.fault != Fault::NoListener;
        [false, true]
            .into_iter()
            .filter(move |&reused| both || !reused)
            .map(move |reused| Case::Losses { loss, reused })
    });
    let outages = outages.iter().map(|&away_ms| Case::Outage { away_ms });
    stalls.chain(losses).chain(outages).chain([Case::Quiet]).collect()
}

impl Case {
    /// Trials in one run of the case.
    pub(super) fn trials(self) -> u64 {
        match self {
            Self::Stalls { stall_ms, .. } => match stall_ms {
                0..=5 => 20,
                6..=20 => 10,
                21..=100 => 4,
                _ => 1,
            },
            Self::Losses { .. } | Self::Outage { .. } | Self::Quiet => 1,
        }
    }

    /// The run: what the load does, and what the target does to it.
    pub(super) fn work(self) -> (Plan, Script) {
        match self {
            Self::Stalls { rate_hz, stall_ms } => stalls(rate_hz, stall_ms * MS, self.trials()),
            Self::Losses { loss, reused } => losses(loss, reused),
            Self::Outage { away_ms } => outage(away_ms * MS),
            Self::Quiet => (quiet(1_000 * MS, 1_000.0), Script::default()),
        }
    }
}

/// A load on new and on reused connections to which nothing happens.
pub(super) fn quiet(duration_ns: u64, rate_hz: f64) -> Plan {
    let mut plan = plan("quiet", duration_ns, SLOW_NS, both_streams(rate_hz));
    plan.load.control_rate = CONTROL_RATE_HZ;
    plan
}

fn stalls(rate_hz: f64, stall_ns: u64, count: u64) -> (Plan, Script) {
    let spacing_ns = spacing_ns(rate_hz);
    let every_ns = 2 * stall_ns + 10 * MS;
    let step = |index: u64| {
        // A stall as short as the spacing must begin well before an attempt is due to be met at all; how
        // long before takes turns from 2/10 to 4/10 of the spacing.
        let due_ns = (BEFORE_NS + index * every_ns).div_ceil(spacing_ns) * spacing_ns;
        let ahead_ns = spacing_ns * (2 + index % 3) / 10;
        Step { kind: StepKind::Stall, at_ns: due_ns - ahead_ns, for_ns: stall_ns }
    };
    let steps: Vec<Step> = (0..count).map(step).collect();
    let over_ns = steps.last().map_or(0, |step| step.at_ns + step.for_ns);
    let streams = vec![stream("reused", true, rate_hz, None)];
    let plan = plan("stalls", over_ns + stall_ns / 4 + BEFORE_NS, stall_ns * 3 / 10, streams);
    (plan, Script { steps, kills: None })
}

fn losses(loss: Loss, reused: bool) -> (Plan, Script) {
    let is_silence = loss.fault == Fault::Killed(Way::Silence);
    let sha256 = (loss.cause == Cause::WrongDigest).then(digest);
    let streams = vec![stream(if reused { "reused" } else { "new" }, reused, LOSS_RATE_HZ, sha256)];
    let duration_ns = BEFORE_NS + (LOST + 4) * LOST_EVERY * spacing_ns(LOSS_RATE_HZ);
    let mut plan = plan("losses", duration_ns, SLOW_NS, streams);
    if is_silence {
        plan.load.timeout_ns = TIMEOUT_SHORT_NS;
    }
    let script = match loss.fault {
        Fault::NoListener => {
            // Begins and ends half-way between two attempts.
            let spacing_ns = spacing_ns(LOSS_RATE_HZ);
            let at_ns = BEFORE_NS / spacing_ns * spacing_ns + spacing_ns / 2;
            let step = Step { kind: StepKind::Refuse, at_ns, for_ns: LOST * spacing_ns };
            Script { steps: vec![step], kills: None }
        }
        Fault::Killed(way) => {
            let victims = if reused { Victims::Reused } else { Victims::Fresh };
            Script { steps: Vec::new(), kills: Some(Kills { way, victims, every: LOST_EVERY, count: LOST }) }
        }
    };
    (plan, script)
}

fn outage(away_ns: u64) -> (Plan, Script) {
    // Off the schedule of both streams.
    let at_ns = 200 * MS + 337 * US;
    let plan = plan("outage", at_ns + away_ns + 200 * MS, SLOW_NS, both_streams(OUTAGE_RATE_HZ));
    let step = Step { kind: StepKind::Away, at_ns, for_ns: away_ns };
    (plan, Script { steps: vec![step], kills: None })
}

fn both_streams(rate_hz: f64) -> Vec<StreamPlan> {
    vec![stream("new", false, rate_hz, None), stream("reused", true, rate_hz, None)]
}

fn stream(name: &str, reused: bool, rate: f64, sha256: Option<String>) -> StreamPlan {
    let connection =
        if reused { ConnectionMode::Reused { connections: CONNECTIONS } } else { ConnectionMode::New };
    let op = Op::Http {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        headers: Vec::new(),
        body: String::new(),
        accept: Vec::new(),
        sha256,
    };
    StreamPlan {
        name: name.to_owned(),
        client: Client::Http1,
        connection,
        pace: Pace::default(),
        rate,
        arrival: Arrival::Uniform,
        requests: vec![RequestPlan { name: "get".to_owned(), weight: 1, op }],
    }
}

/// With the gates that a scenario has when it names none.
fn plan(name: &str, duration_ns: u64, slow_ns: u64, streams: Vec<StreamPlan>) -> Plan {
    Plan {
        schema_version: PLAN_SCHEMA_VERSION,
        scenario: format!("calibrate/{name}"),
        description: String::new(),
        seed: 1,
        target: TargetPlan::External(ExternalPlan {
            url: "http://127.0.0.1".to_owned(),
            process_header: None,
            config_header: None,
            tls: None,
        }),
        load: LoadPlan {
            duration_ns,
            warmup_ns: 0,
            timeout_ns: TIMEOUT_NS,
            slow_ns,
            in_flight_max: IN_FLIGHT_MAX,
            coalesce_ns: 0,
            stages: Vec::new(),
            control_rate: 0.0,
            streams,
        },
        events: Vec::new(),
        gates: vec![
            Gate::FailedMax(0),
            Gate::LatenessP99UsMax(50_000),
            Gate::UnsentMax(0),
            Gate::BlindMsMax(1_000.0),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_extent_has_cases_of_every_kind() {
        for (extent, expected) in [(Extent::Full, 15 + 23 + 3 + 1), (Extent::Quick, 6 + 23 + 2 + 1)] {
            assert_eq!(cases(extent).len(), expected, "{extent:?}");
        }
    }

    /// A stall begins before an attempt is due, and by less than the spacing: so that it is met.
    #[test]
    fn stalls_are_aimed_at_the_schedule() {
        for case in cases(Extent::Full) {
            let Case::Stalls { rate_hz, .. } = case else { continue };
            let (plan, script) = case.work();
            assert_eq!(script.steps.len() as u64, case.trials());
            for pair in script.steps.windows(2) {
                assert!(pair[0].at_ns + 2 * pair[0].for_ns < pair[1].at_ns);
            }
            for step in script.steps {
                let ahead_ns = spacing_ns(rate_hz) - step.at_ns % spacing_ns(rate_hz);
                assert!((2..=4).contains(&(ahead_ns * 10 / spacing_ns(rate_hz))), "{ahead_ns}");
                assert!(step.for_ns > plan.load.slow_ns + ahead_ns / 2);
            }
        }
    }
}
