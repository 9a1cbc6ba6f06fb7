//! How a stream uses connections, and how slowly its bytes pass.

use tomlcheck::Section;

use crate::plan::{ConnectionMode, Op, Pace, RequestPlan};

use super::duration::{POSITIVE, duration, show_ns};

/// Connections of a stream that keeps them: about what an upstream pool of a proxy keeps.
const CONNECTIONS: u32 = 16;

/// Connections of a pipelined stream: few, because each carries several requests at once.
const CONNECTIONS_PIPELINED: u32 = 4;

/// Most connections that a stream opens in advance, within the descriptors that a process may have.
const CONNECTIONS_MAX: u32 = 10_000;

/// Requests under way on a pipelined connection.
const DEPTH: u32 = 4;

/// Beside those that rest, an idle stream keeps a quarter more connections and some: they carry what is
/// under way.
const IDLE_MARGIN: f64 = 1.25;
const IDLE_EXTRA: f64 = 4.0;

/// What a stream says of its connections.
#[derive(Clone, Copy)]
enum Word {
    New,
    Reused,
    Idle,
    ConnectWait,
    Pipelined,
}

const WORDS: [(&str, Word); 5] = [
    ("new", Word::New),
    ("reused", Word::Reused),
    ("idle", Word::Idle),
    ("connect-wait", Word::ConnectWait),
    ("pipelined", Word::Pipelined),
];

/// How a stream uses connections; how many an idle one has when it does not say is settled by
/// [`fill_in`], when its rate is known.
pub(super) fn read(stream: &Section<'_>) -> ConnectionMode {
    stream.require("connection", "write connection = \"reused\" or \"new\"");
    let word = stream.choice("connection", &WORDS);
    let connections = stream.integer("connections", 1..=CONNECTIONS_MAX).map(|entry| entry.value);
    let wait_ns = duration(stream, "wait", &POSITIVE);
    let depth = stream.integer("depth", 2..=1_000).map(|entry| entry.value);
    let Some(word) = word else {
        // What else may be said depends on it.
        return ConnectionMode::Reused { connections: CONNECTIONS };
    };
    let refuse = |key: &str, what: &str, hint: &str| {
        if stream.has(key) {
            stream.fault_at(key, what, hint);
        }
    };
    if matches!(word, Word::New | Word::ConnectWait) {
        refuse("connections", "this stream keeps no connections", "remove it");
    }
    if matches!(word, Word::Idle | Word::ConnectWait) {
        stream.require("wait", "write wait = \"50ms\"");
    } else {
        let hint = "remove it, or write connection = \"idle\" or \"connect-wait\"";
        refuse("wait", "the connections of this stream do not wait", hint);
    }
    if !matches!(word, Word::Pipelined) {
        let hint = "remove it, or write connection = \"pipelined\"";
        refuse("depth", "a connection of this stream carries one request at a time", hint);
    }
    let (wait_ns, depth) = (wait_ns.unwrap_or(0), depth.unwrap_or(DEPTH));
    match word {
        Word::New => ConnectionMode::New,
        Word::Reused => ConnectionMode::Reused { connections: connections.unwrap_or(CONNECTIONS) },
        Word::Idle => ConnectionMode::Idle { connections: connections.unwrap_or(0), wait_ns },
        Word::ConnectWait => ConnectionMode::ConnectWait { wait_ns },
        Word::Pipelined => {
            let connections = connections.unwrap_or(CONNECTIONS_PIPELINED);
            ConnectionMode::Pipelined { connections, depth }
        }
    }
}

/// Gives an idle stream that does not say how many connections it has as many as its rate needs, and checks
/// what only fits together with the rest of the load.
pub(super) fn fill_in(stream: &Section<'_>, mode: &mut ConnectionMode, rate: f64, duration_ns: Option<u64>) {
    match mode {
        ConnectionMode::Idle { connections: connections @ 0, wait_ns } => {
            let needed = idle_connections(rate, *wait_ns);
            *connections = needed.min(CONNECTIONS_MAX);
            if needed > CONNECTIONS_MAX {
                let what = format!("{needed} connections would be needed at this rate");
                stream.fault_at(
                    "wait",
                    what,
                    format!("stay below {CONNECTIONS_MAX}: wait less, or send less"),
                );
            }
        }
        ConnectionMode::ConnectWait { wait_ns }
            if duration_ns.is_some_and(|length_ns| *wait_ns >= length_ns) =>
        {
            let hint = "wait less, or make the load longer";
            stream.fault_at("wait", "the load is over before a connection has waited", hint);
        }
        _ => {}
    }
}

/// How slowly a stream's bytes pass, with its faults. An attempt's time runs from its sending, so a pace has
/// to fit into it.
pub(super) fn read_pace(
    stream: &Section<'_>,
    mode: ConnectionMode,
    requests: &[RequestPlan],
    timeout_ns: u64,
) -> Pace {
    let [upload_ns, download_ns] =
        ["upload_over", "download_over"].map(|key| duration(stream, key, &POSITIVE).unwrap_or(0));
    let slowest = if upload_ns > 0 { "upload_over" } else { "download_over" };
    if upload_ns.saturating_add(download_ns) >= timeout_ns {
        let what = format!("every attempt would have failed after {}", show_ns(timeout_ns));
        stream.fault_at(slowest, what, "make it shorter, or raise the timeout of [load]");
    }
    if stream.has(slowest) && matches!(mode, ConnectionMode::Pipelined { .. }) {
        stream.fault_at(
            slowest,
            "a slow request holds up all behind it on its connection",
            "remove it, or write connection = \"reused\"",
        );
    }
    if stream.has("upload_over") && !requests.iter().any(has_body) {
        stream.fault_at(
            "upload_over",
            "no request of this stream has a body",
            "give a [[load.stream.request]] a body, or the mix buys",
        );
    }
    Pace { upload_ns, download_ns }
}

fn has_body(request: &RequestPlan) -> bool {
    match &request.op {
        Op::Buy => true,
        Op::Http { body, .. } => !body.is_empty(),
        Op::List | Op::Info | Op::Order | Op::Long => false,
    }
}

/// Little's law: with a rest of `wait` after each answer, `rate * wait` connections rest at any time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "it is rounded up, positive, and `as` saturates"
)]
fn idle_connections(rate: f64, wait_ns: u64) -> u32 {
    (rate * (wait_ns as f64 / 1e9) * IDLE_MARGIN + IDLE_EXTRA).ceil() as u32
}

#[cfg(test)]
mod tests;
