//! A link: the server's way to a service, through a small TCP proxy of the harness's own that can be slowed down,
//! cut and reset. So a partition needs no root and no container.
//!
//! Each connection has a connection of its own to the service, and what comes on one goes out on the other, in
//! order. A cut holds everything back, the end of a connection too, and carries it when it is over; a new connection
//! is taken by the kernel and hears nothing, as behind a firewall that drops. Deliberately absent: loss and
//! reordering, which TCP hides.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    runtime::Builder,
    sync::{mpsc, watch},
    task::{JoinSet, LocalSet},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What is read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks that are on their way in a direction; a window of a megabyte.
const CHUNKS_MAX: usize = 64;

/// How a link behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// It carries what comes at once.
    Normal,
    /// It carries what comes later, or not faster.
    Slow {
        /// In each direction.
        latency: Duration,
        /// Bytes per second of each connection and direction.
        bandwidth: Option<u64>,
    },
    /// It carries nothing.
    Cut,
    /// It resets every connection.
    Reset,
}

/// A running link. Dropping it ends it, and every connection through it.
#[derive(Debug)]
pub(super) struct Link {
    address: SocketAddr,
    conduct: watch::Sender<Conduct>,
    stop: Option<DropGuard>,
    thread: Option<JoinHandle<()>>,
}

impl Link {
    /// Listens on a free loopback port for connections to `service`, `host:port`.
    pub(super) fn start(service: &str) -> io::Result<Self> {
        // Here and not on the thread, so that it listens when this returns.
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (conduct, seen) = watch::channel(Conduct::Normal);
        let stop = CancellationToken::new();
        let (service, stopped) = (service.to_owned(), stop.clone());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let serve = move || {
            LocalSet::new().block_on(&runtime, async {
                // Without a listener the server finds nobody, and the run shows it.
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                let mut connections = JoinSet::new();
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = accept(&listener, &service, &seen, &mut connections) => {}
                }
            });
        };
        let thread = thread::Builder::new().name("link".to_owned()).spawn(serve)?;
        Ok(Self { address, conduct, stop: Some(stop.drop_guard()), thread: Some(thread) })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it behave like this from now on, also what is on its way.
    pub(super) fn conduct(&self, conduct: Conduct) {
        self.conduct.send_replace(conduct);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

async fn accept(
    listener: &TcpListener,
    service: &str,
    conduct: &watch::Receiver<Conduct>,
    connections: &mut JoinSet<()>,
) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    connections.spawn_local(carry(client, service.to_owned(), conduct.clone()));
                }
                // Out of descriptors: some of the connections will end.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries a connection until both directions have ended, or it is reset.
async fn carry(mut client: TcpStream, service: String, mut conduct: watch::Receiver<Conduct>) {
    uncut(&mut conduct).await;
    if *conduct.borrow() == Conduct::Reset {
        return reset(&client);
    }
    let Ok(mut upstream) = TcpStream::connect(&service).await else {
        // Who connects to a service that is away is refused; after an accept a reset is the nearest to it.
        return reset(&client);
    };
    // The link adds no delay of its own.
    let _slower = (client.set_nodelay(true), upstream.set_nodelay(true));
    let is_reset = {
        let (from_client, to_client) = client.split();
        let (from_upstream, to_upstream) = upstream.split();
        let there = direction(from_client, to_upstream, conduct.clone());
        let back = direction(from_upstream, to_client, conduct.clone());
        tokio::select! {
            ended = async { tokio::try_join!(there, back) } => ended.is_err(),
            _ = conduct.wait_for(|conduct| *conduct == Conduct::Reset) => true,
        }
    };
    if is_reset {
        reset(&client);
        reset(&upstream);
    }
}

/// Has the end of a connection be a reset for the other side (RFC 9293, section 3.10.4).
fn reset(stream: &TcpStream) {
    let _gone = set_socket_linger(stream, Some(Duration::ZERO));
}

/// Carries what comes from one side to the other, and then its end. An error is a side that broke off.
async fn direction(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut conduct: watch::Receiver<Conduct>,
) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let read = async move {
        loop {
            let mut bytes = vec![0; CHUNK_BYTES];
            let length = from.read(&mut bytes).await?;
            bytes.truncate(length);
            let is_end = length == 0;
            if sender.send((Instant::now(), bytes)).await.is_err() || is_end {
                return Ok::<(), io::Error>(());
            }
        }
    };
    let write = async {
        while let Some((came, bytes)) = receiver.recv().await {
            held(came, bytes.len(), &mut conduct).await;
            if bytes.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&bytes).await?;
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(drop)
}

/// Waits until what came at a time may go on.
async fn held(came: Instant, length: usize, conduct: &mut watch::Receiver<Conduct>) {
    loop {
        uncut(conduct).await;
        let now = *conduct.borrow_and_update();
        let Conduct::Slow { latency, bandwidth } = now else { return };
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let carrying = bandwidth.map_or(Duration::ZERO, |bandwidth| {
            Duration::from_micros(length.saturating_mul(1_000_000) / bandwidth.max(1))
        });
        let due = (came + latency).max(Instant::now() + carrying);
        tokio::select! {
            () = sleep_until(due) => return,
            changed = conduct.changed() => if changed.is_err() { return },
        }
    }
}

/// Waits while it is cut.
async fn uncut(conduct: &mut watch::Receiver<Conduct>) {
    // Whoever ends the link ends the connections as well.
    let _ended = conduct.wait_for(|conduct| *conduct != Conduct::Cut).await;
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        sync::mpsc::{Receiver, channel},
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A service that sends back what it gets, a link to it, and a connection through that.
    fn through() -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Link::start(&listener.local_addr().unwrap().to_string()).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        let client = connect(&link);
        (link, client)
    }

    fn connect(link: &Link) -> TcpStream {
        let client = TcpStream::connect(link.address()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    fn echo(mut client: &TcpStream, text: &str) -> io::Result<String> {
        client.write_all(text.as_bytes())?;
        let mut answer = vec![0; text.len()];
        client.read_exact(&mut answer)?;
        Ok(String::from_utf8(answer).unwrap())
    }

    /// Echoes on a thread of its own; what it came to.
    fn echo_beside(client: &TcpStream, text: &'static str) -> Receiver<io::Result<String>> {
        let (sender, receiver) = channel();
        let client = client.try_clone().unwrap();
        thread::spawn(move || sender.send(echo(&client, text)));
        receiver
    }

    #[test]
    fn what_comes_goes_on_and_the_end_too() {
        let (_link, mut client) = through();
        let long = "0123456789".repeat(100_000);
        let mut writing = client.try_clone().unwrap();
        let sent = long.clone();
        thread::spawn(move || {
            writing.write_all(sent.as_bytes()).unwrap();
            writing.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer == long, "{} of {} bytes", answer.len(), long.len());
    }

    #[test]
    fn a_cut_holds_back_what_is_sent_until_it_is_over() {
        let (link, client) = through();
        assert_eq!(echo(&client, "before").unwrap(), "before");
        link.conduct(Conduct::Cut);
        let on_the_old = echo_beside(&client, "old");
        let fresh = connect(&link);
        let on_a_new_one = echo_beside(&fresh, "new");
        for cut in [&on_the_old, &on_a_new_one] {
            assert!(cut.recv_timeout(Duration::from_millis(50)).is_err(), "nothing comes through");
        }
        link.conduct(Conduct::Normal);
        assert_eq!(on_the_old.recv_timeout(PATIENCE).unwrap().unwrap(), "old");
        assert_eq!(on_a_new_one.recv_timeout(PATIENCE).unwrap().unwrap(), "new");
    }

    #[test]
    fn a_reset_ends_every_connection_until_it_is_over() {
        let (link, client) = through();
        assert_eq!(echo(&client, "before").unwrap(), "before");
        link.conduct(Conduct::Reset);
        let ended = (&client).read(&mut [0]).unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
        assert!(echo(&connect(&link), "new").is_err());
        link.conduct(Conduct::Normal);
        assert_eq!(echo(&connect(&link), "after").unwrap(), "after");
    }

    #[test]
    fn a_slow_link_takes_its_time_and_loses_nothing() {
        let (link, client) = through();
        let (latency, bandwidth) = (Duration::from_millis(30), Some(1_000));
        link.conduct(Conduct::Slow { latency, bandwidth: None });
        let begun = std::time::Instant::now();
        assert_eq!(echo(&client, "there and back").unwrap(), "there and back");
        assert!(begun.elapsed() >= 2 * latency);
        link.conduct(Conduct::Slow { latency: Duration::ZERO, bandwidth });
        let begun = std::time::Instant::now();
        assert_eq!(echo(&client, &"x".repeat(50)).unwrap(), "x".repeat(50));
        assert!(begun.elapsed() >= Duration::from_millis(100), "50 bytes, twice, at 1,000 a second");
    }

    #[test]
    fn without_a_service_who_connects_is_reset() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let link = Link::start(&nobody.to_string()).unwrap();
        assert!(echo(&connect(&link), "anybody?").is_err());
    }
}
