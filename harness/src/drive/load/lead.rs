//! How early to wake up for a send.
//!
//! A timer is exact, but a thread that it wakes runs only 5 to 100 us later: the processor leaves its idle
//! state, or the hypervisor brings the virtual one back. The sender learns how long that takes here and
//! wakes up so much earlier; what is left then is spent looking at the sockets, not sleeping. That costs
//! only as much processor time as one wake-up differs from the usual one.

/// No send is prepared for earlier than this: on a machine that is slower to wake, more would be spent on
/// looking than on the load.
const LEAD_NS_MAX: u64 = 100_000;
/// A wake-up later than this waited for a processor that others used, which no lead helps against.
const BUSY_NS: u64 = 250_000;
/// Each wake-up counts a sixteenth.
const WEIGHT: u64 = 16;

#[derive(Debug, Default)]
pub(super) struct Lead {
    /// Moving average of the time between a timer and the thread that it wakes.
    average_ns: u64,
}

impl Lead {
    pub(super) fn ns(&self) -> u64 {
        self.average_ns.min(LEAD_NS_MAX)
    }

    /// Takes note of a wake-up that came so long after its timer.
    pub(super) fn learn(&mut self, late_ns: u64) {
        if late_ns <= BUSY_NS {
            self.average_ns = (self.average_ns * (WEIGHT - 1) + late_ns) / WEIGHT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lead;

    fn after(wake_ups: &[u64]) -> u64 {
        let mut lead = Lead::default();
        for late_ns in wake_ups {
            lead.learn(*late_ns);
        }
        lead.ns()
    }

    #[test]
    fn the_usual_wake_up_is_learned() {
        assert_eq!(after(&[]), 0);
        assert!((39_000..=40_000).contains(&after(&[40_000; 100])));
        assert_eq!(after(&[200_000; 100]), 100_000, "never more than the limit");
        assert_eq!(after(&[5_000_000; 100]), 0, "others used the processor");
    }
}
