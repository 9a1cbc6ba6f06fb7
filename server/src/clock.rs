//! The only place of the server that reads the wall clock; everyone below is handed the time.

use jiff::Timestamp;

/// Now, in wall time.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}
