//! `[load]` and its streams: how much, for how long, over which connections.

use std::{collections::BTreeSet, ops::RangeInclusive};

use tomlcheck::Section;

use crate::plan::{Arrival, Client, ConnectionMode, LoadPlan, Stage, StreamPlan, TargetPlan};

use super::{
    client, connection,
    duration::{ANY, POSITIVE, duration, show_ns},
    request, stage,
};

/// An answer that takes longer has failed: far beyond what anybody waits for a page, and short enough to
/// see the end of a hanging request within a run. Nanoseconds.
const TIMEOUT_NS: u64 = 5_000_000_000;

/// A later answer belongs to a brownout: people notice a delay between 100 ms and 1 s. Nanoseconds.
const SLOW_NS: u64 = 250_000_000;

/// Attempts in flight at once, at least: what a small load may have in flight costs nothing.
const IN_FLIGHT_MIN: u32 = 4_096;
const IN_FLIGHT_LIMIT: u32 = 1_000_000;

/// Room in the default of `in_flight_max` beyond rate x timeout: schedules are uneven.
const IN_FLIGHT_ROOM: f64 = 1.25;

/// Part of the total rate that the control target gets as well, and its bounds, attempts per second: at
/// least one in 20 ms, so that a pause which a person would notice is met, and never enough to disturb.
const CONTROL_SHARE: f64 = 0.1;
const CONTROL_RATE_MIN: f64 = 50.0;
const CONTROL_RATE_MAX: f64 = 500.0;
const CONTROL_RANGE: RangeInclusive<f64> = 1.0..=10_000.0;

/// Attempts per second: from one in a quarter of an hour to more than one machine can send.
const RATE_MIN: f64 = 0.001;
const RATE_MAX: f64 = 1_000_000.0;

/// Attempts in one run; all of them are recorded.
const ATTEMPTS_MAX: f64 = 100_000_000.0;

/// Streams of one run.
const STREAMS_MAX: usize = 64;

/// A closed loop sends what the target can answer; at 300,000 a second this is [`ATTEMPTS_MAX`]. Nanoseconds.
const CLOSED_NS_MAX: u64 = 300_000_000_000;

/// How long an attempt may wait for others to be sent with it: beyond it, bunches are no load any more.
/// Nanoseconds.
const COALESCE: RangeInclusive<u64> = 0..=100_000_000;

const ARRIVALS: &[(&str, Arrival)] =
    &[("uniform", Arrival::Uniform), ("poisson", Arrival::Poisson), ("closed", Arrival::Closed)];

/// Rates that differ by less add up.
const RATE_TOLERANCE: f64 = 1e-6;

/// What a stream says of its rate.
enum Rate {
    Absolute(f64),
    /// A weight in the sharing of what the absolute ones leave.
    Share(f64),
    /// A closed loop has none.
    Closed,
}

/// What the streams have to fit into.
#[derive(Clone, Copy)]
struct Times {
    timeout_ns: u64,
    duration_ns: Option<u64>,
    /// The greatest factor of the rates in the course of the load.
    peak: f64,
}

pub(super) fn read(section: Section<'_>, target: Option<&TargetPlan>) -> Option<LoadPlan> {
    let (stages, duration_ns) = stage::read(&section);
    let warmup_ns = duration(&section, "warmup", &ANY).unwrap_or(0);
    if duration_ns.is_some_and(|duration_ns| warmup_ns >= duration_ns) {
        section.fault_at(
            "warmup",
            "nothing is left to count after the warm-up",
            "make it shorter than the duration",
        );
    }
    let timeout_ns = duration(&section, "timeout", &POSITIVE).unwrap_or(TIMEOUT_NS);
    let slow_ns = duration(&section, "slow", &POSITIVE).unwrap_or(SLOW_NS.min(timeout_ns));
    if slow_ns > timeout_ns {
        section.fault_at("slow", "no answer can be that late", "make it shorter than the timeout");
    }
    let arrival = section.choice("arrival", ARRIVALS).unwrap_or(Arrival::Uniform);
    let coalesce_ns = duration(&section, "coalesce", &COALESCE).unwrap_or(0);
    let in_flight_max = section.integer("in_flight_max", 1..=IN_FLIGHT_LIMIT).map(|entry| entry.value);
    let peak = peak(&stages);
    let streams = read_streams(&section, target, arrival, Times { timeout_ns, duration_ns, peak });
    let rate = streams.iter().map(|stream| stream.rate).sum::<f64>();
    let in_flight_max = in_flight_max.unwrap_or_else(|| in_flight_default(rate * peak, timeout_ns));
    let control_rate = read_control(&section, rate, peak);
    let attempts = rate * full_rate_seconds(&stages, duration_ns.unwrap_or(0));
    if attempts > ATTEMPTS_MAX {
        let what = format!("{attempts:.0} attempts are more than a run can record");
        section.fault_at(
            "duration",
            what,
            format!("stay below {ATTEMPTS_MAX:.0}: shorten it or lower the rate"),
        );
    }
    if streams.iter().any(|stream| stream.arrival == Arrival::Closed) {
        check_closed_loop(&section, &stages, duration_ns);
    }
    section.finish();
    Some(LoadPlan {
        duration_ns: duration_ns?,
        warmup_ns,
        timeout_ns,
        slow_ns,
        in_flight_max,
        coalesce_ns,
        stages,
        control_rate,
        streams,
    })
}

/// The largest factor of the streams' rates.
fn peak(stages: &[Stage]) -> f64 {
    if stages.is_empty() {
        return 1.0;
    }
    stages.iter().map(|stage| stage.from.max(stage.to)).fold(0.0, f64::max)
}

/// `control = 200` attempts per second to the control target, or `control = false` for none. Stages stretch
/// its schedule too, so the default is that of their peak.
fn read_control(section: &Section<'_>, rate: f64, peak: f64) -> f64 {
    match section.float_or_false("control", CONTROL_RANGE) {
        Some(given) => given.value.unwrap_or(0.0),
        None if peak > 0.0 => (rate * peak * CONTROL_SHARE).clamp(CONTROL_RATE_MIN, CONTROL_RATE_MAX) / peak,
        None => 0.0,
    }
}

/// Enough for a target that answers nobody until its time is over: what could not be sent would make the
/// run inconclusive, where the truth is that the target stood still.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what a u32 holds")]
fn in_flight_default(rate: f64, timeout_ns: u64) -> u32 {
    let waiting = (rate * as_seconds(timeout_ns) * IN_FLIGHT_ROOM).ceil();
    waiting.clamp(f64::from(IN_FLIGHT_MIN), f64::from(IN_FLIGHT_LIMIT)) as u32
}

fn read_streams(
    load: &Section<'_>,
    target: Option<&TargetPlan>,
    arrival: Arrival,
    times: Times,
) -> Vec<StreamPlan> {
    let sections = load.sections("stream");
    if sections.is_empty() {
        load.fault_at("stream", "there is no stream", "write at least one [[load.stream]]");
    }
    if sections.len() > STREAMS_MAX {
        load.fault_at("stream", "there are too many streams", format!("write at most {STREAMS_MAX}"));
    }
    let mut names = BTreeSet::new();
    let (mut rates, mut streams) = (Vec::new(), Vec::new());
    for stream in &sections {
        let arrival = stream.choice("arrival", ARRIVALS).unwrap_or(arrival);
        rates.push(read_rate(stream, arrival));
        let (connection, requests) = (connection::read(stream), request::read(stream, target));
        let client = client::read(stream);
        if arrival == Arrival::Closed
            && !matches!(connection, ConnectionMode::New | ConnectionMode::Reused { .. })
        {
            let what = format!("a closed loop cannot have {} connections", connection.word());
            stream.fault_at("connection", what, "write \"reused\" or \"new\", or another arrival");
        }
        if arrival == Arrival::Closed && client != Client::Http1 {
            let what = format!("a closed loop cannot have the client {}", client.word());
            stream.fault_at("client", what, "remove it, or write another arrival");
        }
        let plan = StreamPlan {
            name: read_name(stream, &mut names),
            client,
            pace: connection::read_pace(stream, connection, &requests, times.timeout_ns),
            connection,
            rate: 0.0,
            arrival,
            requests,
        };
        client::check(stream, &plan);
        streams.push(plan);
    }
    let rates = distribute(load, &rates);
    for ((section, stream), rate) in sections.into_iter().zip(&mut streams).zip(rates) {
        stream.rate = rate;
        connection::fill_in(&section, &mut stream.connection, rate * times.peak, times.duration_ns);
        section.finish();
    }
    streams
}

fn read_name(stream: &Section<'_>, names: &mut BTreeSet<String>) -> String {
    const HINT: &str = "write a short word like name = \"busy\"";
    stream.require("name", HINT);
    let Some(name) = stream.string("name") else { return String::new() };
    let is_word =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if !name.value.bytes().all(is_word) || name.value.bytes().all(|byte| byte.is_ascii_digit()) {
        name.fault("a stream's name has letters, digits, - and _", HINT);
    }
    if !names.insert(name.value.clone()) {
        name.fault(
            format!("another stream is called {:?}", name.value),
            "give each stream a name of its own",
        );
    }
    name.value
}

fn read_rate(stream: &Section<'_>, arrival: Arrival) -> Rate {
    if arrival == Arrival::Closed {
        for key in ["rate", "share"] {
            if stream.has(key) {
                let hint = "remove it: the answers set the pace, and connections how many wait for one";
                stream.fault_at(key, "a closed loop has no rate", hint);
            }
        }
        return Rate::Closed;
    }
    let rate = stream.float("rate", RATE_MIN..=RATE_MAX);
    let share = stream.float("share", RATE_MIN..=RATE_MAX);
    if stream.has("rate") && stream.has("share") {
        stream.fault_at("share", "a stream has either a rate or a share", "remove one of them");
    }
    match rate {
        Some(rate) => Rate::Absolute(rate.value),
        None => Rate::Share(share.map_or(1.0, |share| share.value)),
    }
}

/// Attempts per second of each stream: its own rate, or its share of what those leave of the total.
fn distribute(load: &Section<'_>, rates: &[Rate]) -> Vec<f64> {
    let total = load.float("rate", RATE_MIN..=RATE_MAX).map(|entry| entry.value);
    let absolute: f64 =
        rates.iter().filter_map(|rate| if let Rate::Absolute(rate) = rate { Some(rate) } else { None }).sum();
    let shares: f64 =
        rates.iter().filter_map(|rate| if let Rate::Share(share) = rate { Some(share) } else { None }).sum();
    let rest = total.map_or(0.0, |total| total - absolute);
    match total {
        None if shares > 0.0 && !load.has("rate") => {
            load.missing("rate", "write the attempts per second of all streams, or give each stream a rate");
        }
        Some(_) if !rates.is_empty() && rates.iter().all(|rate| matches!(rate, Rate::Closed)) => {
            load.fault_at("rate", "a closed loop has no rate, and there is no other stream", "remove it");
        }
        Some(total) if shares > 0.0 && rest < RATE_MIN => load.fault_at(
            "rate",
            format!("the streams' own rates add up to {absolute} and leave nothing to share of {total}"),
            "raise it, or give every stream a rate",
        ),
        Some(total) if shares == 0.0 && !rates.is_empty() && rest.abs() > RATE_TOLERANCE => load.fault_at(
            "rate",
            format!("the streams' rates add up to {absolute}, not to {total}"),
            "remove it, or let a stream have a share",
        ),
        _ => {}
    }
    let rate_of = |rate: &Rate| match rate {
        Rate::Absolute(rate) => *rate,
        Rate::Share(share) => rest * share / shares,
        Rate::Closed => 0.0,
    };
    rates.iter().map(rate_of).collect()
}

/// What a closed loop does not go with.
fn check_closed_loop(load: &Section<'_>, stages: &[Stage], duration_ns: Option<u64>) {
    if !stages.is_empty() {
        let hint = "remove the stages, or choose another arrival";
        load.fault_at("stage", "a closed loop has no rate that a stage could change", hint);
    }
    if duration_ns.is_some_and(|duration_ns| duration_ns > CLOSED_NS_MAX) {
        let hint = format!("write at most {}: nothing else bounds its log", show_ns(CLOSED_NS_MAX));
        load.fault_at("duration", "this is too long for a closed loop", hint);
    }
}

/// The length of a load at full rate with as many attempts.
fn full_rate_seconds(stages: &[Stage], duration_ns: u64) -> f64 {
    if stages.is_empty() {
        return as_seconds(duration_ns);
    }
    stages.iter().map(|stage| f64::midpoint(stage.from, stage.to) * as_seconds(stage.duration_ns)).sum()
}

#[expect(clippy::cast_precision_loss, reason = "a day in nanoseconds is far below 2^53")]
fn as_seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests;
