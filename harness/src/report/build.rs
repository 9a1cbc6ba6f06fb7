//! The report put together from what was seen, found and judged.

mod instrument;
mod level;

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Attempted, Availability, Bounds, ByConnection, ConnectionCounts, Connections, Downtime, Environment,
    Event, FailureBound, FailureBounds, FailureClass, GateEntry, Invariant, InvariantWord, Latency,
    LatencyGroup, Load, Orders, OutcomeWord, Propagation, PropagationOfProcess, Quantiles, Report, Requests,
    Run, SCHEMA_VERSION, ServedWithin, Spread, Stream, Target, VerdictSection, Window,
    round::{availability, ms, ms_down, ms_up, probability_up, us, whole},
};
use crate::{
    analyze::{
        self, Analysis,
        availability::Trials,
        counts::{ConnectionTally, Tally},
        downtime::{self, WindowKind},
        invariants::{self, InvariantOutcome},
        latency,
        taxonomy::{Class, ClassFigures},
    },
    observe::{Background, EnvironmentRecord, word},
    plan::{Arrival, Plan, StreamPlan},
    verdict::{Outcome, Verdict},
};

/// Windows that a report lists; a target that fails every few requests would make millions of them.
const WINDOWS_MAX: usize = 1_000;

/// Puts a run's report together.
#[must_use]
pub fn build(background: &Background, analysis: &Analysis, verdict: &Verdict) -> Report {
    let Background { plan, environment, .. } = background;
    Report {
        schema_version: SCHEMA_VERSION,
        run: run(plan, environment),
        environment: describe(environment),
        verdict: judgement(verdict),
        load: load(plan, &analysis.load),
        control: instrument::control(background, analysis),
        machine: instrument::machine(analysis.machine.as_ref()),
        requests: requests(analysis),
        connections: connections(analysis),
        availability: measured_availability(analysis),
        downtime: downtime(background, analysis),
        sla: level::service_level(analysis),
        events: events(background, analysis),
        latency_ms: latencies(&analysis.latency),
        propagation: propagation(background, analysis),
        orders: orders(analysis),
        held: instrument::held(analysis.held.as_ref()),
        streams: streams(plan, analysis),
        invariants: held(analysis),
    }
}

fn run(plan: &Plan, environment: &EnvironmentRecord) -> Run {
    Run {
        id: environment.run_id.clone(),
        scenario: plan.scenario.clone(),
        seed: plan.seed,
        started_at: environment.started_at.clone(),
        duration_s: ms(plan.load.duration_ns) / 1_000.0,
        command: environment.command.clone(),
    }
}

fn describe(environment: &EnvironmentRecord) -> Environment {
    let EnvironmentRecord { kernel, cpus, sysctls, services, target, strategy, old, new, .. } =
        environment.clone();
    Environment { kernel, cpus, sysctls, services, target: Target { kind: target, strategy, old, new } }
}

fn judgement(verdict: &Verdict) -> VerdictSection {
    let word = |outcome: Outcome| match outcome {
        Outcome::Pass => OutcomeWord::Pass,
        Outcome::Fail => OutcomeWord::Fail,
        Outcome::Inconclusive => OutcomeWord::Inconclusive,
    };
    let gates = verdict.gates.iter().map(|gate| GateEntry {
        name: gate.name.to_owned(),
        limit: gate.limit,
        actual: gate.actual,
        outcome: word(gate.outcome),
    });
    VerdictSection {
        outcome: word(verdict.outcome),
        exit_code: verdict.exit_code.number(),
        gates: gates.collect(),
        reasons: verdict.reasons.clone(),
    }
}

fn load(plan: &Plan, load: &analyze::load::Load) -> Load {
    Load {
        planned: load.planned,
        sent: load.sent,
        unsent: load.unsent,
        unsent_by_cause: by_word(&load.unsent_by_cause),
        in_flight_max: load.in_flight_max,
        lateness_us: quantiles(load.lateness, us),
        blind_ms: load.blind.map(|blind| ms_up(blind.length_ns())),
        cpu_ms: ms(load.cpu_us.saturating_mul(1_000)),
        notes: plan.load.streams.iter().filter_map(note).collect(),
    }
}

/// What its arrivals keep a stream from telling.
fn note(stream: &StreamPlan) -> Option<String> {
    (stream.arrival == Arrival::Closed).then(|| {
        format!(
            "Stream {} is a closed loop: it sends when an answer has come, so its figures hide the waiting of \
             those who would have come meanwhile, and it has no min_detectable_ms.",
            stream.name
        )
    })
}

fn requests(analysis: &Analysis) -> Requests {
    let requests = &analysis.requests;
    Requests {
        total: requests.all.total,
        ok: requests.all.ok(),
        failed: requests.all.failed,
        by_class: by_word(&requests.by_class),
        by_phase: by_word(&requests.by_phase),
        by_blame: by_word(&requests.by_blame),
        by_status: requests.by_status.clone(),
        classes: analysis.classes.iter().map(class).collect(),
        by_connection: ByConnection {
            new: attempted(requests.new),
            reused: attempted(requests.reused),
            library: attempted(requests.library),
        },
        by_process: requests
            .by_process
            .iter()
            .map(|(&process, &tally)| (process, attempted(tally)))
            .collect(),
        failed_unattributed: requests.unattributed,
        warmup: attempted(requests.warmup),
    }
}

fn class((class, figures): &(Class, ClassFigures)) -> FailureClass {
    let spread = |spread: Option<latency::Spread>, unit: fn(u64) -> f64| Spread {
        min: spread.map(|spread| unit(spread.min)),
        median: spread.map(|spread| unit(spread.median)),
        max: spread.map(|spread| unit(spread.max)),
    };
    FailureClass {
        phase: word(&class.phase),
        cause: word(&class.cause),
        connection: if class.reused { "reused" } else { "new" }.to_owned(),
        retry_safe: class.retry_safe,
        blame: word(&class.cause.blame()),
        count: figures.count,
        age_ms: spread(figures.age_ns, ms),
        idle_ms: spread(figures.idle_us, us),
        requests_before: spread(figures.requests, whole),
    }
}

fn connections(analysis: &Analysis) -> Connections {
    let counts = |tally: ConnectionTally| {
        let ConnectionTally { opened, closed_by_server, closed_by_client, unopened } = tally;
        ConnectionCounts { opened, closed_by_server, closed_by_client, unopened }
    };
    let (new, reused) = (counts(analysis.connections.new), counts(analysis.connections.reused));
    Connections {
        opened: new.opened + reused.opened,
        closed_by_server: new.closed_by_server + reused.closed_by_server,
        closed_by_client: new.closed_by_client + reused.closed_by_client,
        unopened: new.unopened + reused.unopened,
        new,
        reused,
    }
}

fn measured_availability(analysis: &Analysis) -> Availability {
    let measured = &analysis.availability;
    let bound = |trials: Trials| trials.upper_bound_95.map(probability_up);
    let counts = |Trials { trials, bad, .. }: Trials| FailureBound { trials, bad };
    Availability {
        by_request: availability(measured.by_request),
        by_time: availability(measured.by_time),
        after_safe_retry: availability(measured.after_safe_retry),
        failure_upper_bound_95: FailureBounds {
            per_request: bound(measured.per_request),
            per_event: bound(measured.per_event),
            requests: counts(measured.per_request),
            events: counts(measured.per_event),
        },
    }
}

fn downtime(background: &Background, analysis: &Analysis) -> Downtime {
    let downtime = &analysis.downtime;
    let measured = analysis.requests.all.total > 0;
    let mut kept: Vec<&downtime::Window> = downtime.windows.iter().collect();
    kept.sort_by_key(|window| std::cmp::Reverse(window.bounds.upper_ns));
    kept.truncate(WINDOWS_MAX);
    kept.sort_by_key(|window| (window.kind, window.interval));
    Downtime {
        hard_ms: bounds(downtime.hard, measured),
        brownout_ms: measured.then(|| ms_up(downtime.brownout_ns)),
        min_detectable_ms: downtime.min_detectable_ns.map(ms_up),
        windows_omitted: (downtime.windows.len() - kept.len()) as u64,
        windows: kept.into_iter().map(|found| window(background, found)).collect(),
    }
}

fn window(background: &Background, window: &downtime::Window) -> Window {
    let Background { plan, events, .. } = background;
    Window {
        kind: match window.kind {
            WindowKind::Hard => "hard".to_owned(),
            WindowKind::Brownout => "brownout".to_owned(),
        },
        from_ms: ms_down(window.interval.from_ns),
        to_ms: ms_up(window.interval.to_ns),
        lower_ms: ms_down(window.bounds.lower_ns),
        upper_ms: ms_up(window.bounds.upper_ns),
        attempts: window.attempts,
        flaps: window.flaps,
        event: window.event.map(|index| events[index].id.clone()),
        streams: window.streams.iter().map(|&number| stream_name(plan, usize::from(number))).collect(),
        open_start: window.open_start,
        open_end: window.open_end,
    }
}

fn events(background: &Background, analysis: &Analysis) -> Vec<Event> {
    let figures = analysis.requests.by_event.iter().zip(&analysis.events.hard);
    let mut events: Vec<_> = background.events.iter().zip(figures).collect();
    events.sort_by_key(|(event, _)| (event.started_ns, event.at_ns));
    events
        .into_iter()
        .map(|(event, (&failed_requests, &hard))| Event {
            id: event.id.clone(),
            kind: event.kind.clone(),
            at_ms: ms(event.at_ns),
            started_ms: ms(event.started_ns),
            acked_ms: (event.acked_ns > 0).then(|| ms(event.acked_ns)),
            ended_ms: (event.ended_ns > 0).then(|| ms(event.ended_ns)),
            outcome: word(&event.outcome),
            as_expected: event.as_expected,
            failed_requests,
            downtime_ms: bounds(hard, analysis.requests.all.total > 0),
            detail: event.detail.clone(),
        })
        .collect()
}

fn latencies(latency: &latency::Latency) -> Latency {
    let latency::ServedWithin { p50, p90, p99, p999 } = latency.served_within;
    Latency {
        intended: quantiles(latency.all.intended, ms),
        service: quantiles(latency.all.service, ms),
        served_within: ServedWithin {
            p50: p50.map(ms),
            p90: p90.map(ms),
            p99: p99.map(ms),
            p999: p999.map(ms),
        },
        around_events: latency_group(&latency.around_events),
        quiet: latency_group(&latency.quiet),
    }
}

fn propagation(background: &Background, analysis: &Analysis) -> Vec<Propagation> {
    let of_process = |seen: &analyze::propagation::OfProcess| PropagationOfProcess {
        process: seen.process,
        first_ms: seen.first_ns.map(ms),
        last_ms: seen.last_ns.map(ms),
    };
    let spread = |change: &analyze::propagation::Propagation| Propagation {
        event_id: background.events[change.event].id.clone(),
        mechanism: change.mechanism.word().to_owned(),
        first_ms: change.first_ns.map(ms),
        last_ms: change.last_ns.map(ms),
        effect_ms: change.effect_ns.map(ms),
        stale_after_ack: change.stale_after_ack,
        stale_ms: change.stale_ns.map(ms),
        processes: change.processes.iter().map(of_process).collect(),
    };
    analysis.propagation.iter().map(spread).collect()
}

fn orders(analysis: &Analysis) -> Orders {
    let invariants::Orders { acknowledged, rejected, unknown, unknown_stored, stored } = analysis.orders;
    Orders { acknowledged, rejected, unknown, unknown_stored, stored }
}

fn streams(plan: &Plan, analysis: &Analysis) -> Vec<Stream> {
    let figures = analysis.requests.by_stream.iter().zip(&analysis.downtime.streams);
    figures
        .zip(&analysis.latency.by_stream)
        .enumerate()
        .map(|(number, ((requests, downtime), latency))| {
            let stream = plan.load.streams.get(number);
            let measured = requests.all.total > 0;
            Stream {
                name: stream_name(plan, number),
                client: stream.map_or("unknown", |stream| stream.client.word()).to_owned(),
                connection: stream.map_or("unknown", |stream| stream.connection.word()).to_owned(),
                rate: stream.map_or(0.0, |stream| stream.rate),
                requests: attempted(requests.all),
                by_class: by_word(&requests.by_class),
                hard_ms: bounds(downtime.hard, measured),
                brownout_ms: measured.then(|| ms_up(downtime.brownout_ns)),
                min_detectable_ms: downtime.min_detectable_ns.map(ms_up),
                windows: downtime.windows.iter().filter(|window| window.kind == WindowKind::Hard).count()
                    as u64,
                latency_ms: latency_group(latency),
            }
        })
        .collect()
}

fn held(analysis: &Analysis) -> Vec<Invariant> {
    let entry = |invariant: &invariants::Invariant| Invariant {
        name: invariant.name.to_owned(),
        outcome: match invariant.outcome {
            InvariantOutcome::Pass => InvariantWord::Pass,
            InvariantOutcome::Fail => InvariantWord::Fail,
            InvariantOutcome::NotChecked => InvariantWord::NotChecked,
        },
        detail: invariant.detail.clone(),
    };
    analysis.invariants.iter().map(entry).collect()
}

fn attempted(tally: Tally) -> Attempted {
    Attempted { total: tally.total, ok: tally.ok(), failed: tally.failed }
}

fn latency_group(pair: &latency::Pair) -> LatencyGroup {
    LatencyGroup {
        attempts: pair.attempts,
        intended: quantiles(pair.intended, ms),
        service: quantiles(pair.service, ms),
    }
}

fn quantiles(quantiles: Option<latency::Quantiles>, unit: fn(u64) -> f64) -> Quantiles {
    let at = |pick: fn(&latency::Quantiles) -> u64| quantiles.as_ref().map(|all| unit(pick(all)));
    Quantiles {
        p50: at(|all| all.p50),
        p90: at(|all| all.p90),
        p99: at(|all| all.p99),
        p999: at(|all| all.p999),
        max: at(|all| all.max),
    }
}

fn bounds(bounds: downtime::Bounds, measured: bool) -> Bounds {
    Bounds {
        lower: measured.then(|| ms_down(bounds.lower_ns)),
        upper: measured.then(|| ms_up(bounds.upper_ns)),
    }
}

fn stream_name(plan: &Plan, number: usize) -> String {
    plan.load.streams.get(number).map_or_else(|| format!("stream {number}"), |stream| stream.name.clone())
}

/// Counts under the words that the logs use for their keys.
fn by_word<K: Serialize>(counts: &BTreeMap<K, u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(key, &count)| (word(key), count)).collect()
}
