//! `stop-start`: the old process stops, then the new one starts. The simplest way, and the control arm.
//!
//! Promises: requests in flight are answered, and nothing runs twice. From the end of the old process until the new one
//! serves every connection is refused, and idle ones are closed. If the new one does not serve the old one does again.
//! Held to it by `must-fail/stop-start`, which has to lose requests.

use super::super::Swap;
use crate::lifecycle::UpgradeError;

pub(super) async fn run(swap: &mut Swap, binary: Option<&std::path::Path>) -> Result<(), UpgradeError> {
    swap.stop_serving().await?;
    swap.bring_up(binary).await
}
