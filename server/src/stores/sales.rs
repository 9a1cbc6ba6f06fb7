//! Who waits for a sale: one channel for each event that somebody looks at.
//!
//! Only sales of this process are told; those of another one that uses the store during an upgrade are not.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::seckill::EventId;

/// Copies share the waiting.
#[derive(Debug, Clone, Default)]
pub(super) struct Sales(Arc<Mutex<HashMap<EventId, watch::Sender<()>>>>);

impl Sales {
    /// Changes with every group of sales of this event that is committed from now on.
    pub(super) fn of(&self, event: EventId) -> watch::Receiver<()> {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.entry(event).or_default().subscribe()
    }

    /// Tells everybody who waits for a sale of one of these events, and forgets events that nobody looks at.
    pub(super) fn tell(&self, sold: impl Iterator<Item = EventId>) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if events.is_empty() {
            return;
        }
        events.retain(|_, event| event.receiver_count() > 0);
        for event in sold {
            if let Some(event) = events.get(&event) {
                event.send_replace(());
            }
        }
    }
}
