//! The control target: an echo inside of the harness, loaded by the same sender with the same code.
//!
//! To the sender it is further streams of the schedule with another address. Nothing of it counts among
//! the target's figures: its attempts have a log of their own, its connections none, and neither takes
//! part in the limit of attempts in flight.

mod echo;

use std::net::SocketAddr;

pub(super) use echo::Echo;

use super::target::Target;
use crate::plan::LoadPlan;

/// Attempts at the echo in flight at once: the highest default rate for 8 s.
pub(super) const IN_FLIGHT_MAX: u32 = 4_096;

/// The sender's knowledge of the control.
#[derive(Debug)]
pub(super) struct Control {
    /// Number of the first stream that is the control's; they come last.
    pub(super) first: u16,
    pub(super) target: Target,
    pub(super) in_flight: u32,
}

impl Control {
    /// The control's part in a load that has its streams behind the plan's own.
    pub(super) fn new(load: &LoadPlan, address: SocketAddr) -> Self {
        let first = load.streams.len() - load.control_streams().len();
        let first = u16::try_from(first).expect("a plan must have fewer than 65,536 streams");
        Self { first, target: Target::new(address, None), in_flight: 0 }
    }

    pub(super) fn owns(&self, stream: u16) -> bool {
        stream >= self.first
    }
}
