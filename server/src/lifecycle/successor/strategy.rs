//! The strategies, each with what it promises, as the old process carries them out.

mod handoff;
mod handoff_live;
mod reuseport;
mod reuseport_drain;
mod stop_start;

use std::path::Path;

use super::Swap;
use crate::{config::Strategy, lifecycle::UpgradeError};

/// Replaces this process by one that has greeted already, or that is started from `binary`.
pub(super) async fn run(swap: &mut Swap, binary: Option<&Path>) -> Result<(), UpgradeError> {
    match swap.strategy {
        Strategy::StopStart => stop_start::run(swap, binary).await,
        Strategy::Reuseport => reuseport::run(swap, binary).await,
        Strategy::ReuseportDrain => reuseport_drain::run(swap, binary).await,
        Strategy::Handoff | Strategy::Inherit | Strategy::Activate => handoff::run(swap, binary).await,
        Strategy::HandoffLive => handoff_live::run(swap, binary).await,
    }
}
