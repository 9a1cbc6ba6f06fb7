//! `[upgrade]`: the strategy, and how long each step of an upgrade may take.

use std::{path::PathBuf, time::Duration};

use tomlcheck::Section;

use super::{
    bind::SOCKET_PATH_BYTES_MAX,
    file::{milliseconds, path},
    settings::Strategy,
};

/// `[upgrade]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeSettings {
    pub strategy: Strategy,
    /// Unix socket over which the old process passes its descriptors to the new one.
    pub socket: PathBuf,
    /// How long the new process may take from its start until it greets.
    pub start_timeout: Duration,
    /// How long it may take from there until it has loaded what it serves; `start_timeout` unless it is given.
    pub load_timeout: Duration,
    /// How long it may take to answer a request; `start_timeout` unless it is given.
    pub probe_timeout: Duration,
    /// How long the new process must stay alive beside the old one before the swap is final.
    pub probation: Duration,
    /// How long it may take until it goes on from what the old one has in memory.
    pub state_timeout: Duration,
    /// How long it may take to accept when it is told to, or to tell the old one to leave (`reuseport`).
    pub commit_timeout: Duration,
    /// How long it may take to acknowledge a connection.
    pub transfer_timeout: Duration,
    /// How long requests in flight may take to finish in the old process.
    pub drain: Duration,
    /// How long a connection that stays with the old process may rest before it is closed.
    pub idle_grace: Duration,
    /// How long who asked for the upgrade may take to read the outcome.
    pub farewell: Duration,
}

// Why each default is what it is stands beside it; the unit is in the name.

const SOCKET: &str = "./.seckill.sock";
/// Loses nothing and closes nothing, so it is what one gets without asking.
const STRATEGY: Strategy = Strategy::HandoffLive;
/// Loading a large state takes a second or two; a process that needs more than this hangs.
const START_TIMEOUT_MS: u64 = 10_000;
/// A million users take some tens of milliseconds.
const STATE_TIMEOUT_MS: u64 = 5_000;
/// Longer than a new process looks for what the old one served last.
const COMMIT_TIMEOUT_MS: u64 = 5_000;
/// One takes some microseconds; a process that needs more than this is stopped.
const TRANSFER_TIMEOUT_MS: u64 = 5_000;
/// Clients that send often are answered once more within it.
const IDLE_GRACE_MS: u64 = 1_000;
/// One answer to whoever is still there.
const FAREWELL_MS: u64 = 1_000;
/// A program that dies of its first requests does so within a few milliseconds.
const PROBATION_MS: u64 = 50;
/// The slowest honest request is a slow upload of a few kilobytes.
const DRAIN_MS: u64 = 10_000;

impl Default for UpgradeSettings {
    fn default() -> Self {
        Self {
            strategy: STRATEGY,
            socket: SOCKET.into(),
            start_timeout: Duration::from_millis(START_TIMEOUT_MS),
            load_timeout: Duration::from_millis(START_TIMEOUT_MS),
            probe_timeout: Duration::from_millis(START_TIMEOUT_MS),
            probation: Duration::from_millis(PROBATION_MS),
            state_timeout: Duration::from_millis(STATE_TIMEOUT_MS),
            commit_timeout: Duration::from_millis(COMMIT_TIMEOUT_MS),
            transfer_timeout: Duration::from_millis(TRANSFER_TIMEOUT_MS),
            drain: Duration::from_millis(DRAIN_MS),
            idle_grace: Duration::from_millis(IDLE_GRACE_MS),
            farewell: Duration::from_millis(FAREWELL_MS),
        }
    }
}

impl UpgradeSettings {
    /// How long an upgrade may take in all.
    #[must_use]
    pub fn longest(&self) -> Duration {
        let loaded = self.start_timeout + self.load_timeout;
        // A second question is asked at the end of probation.
        let proved = self.probe_timeout * 2 + self.probation;
        // A process that serves without being told has its commit twice: until it serves, and until it signals.
        let serving = self.state_timeout + self.commit_timeout * 2;
        loaded + proved + serving + self.transfer_timeout + self.drain + self.farewell
    }

    /// After so long without a word from the old process the new one publishes: a running one has said by then that no
    /// request begins in it any more, or has taken everything back.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.commit_timeout + self.transfer_timeout
    }

    /// How long a new process that serves may be handed things by the old one. It waits longer only for one that is
    /// stopped.
    #[must_use]
    pub fn handover(&self) -> Duration {
        self.silence() + self.drain + self.farewell
    }

    /// What the section says.
    pub(super) fn read(&mut self, section: &Section<'_>) {
        if let Some(strategy) = section.choice("strategy", &Strategy::WORDS) {
            self.strategy = strategy;
        }
        path(section, "socket", &mut self.socket);
        if self.socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let what = format!("has more than {SOCKET_PATH_BYTES_MAX} bytes, too long for a unix socket");
            section.fault_at("socket", what, "write a path relative to the working directory");
        }
        milliseconds(section, "start_timeout_ms", 1, &mut self.start_timeout);
        // Who says how long a start may take need not say more.
        self.load_timeout = self.start_timeout;
        self.probe_timeout = self.start_timeout;
        for (key, from, value) in [
            ("load_timeout_ms", 1, &mut self.load_timeout),
            ("probe_timeout_ms", 1, &mut self.probe_timeout),
            ("probation_ms", 0, &mut self.probation),
            ("state_timeout_ms", 1, &mut self.state_timeout),
            ("commit_timeout_ms", 1, &mut self.commit_timeout),
            ("transfer_timeout_ms", 1, &mut self.transfer_timeout),
            ("drain_ms", 0, &mut self.drain),
            ("idle_grace_ms", 0, &mut self.idle_grace),
            ("farewell_ms", 1, &mut self.farewell),
        ] {
            milliseconds(section, key, from, value);
        }
    }
}
