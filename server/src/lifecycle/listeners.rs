//! The listening sockets: bound by us or inherited, accepted from, and handed on.
//!
//! Invariant: a listening socket that another process shares is only ever closed, never shut down:
//! `shutdown(2)` works on the socket itself and would silence it for every process that holds it.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::TcpStream,
    sync::{oneshot, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::connections::Connections;
use crate::{http::Side, tasks::Tasks};

/// Connections that the kernel may keep for us before they are accepted. The kernel caps it at
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Pause after a failed accept. It fails when descriptors run out, and trying again at once burns the
/// processor time that would free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// One listening socket with its purpose.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) side: Side,
    pub(super) address: SocketAddr,
    socket: TcpListener,
}

impl Listener {
    /// Binds `address`; `shared_port`: other processes may bind it at the same time (`SO_REUSEPORT`).
    ///
    /// # Errors
    /// Those of `socket(2)`, `bind(2)` and `listen(2)`; an address in use is the usual one.
    pub(super) fn bind(side: Side, address: SocketAddr, shared_port: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared_port)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Self::from_socket(side, socket.into())
    }

    /// Takes a listening socket that another process handed over.
    ///
    /// # Errors
    /// When the descriptor is no listening TCP socket.
    pub(super) fn inherited(side: Side, socket: OwnedFd) -> io::Result<Self> {
        if !rustix::net::sockopt::socket_acceptconn(&socket)? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the inherited socket does not listen"));
        }
        Self::from_socket(side, TcpListener::from(socket))
    }

    fn from_socket(side: Side, socket: TcpListener) -> io::Result<Self> {
        Ok(Self { side, address: socket.local_addr()?, socket })
    }

    /// The connections that wait in its queue, until there is none.
    pub(super) fn waiting(&self) -> impl Iterator<Item = TcpStream> {
        let accept = || {
            let (stream, _) = self.socket.accept().ok()?;
            stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)).ok()
        };
        std::iter::from_fn(accept)
    }

    /// Where a client on this machine reaches it.
    pub(super) fn reachable(&self) -> SocketAddr {
        let mut address = self.address;
        match address {
            SocketAddr::V4(v4) if v4.ip().is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(v6) if v6.ip().is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            SocketAddr::V4(_) | SocketAddr::V6(_) => {}
        }
        address
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether the kernel gives what waits in the queue of a closed listener to another one at its port (`ip-sysctl`,
/// `tcp_migrate_req`, since Linux 5.14). `None`: it does not say.
pub(super) fn queues_move() -> Option<bool> {
    let setting = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req").ok()?;
    Some(setting.trim() == "1")
}

/// Where an accepted connection of a known client goes instead of being served.
#[derive(Debug, Clone, Default)]
pub(super) struct Diversion(watch::Sender<Option<Expected>>);

#[derive(Debug)]
struct Expected {
    client: SocketAddr,
    taker: oneshot::Sender<TcpStream>,
}

impl Diversion {
    /// The next connection that comes from `client` is given out here.
    pub(super) fn expect(&self, client: SocketAddr) -> oneshot::Receiver<TcpStream> {
        let (taker, receiver) = oneshot::channel();
        self.0.send_replace(Some(Expected { client, taker }));
        receiver
    }

    /// Waits until somebody waits for a connection.
    async fn wanted(&self) {
        let is_wanted = |expected: &Option<Expected>| {
            expected.as_ref().is_some_and(|expected| !expected.taker.is_closed())
        };
        // The sender is ours, so the wait cannot fail.
        _ = self.0.subscribe().wait_for(is_wanted).await;
    }

    /// Gives the stream back unless it is the expected one.
    fn pass(&self, stream: TcpStream, client: SocketAddr) -> Option<TcpStream> {
        let mut met = None;
        self.0.send_if_modified(|expected| {
            met = expected.take_if(|expected| expected.client == client);
            met.is_some()
        });
        match met {
            Some(Expected { taker, .. }) => taker.send(stream).err(),
            None => Some(stream),
        }
    }
}

/// Accepting from a set of listeners, until it is stopped.
#[derive(Debug)]
pub(super) struct Accepting {
    stop: CancellationToken,
    tasks: Tasks,
}

impl Accepting {
    /// Starts to accept from every listener. `connections_max` is no limit for the admin side, which has to
    /// be reached when clients use the public one up.
    ///
    /// # Errors
    /// When a descriptor cannot be duplicated or registered, that is, when there are none left.
    pub(super) fn start(
        listeners: &[Listener],
        connections: &Arc<Connections>,
        connections_max: u32,
        diversion: &Diversion,
    ) -> io::Result<Self> {
        let accepting = Self { stop: CancellationToken::new(), tasks: Tasks::default() };
        for listener in listeners {
            // The duplicate is closed when accepting stops, the listener stays open for the successor.
            let socket = tokio::net::TcpListener::from_std(listener.socket.try_clone()?)?;
            let accept =
                accept(socket, listener.side, Arc::clone(connections), connections_max, diversion.clone());
            let stop = accepting.stop.clone();
            drop(accepting.tasks.spawn(async move { stop.run_until_cancelled(accept).await }));
        }
        Ok(accepting)
    }

    /// Stops and waits until no accepted connection is on its way.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        // Accepting has no long step, so this ends at once; the limit only keeps a bug from hanging us.
        if !self.tasks.finish(Duration::from_secs(1)).await {
            tracing::error!("accepting does not stop");
        }
    }
}

async fn accept(
    socket: tokio::net::TcpListener,
    side: Side,
    connections: Arc<Connections>,
    connections_max: u32,
    diversion: Diversion,
) {
    loop {
        if side == Side::Public {
            // A full server can still be upgraded: the way to the probe's connection leads through those
            // that wait before it.
            tokio::select! {
                () = connections.below(connections_max) => {}
                () = diversion.wanted() => {}
            }
        }
        match socket.accept().await {
            Ok((stream, client)) => {
                if let Some(stream) = diversion.pass(stream, client) {
                    connections.metrics().connections_accepted.inc();
                    connections.serve(stream, Bytes::new(), side);
                }
            }
            Err(error) => {
                tracing::warn!(%error, %side, "accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_queue_is_emptied_in_the_order_of_who_came() {
        let listener = Listener::bind(Side::Public, (Ipv4Addr::LOCALHOST, 0).into(), true).unwrap();
        assert_eq!(listener.waiting().count(), 0);
        let clients: Vec<_> =
            (0..7).map(|_| std::net::TcpStream::connect(listener.address).unwrap()).collect();
        let waiting = listener.waiting().map(|stream| stream.peer_addr().unwrap());
        assert!(waiting.eq(clients.iter().map(|client| client.local_addr().unwrap())));
        assert_eq!(listener.waiting().count(), 0);
    }
}
