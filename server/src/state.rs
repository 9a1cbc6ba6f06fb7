//! What a request may know about the sale: one immutable [`Snapshot`] from its start to its end.
//!
//! Many read the [`SnapshotCell`], one writes: only the [`Publisher`] can, there is one of it, and
//! [`crate::reload`] owns it. Nothing in here reads a file or a clock.

mod activities;
mod blacklist;
mod cell;
mod cluster;
mod history;
mod object;
mod shape;

pub use crate::datum::{Datum, Mechanism, Origin};

pub use self::{
    activities::{Activities, ActivityFaults, Event, Goods, Stock},
    blacklist::{Blacklist, BlacklistFaults, Delta, Lines},
    cell::{Digests, Generation, Publisher, Snapshot, SnapshotCell},
    cluster::{Cluster, ClusterFaults, Degradation, Node, Pools, RateLimits, RouteLimits},
    history::{Change, ChangeOutcome},
};
