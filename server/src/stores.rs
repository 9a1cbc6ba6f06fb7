//! Where stock and orders are kept.
//!
//! An order is answered only when it is on disk, whichever process took it; two processes may use the
//! same store at once, because an upgrade makes them.

mod embedded;

pub use self::embedded::{Error, Store, StoreCounters, Unavailable, put_stock};
