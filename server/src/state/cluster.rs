//! What all nodes of the service share: log level, limits, switches, pool sizes, and who they are.
//!
//! One JSON document. Every member may be left out; then the settings that the process was started with hold.
//! A document with a fault is refused as a whole, with every fault that its values have; only one that is not
//! JSON of the right shape at all gets its first fault alone.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    object::{Object, object, objects},
    shape,
};
use crate::config::LogLevel;

/// More requests a second than any machine answers; more would be a slip of the keyboard.
const PER_SECOND_MAX: u32 = 10_000_000;
/// More connections to one service than any service takes.
const POOL_CONNECTIONS_MAX: u32 = 10_000;
/// For what has another shape.
const REMEDY: &str = "`seckill config cluster` prints a right one";

/// The shared configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// As `global.logLevel`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
    #[serde(deserialize_with = "object")]
    pub rate_limits: RateLimits,
    #[serde(deserialize_with = "object")]
    pub degradation: Degradation,
    #[serde(deserialize_with = "object")]
    pub pools: Pools,
    /// The nodes, where nothing registers them.
    #[serde(deserialize_with = "objects")]
    pub nodes: Vec<Node>,
}

/// How many requests are answered; 0: any number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimits {
    /// As `limits.orders_per_user_per_second`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orders_per_user_per_second: Option<u32>,
    /// Of all users together, by route.
    #[serde(deserialize_with = "object")]
    pub per_second: RouteLimits,
}

/// Requests a second, by route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteLimits {
    /// `GET /event/list`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_list: Option<u32>,
    /// `GET /event/info`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_info: Option<u32>,
    /// `POST /orders`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orders: Option<u32>,
    /// `GET /orders/{id}`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<u32>,
}

/// What is given up so that the rest goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Degradation {
    /// `POST /orders` answers 503.
    pub buying_closed: bool,
    /// `GET /event/info` does not ask the store what is left.
    pub listing_from_cache: bool,
}

/// The most connections to each service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pools {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mysql: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<u32>,
}

/// A process that serves, or the place where one after the other does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub name: String,
    /// Of the public side, `host:port`.
    pub address: String,
    /// Of the admin side, `host:port`.
    pub admin: String,
    pub version: String,
    /// Process generation.
    pub process: u64,
}

/// All that is wrong with a document, each with the place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFaults(Vec<String>);

impl Cluster {
    /// Reads the text of a document.
    ///
    /// # Errors
    /// It is not JSON of the right shape, or its values are out of range.
    pub fn parse(text: &[u8]) -> Result<Self, ClusterFaults> {
        let Object(cluster): Object<Self> =
            shape::read(text, REMEDY).map_err(|fault| ClusterFaults(vec![fault]))?;
        let faults = cluster.faults();
        if faults.is_empty() { Ok(cluster) } else { Err(ClusterFaults(faults)) }
    }

    fn faults(&self) -> Vec<String> {
        let Self { log_level: _, rate_limits, degradation: _, pools, nodes } = self;
        let per_second = &rate_limits.per_second;
        let numbers = [
            (
                "rate_limits.orders_per_user_per_second",
                rate_limits.orders_per_user_per_second,
                0,
                PER_SECOND_MAX,
            ),
            ("rate_limits.per_second.event_list", per_second.event_list, 0, PER_SECOND_MAX),
            ("rate_limits.per_second.event_info", per_second.event_info, 0, PER_SECOND_MAX),
            ("rate_limits.per_second.orders", per_second.orders, 0, PER_SECOND_MAX),
            ("rate_limits.per_second.order", per_second.order, 0, PER_SECOND_MAX),
            ("pools.mysql", pools.mysql, 1, POOL_CONNECTIONS_MAX),
            ("pools.redis", pools.redis, 1, POOL_CONNECTIONS_MAX),
        ];
        let mut faults = Vec::new();
        for (place, value, from, to) in numbers {
            if let Some(value) = value.filter(|value| !(from..=to).contains(value)) {
                faults.push(format!("{place}: {value} is not from {from} to {to}"));
            }
        }
        for (index, node) in nodes.iter().enumerate() {
            if node.name.trim().is_empty() {
                faults.push(format!("nodes[{index}].name: must not be empty"));
            }
            if nodes[..index].iter().any(|earlier| earlier.name == node.name) {
                faults.push(format!("nodes[{index}].name: {:?} is the name of an earlier node", node.name));
            }
            for (member, address) in [("address", &node.address), ("admin", &node.admin)] {
                let port = address.rsplit_once(':').and_then(|(host, port)| {
                    port.parse::<u16>().ok().filter(|port| *port > 0 && !host.is_empty())
                });
                if port.is_none() {
                    faults.push(format!("nodes[{index}].{member}: {address:?} is no host:port"));
                }
            }
        }
        faults
    }
}

impl fmt::Display for ClusterFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ClusterFaults {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_may_be_left_out() {
        assert_eq!(Cluster::parse(b"{}").unwrap(), Cluster::default());
        let full = br#"{"log_level":"debug",
            "rate_limits":{"orders_per_user_per_second":5,"per_second":{"orders":1000,"event_list":0}},
            "degradation":{"buying_closed":true,"listing_from_cache":true},
            "pools":{"mysql":16,"redis":8},
            "nodes":[{"name":"a","address":"127.0.0.1:1","admin":"[::1]:2","version":"v","process":3}]}"#;
        let cluster = Cluster::parse(full).unwrap();
        assert_eq!(cluster.log_level, Some(LogLevel::Debug));
        assert_eq!(cluster.rate_limits.per_second.orders, Some(1000));
        assert!(cluster.degradation.buying_closed && cluster.degradation.listing_from_cache);
        assert_eq!(cluster.nodes[0].process, 3);
        let again = Cluster::parse(&serde_json::to_vec(&cluster).unwrap()).unwrap();
        assert_eq!(again, cluster);
    }

    #[test]
    fn all_faults_of_the_values_are_told_at_once() {
        let bad = br#"{"rate_limits":{"per_second":{"orders":10000001}},"pools":{"mysql":0},
            "nodes":[{"name":"a","address":"x","admin":"h:0","version":"","process":1},
                     {"name":"a","address":"h:1","admin":"h:2","version":"","process":1}]}"#;
        let expected = [
            "rate_limits.per_second.orders: 10000001 is not from 0 to 10000000",
            "pools.mysql: 0 is not from 1 to 10000",
            r#"nodes[0].address: "x" is no host:port"#,
            r#"nodes[0].admin: "h:0" is no host:port"#,
            r#"nodes[1].name: "a" is the name of an earlier node"#,
        ];
        assert_eq!(Cluster::parse(bad).unwrap_err().to_string(), expected.join("\n"));
    }

    #[test]
    fn another_shape_is_refused_with_its_place() {
        let check = |text: &str, expected: &str| {
            let told = Cluster::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(told.starts_with(expected), "{told}");
        };
        check(r#"{"log_level":"loud"}"#, "log_level: unknown word `loud`, expected one of `trace`");
        check(
            r#"{"degradation":{"buying_close":true}}"#,
            "degradation.buying_close: unknown field `buying_close`, expected",
        );
        check(
            "{",
            "the text ends within an object at line 1 column 1; `seckill config cluster` prints a right one",
        );
        check(
            r#"{"pools":{"mysql":-1}}"#,
            "pools.mysql: -1 is not a whole number from 0 to 4294967295 at line 1",
        );
        check("[]", "a list is not an object at line 1");
        check(r#"{"pools":[1,2]}"#, "pools: a list is not an object at line 1");
        check(
            r#"{"rate_limits":{"per_second":[]}}"#,
            "rate_limits.per_second: a list is not an object at line 1",
        );
        check(r#"{"nodes":[[]]}"#, "nodes[0]: a list is not an object at line 1");
    }
}
