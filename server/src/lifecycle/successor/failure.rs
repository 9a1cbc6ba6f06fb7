//! Says why a swap failed, in the words of whoever asked for it.

use std::{io::ErrorKind, time::Duration};

use tokio::time::timeout;

use super::{Swap, ended};
use crate::{
    config::Config,
    lifecycle::{
        UpgradeError,
        channel::{self, Received},
        message::Message,
    },
};

/// A step that has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Start,
    Load,
    Probe,
    Probation,
    State,
    Commit,
    Transfer,
}

impl Step {
    /// As the report has it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Load => "load",
            Self::Probe => "probe",
            Self::Probation => "probation",
            Self::State => "state",
            Self::Commit => "commit",
            Self::Transfer => "transfer",
        }
    }

    /// How long it may take. The second question, at the end of probation, is one like the first.
    pub(super) fn limit(self, config: &Config) -> Duration {
        let settings = &config.upgrade;
        match self {
            Self::Start => settings.start_timeout,
            Self::Load => settings.load_timeout,
            Self::Probe | Self::Probation => settings.probe_timeout,
            Self::State => settings.state_timeout,
            Self::Commit => settings.commit_timeout,
            Self::Transfer => settings.transfer_timeout,
        }
    }

    /// The key that says so.
    fn setting(self) -> &'static str {
        match self {
            Self::Start => "upgrade.start_timeout_ms",
            Self::Load => "upgrade.load_timeout_ms",
            Self::Probe | Self::Probation => "upgrade.probe_timeout_ms",
            Self::State => "upgrade.state_timeout_ms",
            Self::Commit => "upgrade.commit_timeout_ms",
            Self::Transfer => "upgrade.transfer_timeout_ms",
        }
    }

    /// What to look at when it took too long.
    fn told(self, config: &Config) -> String {
        format!("{} is {}", self.setting(), self.limit(config).as_millis())
    }
}

impl Swap {
    pub(super) fn late(&self, step: Step, what: &str) -> UpgradeError {
        let limit = step.told(&self.life.config);
        // One that was started by hand is no child, and is told to go.
        let ended = if self.newcomer.is_some() { "it was ended" } else { "it was told to go" };
        UpgradeError::new(
            step.word(),
            "timeout",
            format!("the new process {what} in time; {ended} ({limit})"),
        )
    }

    pub(super) fn broken(&self, step: &str, error: &channel::Error) -> UpgradeError {
        UpgradeError::new(step, "protocol", format!("cannot talk to the new process: {error}"))
    }

    /// It closed its end of the channel: it is dead or about to be, and its exit says more.
    pub(super) async fn gone(&mut self, step: &str) -> UpgradeError {
        let detail = self.exit_within(Duration::from_secs(1)).await;
        let detail = detail.unwrap_or_else(|| "the new process closed its end of the channel".to_owned());
        UpgradeError::new(step, if step == "load" { "exited" } else { "died" }, detail)
    }

    pub(super) async fn spoke_out_of_turn(
        &mut self,
        step: &str,
        received: Result<Received, channel::Error>,
    ) -> UpgradeError {
        match received {
            Err(channel::Error::Gone) => self.gone(step).await,
            Err(error) => self.broken(step, &error),
            Ok(received) => self.unexpected(step, received.message),
        }
    }

    pub(super) fn unexpected(&self, step: &str, message: Message) -> UpgradeError {
        match message {
            Message::Failed { detail } => UpgradeError::new(step, "failed", detail),
            other => UpgradeError::new(step, "protocol", format!("unexpected message {other:?}")),
        }
    }

    /// A probe without an answer has a deeper reason if the process has ended.
    pub(super) async fn probe_failed(&mut self, step: &str, detail: String) -> UpgradeError {
        match self.exit_within(Duration::from_millis(100)).await {
            Some(exit) => UpgradeError::new(step, "died", exit),
            None => UpgradeError::new(step, "refused", detail),
        }
    }

    /// The same for a transfer that broke off.
    pub(super) async fn transfer_failed(&mut self, error: channel::Error) -> UpgradeError {
        let exit = self.exit_within(Duration::from_millis(100)).await;
        match (exit, error) {
            (Some(exit), _) => UpgradeError::new("transfer", "died", exit),
            (None, channel::Error::Gone) => {
                UpgradeError::new("transfer", "died", channel::Error::Gone.to_string())
            }
            (None, channel::Error::Io(error)) if error.kind() == ErrorKind::TimedOut => {
                let limit = Step::Transfer.told(&self.life.config);
                UpgradeError::new("transfer", "timeout", format!("{error}; it was ended ({limit})"))
            }
            (None, error) => self.broken("transfer", &error),
        }
    }

    /// How the new process ended, if this one started it and it ends in time.
    async fn exit_within(&mut self, limit: Duration) -> Option<String> {
        let newcomer = self.newcomer.as_mut()?;
        timeout(limit, ended(Some(newcomer))).await.ok()
    }
}
