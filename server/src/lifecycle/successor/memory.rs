//! What this process has in memory goes along: before the new one serves, and what was counted since after that.

use tokio::time::{Instant as Deadline, timeout, timeout_at};

use super::{Step, Swap};
use crate::lifecycle::{UpgradeError, carrying, channel, message::Message};

impl Swap {
    /// Sends all of it and waits until the new process goes on from it.
    pub(super) async fn send_state(&mut self) -> Result<(), UpgradeError> {
        let channel = self.channel("state")?;
        let deadline = Deadline::now() + Step::State.limit(&self.life.config);
        let (handed_on, document) = carrying::document(&self.life.app, None).await;
        match timeout_at(deadline, carrying::send(&channel, &document)).await {
            // Why it has gone may be told yet.
            Ok(Ok(()) | Err(channel::Error::Gone)) => {}
            Ok(Err(error)) => return Err(self.broken("state", &error)),
            Err(_) => return Err(self.late(Step::State, "did not take what this process has in memory")),
        }
        self.expect_until(&Message::Taken, Step::State, deadline).await?;
        self.handed_on = Some(handed_on);
        self.times.state = Some(self.lap());
        Ok(())
    }

    /// Sends what came after that. Nobody waits for an answer.
    pub(super) async fn send_rest(&mut self) -> Result<(), UpgradeError> {
        let channel = self.channel("transfer")?;
        let (handed_on, document) = carrying::document(&self.life.app, self.handed_on.take()).await;
        self.handed_on = Some(handed_on);
        let limit = Step::Transfer.limit(&self.life.config);
        match timeout(limit, carrying::send(&channel, &document)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(channel::Error::Gone)) => Err(self.gone("transfer").await),
            Ok(Err(error)) => Err(self.broken("transfer", &error)),
            Err(_) => Err(self.late(Step::Transfer, "did not take what this process has counted")),
        }
    }
}
