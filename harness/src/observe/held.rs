//! What the server's processes hold, as the kernel shows it.

use serde::{Deserialize, Serialize};

/// In the detail of an upgrade: memory of the process that served until then, which belongs to no file, kilobytes.
pub const MEMORY_KEY: &str = "memory_kb";

/// One look at the server while nobody asks anything of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    /// Processes of the server, dead ones that nobody waited for included.
    pub processes: u64,
    /// Open descriptors of the process that serves.
    pub descriptors: u64,
    /// Threads of the process that serves.
    pub threads: u64,
    /// Memory of the process that serves that belongs to no file (`RssAnon`), kilobytes.
    pub memory_kb: u64,
}

/// The two looks that belong together; each was taken when the server had come to rest, without connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// After a first upgrade, before the load: whoever was started by an upgrade is compared with his like.
    pub before: Holding,
    /// After the load.
    pub after: Holding,
}
