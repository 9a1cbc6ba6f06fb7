//! `[etcd]` and `[node]`: where the register is, and how this process stands in it.

use std::{path::PathBuf, time::Duration};

use tomlcheck::Section;

use super::{
    bind::Bind,
    file::{host_and_port, milliseconds},
};

/// `[etcd]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdSettings {
    /// One or more of `host:port`, in the order in which they are tried.
    pub endpoints: Vec<String>,
    /// How long a connection may be silent before etcd is asked whether it is still there.
    pub keep_alive: Duration,
    /// How long an answer may take, connecting included.
    pub timeout: Duration,
    /// Left out: etcd asks nobody who he is.
    pub user: Option<EtcdUser>,
}

/// Who asks etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdUser {
    pub name: String,
    /// Its first line is the password. It is read whenever etcd is connected to, so that it can be changed.
    pub password_file: PathBuf,
}

/// `[node]`: how this process is registered in etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// Left out: the machine's name and the public address.
    pub name: Option<String>,
    /// `host:port` at which others reach the public side. Left out: where it listens.
    pub address: Option<String>,
    /// `host:port` at which others reach the admin side. Left out: where it listens.
    pub admin: Option<String>,
    /// How long it stays registered without a sign of life, in whole seconds.
    pub lease: Duration,
}

/// An etcd server takes who asks more often for a nuisance and hangs up, unless it was started with
/// `--grpc-keepalive-min-time`.
const KEEP_ALIVE_MS: u64 = 5_000;
/// More often is load without any use.
const KEEP_ALIVE_MS_FROM: u64 = 50;
/// One that keeps up answers within a few milliseconds, one that elects a leader within a second.
const TIMEOUT_MS: u64 = 1_000;
/// Less than a slow disk needs to write.
const TIMEOUT_MS_FROM: u64 = 10;
/// A node that is gone is known to be gone within this time; a pause that is shorter is no departure.
const LEASE_S: u64 = 5;
/// Longer than this nobody wants to see a node that is gone.
const LEASE_S_MAX: u64 = 3_600;
/// Longest name of a node, in bytes.
const NAME_BYTES_MAX: usize = 128;

impl EtcdSettings {
    /// With the default of everything else.
    #[must_use]
    pub fn at(endpoints: Vec<String>) -> Self {
        let keep_alive = Duration::from_millis(KEEP_ALIVE_MS);
        Self { endpoints, keep_alive, timeout: Duration::from_millis(TIMEOUT_MS), user: None }
    }

    /// As in the file.
    #[must_use]
    pub fn address(&self) -> String {
        self.endpoints.join(",")
    }

    pub(super) fn read(section: Section<'_>) -> Self {
        let mut settings = Self::at(endpoints(&section));
        milliseconds(&section, "keep_alive_ms", KEEP_ALIVE_MS_FROM, &mut settings.keep_alive);
        milliseconds(&section, "timeout_ms", TIMEOUT_MS_FROM, &mut settings.timeout);
        settings.user = user(&section);
        section.finish();
        settings
    }
}

impl NodeSettings {
    pub(super) fn read(section: Section<'_>) -> Self {
        let hint = "write a name without slashes, for example name = \"shop-1\"";
        let name = section.parse("name", "a name", hint, |text| {
            if text.is_empty() || text.len() > NAME_BYTES_MAX {
                return Err("it must have 1 to 128 bytes");
            }
            let bad = |c: char| c == '/' || c.is_control();
            if text.contains(bad) { Err("it is a part of a key of etcd") } else { Ok(text.to_owned()) }
        });
        let reached = |key| {
            let hint = format!("write {key} = \"10.0.0.1:8080\", as others reach it");
            section
                .parse(key, "a host and a port", hint, |text| host_and_port(text).map(|()| text.to_owned()))
        };
        let (address, admin) = (reached("address"), reached("admin"));
        let lease = section.integer("lease_s", 1..=LEASE_S_MAX).map_or(LEASE_S, |entry| entry.value);
        section.finish();
        Self { name, address, admin, lease: Duration::from_secs(lease) }
    }

    /// What the server that listens at `public` is called: as the settings say, or by its machine and its address.
    #[must_use]
    pub fn called(&self, public: &[Bind]) -> String {
        let address = reached(self.address.as_ref(), public);
        self.name.clone().unwrap_or_else(|| format!("{}-{address}", machine()).replace('/', "-"))
    }
}

/// Where others reach what listens at `bound`: as written, or at the first address that has a port.
#[must_use]
pub fn reached(written: Option<&String>, bound: &[Bind]) -> String {
    if let Some(address) = written {
        return address.clone();
    }
    match bound.iter().find_map(Bind::tcp) {
        // Nobody can connect to "everywhere"; the machine's name is the best guess.
        Some(address) if address.ip().is_unspecified() => format!("{}:{}", machine(), address.port()),
        Some(address) => address.to_string(),
        None => bound.first().map(Bind::to_string).unwrap_or_default(),
    }
}

fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self { name: None, address: None, admin: None, lease: Duration::from_secs(LEASE_S) }
    }
}

/// A name and the file of its password, which make no sense alone.
fn user(section: &Section<'_>) -> Option<EtcdUser> {
    let (name, file) = (section.string("username"), section.string("password_file"));
    match (section.has("username"), section.has("password_file")) {
        (true, false) => {
            section.fault_at("username", "has no password", "write password_file = \"./.etcd-password\"");
        }
        (false, true) => section.fault_at("password_file", "is nobody's", "write username = \"seckill\""),
        (true, true) | (false, false) => {}
    }
    Some(EtcdUser { name: name?.value, password_file: file?.value.into() })
}

/// Several addresses with commas between them, and every fault that they have.
fn endpoints(section: &Section<'_>) -> Vec<String> {
    let hint = "write address = \"127.0.0.1:2379\", or several with commas between them";
    section.require("address", hint);
    let parsed = section.parse("address", "hosts and ports", hint, |text| {
        let mut faults = Vec::new();
        let mut good: Vec<String> = Vec::new();
        for endpoint in text.split(',').map(str::trim) {
            match host_and_port(endpoint) {
                Ok(()) if good.iter().any(|earlier| earlier == endpoint) => {
                    faults.push(format!("{endpoint:?} is there twice"));
                }
                Ok(()) => good.push(endpoint.to_owned()),
                Err(fault) => faults.push(format!("{endpoint:?}: {fault}")),
            }
        }
        if faults.is_empty() { Ok(good) } else { Err(faults.join("; ")) }
    });
    parsed.unwrap_or_default()
}
