//! The limits that a run is held to.

use serde::{Deserialize, Serialize};

/// A limit that the run is held to. Invariants are always held and need no gate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "gate", content = "limit")]
pub enum Gate {
    /// Failed attempts, strict: no retry is assumed.
    FailedMax(u64),
    /// Failed attempts that no fault of the plan answers for.
    UnforeseenMax(u64),
    /// Availability by request, 0 to 1.
    AvailabilityMin(f64),
    /// Sum of the upper bounds of all hard windows, milliseconds.
    HardDowntimeMsMax(f64),
    /// Sum of all brownout windows, milliseconds.
    BrownoutMsMax(f64),
    /// Latency from the intended time, 99th percentile, milliseconds.
    LatencyP99MsMax(f64),
    /// Upgrades that ended `ok`.
    UpgradesMin(u64),
    /// Events that did not end as expected.
    EventsFailedMax(u64),
    /// Connections of reused streams that the server closed.
    ClosedByServerMax(u64),
    /// How long after a change was acknowledged an attempt was sent whose answer still came from before it,
    /// milliseconds; the longest of the run.
    StaleMsMax(f64),
    /// From a change to its effect, by push, 99th percentile of the changes, milliseconds.
    #[serde(rename = "propagation_p99_ms_max.push")]
    PushP99MsMax(f64),
    /// The same, of changes of files that the file system tells of.
    #[serde(rename = "propagation_p99_ms_max.file")]
    FileP99MsMax(f64),
    /// The same, of changes in etcd that a watch tells of.
    #[serde(rename = "propagation_p99_ms_max.etcd")]
    EtcdP99MsMax(f64),
    /// The same, of changes that a timer finds.
    #[serde(rename = "propagation_p99_ms_max.timer")]
    TimerP99MsMax(f64),
    /// From the return of what a fault had taken away until somebody has bought again and all orders up to that one are
    /// in MySQL, milliseconds; the longest of the run.
    RecoveryMsMax(f64),
    /// The time within which half of the upgrades that ended well had moved their connections, as the server tells it,
    /// milliseconds.
    TransferP50MsMax(f64),
    /// Processes of the server beyond the one that serves, when everything has come to rest.
    ProcessesLeftMax(u64),
    /// Descriptors that the server has at rest beyond those that it had after its first upgrade, before the load.
    DescriptorsLeftMax(u64),
    /// Growth of the memory of the process that serves, from one upgrade to the next, kilobytes: the upper bound with
    /// 95 % confidence.
    MemoryGrowthKbMax(f64),
    /// Goods that sold out while two processes sold their last pieces; with fewer the run is inconclusive.
    GoodsContendedMin(u64),
    /// Limits of a user and good that were used up while two processes sold the last pieces; with fewer the run is
    /// inconclusive.
    LimitsContendedMin(u64),
    /// Lateness of the generator, 99th percentile, microseconds; beyond it the run is inconclusive.
    LatenessP99UsMax(u64),
    /// Attempts that the generator could not send; beyond it the run is inconclusive.
    UnsentMax(u64),
    /// Longest time for which an attempt was due and nothing sent it, milliseconds; beyond it the run is
    /// inconclusive.
    BlindMsMax(f64),
}

impl Gate {
    /// Whether it asks for two processes that sell the same.
    #[must_use]
    pub fn is_of_contention(&self) -> bool {
        matches!(self, Self::GoodsContendedMin(_) | Self::LimitsContendedMin(_))
    }

    /// Whether it holds what the server has at rest, which is read only then.
    #[must_use]
    pub fn is_of_rest(&self) -> bool {
        matches!(self, Self::ProcessesLeftMax(_) | Self::DescriptorsLeftMax(_) | Self::MemoryGrowthKbMax(_))
    }
}
