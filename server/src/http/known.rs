//! What was left of each event's goods when the store was asked last, for when it is to be asked no more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::seckill::{EventId, GoodsId};

/// The last answer of the store for each event that somebody asked for. Events that have gone stay known: there
/// are as many of them as were ever published to this process.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<EventId, (Instant, Left)>>);

/// How many are left of each of an event's goods.
pub(super) type Left = Arc<[(GoodsId, u64)]>;

impl Known {
    pub(super) fn remember(&self, event: EventId, left: Left) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.insert(event, (Instant::now(), left));
    }

    /// With the time since then. `None`: the store was not asked by this process.
    pub(super) fn of(&self, event: EventId) -> Option<(Duration, Left)> {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.get(&event).map(|(at, left)| (at.elapsed(), Arc::clone(left)))
    }
}
