//! Answers that do not end by themselves, as their connection sees them: who reads too slowly is dropped, and when this
//! process leaves, who does not end in time.
//!
//! A connection without such an answer pays nothing: no timer runs for it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};

use super::connections::Directive;
use crate::config::StreamSettings;

/// What is known of the endless answers of one connection.
#[derive(Debug, Default)]
pub(super) struct Endless {
    open: AtomicU32,
    /// The last answer was one, and it is not certain that the client has its end.
    last: AtomicBool,
    begun: Notify,
    taken: Mutex<Option<Instant>>,
}

/// Why a connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Its client takes nothing.
    Slow,
    /// It was told to end and did not.
    Goodbye,
}

impl Endless {
    /// Such an answer begins; `alone`: it has the connection for itself until it is read.
    pub(super) fn begin(&self, alone: bool) {
        self.take();
        self.last.store(alone, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        self.begun.notify_one();
    }

    /// The connection asks for more of it: what it had before is on its way.
    pub(super) fn take(&self) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// It has no more to say.
    pub(super) fn end(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Another request has come, so the client has read what was before.
    pub(super) fn pass(&self) {
        self.last.store(false, Ordering::Relaxed);
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    fn idle(&self) -> Duration {
        let taken = *self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Waits until the connection has to end because of them. `owes`: something is still to be sent.
    pub(super) async fn overdue(
        &self,
        settings: &StreamSettings,
        mut directive: watch::Receiver<Directive>,
        owes: impl Fn() -> bool,
    ) -> Overdue {
        let patience = settings.heartbeat + settings.slow;
        loop {
            while !self.is_open() && !self.last.load(Ordering::Relaxed) {
                self.begun.notified().await;
            }
            let leaves = async { _ = directive.wait_for(|directive| *directive != Directive::Serve).await };
            tokio::select! {
                biased;
                () = leaves => {
                    sleep(settings.goodbye).await;
                    if self.is_open() || (self.last.load(Ordering::Relaxed) && owes()) {
                        return Overdue::Goodbye;
                    }
                    // It serves again, or goes.
                    _ = directive.wait_for(|directive| *directive == Directive::Serve).await;
                }
                // A heartbeat is taken in time by whoever reads at all.
                () = sleep(patience.saturating_sub(self.idle()).max(settings.slow / 8)) => {
                    if self.is_open() && self.idle() >= patience {
                        return Overdue::Slow;
                    }
                    if !self.is_open() && !owes() {
                        self.pass();
                    }
                }
            }
        }
    }
}
