//! `reuseport-drain`: as `reuseport`, but the old process accepts what waits in its queues before it closes them, and
//! answers once more on each connection.
//!
//! Promises: no request on a connection that was there fails; each of them is closed by an answer that says so, or after
//! `upgrade.idle_grace_ms` without a request. Who comes between the last look at a queue and its end is reset, unless
//! `net.ipv4.tcp_migrate_req` is 1. Held to it by `strategies/reuseport-drain`.

use super::super::Swap;
use crate::lifecycle::{Phase, UpgradeError};

pub(super) async fn run(swap: &mut Swap, binary: Option<&std::path::Path>) -> Result<(), UpgradeError> {
    swap.bring_up(binary).await?;
    swap.await_signal().await?;
    swap.life.phase(Phase::Draining);
    swap.life.empty_listeners().await;
    swap.send_rest().await?;
    swap.answer_once_more().await
}
