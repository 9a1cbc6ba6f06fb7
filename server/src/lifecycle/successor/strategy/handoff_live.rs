//! `handoff-live`: the listening sockets are shared as under `handoff`, and every connection goes to the new process at a
//! boundary between two requests, with what was read of the next one.
//!
//! Promise: no request fails, and no HTTP/1.1 connection is closed, whatever state it is in, within `upgrade.drain_ms`;
//! what is cut then is counted. HTTP/2 connections get the two-step GOAWAY. Until the new process has proven itself the
//! old one serves alone, and takes back what is not acknowledged if it dies later. Held to it by `upgrade` and
//! `upgrade/soak`.

use tokio::time::timeout;

use super::super::{Swap, failure::Step};
use crate::lifecycle::{UpgradeError, connections::Directive, message::Message};

pub(super) async fn run(swap: &mut Swap, binary: Option<&std::path::Path>) -> Result<(), UpgradeError> {
    swap.bring_up(binary).await?;
    swap.prove().await?;
    swap.send_state().await?;
    swap.commit().await?;
    #[cfg(debug_assertions)]
    crate::faults::hang(crate::faults::Fault::HangStopped).await;
    swap.life.connections.direct(Directive::Move);
    swap.send_rest().await?;
    let channel = swap.channel("transfer")?;
    match timeout(Step::Transfer.limit(&swap.life.config), channel.send(&Message::Stopped, &[], &[])).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(swap.broken("transfer", &error)),
        Err(_) => return Err(swap.late(Step::Transfer, "did not listen")),
    }
    swap.move_connections().await
}
