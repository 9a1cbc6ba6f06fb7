//! `handoff`, `inherit` and `activate`: both processes have the same listening sockets, and connections stay where they are.
//!
//! They differ only in how the sockets get into the new process: sent over the control socket (`handoff`), open in it when
//! the old process starts it (`inherit`), or open in it when a service manager starts it (`activate`).
//!
//! Promise: no request fails, on whatever connection, and no queue is lost. Each connection of the old process is closed by
//! an answer that says so, or after `upgrade.idle_grace_ms` without a request. Until the new process has proven itself the
//! old one serves alone. Held to it by `strategies/handoff`, `strategies/inherit` and `strategies/activate`.

use super::super::Swap;
use crate::lifecycle::UpgradeError;

pub(super) async fn run(swap: &mut Swap, binary: Option<&std::path::Path>) -> Result<(), UpgradeError> {
    swap.bring_up(binary).await?;
    swap.prove().await?;
    swap.send_state().await?;
    swap.commit().await?;
    swap.send_rest().await?;
    swap.answer_once_more().await
}
