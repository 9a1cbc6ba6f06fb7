//! Lists that are not served any more -> freed, and never by a request.
//!
//! A request keeps the snapshot that it began with, so the last to let go of an old list may be one: it would pay
//! for giving back all of its memory. So there is always somebody else who holds it until nobody reads it.

use std::{sync::Arc, thread, time::Duration};

use crate::{background, state::Blacklist};

/// Size from which on freeing a list is worth a thread.
const LARGE_BYTES: usize = 1 << 20;
/// Between two looks whether a request still reads it.
const PAUSE: Duration = Duration::from_millis(10);

/// Holds `list` as long as anybody reads it.
pub(super) fn retire(list: Arc<Blacklist>) {
    if list.heap_bytes() < LARGE_BYTES {
        return;
    }
    let hold = move || {
        while Arc::strong_count(&list) > 1 {
            pause();
        }
    };
    if let Err(error) = background::start("blacklist-retired", hold) {
        tracing::warn!(%error, "no thread frees the old blacklist; the last request that reads it does");
    }
}

#[expect(clippy::disallowed_methods, reason = "that a count has become one is told to nobody")]
fn pause() {
    thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_never_the_last_to_hold_a_large_list() {
        let text: String = (0..600_000_u64).map(|id| format!("{}\n", id * 1_000_003)).collect();
        let list = Arc::new(Blacklist::parse(text.as_bytes()).unwrap());
        assert!(list.heap_bytes() > LARGE_BYTES, "{}", list.heap_bytes());
        let of_a_request = Arc::clone(&list);
        let watched = Arc::downgrade(&list);
        retire(list);
        assert_eq!(Arc::strong_count(&of_a_request), 2);
        drop(of_a_request);
        while watched.strong_count() > 0 {
            pause();
        }
    }
}
