//! Where a side listens: an IP address and a port, or a unix socket.
//!
//! `[::]:PORT` takes IPv4 too, whatever the machine's default is, unless the same side lists an IPv4 address with that
//! port: then each of the two takes its own family ([`only_v6`]).

use std::{
    ffi::OsString,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Component, PathBuf},
};

use tomlcheck::Section;

/// Longest path or name of a unix socket, in bytes (`sun_path` has 108 with the final zero).
pub(super) const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Listeners of one side. All of them go to a successor in one message, and the kernel takes 253 descriptors in one
/// (`SCM_MAX_FD`).
pub const LISTENERS_MAX: usize = 32;

/// Beginning of what is no IP address.
const UNIX: &str = "unix:";

/// An address to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    Tcp(SocketAddr),
    /// `unix:PATH`
    File(PathBuf),
    /// `unix:@NAME`: a name that is in no folder, and is gone with its last listener (`unix(7)`).
    Abstract(String),
}

impl Bind {
    /// Names are not resolved: a service that is moved by its name server is not what anybody means here.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some(place) = text.strip_prefix(UNIX) else {
            return text.parse().map(Self::Tcp).map_err(|error: std::net::AddrParseError| error.to_string());
        };
        let (name, is_file) = place.strip_prefix('@').map_or((place, true), |name| (name, false));
        if name.is_empty() || name.contains('\0') {
            return Err("after unix: comes a path, or @ and a name".to_owned());
        }
        if name.len() > SOCKET_PATH_BYTES_MAX {
            return Err(format!("a unix socket has at most {SOCKET_PATH_BYTES_MAX} bytes"));
        }
        if !is_file {
            return Ok(Self::Abstract(name.to_owned()));
        }
        // `./a` and `a` are one.
        let steps = std::path::Path::new(name).components();
        Ok(Self::File(steps.filter(|step| !matches!(step, Component::CurDir)).collect()))
    }

    /// The address, if others than this machine may reach it.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::File(_) | Self::Abstract(_) => None,
        }
    }

    #[must_use]
    pub fn is_unix(&self) -> bool {
        self.tcp().is_none()
    }

    /// Where somebody on this machine reaches a listener that is bound here, by one of these at least. At all addresses
    /// of IPv6 it is IPv4 where the machine has no `::1`; a socket that takes IPv4 has it in the form of IPv6 (RFC 4291,
    /// section 2.5.5.2).
    #[must_use]
    pub fn reachable(&self) -> Vec<Self> {
        let at = |ip: IpAddr, port| Self::Tcp(SocketAddr::new(ip, port));
        match self {
            Self::Tcp(SocketAddr::V4(v4)) if v4.ip().is_unspecified() => {
                vec![at(Ipv4Addr::LOCALHOST.into(), v4.port())]
            }
            Self::Tcp(SocketAddr::V6(v6)) if v6.ip().is_unspecified() => {
                let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
                vec![at(Ipv6Addr::LOCALHOST.into(), v6.port()), at(mapped.into(), v6.port())]
            }
            _ => vec![self.clone()],
        }
    }

    /// The name of a unix socket as the system calls have it.
    #[must_use]
    pub fn unix_name(&self) -> Option<OsString> {
        match self {
            Self::Tcp(_) => None,
            Self::File(path) => Some(path.clone().into_os_string()),
            Self::Abstract(name) => Some(format!("\0{name}").into()),
        }
    }

    /// Whether two listeners of different purpose would be in each other's way.
    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => {
                let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
                one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || everywhere)
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::File(path) => write!(f, "{UNIX}{}", path.display()),
            Self::Abstract(name) => write!(f, "{UNIX}@{name}"),
        }
    }
}

/// Whether a listener at `bind`, one of `all` of its side, leaves IPv4 to another one (`IPV6_V6ONLY`).
#[must_use]
pub fn only_v6(bind: &Bind, all: &[Bind]) -> bool {
    let Some(SocketAddr::V6(address)) = bind.tcp() else { return false };
    let has_v4 = |other: &Bind| {
        other
            .tcp()
            .is_some_and(|other| other.is_ipv4() && other.port() == address.port() && other.port() != 0)
    };
    address.ip().is_unspecified() && all.iter().any(has_v4)
}

/// Reads `bind`, one address or a list of them, which has to be there.
pub(super) fn read(section: &Section<'_>, example: &str, value: &mut Vec<Bind>) {
    let hint = format!("write bind = \"{example}\"");
    section.require("bind", &hint);
    let Some(binds) = section.parse_one_or_more("bind", "an IP address and a port", hint, Bind::parse) else {
        return;
    };
    if binds.len() > LISTENERS_MAX {
        section.fault_at("bind", format!("has more than {LISTENERS_MAX} addresses"), "take some away");
    }
    let pairs = binds
        .iter()
        .enumerate()
        .flat_map(|(index, one)| binds.iter().skip(index + 1).map(move |other| (one, other)));
    let families_differ = |one: &Bind, other: &Bind| {
        one.tcp().zip(other.tcp()).is_some_and(|(one, other)| one.is_ipv4() != other.is_ipv4())
    };
    for (one, other) in pairs.filter(|(one, other)| one.overlaps(other) && !families_differ(one, other)) {
        section.fault_at("bind", format!("has {other}, which {one} takes already"), "take one of them away");
    }
    *value = binds;
}

/// Blames `section` for an address that the other side, called `other`, has.
pub(super) fn distinct(section: &Section<'_>, ours: &[Bind], theirs: &[Bind], other: &str) {
    if ours.iter().any(|one| theirs.iter().any(|other| one.overlaps(other))) {
        section.fault_at("bind", format!("is the address of {other} too"), "give it another port");
    }
}

/// Addresses as one reads them.
pub(super) fn listed(binds: &[Bind]) -> String {
    binds.iter().map(Bind::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_is_written() {
        let check = |text: &str, shown: &str| assert_eq!(Bind::parse(text).unwrap().to_string(), shown);
        check("127.0.0.1:80", "127.0.0.1:80");
        check("[::]:80", "[::]:80");
        check("unix:/run/a.sock", "unix:/run/a.sock");
        check("unix:./run/./a.sock", "unix:run/a.sock");
        check("unix:@a", "unix:@a");
        for bad in ["unix:", "unix:@", "80", ":80", "localhost:80"] {
            assert!(Bind::parse(bad).is_err(), "{bad}");
        }
        let long = "x".repeat(SOCKET_PATH_BYTES_MAX + 1);
        assert!(Bind::parse(&format!("unix:{long}")).is_err());
        assert!(Bind::parse(&format!("unix:@{}", &long[1..])).is_ok());
    }

    #[test]
    fn a_listener_everywhere_is_reached_on_this_machine() {
        let check = |bind: &str, expected: &str| {
            let ways: Vec<_> = Bind::parse(bind).unwrap().reachable().iter().map(Bind::to_string).collect();
            assert_eq!(ways.join(" "), expected);
        };
        check("0.0.0.0:81", "127.0.0.1:81");
        check("[::]:81", "[::1]:81 [::ffff:127.0.0.1]:81");
        check("10.0.0.7:81", "10.0.0.7:81");
        check("unix:a", "unix:a");
    }

    #[test]
    fn everywhere_takes_both_families_unless_ipv4_has_a_listener() {
        let check = |binds: &[&str], expected: &[bool]| {
            let binds: Vec<Bind> = binds.iter().map(|bind| Bind::parse(bind).unwrap()).collect();
            let found: Vec<bool> = binds.iter().map(|bind| only_v6(bind, &binds)).collect();
            assert_eq!(found, expected, "{binds:?}");
        };
        check(&["[::]:80"], &[false]);
        check(&["[::]:80", "0.0.0.0:80"], &[true, false]);
        check(&["[::]:80", "0.0.0.0:81", "unix:a"], &[false, false, false]);
        check(&["127.0.0.1:80", "[::]:80", "[::1]:81"], &[false, true, false]);
    }
}
