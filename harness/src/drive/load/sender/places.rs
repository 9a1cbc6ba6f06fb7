//! Which attempts are the target's and which the control's: where they go, and what counts them.

use super::Sender;
use crate::{
    drive::load::{control::IN_FLIGHT_MAX, target::Target},
    observe::Cause,
};

impl Sender {
    pub(super) fn is_control(&self, stream: u16) -> bool {
        self.places.control.owns(stream)
    }

    pub(super) fn place(&mut self, stream: u16) -> &mut Target {
        if self.is_control(stream) { &mut self.places.control.target } else { &mut self.places.target }
    }

    /// Why no further attempt of a stream can be made now, if that is so.
    pub(super) fn full(&self, stream: u16) -> Option<Cause> {
        if self.is_control(stream) {
            return (self.places.control.in_flight >= IN_FLIGHT_MAX).then_some(Cause::InFlightMax);
        }
        let in_flight = self.in_flight();
        match () {
            () if in_flight >= self.load.in_flight_max => Some(Cause::InFlightMax),
            () if in_flight >= self.places.descriptors => Some(Cause::NoDescriptors),
            () => None,
        }
    }

    /// Counts an attempt that is put on the wire.
    pub(super) fn count_under_way(&mut self, stream: u16) {
        if self.is_control(stream) {
            self.places.control.in_flight += 1;
            return;
        }
        self.counts.sent += 1;
        self.counts.in_flight += 1;
        self.counts.in_flight_max = self.counts.in_flight_max.max(self.in_flight());
        self.progress.sent(self.counts.sent, self.counts.in_flight);
    }

    /// Counts the end of an attempt that was under way.
    pub(super) fn count_over(&mut self, stream: u16) {
        if self.is_control(stream) {
            self.places.control.in_flight -= 1;
        } else {
            self.counts.in_flight -= 1;
        }
    }
}
