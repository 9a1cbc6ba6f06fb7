//! `[stream]`: how what is left is told to those who listen (`GET /event/stream`).

use std::time::Duration;

use tomlcheck::Section;

use super::file::milliseconds;

/// More often nobody can read.
const INTERVAL_MS_FROM: u64 = 10;

/// More than this no machine of ours serves.
const STREAMS_MAX_TO: u32 = 1_000_000;

/// `[stream]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// More are answered with 503. 0: none at all.
    pub streams_max: u32,
    /// Between two looks at what is left: changes meanwhile are told as one.
    pub interval: Duration,
    /// After so long without a change a comment is sent, so that nobody on the way takes the connection for dead.
    pub heartbeat: Duration,
    /// A reader that takes nothing for so long is dropped.
    pub slow: Duration,
    /// How long a stream may take to end when this process leaves. What is left then is cut.
    pub goodbye: Duration,
    /// A client is told to come back after half to all of it, so that they do not come all at once.
    pub retry: Duration,
}

impl StreamSettings {
    pub(super) fn read(&mut self, section: Section<'_>) {
        if let Some(entry) = section.integer("streams_max", 0..=STREAMS_MAX_TO) {
            self.streams_max = entry.value;
        }
        milliseconds(&section, "interval_ms", INTERVAL_MS_FROM, &mut self.interval);
        milliseconds(&section, "heartbeat_ms", INTERVAL_MS_FROM, &mut self.heartbeat);
        milliseconds(&section, "slow_ms", INTERVAL_MS_FROM, &mut self.slow);
        milliseconds(&section, "goodbye_ms", 0, &mut self.goodbye);
        milliseconds(&section, "retry_ms", 0, &mut self.retry);
        section.finish();
    }
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            // A tenth of the connections that a server has by default.
            streams_max: 1_000,
            // As fast as somebody can follow a number.
            interval: Duration::from_millis(250),
            // Proxies usually give up after 30 or 60 seconds.
            heartbeat: Duration::from_secs(15),
            slow: Duration::from_secs(10),
            // The last event is one packet.
            goodbye: Duration::from_secs(1),
            retry: Duration::from_secs(2),
        }
    }
}
