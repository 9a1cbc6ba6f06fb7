//! `[load]` and its streams: how much, for how long, over which connections.

use std::collections::BTreeSet;

use tomlcheck::Section;

use crate::plan::{Arrival, Client, ConnectionMode, LoadPlan, Pace, StreamPlan, TargetPlan};

use super::{
    duration::{ANY, POSITIVE, duration},
    request,
};

/// An answer that takes longer has failed: far beyond what anybody waits for a page, and short enough to
/// see the end of a hanging request within a run. Nanoseconds.
const TIMEOUT_NS: u64 = 5_000_000_000;

/// A later answer belongs to a brownout: people notice a delay between 100 ms and 1 s. Nanoseconds.
const SLOW_NS: u64 = 250_000_000;

/// Attempts in flight at once: at 3,000 a second more than a full second without any answer, within the
/// descriptors that a process may usually have.
const IN_FLIGHT_MAX: u32 = 4_096;

/// Connections of a stream that keeps them: about what an upstream pool of a proxy keeps.
const CONNECTIONS: u32 = 16;

/// Attempts per second: from one in a quarter of an hour to more than one machine can send.
const RATE_MIN: f64 = 0.001;
const RATE_MAX: f64 = 1_000_000.0;

/// Attempts in one run; all of them are recorded.
const ATTEMPTS_MAX: f64 = 100_000_000.0;

/// Streams of one run.
const STREAMS_MAX: usize = 64;

/// Rates that differ by less add up.
const RATE_TOLERANCE: f64 = 1e-6;

/// What a stream says of its rate.
enum Rate {
    Absolute(f64),
    /// A weight in the sharing of what the absolute ones leave.
    Share(f64),
}

#[derive(Clone, Copy)]
enum Connections {
    New,
    Reused,
}

pub(super) fn read(section: Section<'_>, target: Option<&TargetPlan>) -> Option<LoadPlan> {
    section.require("duration", "write duration = \"30s\"");
    let duration_ns = duration(&section, "duration", &POSITIVE);
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
    let arrival = section
        .choice("arrival", &[("uniform", Arrival::Uniform), ("poisson", Arrival::Poisson)])
        .unwrap_or(Arrival::Uniform);
    let in_flight_max =
        section.integer("in_flight_max", 1..=1_000_000).map_or(IN_FLIGHT_MAX, |entry| entry.value);
    let streams = read_streams(&section, target, arrival);
    let attempts =
        streams.iter().map(|stream| stream.rate).sum::<f64>() * as_seconds(duration_ns.unwrap_or(0));
    if attempts > ATTEMPTS_MAX {
        let what = format!("{attempts:.0} attempts are more than a run can record");
        section.fault_at(
            "duration",
            what,
            format!("stay below {ATTEMPTS_MAX:.0}: shorten it or lower the rate"),
        );
    }
    section.finish();
    Some(LoadPlan {
        duration_ns: duration_ns?,
        warmup_ns,
        timeout_ns,
        slow_ns,
        in_flight_max,
        stages: Vec::new(),
        control_rate: 0.0,
        streams,
    })
}

fn read_streams(load: &Section<'_>, target: Option<&TargetPlan>, arrival: Arrival) -> Vec<StreamPlan> {
    let sections = load.sections("stream");
    if sections.is_empty() {
        load.fault_at("stream", "there is no stream", "write at least one [[load.stream]]");
    }
    if sections.len() > STREAMS_MAX {
        load.fault_at("stream", "there are too many streams", format!("write at most {STREAMS_MAX}"));
    }
    let mut names = BTreeSet::new();
    let (mut rates, mut streams) = (Vec::new(), Vec::new());
    for stream in sections {
        rates.push(read_rate(&stream));
        streams.push(StreamPlan {
            name: read_name(&stream, &mut names),
            client: Client::Http1,
            connection: read_connection(&stream),
            pace: Pace::default(),
            rate: 0.0,
            arrival,
            requests: request::read(&stream, target),
        });
        stream.finish();
    }
    for (stream, rate) in streams.iter_mut().zip(distribute(load, &rates)) {
        stream.rate = rate;
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

fn read_connection(stream: &Section<'_>) -> ConnectionMode {
    stream.require("connection", "write connection = \"reused\" or \"new\"");
    let mode = stream.choice("connection", &[("new", Connections::New), ("reused", Connections::Reused)]);
    let connections = stream.integer("connections", 1..=10_000);
    match mode {
        Some(Connections::New) => {
            if stream.has("connections") {
                stream.fault_at("connections", "this stream keeps no connections", "remove it");
            }
            ConnectionMode::New
        }
        Some(Connections::Reused) | None => {
            ConnectionMode::Reused { connections: connections.map_or(CONNECTIONS, |entry| entry.value) }
        }
    }
}

fn read_rate(stream: &Section<'_>) -> Rate {
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
    };
    rates.iter().map(rate_of).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a day in nanoseconds is far below 2^53")]
fn as_seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
