//! What the machine and the sending thread did, as the kernel counts it.

use serde::{Deserialize, Serialize};

/// One look at the kernel's counters; what this kernel does not offer is absent. Counters only rise, so
/// the difference of two looks is what happened between them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineSample {
    /// On the run's clock; 0 before the load began.
    pub at_ns: u64,
    /// Time of all processors that the hypervisor gave to others, milliseconds (`/proc/stat`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steal_ms: Option<u64>,
    /// Time of all processors that did nothing because a disk was waited for, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iowait_ms: Option<u64>,
    /// Time of all processors at work, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_ms: Option<u64>,
    /// Time of all processors with nothing to do, waiting for a disk included, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// Threads of the machine that ran or wanted to at this moment, the one that looked left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runnable: Option<u64>,
    /// Time in which some thread of the machine waited for a processor, microseconds
    /// (`/proc/pressure/cpu`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressure_us: Option<u64>,
    /// Time that the sending thread was ready and waited for a processor, microseconds (`schedstat`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_delay_us: Option<u64>,
    /// How often the sending thread gave its processor up by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_switches_voluntary: Option<u64>,
    /// How often it was taken from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_switches_involuntary: Option<u64>,
    /// Processor time of the harness, microseconds.
    pub own_cpu_us: u64,
}
