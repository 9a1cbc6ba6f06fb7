//! What the process tells about itself: log lines on standard error and the counters of `GET /metrics`.
//!
//! No counter is ever reset; a process that takes over goes on from those of the one before.

use std::{
    io::IsTerminal as _,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Metric, Registry},
};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    filter::Targets,
    layer::SubscriberExt as _,
    reload::{self, Handle},
};

use crate::{config::LogLevel, lifecycle::UpgradeOutcome};

/// The counters of the process; whoever causes an event counts it.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Connections taken from a listening socket.
    pub connections_accepted: Counter,
    /// Connections taken over from the process before this one.
    pub connections_adopted: Counter,
    /// Connections that live on in the process after this one.
    pub connections_handed_over: Counter,
    /// Connections cut with a request in flight at the end of the drain time.
    pub connections_cut: Counter,
    /// Streams of events whose clients took nothing for too long.
    pub streams_slow: Counter,
    /// Streams of events that did not end in time when the process left.
    pub streams_cut: Counter,
    /// Connections open now.
    pub connections_open: Gauge,
    /// Answers of both sides by status; counted by [`crate::http::App`].
    pub requests: Family<RequestLabels, Counter>,
    /// Upgrades that this process was asked for, by outcome.
    pub upgrades: Family<UpgradeLabels, Counter>,
}

/// Labels of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// `public` or `admin`.
    pub side: &'static str,
    pub status: u16,
}

/// Labels of an upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct UpgradeLabels {
    /// `ok`, `failed` or `refused`.
    pub outcome: &'static str,
}

impl Metrics {
    /// Counters at zero, all of them registered.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("seckill")),
            connections_accepted: Counter::default(),
            connections_adopted: Counter::default(),
            connections_handed_over: Counter::default(),
            connections_cut: Counter::default(),
            streams_slow: Counter::default(),
            streams_cut: Counter::default(),
            connections_open: Gauge::default(),
            requests: Family::default(),
            upgrades: Family::default(),
        };
        let of = |name, help, counter: &Counter| metrics.register(name, help, counter.clone());
        of(
            "connections_accepted",
            "Connections taken from a listening socket",
            &metrics.connections_accepted,
        );
        of(
            "connections_adopted",
            "Connections taken over from the process before",
            &metrics.connections_adopted,
        );
        of(
            "connections_handed_over",
            "Connections that live on in the process after",
            &metrics.connections_handed_over,
        );
        of("connections_cut", "Connections cut at the end of the drain time", &metrics.connections_cut);
        of("streams_slow", "Connections dropped because a stream was not read", &metrics.streams_slow);
        of("streams_cut", "Connections cut because a stream did not end in time", &metrics.streams_cut);
        metrics.register("connections_open", "Connections open now", metrics.connections_open.clone());
        metrics.register("requests", "Answers by side and status", metrics.requests.clone());
        metrics.register("upgrades", "Upgrades by outcome", metrics.upgrades.clone());
        metrics
    }

    /// Adds a metric that somebody else counts. `name` is without prefix and without `_total`.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry().register(name, help, metric);
    }

    /// Counts the outcome of an upgrade.
    pub fn count_upgrade(&self, outcome: UpgradeOutcome) {
        let outcome = match outcome {
            UpgradeOutcome::Ok => "ok",
            UpgradeOutcome::Failed => "failed",
            UpgradeOutcome::Refused => "refused",
        };
        self.upgrades.get_or_create(&UpgradeLabels { outcome }).inc();
    }

    /// All of them in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry()).expect("writing into a string must succeed");
        text
    }

    /// The lock is held by registrations at start and by readers of `GET /metrics`, never by a counter.
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Lines that are logged whatever the level is.
pub const NOTICE: &str = "seckill::notice";

/// The level of the log, once there is one.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    level: Mutex<LogLevel>,
    filter: Handle<Targets, tracing_subscriber::Registry>,
}

/// Sends log lines of `level` and graver to standard error, from now on. A second call changes nothing.
pub fn log_to_stderr(level: LogLevel) {
    let (filter, handle) = reload::Layer::new(lines(level));
    let format = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let subscriber = tracing_subscriber::registry().with(filter).with(format);
    // The only error is that there is a subscriber already, which then stays.
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        tracing::debug!("the log is set up already");
    } else if LOG.set(Log { level: Mutex::new(level), filter: handle }).is_err() {
        tracing::error!("the log was set up twice; this is a bug");
    }
}

/// Logs lines of `level` and graver from now on, because `authority` says so. That it does is logged whatever the
/// level is. Every call site learns of it once, so that a line that is not logged costs what it did before.
pub fn set_log_level(level: LogLevel, authority: &str) {
    let Some(log) = LOG.get() else { return };
    let before = std::mem::replace(&mut *log.level.lock().unwrap_or_else(PoisonError::into_inner), level);
    if before == level {
        return;
    }
    match log.filter.reload(lines(level)) {
        Ok(()) => tracing::info!(target: NOTICE, "the log level is {level} now, by {authority}"),
        Err(error) => tracing::error!(%error, "the log level cannot be changed"),
    }
}

/// What is logged at a level.
fn lines(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    Targets::new().with_default(level).with_target(NOTICE, LevelFilter::INFO)
}

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_events_show_in_the_text() {
        let metrics = Metrics::new();
        metrics.connections_accepted.inc();
        metrics.count_upgrade(UpgradeOutcome::Failed);
        metrics.requests.get_or_create(&RequestLabels { side: "public", status: 201 }).inc_by(3);
        let text = metrics.text();
        for line in [
            "seckill_connections_accepted_total 1",
            "seckill_upgrades_total{outcome=\"failed\"} 1",
            "seckill_requests_total{side=\"public\",status=\"201\"} 3",
            "seckill_connections_cut_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
