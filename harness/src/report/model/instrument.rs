//! What a report says about the instrument: the control target, and the machine that both run on.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Bounds, Quantiles};

/// An echo inside of the harness, asked by the same sender in the same way; `null` when there was none.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Control {
    /// As planned, attempts per second.
    pub rate: Option<f64>,
    /// After the warm-up.
    pub attempts: Option<u64>,
    /// Failed or could not be sent; nothing but the machine or the harness can do that.
    pub lost: Option<u64>,
    pub lost_by_class: BTreeMap<String, u64>,
    /// From the intended time to the sending, microseconds.
    pub lateness_us: Quantiles,
    /// From the intended time to the end.
    pub latency_ms: Quantiles,
    /// Time without service.
    pub hard_ms: Bounds,
    /// Time in which an attempt had waited longer than the scenario's limit.
    pub brownout_ms: Option<f64>,
    /// The shortest pause that the control meets with 95 % probability.
    pub min_detectable_ms: Option<f64>,
}

/// What the server held at rest, without a connection: after a first upgrade before the load, and after the load; `null`
/// when no gate of the scenario asks for it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Held {
    /// Processes of the server.
    pub processes: Rest,
    /// Open descriptors of the process that serves.
    pub descriptors: Rest,
    /// Threads of the process that serves.
    pub threads: Rest,
    /// Its memory that belongs to no file, kilobytes.
    pub memory_kb: Rest,
    /// Growth of that memory from one upgrade to the next under load, kilobytes: the median of the slopes between any
    /// two processes (Sen).
    pub memory_growth_kb: Option<f64>,
    /// Upper bound of that growth with 95 % confidence.
    pub memory_growth_upper_kb: Option<f64>,
}

/// A number at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Rest {
    pub before: Option<u64>,
    pub after: Option<u64>,
}

/// What the machine did in the measured time, times added up over all processors; `null` what the kernel
/// does not tell.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Machine {
    pub busy_ms: Option<f64>,
    pub idle_ms: Option<f64>,
    /// The hypervisor gave it to others.
    pub steal_ms: Option<f64>,
    /// Idle, but a disk was waited for.
    pub iowait_ms: Option<f64>,
    /// Some thread waited for a processor.
    pub pressure_ms: Option<f64>,
    /// Threads that ran or wanted to, most at once; looked at ten times a second.
    pub runnable_max: Option<u64>,
    /// Processor time of the harness.
    pub own_cpu_ms: Option<f64>,
    /// The sending thread was ready and waited for a processor.
    pub sender_delay_ms: Option<f64>,
    /// The sending thread gave its processor up by itself.
    pub sender_switches_voluntary: Option<u64>,
    /// It was taken from it.
    pub sender_switches_involuntary: Option<u64>,
}
