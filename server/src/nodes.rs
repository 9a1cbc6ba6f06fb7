//! The register of the processes that serve: one key of etcd for each, under a lease.
//!
//! [`Registration`] keeps the key of this process. An upgrade never makes it disappear: the successor puts the same
//! key under a lease of its own, which takes it from the lease of the old process, so that nothing that becomes of
//! the old lease touches it any more. Deliberately absent: the list of nodes, which is watched as any other source.

mod registration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::registration::Registration;
use crate::{
    clock,
    config::{self, Bind, NodeSettings},
    etcd::Keys,
    lifecycle::ProcessIdentity,
    state::Node,
};

/// Every node has a key below this one.
pub const KEY: &str = "/seckill/nodes";

/// The value of a node's key. Other releases may have more members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub name: String,
    /// Of the public side, `host:port`.
    pub address: String,
    /// Of the admin side, `host:port`.
    pub admin: String,
    pub version: String,
    /// Process generation.
    pub process: u64,
    pub pid: u32,
    pub started_at: Timestamp,
}

impl Entry {
    /// That of this process, which listens at `public` and `admin`.
    #[must_use]
    pub fn of(settings: &NodeSettings, identity: &ProcessIdentity, public: &[Bind], admin: &[Bind]) -> Self {
        Self {
            name: settings.called(public),
            admin: config::reached(settings.admin.as_ref(), admin),
            address: config::reached(settings.address.as_ref(), public),
            version: identity.version.clone(),
            process: u64::from(identity.process.0),
            pid: identity.pid,
            started_at: clock::now(),
        }
    }

    fn key(&self) -> String {
        format!("{KEY}/{}", self.name)
    }

    fn is(&self, node: &Node) -> bool {
        (node.name.as_str(), node.process) == (self.name.as_str(), self.process)
    }
}

/// The nodes that are registered. A value that is none is left out, and the log says so: it must not hide the others.
#[must_use]
pub fn list(keys: &Keys) -> Vec<Node> {
    let nodes = keys.iter().filter_map(|(key, value)| match serde_json::from_slice::<Entry>(value) {
        Ok(Entry { name, address, admin, version, process, .. }) => {
            Some(Node { name, address, admin, version, process })
        }
        Err(error) => {
            tracing::warn!(key, %error, "this is no node; delete the key");
            None
        }
    });
    nodes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::ProcessGeneration;

    fn entry(settings: &NodeSettings, public: &str) -> Entry {
        let version = "17".to_owned();
        let identity = ProcessIdentity { pid: 7, version, process: ProcessGeneration(3) };
        let at = |address: &str| [Bind::Tcp(address.parse().unwrap())];
        Entry::of(settings, &identity, &at(public), &at("127.0.0.1:2"))
    }

    #[test]
    fn a_node_is_known_by_where_it_is_reached() {
        let bare = NodeSettings::default();
        let here = entry(&bare, "127.0.0.1:1");
        assert_eq!((here.address.as_str(), here.admin.as_str()), ("127.0.0.1:1", "127.0.0.1:2"));
        assert!(here.name.ends_with("-127.0.0.1:1"), "{}", here.name);
        let everywhere = entry(&bare, "0.0.0.0:1");
        assert!(everywhere.address.ends_with(":1") && !everywhere.address.contains("0.0.0.0"));

        let (name, address) = (Some("shop-1".to_owned()), Some("10.0.0.1:80".to_owned()));
        let told = entry(&NodeSettings { name, address, ..bare }, "0.0.0.0:1");
        assert_eq!((told.key().as_str(), told.address.as_str()), ("/seckill/nodes/shop-1", "10.0.0.1:80"));
    }

    #[test]
    fn what_is_no_node_hides_no_other() {
        let good = serde_json::to_value(entry(&NodeSettings::default(), "127.0.0.1:1")).unwrap();
        let mut newer = good.clone();
        newer["region"] = "north".into();
        let values = [("/a", good.to_string()), ("/b", "{".to_owned()), ("/c", newer.to_string())];
        let keys: Keys = values.into_iter().map(|(key, value)| (format!("{KEY}{key}"), value)).collect();
        let nodes = list(&keys);
        assert_eq!(nodes.len(), 2);
        assert_eq!((nodes[0].process, nodes[0].address.as_str()), (3, "127.0.0.1:1"));
    }
}
