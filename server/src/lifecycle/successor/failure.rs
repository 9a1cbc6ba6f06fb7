//! Says why a swap failed, in the words of whoever asked for it.

use std::{io::ErrorKind, time::Duration};

use tokio::time::timeout;

use super::{Swap, ended};
use crate::lifecycle::{
    UpgradeError,
    channel::{self, Received},
    message::Message,
};

impl Swap {
    pub(super) fn error(&self, step: &str, kind: &str, detail: String) -> UpgradeError {
        UpgradeError { step: step.to_owned(), kind: kind.to_owned(), detail, stderr: String::new() }
    }

    pub(super) fn late(&self, step: &str, what: &str) -> UpgradeError {
        let limit = self.life.config.upgrade.start_timeout.as_millis();
        let detail =
            format!("the new process {what} in time; it was ended (upgrade.start_timeout_ms is {limit})");
        self.error(step, "timeout", detail)
    }

    pub(super) fn broken(&self, step: &str, error: &channel::Error) -> UpgradeError {
        self.error(step, "protocol", format!("cannot talk to the new process: {error}"))
    }

    /// It closed its end of the channel: it is dead or about to be, and its exit says more.
    pub(super) async fn gone(&mut self, step: &str) -> UpgradeError {
        let detail = self.exit_within(Duration::from_secs(1)).await;
        let detail = detail.unwrap_or_else(|| "the new process closed its end of the channel".to_owned());
        self.error(step, if step == "load" { "exited" } else { "died" }, detail)
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
            Message::Failed { detail } => self.error(step, "failed", detail),
            other => self.error(step, "protocol", format!("unexpected message {other:?}")),
        }
    }

    /// A probe without an answer has a deeper reason if the process has ended.
    pub(super) async fn probe_failed(&mut self, step: &str, detail: String) -> UpgradeError {
        match self.exit_within(Duration::from_millis(100)).await {
            Some(exit) => self.error(step, "died", exit),
            None => self.error(step, "refused", detail),
        }
    }

    /// The same for a transfer that broke off.
    pub(super) async fn transfer_failed(&mut self, error: channel::Error) -> UpgradeError {
        let exit = self.exit_within(Duration::from_millis(100)).await;
        match (exit, error) {
            (Some(exit), _) => self.error("transfer", "died", exit),
            (None, channel::Error::Gone) => self.error("transfer", "died", channel::Error::Gone.to_string()),
            (None, channel::Error::Io(error)) if error.kind() == ErrorKind::TimedOut => {
                self.error("transfer", "timeout", format!("{error}; it was ended"))
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
