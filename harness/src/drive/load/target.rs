//! Opens sockets to the target.
//!
//! A client that closes first keeps the connection's address pair for a minute (`TIME_WAIT`), so a stream
//! of new connections uses its ports up: 28,000 a minute for one source address. Before they are used up
//! the kernel takes milliseconds to find a free one, and the load is late: at 6,000 connections per second
//! (`net.ipv4.tcp_tw_reuse=0`) by 12 s after 10 s. Closing with a reset would free them at once, but a reset
//! is not what a server sees from its users. Instead, new connections to 127.0.0.1 come from many loopback
//! addresses in turn, each with ports of its own; the same load is then never late. Other targets are left
//! to the kernel, and running out of ports is reported as the instrument's fault.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::OwnedFd,
    sync::Arc,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with, sockopt},
};

use rustls::ClientConnection;

use super::{connection::Failure, wire::Wire};
use crate::{
    observe::{Cause, Phase},
    tls,
};

/// Source addresses 127.0.0.1 to 127.0.0.64: 1,800,000 new connections a minute.
const SOURCES: u8 = 64;
/// What the kernel may receive for a slow reader before the server notices; the kernel doubles it. Much less
/// than a segment of the loopback device (64 KiB) stalls the server by itself.
const SLOW_RECEIVE_BYTES: usize = 32 * 1024;

/// What a connection will be used for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    /// It will carry a single attempt.
    pub(super) once: bool,
    /// Its answers are read slowly.
    pub(super) slow: bool,
}

#[derive(Debug)]
pub(super) struct Target {
    address: SocketAddr,
    tls: Option<tls::Client>,
    /// The target is 127.0.0.1.
    spread: bool,
    turn: u8,
}

impl Target {
    pub(super) fn new(address: SocketAddr, tls: Option<tls::Client>) -> Self {
        Self { address, tls, spread: address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST), turn: 0 }
    }

    /// Begins a connection.
    pub(super) fn open(&mut self, purpose: Use) -> Result<Wire, Failure> {
        let tls =
            self.tls.as_ref().map(|tls| ClientConnection::new(Arc::clone(&tls.config), tls.server.clone()));
        let tls = tls.transpose().map_err(|_| Failure { phase: Phase::Tls, cause: Cause::Tls })?;
        Ok(Wire::new(self.connect(purpose)?, tls.map(Box::new)))
    }

    pub(super) fn connect(&mut self, Use { once, slow }: Use) -> Result<OwnedFd, Failure> {
        let family = if self.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP)).map_err(connect_failure)?;
        sockopt::set_tcp_nodelay(&socket, true).map_err(connect_failure)?;
        if slow {
            sockopt::set_socket_recv_buffer_size(&socket, SLOW_RECEIVE_BYTES).map_err(connect_failure)?;
        }
        if once && self.spread {
            self.turn = self.turn % SOURCES + 1;
            let source = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, self.turn), 0);
            bind(&socket, &source).map_err(connect_failure)?;
        }
        match connect(&socket, &self.address) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(errno) => Err(connect_failure(errno)),
        }
    }
}

/// What it means that a connection could not be made.
pub(super) fn connect_failure(errno: Errno) -> Failure {
    let (phase, cause) = match errno {
        Errno::CONNREFUSED => (Phase::Connect, Cause::Refused),
        Errno::CONNRESET => (Phase::Connect, Cause::Reset),
        // Both `bind` without a port and `connect` look for a free one; nothing has reached the wire.
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => (Phase::Send, Cause::NoPorts),
        Errno::MFILE | Errno::NFILE => (Phase::Send, Cause::NoDescriptors),
        _ => (Phase::Connect, Cause::Network),
    };
    Failure { phase, cause }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::connect_failure;
    use crate::observe::{Blame, Cause, Phase};

    #[test]
    fn the_instruments_own_limits_are_told_from_the_targets() {
        for (errno, phase, cause, blame) in [
            (Errno::CONNREFUSED, Phase::Connect, Cause::Refused, Blame::Target),
            (Errno::ADDRNOTAVAIL, Phase::Send, Cause::NoPorts, Blame::Harness),
            (Errno::ADDRINUSE, Phase::Send, Cause::NoPorts, Blame::Harness),
            (Errno::MFILE, Phase::Send, Cause::NoDescriptors, Blame::Harness),
            (Errno::NFILE, Phase::Send, Cause::NoDescriptors, Blame::Harness),
            (Errno::HOSTUNREACH, Phase::Connect, Cause::Network, Blame::Network),
        ] {
            let failure = connect_failure(errno);
            assert_eq!((failure.phase, failure.cause, failure.cause.blame()), (phase, cause, blame));
        }
    }
}
