//! The only place of the server that reads the wall clock; everyone below is handed the time.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Now, in wall time.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// What a file that is written now gets as its time, since 1970. It stands still for a tick of the kernel, 1 to
/// 10 ms, so that two writes within one cannot be told apart by their times.
#[must_use]
pub fn tick() -> Duration {
    let time = clock_gettime(ClockId::RealtimeCoarse);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
