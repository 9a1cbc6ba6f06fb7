//! What holds now: the cluster configuration where it says something, else the settings of this process.
//!
//! Requests read limits and switches from their own snapshot; only what is no part of a request is done here,
//! by one task: the log level and the sizes of the stores' pools.

use std::sync::Arc;

use serde::Serialize;

use crate::{
    config::{Config, LogLevel},
    reload::Reload,
    state::{Cluster, Pools, RouteLimits},
    stores::Store,
    telemetry,
};

/// Every value that the cluster configuration may set, as it holds now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effective {
    pub log_level: Setting<LogLevel>,
    pub rate_limits: EffectiveLimits,
    pub degradation: EffectiveDegradation,
    pub pools: EffectivePools,
}

/// A value and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Setting<T> {
    pub value: T,
    pub from: Authority,
}

/// Who says what a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authority {
    /// The cluster configuration.
    Cluster,
    /// The file that the process was started with.
    Settings,
    /// Nobody.
    Default,
}

/// Requests a second; 0: any number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EffectiveLimits {
    pub orders_per_user_per_second: Setting<u32>,
    pub per_second: EffectiveRouteLimits,
}

/// Requests a second of all users together, by route; 0: any number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EffectiveRouteLimits {
    pub event_list: Setting<u32>,
    pub event_info: Setting<u32>,
    pub orders: Setting<u32>,
    pub order: Setting<u32>,
}

/// What is given up so that the rest goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EffectiveDegradation {
    pub buying_closed: Setting<bool>,
    pub listing_from_cache: Setting<bool>,
}

/// The most connections to each service; `None`: nobody says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EffectivePools {
    pub mysql: Setting<Option<u32>>,
    pub redis: Setting<Option<u32>>,
}

impl Effective {
    /// Both together. `pools` is what the stores were told last.
    #[must_use]
    pub fn of(config: &Config, cluster: &Cluster, pools: Pools) -> Self {
        let RouteLimits { event_list, event_info, orders, order } = cluster.rate_limits.per_second;
        let route = |limit| Setting::or(limit, 0, Authority::Default);
        let switch = |on: bool| Setting::or(on.then_some(true), false, Authority::Default);
        let pool = |size: Option<u32>| Setting::or(size.map(Some), None, Authority::Default);
        Self {
            log_level: log_level(config, cluster),
            rate_limits: EffectiveLimits {
                orders_per_user_per_second: orders_per_user_per_second(config, cluster),
                per_second: EffectiveRouteLimits {
                    event_list: route(event_list),
                    event_info: route(event_info),
                    orders: route(orders),
                    order: route(order),
                },
            },
            degradation: EffectiveDegradation {
                buying_closed: switch(cluster.degradation.buying_closed),
                listing_from_cache: switch(cluster.degradation.listing_from_cache),
            },
            pools: EffectivePools { mysql: pool(pools.mysql), redis: pool(pools.redis) },
        }
    }
}

impl<T> Setting<T> {
    fn or(cluster: Option<T>, otherwise: T, from: Authority) -> Self {
        match cluster {
            Some(value) => Self { value, from: Authority::Cluster },
            None => Self { value: otherwise, from },
        }
    }
}

/// How many orders a user may ask for in a second.
#[must_use]
pub fn orders_per_user_per_second(config: &Config, cluster: &Cluster) -> Setting<u32> {
    let settings = config.limits.orders_per_user_per_second;
    Setting::or(cluster.rate_limits.orders_per_user_per_second, settings, Authority::Settings)
}

fn log_level(config: &Config, cluster: &Cluster) -> Setting<LogLevel> {
    Setting::or(cluster.log_level, config.global.log_level, Authority::Settings)
}

/// Does what every snapshot asks for, from the one that is served now on.
pub async fn follow(config: Arc<Config>, reload: Arc<Reload>, store: Arc<Store>) {
    let (snapshots, mut changes) = (reload.cell(), reload.changes());
    loop {
        // Marked as seen before it is read, so that none is missed.
        changes.mark_unchanged();
        let cluster = Arc::clone(&snapshots.load().cluster);
        let level = log_level(&config, &cluster);
        telemetry::set_log_level(
            level.value,
            match level.from {
                Authority::Cluster => "the cluster configuration",
                Authority::Settings | Authority::Default => "the settings",
            },
        );
        store.size_pools(cluster.pools);
        drop(cluster);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cluster_says_goes_before_the_settings() {
        let nowhere = "127.0.0.1:0".parse().unwrap();
        let mut config = Config::with_defaults(nowhere, nowhere);
        config.limits.orders_per_user_per_second = 7;
        let check = |cluster: &str, expected: &str| {
            let cluster = Cluster::parse(cluster.as_bytes()).unwrap();
            let effective = Effective::of(&config, &cluster, cluster.pools);
            assert_eq!(serde_json::to_string(&effective).unwrap(), expected);
        };
        check(
            "{}",
            concat!(
                r#"{"log_level":{"value":"info","from":"settings"},"#,
                r#""rate_limits":{"orders_per_user_per_second":{"value":7,"from":"settings"},"#,
                r#""per_second":{"event_list":{"value":0,"from":"default"},"event_info":{"value":0,"from":"default"},"#,
                r#""orders":{"value":0,"from":"default"},"order":{"value":0,"from":"default"}}},"#,
                r#""degradation":{"buying_closed":{"value":false,"from":"default"},"#,
                r#""listing_from_cache":{"value":false,"from":"default"}},"#,
                r#""pools":{"mysql":{"value":null,"from":"default"},"redis":{"value":null,"from":"default"}}}"#,
            ),
        );
        check(
            r#"{"log_level":"error","rate_limits":{"orders_per_user_per_second":0,"per_second":{"orders":9}},
                "degradation":{"buying_closed":true},"pools":{"redis":8}}"#,
            concat!(
                r#"{"log_level":{"value":"error","from":"cluster"},"#,
                r#""rate_limits":{"orders_per_user_per_second":{"value":0,"from":"cluster"},"#,
                r#""per_second":{"event_list":{"value":0,"from":"default"},"event_info":{"value":0,"from":"default"},"#,
                r#""orders":{"value":9,"from":"cluster"},"order":{"value":0,"from":"default"}}},"#,
                r#""degradation":{"buying_closed":{"value":true,"from":"cluster"},"#,
                r#""listing_from_cache":{"value":false,"from":"default"}},"#,
                r#""pools":{"mysql":{"value":null,"from":"default"},"redis":{"value":8,"from":"cluster"}}}"#,
            ),
        );
    }
}
