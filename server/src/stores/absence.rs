//! Since when a service is away; an upgrade does not begin the time anew.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The time of one service.
#[derive(Debug, Default)]
pub(super) struct Absence(Mutex<Option<Instant>>);

impl Absence {
    /// It was found away.
    pub(super) fn begin(&self) {
        self.since().get_or_insert_with(Instant::now);
    }

    /// It is there.
    pub(super) fn end(&self) {
        *self.since() = None;
    }

    /// Another process has found it away for so long, and this one does not know better.
    pub(super) fn has_lasted(&self, so_long: Duration) {
        if let Some(theirs) = Instant::now().checked_sub(so_long) {
            let mut since = self.since();
            *since = Some(since.map_or(theirs, |ours| ours.min(theirs)));
        }
    }

    /// For how long it is away.
    pub(super) fn lasts(&self) -> Option<Duration> {
        self.since().map(|since| since.elapsed())
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_time_counts_until_it_is_there() {
        let absence = Absence::default();
        assert_eq!(absence.lasts(), None);
        absence.begin();
        absence.has_lasted(Duration::from_secs(60));
        absence.begin();
        absence.has_lasted(Duration::from_secs(5));
        assert!(absence.lasts().unwrap() >= Duration::from_secs(60));
        absence.end();
        assert_eq!(absence.lasts(), None);
    }
}
