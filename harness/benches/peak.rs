//! How much memory this process has had at most.

use std::{fs, io};

/// `VmHWM` of `/proc/self/status`.
pub(crate) fn kb() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kb.ok_or_else(|| io::Error::other("/proc/self/status tells no VmHWM"))
}
