//! Free ports on 127.0.0.1 for the server and its services.
//!
//! They lie below the kernel's ephemeral range where there is room: a load of new connections walks
//! through that range, and while a stopped server's port is free, a client may get just this port as its
//! own (even connect to itself). The restarted server could then not bind, and the run would blame it.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use super::Error;

/// Below it live well-known services.
const PORT_MIN: u16 = 10_000;
/// Random candidates before the kernel is asked for any port.
const CANDIDATES_MAX: usize = 200;
const EPHEMERAL_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Two different free ports. They are free now; the server binds them in a moment.
pub(super) fn pick_two() -> Result<[SocketAddr; 2], Error> {
    let below = below_ephemeral(&fs::read_to_string(EPHEMERAL_RANGE).unwrap_or_default());
    let first = bind_free(below).map_err(Error::Port)?;
    // The first stays bound until the second is found, so that they differ.
    let second = bind_free(below).map_err(Error::Port)?;
    let addresses = [&first, &second].map(TcpListener::local_addr);
    let [first, second] = addresses;
    Ok([first.map_err(Error::Port)?, second.map_err(Error::Port)?])
}

/// A free port.
pub(super) fn pick() -> Result<SocketAddr, Error> {
    let below = below_ephemeral(&fs::read_to_string(EPHEMERAL_RANGE).unwrap_or_default());
    bind_free(below).and_then(|listener| listener.local_addr()).map_err(Error::Port)
}

/// How many ports from `PORT_MIN` on lie under the ephemeral range, given the kernel's `low high` line.
fn below_ephemeral(range: &str) -> u16 {
    let low = range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(PORT_MIN);
    low.saturating_sub(PORT_MIN)
}

/// Binds one of the `count` ports from `PORT_MIN` on, or one of the kernel's choice when none is free.
fn bind_free(count: u16) -> io::Result<TcpListener> {
    // Each RandomState is seeded anew; that is random enough to keep parallel runs apart.
    let random = RandomState::new();
    (0..CANDIDATES_MAX)
        .filter_map(|candidate| random.hash_one(candidate).checked_rem(u64::from(count)))
        .map(|offset| PORT_MIN + u16::try_from(offset).expect("an offset below a u16 must fit"))
        .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
        .map_or_else(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ports_are_free_and_different() {
        let [first, second] = pick_two().unwrap();
        assert_ne!(first.port(), second.port());
        for address in [first, second] {
            assert!(address.ip().is_loopback());
            TcpListener::bind(address).unwrap();
        }
    }

    #[test]
    fn ports_lie_below_the_ephemeral_range() {
        for (line, expected) in [("32768\t60999\n", 22_768), ("1024 65535", 0), ("", 0)] {
            assert_eq!(below_ephemeral(line), expected, "{line:?}");
        }
        let port = bind_free(22_768).unwrap().local_addr().unwrap().port();
        assert!((10_000..32_768).contains(&port), "{port}");
    }

    #[test]
    fn without_room_below_the_kernel_chooses() {
        assert_ne!(bind_free(0).unwrap().local_addr().unwrap().port(), 0);
    }
}
