//! The snapshot that is served now, and the changes that led to it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::{Activities, Blacklist, Change, Cluster, Datum, Node, history::History};

/// Number of a snapshot, from 1, one more with each that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// That of a process without predecessor.
    pub const FIRST: Self = Self(1);

    /// That of the snapshot after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Everything that may change while the process serves.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub generation: Generation,
    pub blacklist: Arc<Blacklist>,
    pub cluster: Arc<Cluster>,
    pub activities: Arc<Activities>,
    /// The nodes that are registered; those of the cluster configuration where nothing registers them.
    pub nodes: Arc<[Node]>,
    pub digests: Digests,
}

/// What each kind of data is worth comparing by: equal for equal content, wherever it came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    pub blacklist: String,
    pub cluster: String,
    pub activities: String,
    pub nodes: String,
}

/// The snapshot that is served now: many readers, one [`Publisher`].
#[derive(Debug)]
pub struct SnapshotCell {
    current: ArcSwap<Snapshot>,
    /// Read by the admin side only; a request never takes this lock.
    history: Mutex<History>,
}

/// The one that may replace the snapshot. There is one for each cell and it cannot be copied.
#[derive(Debug)]
pub struct Publisher {
    cell: Arc<SnapshotCell>,
}

impl SnapshotCell {
    /// A cell with its first snapshot in it, and its publisher.
    #[must_use]
    pub fn new(first: Snapshot) -> (Arc<Self>, Publisher) {
        let cell = Arc::new(Self { current: ArcSwap::from_pointee(first), history: Mutex::default() });
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
        self.history.lock().unwrap_or_else(PoisonError::into_inner).to_vec()
    }
}

impl Publisher {
    /// Serves `next` from now on, whose number must be greater than that of what is served. The snapshot before
    /// is returned, for whoever sees to it that no request pays for dropping it.
    pub fn publish(&mut self, next: Snapshot) -> Arc<Snapshot> {
        debug_assert!(next.generation > self.cell.load().generation, "generations must rise");
        self.cell.current.swap(Arc::new(next))
    }

    /// Remembers what became of something that was offered.
    pub fn remember(&mut self, change: Change) {
        self.cell.history.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    }
}

impl Snapshot {
    /// Nothing at all, which is what is served where nothing is brought.
    #[must_use]
    pub fn empty(generation: Generation) -> Self {
        Self {
            generation,
            blacklist: Arc::default(),
            cluster: Arc::default(),
            activities: Arc::default(),
            nodes: Arc::default(),
            digests: Digests::default(),
        }
    }
}

impl Digests {
    /// That of one kind of data.
    #[must_use]
    pub fn of(&self, datum: Datum) -> &str {
        match datum {
            Datum::Blacklist => &self.blacklist,
            Datum::Cluster => &self.cluster,
            Datum::Activities => &self.activities,
            Datum::Nodes => &self.nodes,
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        seckill::UserId,
        state::{ChangeOutcome, Mechanism, Origin, history::HISTORY_MAX},
    };

    fn snapshot(generation: u64, id: u64) -> Snapshot {
        let blacklist = Arc::new(Blacklist::parse(id.to_string().as_bytes()).unwrap());
        Snapshot { blacklist, ..Snapshot::empty(Generation(generation)) }
    }

    #[test]
    fn a_reader_keeps_the_snapshot_it_took() {
        let (cell, mut publisher) = SnapshotCell::new(snapshot(1, 1));
        let taken = cell.load();
        let before = publisher.publish(snapshot(2, 2));
        assert_eq!((taken.generation, before.generation), (Generation(1), Generation(1)));
        assert!(taken.blacklist.contains(UserId(1)));
        let now = cell.load();
        assert_eq!(now.generation, Generation(2));
        assert!(now.blacklist.contains(UserId(2)) && !now.blacklist.contains(UserId(1)));
    }

    #[test]
    fn the_latest_changes_are_remembered() {
        let (cell, mut publisher) = SnapshotCell::new(snapshot(1, 1));
        for bytes in 0..100 {
            publisher.remember(Change {
                at: Timestamp::UNIX_EPOCH,
                datum: Datum::Blacklist,
                origin: Origin::new(Mechanism::Push, "test"),
                bytes,
                digest: String::new(),
                took_ms: 0.0,
                outcome: ChangeOutcome::Refused,
                generation: Generation(1),
                copied_at: None,
                reason: Some("line 3 is no number".to_owned()),
            });
        }
        let history = cell.history();
        assert_eq!(history.len(), HISTORY_MAX);
        assert_eq!(history.last().map(|change| change.bytes), Some(99));
    }
}
