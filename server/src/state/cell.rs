//! The snapshot that is served now, and the changes that led to it.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::Serialize;

use super::{Activities, Blacklist};

/// Changes that are remembered, the refused ones among them.
const HISTORY_MAX: usize = 32;

/// Number of a snapshot, from 1, one more with each that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// That of a process without predecessor.
    pub const FIRST: Self = Self(1);
}

/// Everything that may change while the process serves.
#[derive(Debug)]
pub struct Snapshot {
    pub generation: Generation,
    pub blacklist: Arc<Blacklist>,
    pub activities: Arc<Activities>,
}

/// The snapshot that is served now: many readers, one [`Publisher`].
#[derive(Debug)]
pub struct SnapshotCell {
    current: ArcSwap<Snapshot>,
    /// Read by the admin side only; a request never takes this lock.
    history: Mutex<VecDeque<Change>>,
}

/// The one that may replace the snapshot. There is one for each cell and it cannot be copied.
#[derive(Debug)]
pub struct Publisher {
    cell: Arc<SnapshotCell>,
}

/// What became of something that was offered as a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub at: Timestamp,
    /// Where it came from, such as `start`.
    pub origin: String,
    /// The generation that was served afterwards.
    pub generation: Generation,
    /// Why it was refused; `None` when it was published.
    pub refused: Option<String>,
}

impl SnapshotCell {
    /// A cell with its first snapshot in it, and its publisher.
    #[must_use]
    pub fn new(
        blacklist: Arc<Blacklist>,
        activities: Arc<Activities>,
        generation: Generation,
        origin: &str,
        at: Timestamp,
    ) -> (Arc<Self>, Publisher) {
        let first = Snapshot { generation, blacklist, activities };
        let change = Change { at, origin: origin.to_owned(), generation, refused: None };
        let cell = Arc::new(Self {
            current: ArcSwap::from_pointee(first),
            history: Mutex::new(VecDeque::from([change])),
        });
        (Arc::clone(&cell), Publisher { cell })
    }

    /// The snapshot that is served now. Take it once for each request and keep it to the end.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The latest changes, oldest first.
    #[must_use]
    pub fn history(&self) -> Vec<Change> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn remember(&self, change: Change) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() == HISTORY_MAX {
            history.pop_front();
        }
        history.push_back(change);
    }
}

impl Publisher {
    /// Serves `blacklist` and `activities` from now on. The snapshot before is returned, so that the
    /// caller and not a request pays for dropping it.
    pub fn publish(
        &mut self,
        blacklist: Arc<Blacklist>,
        activities: Arc<Activities>,
        origin: &str,
        at: Timestamp,
    ) -> Arc<Snapshot> {
        let generation = Generation(self.cell.load().generation.0 + 1);
        let before = self.cell.current.swap(Arc::new(Snapshot { generation, blacklist, activities }));
        self.cell.remember(Change { at, origin: origin.to_owned(), generation, refused: None });
        before
    }

    /// Remembers that something was refused; what is served stays.
    pub fn refuse(&mut self, reason: String, origin: &str, at: Timestamp) {
        let generation = self.cell.load().generation;
        self.cell.remember(Change { at, origin: origin.to_owned(), generation, refused: Some(reason) });
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seckill::UserId;

    fn lists(id: u64) -> (Arc<Blacklist>, Arc<Activities>) {
        let blacklist = Blacklist::parse(id.to_string().as_bytes()).unwrap();
        (Arc::new(blacklist), Arc::new(Activities::default()))
    }

    #[test]
    fn a_reader_keeps_the_snapshot_it_took() {
        let (blacklist, activities) = lists(1);
        let (cell, mut publisher) =
            SnapshotCell::new(blacklist, activities, Generation::FIRST, "start", Timestamp::UNIX_EPOCH);
        let taken = cell.load();
        let (blacklist, activities) = lists(2);
        let before = publisher.publish(blacklist, activities, "test", Timestamp::UNIX_EPOCH);
        assert_eq!((taken.generation, before.generation), (Generation(1), Generation(1)));
        assert!(taken.blacklist.contains(UserId(1)));
        let now = cell.load();
        assert_eq!(now.generation, Generation(2));
        assert!(now.blacklist.contains(UserId(2)) && !now.blacklist.contains(UserId(1)));
    }

    #[test]
    fn a_refusal_is_remembered_and_changes_nothing() {
        let (blacklist, activities) = lists(1);
        let (cell, mut publisher) =
            SnapshotCell::new(blacklist, activities, Generation::FIRST, "start", Timestamp::UNIX_EPOCH);
        publisher.refuse("line 3 is no number".to_owned(), "test", Timestamp::UNIX_EPOCH);
        assert_eq!(cell.load().generation, Generation(1));
        let history = cell.history();
        assert_eq!(history.len(), 2);
        assert_eq!(history[1].refused.as_deref(), Some("line 3 is no number"));
        for _ in 0..100 {
            publisher.refuse(String::new(), "test", Timestamp::UNIX_EPOCH);
        }
        assert_eq!(cell.history().len(), HISTORY_MAX);
    }
}
