//! Waiting for what happens in other processes.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Far longer than any of it takes; only a bug gets there.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns when `holds`.
pub(crate) fn until(what: &str, holds: impl FnMut() -> bool) {
    until_within(PATIENCE, what, holds);
}

/// Returns when `holds`, where that may take longer than usual.
pub(crate) fn until_within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}
