//! What a process takes and never gives back, or takes from its successor, so that whoever measures can prove that he
//! would see it.

use std::{
    fs::File,
    os::fd::{AsFd, IntoRawFd as _},
    process::{Command, Stdio},
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::{Shutdown, shutdown},
};

use super::{Fault, find, strikes};

/// Seconds that a child which was left behind lives: longer than anybody looks, and not for ever.
const CHILD_LIVES_S: &str = "20";

/// Takes what the faults of this process say, which is number `process` of its chain. To be called once.
pub(crate) fn leak(process: u32) {
    // A leak that fails would go unnoticed, so whoever counts has to find none and say so.
    if strikes(Fault::LeakDescriptor)
        && let Ok(file) = File::open("/dev/null")
    {
        _ = fcntl_setfd(&file, FdFlags::empty());
        _ = file.into_raw_fd();
    }
    if let Some(armed) = find(Fault::LeakMemory) {
        let bytes = armed.number.saturating_mul(1_024).saturating_mul(process.into());
        // Written to, because memory that nobody has touched is none.
        Box::leak(vec![1_u8; usize::try_from(bytes).unwrap_or_default()].into_boxed_slice());
    }
    if strikes(Fault::LeaveProcess) {
        let mut child = Command::new("sleep");
        child.arg(CHILD_LIVES_S).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        _ = child.spawn();
    }
}

/// Shuts sockets down that others share, where the faults of this process say so.
pub(crate) fn shut_down(listeners: impl Iterator<Item = impl AsFd>) {
    if find(Fault::ShutDownListener).is_some() {
        for listener in listeners {
            _ = shutdown(listener, Shutdown::Both);
        }
    }
}
