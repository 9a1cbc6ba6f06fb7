//! The listening sockets: bound by us or inherited, accepted from, and handed on.
//!
//! Invariant: a listening socket that another process shares is only ever closed, never shut down:
//! `shutdown(2)` works on the socket itself and would silence it for every process that holds it.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rustix::{
    fs::{Mode, chmod},
    net::{SocketAddrAny, SocketFlags, acceptfrom_with, listen, sockopt},
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::{
    io::Interest,
    net::UnixStream,
    sync::{oneshot, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    connections::Connections,
    socket_file::{self, SocketFile},
    stream::Stream,
};
use crate::{config::Bind, http::Side, tasks::Tasks};

/// Pause after a failed accept. It fails when descriptors run out, and trying again at once burns the
/// processor time that would free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// One listening socket with its purpose.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) side: Side,
    /// Where it listens, with the port that the kernel gave.
    pub(super) bound: Bind,
    /// At all addresses of IPv6, and takes no IPv4 (`IPV6_V6ONLY`).
    pub(super) only_v6: bool,
    /// That of a unix socket, unless somebody else has made it.
    pub(super) file: Option<SocketFile>,
    socket: OwnedFd,
}

/// How a socket is bound.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// Other processes may bind the port at the same time (`SO_REUSEPORT`).
    pub(super) shared_port: bool,
    /// IPv4 is left to another listener.
    pub(super) only_v6: bool,
    /// Of a socket file.
    pub(super) mode: u32,
    /// See [`Limits`](crate::config::Limits).
    pub(super) backlog: u16,
}

impl Listener {
    /// Binds `bind`.
    ///
    /// # Errors
    /// Those of `socket(2)`, `bind(2)` and `listen(2)`; an address in use is the usual one.
    pub(super) fn bind(side: Side, bind: &Bind, manner: Manner) -> io::Result<Self> {
        let (domain, address) = match bind {
            Bind::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
            Bind::File(_) | Bind::Abstract(_) => {
                (Domain::UNIX, SockAddr::unix(bind.unix_name().unwrap_or_default())?)
            }
        };
        let protocol = (domain != Domain::UNIX).then_some(Protocol::TCP);
        let socket = Socket::new(domain, Type::STREAM, protocol)?;
        socket.set_nonblocking(true)?;
        if domain == Domain::IPV6 {
            // Said in any case: the default is the machine's (`net.ipv6.bindv6only`).
            socket.set_only_v6(manner.only_v6)?;
        }
        if domain != Domain::UNIX {
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(manner.shared_port)?;
        }
        let mut file = None;
        if let Bind::File(path) = bind {
            socket_file::make_room(path)?;
            socket.bind(&address)?;
            // Nobody can connect before `listen`, so nobody does with other rights.
            chmod(path, Mode::from_raw_mode(manner.mode))?;
            file = Some(SocketFile::at(path)?);
        } else {
            socket.bind(&address)?;
        }
        socket.listen(manner.backlog.into())?;
        Ok(Self { file, ..Self::of(side, socket.into())? })
    }

    /// Gives a queue that came from another process the length that ours are to have. Who waits in it stays.
    ///
    /// # Errors
    /// None that is known for a socket that listens.
    pub(super) fn listen(&self, backlog: u16) -> io::Result<()> {
        Ok(listen(&self.socket, backlog.into())?)
    }

    /// Leaves no way to it, if it has a file that is ours.
    pub(super) fn remove_file(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }

    /// Takes a listening socket that another process handed over.
    ///
    /// # Errors
    /// When the descriptor is no listening stream socket.
    pub(super) fn inherited(side: Side, socket: OwnedFd) -> io::Result<Self> {
        if !sockopt::socket_acceptconn(&socket)? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the inherited socket does not listen"));
        }
        Self::of(side, socket)
    }

    fn of(side: Side, socket: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(socket);
        let address = socket.local_addr()?;
        let bound = if let Some(address) = address.as_socket() {
            Some(Bind::Tcp(address))
        } else if let Some(path) = address.as_pathname() {
            Some(Bind::File(path.to_path_buf()))
        } else {
            let name = address.as_abstract_namespace();
            name.map(|name| Bind::Abstract(String::from_utf8_lossy(name).into_owned()))
        };
        let bound = bound.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the socket has no address that a client could reach")
        })?;
        // To a single address it means nothing, and the kernel sets it then.
        let everywhere =
            bound.tcp().is_some_and(|address| address.is_ipv6() && address.ip().is_unspecified());
        let only_v6 = everywhere && socket.only_v6()?;
        Ok(Self { side, bound, only_v6, file: None, socket: socket.into() })
    }

    /// Answers for the file of a socket if it is one of `files`, which the process before this one has made.
    pub(super) fn own_file_of(&mut self, files: &[PathBuf]) {
        if let Bind::File(path) = &self.bound
            && files.contains(path)
        {
            self.file = SocketFile::at(path).ok();
        }
    }

    /// The connections that wait in its queue, until there is none.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Stream> {
        std::iter::from_fn(|| {
            let (socket, _) = accept_from(&self.socket).ok()?;
            Stream::from_socket(socket).ok()
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A listening socket of any family in this process's reactor; tokio's type is only its registration.
struct Door(UnixStream);

impl Door {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        UnixStream::from_std(socket.into()).map(Self)
    }

    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddrAny>)> {
        let (socket, client) = self.0.async_io(Interest::READABLE, || accept_from(&self.0)).await?;
        Ok((Stream::from_socket(socket)?, client))
    }
}

fn accept_from(socket: &impl AsFd) -> io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    Ok(acceptfrom_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?)
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
    client: SocketAddrAny,
    taker: oneshot::Sender<Stream>,
}

impl Diversion {
    /// The next connection that comes from `client` is given out here.
    pub(super) fn expect(&self, client: SocketAddrAny) -> oneshot::Receiver<Stream> {
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
    fn pass(&self, stream: Stream, client: Option<&SocketAddrAny>) -> Option<Stream> {
        let mut met = None;
        self.0.send_if_modified(|expected| {
            met = expected.take_if(|expected| client == Some(&expected.client));
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
            let socket = Door::new(listener.socket.try_clone()?)?;
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
    socket: Door,
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
                if let Some(stream) = diversion.pass(stream, client.as_ref()) {
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
    use std::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_queue_is_emptied_in_the_order_of_who_came() {
        let any = Bind::Tcp(([127, 0, 0, 1], 0).into());
        let manner = Manner { backlog: 16, ..Manner::default() };
        let listener = Listener::bind(Side::Public, &any, manner).unwrap();
        assert_eq!(listener.waiting().count(), 0);
        let address = listener.bound.tcp().unwrap();
        let clients: Vec<_> = (0..7).map(|_| TcpStream::connect(address).unwrap()).collect();
        let waiting = listener.waiting().map(|stream| match stream {
            Stream::Tcp(stream) => stream.peer_addr().unwrap(),
            Stream::Unix(_) => panic!("a unix socket came through TCP"),
        });
        assert!(waiting.eq(clients.iter().map(|client| client.local_addr().unwrap())));
        assert_eq!(listener.waiting().count(), 0);
    }

    #[test]
    fn what_is_bound_is_what_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let check = |bind: &Bind, only_v6: bool| {
            let manner = Manner { only_v6, mode: 0o600, shared_port: false, backlog: 1 };
            let listener = Listener::bind(Side::Admin, bind, manner).unwrap();
            if bind.is_unix() {
                assert_eq!(listener.bound, *bind);
            }
            assert_eq!(listener.only_v6, only_v6);
            assert_eq!(listener.file.is_some(), matches!(bind, Bind::File(_)));
            let again = Listener::inherited(Side::Admin, listener.as_fd().try_clone_to_owned().unwrap());
            let again = again.unwrap();
            assert_eq!((again.bound, again.only_v6, again.file), (listener.bound, only_v6, None));
        };
        check(&Bind::Tcp("127.0.0.1:0".parse().unwrap()), false);
        check(&Bind::Tcp("[::]:0".parse().unwrap()), false);
        check(&Bind::Tcp("[::]:0".parse().unwrap()), true);
        check(&Bind::File(folder.path().join("socket")), false);
        check(&Bind::Abstract(folder.path().display().to_string()), false);
    }
}
