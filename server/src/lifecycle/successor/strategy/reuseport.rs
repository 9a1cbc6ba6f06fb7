//! `reuseport`, the seed's way: the new process binds the port beside the old one, serves, and signals it to leave.
//!
//! Promises: somebody listens at any time, and requests in flight are answered. Who waits in the old one's queue, or is
//! half way there, when it closes is reset by the kernel unless `net.ipv4.tcp_migrate_req` is 1 (the server warns), and
//! idle connections are closed, also while a request is on its way. Held to it by `must-fail/reuseport`, which has to lose
//! requests.

use super::super::Swap;
use crate::lifecycle::UpgradeError;

pub(super) async fn run(swap: &mut Swap, binary: Option<&std::path::Path>) -> Result<(), UpgradeError> {
    swap.bring_up(binary).await?;
    swap.await_signal().await?;
    swap.send_rest().await?;
    swap.stop_serving().await
}
