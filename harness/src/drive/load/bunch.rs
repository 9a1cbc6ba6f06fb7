//! Which attempts are sent together.
//!
//! A send wakes the target's thread up, and was itself waited for with a timer: where both cost more than the
//! request itself, it pays to send what is due within a short time in one go. What is sent so is late, and
//! counts as late.

#[derive(Debug)]
pub(super) struct Bunch {
    coalesce_ns: u64,
    /// Up to here everything is sent.
    until_ns: u64,
}

impl Bunch {
    pub(super) fn new(coalesce_ns: u64) -> Self {
        Self { coalesce_ns, until_ns: 0 }
    }

    /// Each attempt is sent when it is due.
    pub(super) fn is_single(&self) -> bool {
        self.coalesce_ns == 0
    }

    /// When the attempt that is due next is to be sent.
    pub(super) fn send_ns(&self, due_ns: u64) -> u64 {
        if due_ns < self.until_ns { due_ns } else { due_ns + self.coalesce_ns }
    }

    /// Whether the attempt that is due next is to be sent now. The first of a bunch takes with it all that
    /// are due by now.
    pub(super) fn sends(&mut self, due_ns: u64, now_ns: u64) -> bool {
        let sends = self.send_ns(due_ns) <= now_ns;
        if sends && due_ns >= self.until_ns {
            self.until_ns = now_ns + 1;
        }
        sends
    }
}

#[cfg(test)]
mod tests {
    use super::Bunch;

    #[test]
    fn without_bunches_each_is_sent_when_it_is_due() {
        let mut bunch = Bunch::new(0);
        assert!(!bunch.sends(10, 9));
        assert!(bunch.sends(10, 10) && bunch.sends(10, 10));
        assert!(!bunch.sends(11, 10));
    }

    #[test]
    fn the_first_is_late_by_the_bunch_and_the_others_less() {
        let mut bunch = Bunch::new(100);
        assert_eq!(bunch.send_ns(10), 110);
        assert!(!bunch.sends(10, 109));
        assert!(bunch.sends(10, 112));
        assert!(bunch.sends(60, 113) && bunch.sends(112, 113));
        assert!(!bunch.sends(113, 113), "it belongs to the next bunch");
        assert_eq!(bunch.send_ns(113), 213);
    }
}
