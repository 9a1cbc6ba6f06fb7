//! Logs survive the round trip, and anything else than a whole log is refused.
