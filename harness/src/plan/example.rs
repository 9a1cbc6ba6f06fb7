//! A plan for tests to change.

use std::collections::BTreeMap;

use super::{Feeds, ReferencePlan, ServicesPlan};

impl ReferencePlan {
    /// Everything is small, and nothing is asked for.
    pub(crate) fn example() -> Self {
        Self {
            strategy: "handoff-live".to_owned(),
            old: None,
            new: None,
            users: 10,
            sale_events: 1,
            stock: 10,
            limit_per_user: 2,
            faults: Vec::new(),
            upgrade: BTreeMap::new(),
            blacklist: 2,
            listed: 0,
            reload: Feeds::new(),
            services: ServicesPlan::default(),
        }
    }
}
