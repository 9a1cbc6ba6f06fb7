//! What the reference server leans on, where it comes from, and what happens to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

/// Something that the reference server talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    Etcd,
    /// MySQL or MariaDB.
    Mysql,
    Redis,
}

/// The services of a run; only those that are needed are started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicesPlan {
    pub from: Origin,
    /// With Redis and MySQL among them the server buys through both, else in its embedded store.
    pub needed: BTreeSet<Service>,
    /// The server reaches these through a link of the harness's own, which can be broken.
    pub linked: BTreeSet<Service>,
    /// Names of container images, where they are not the usual ones.
    pub images: BTreeMap<Service, String>,
}

/// Where services come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Origin {
    /// The first way that works: processes, then containers.
    #[default]
    Auto,
    Containers,
    Processes,
    /// Somebody else's: they cannot be killed or stopped, but their links can be broken.
    External {
        access: BTreeMap<Service, Access>,
    },
}

/// How a service is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// `host:port`
    pub address: String,
    /// Of MySQL.
    pub username: String,
    /// Of MySQL and Redis; empty: none is asked for.
    pub password: Password,
    /// Of MySQL.
    pub database: String,
}

impl Access {
    /// The part of the address behind the last colon.
    #[must_use]
    pub fn port(&self) -> &str {
        self.address.rsplit_once(':').map_or("", |(_, port)| port)
    }
}

/// A password: neither a plan's file nor a message shows it.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl Serialize for Password {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl Password {
    fn shown(&self) -> &'static str {
        if self.0.is_empty() { "" } else { "(hidden)" }
    }
}

/// Something that breaks for a time, and is mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultAction {
    /// What breaks.
    pub of: Victim,
    pub fault: Fault,
    /// From its beginning to its end; 0 for one that has no end.
    pub for_ms: u64,
}

/// What a fault happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Victim {
    Service(Service),
    /// The reference server itself.
    Server,
}

/// How something breaks. Each of these but the last has an end, which is part of the same event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Fault {
    /// Killed with SIGKILL; then started again with its data.
    Kill,
    /// Stopped with SIGSTOP; then continued.
    Pause,
    /// Nothing comes through the link any more, in either direction; then it does again.
    Partition,
    /// Every connection through the link is reset, and each new one; then they last again.
    Reset,
    /// The link delays what it carries, and carries no more than so much; then it is as before.
    Slow {
        /// In each direction.
        latency_ms: u64,
        /// Bytes per second of each connection and direction; `None`: as many as come.
        bandwidth: Option<u64>,
    },
    /// etcd's history is thrown away up to now, as if all watchers were too late.
    Compact,
}

impl Fault {
    /// It happens to the link, not to the service.
    #[must_use]
    pub fn is_of_link(self) -> bool {
        match self {
            Self::Partition | Self::Reset | Self::Slow { .. } => true,
            Self::Kill | Self::Pause | Self::Compact => false,
        }
    }
}

impl Service {
    pub const ALL: [Self; 3] = [Self::Etcd, Self::Mysql, Self::Redis];

    /// The word of scenarios, settings and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Mysql => "mysql",
            Self::Redis => "redis",
        }
    }
}

impl Victim {
    /// The word of scenarios and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Service(service) => service.word(),
            Self::Server => "server",
        }
    }
}

impl ServicesPlan {
    /// Whether the server buys through Redis and MySQL.
    #[must_use]
    pub fn has_store(&self) -> bool {
        self.needed.contains(&Service::Redis) && self.needed.contains(&Service::Mysql)
    }
}

impl Origin {
    /// The word of scenarios and reports.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Containers => "containers",
            Self::Processes => "processes",
            Self::External { .. } => "external",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_shown_nowhere() {
        let access = Access { password: Password("secret".to_owned()), ..Access::default() };
        assert!(!format!("{access:?}").contains("secret"));
        assert!(serde_json::to_string(&access).unwrap().contains("(hidden)"));
        assert_eq!(format!("{:?}", Password::default()), "");
    }
}
