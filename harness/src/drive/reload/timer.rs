//! What a timer asks for at an address: a page of the harness's own. Files and keys that it looks at change as
//! for the other mechanisms.

use crate::{
    clock::RunClock,
    environment::{Content, Pages},
};

/// Puts the content at its address; when it was there.
pub(super) fn publish(pages: &Pages, path: &str, content: Content, clock: &RunClock) -> u64 {
    let at_ns = clock.now_ns();
    pages.put(path, content);
    at_ns
}
