//! The smallest server there is: any request without a body gets the same answer, on one thread.
//!
//! It does nothing that could take time or fail, so that a wait or a loss is not its own.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    thread::{Builder, JoinHandle, Result},
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    io::Errno,
    net::{RecvFlags, SendFlags, SocketFlags, accept_with, listen, recv, send, sockopt::set_tcp_nodelay},
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\necho";
const HEAD_END: &[u8; 4] = b"\r\n\r\n";
/// Connections that the kernel keeps until they are accepted; it caps this by itself.
const BACKLOG: i32 = 4_096;
const EVENTS_MAX: usize = 64;
/// A request of the harness is shorter.
const BUFFER_BYTES: usize = 4_096;
/// Marks of what is no connection.
const LISTENER: u64 = u64::MAX;
const STOP: u64 = u64::MAX - 1;

/// A running echo; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    /// The thread ends when this is closed.
    going_on: UnixStream,
    thread: JoinHandle<std::result::Result<(), Errno>>,
}

impl Echo {
    /// Listens on a free loopback port.
    ///
    /// # Errors
    /// When no socket or thread can be had.
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (going_on, stop) = UnixStream::pair()?;
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        epoll::add(&poll, &stop, EventData::new_u64(STOP), EventFlags::IN)?;
        let server = Server { poll, listener, _stop: stop, connections: HashMap::new(), accepted: 0 };
        let thread = Builder::new().name("control-echo".to_owned()).spawn(|| server.run())?;
        Ok(Self { address, going_on, thread })
    }

    /// Ends the thread; the outer error is its panic.
    pub(crate) fn join(self) -> Result<std::result::Result<(), Errno>> {
        drop(self.going_on);
        self.thread.join()
    }
}

struct Server {
    poll: OwnedFd,
    listener: TcpListener,
    /// Watched; closed with the thread.
    _stop: UnixStream,
    connections: HashMap<u64, Connection>,
    accepted: u64,
}

struct Connection {
    socket: OwnedFd,
    /// Bytes of [`HEAD_END`] that came last.
    matched: usize,
}

impl Server {
    fn run(mut self) -> std::result::Result<(), Errno> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        let mut buffer = [0; BUFFER_BYTES];
        loop {
            events.clear();
            match epoll::wait(&self.poll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
            for event in &events {
                match { event.data }.u64() {
                    STOP => return Ok(()),
                    LISTENER => self.accept()?,
                    number => {
                        let goes_on = self
                            .connections
                            .get_mut(&number)
                            .is_some_and(|connection| connection.serve(&mut buffer));
                        if !goes_on {
                            self.connections.remove(&number);
                        }
                    }
                }
            }
        }
    }

    /// Takes the connections that have come. Without a free descriptor they wait: the load says so.
    fn accept(&mut self) -> std::result::Result<(), Errno> {
        loop {
            match accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => {
                    set_tcp_nodelay(&socket, true)?;
                    self.accepted += 1;
                    let data = EventData::new_u64(self.accepted);
                    epoll::add(&self.poll, socket.as_fd(), data, EventFlags::IN)?;
                    self.connections.insert(self.accepted, Connection { socket, matched: 0 });
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => return Ok(()),
            }
        }
    }
}

impl Connection {
    /// Answers every request whose head has ended; whether the connection goes on.
    fn serve(&mut self, buffer: &mut [u8]) -> bool {
        let read = match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => return false,
            Ok((read, _)) => read,
            Err(Errno::AGAIN | Errno::INTR) => return true,
            Err(_) => return false,
        };
        (0..self.heads_in(&buffer[..read])).all(|_| {
            // A socket that takes no 42 bytes has a client that reads nothing.
            send(&self.socket, ANSWER, SendFlags::NOSIGNAL) == Ok(ANSWER.len())
        })
    }

    fn heads_in(&mut self, bytes: &[u8]) -> usize {
        let mut heads = 0;
        for &byte in bytes {
            self.matched = match byte {
                byte if byte == HEAD_END[self.matched] => self.matched + 1,
                b'\r' => 1,
                _ => 0,
            };
            if self.matched == HEAD_END.len() {
                self.matched = 0;
                heads += 1;
            }
        }
        heads
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpStream,
    };

    use super::{ANSWER, Echo};

    #[test]
    fn every_request_is_answered_however_it_is_cut() {
        let echo = Echo::start().unwrap();
        let mut first = TcpStream::connect(echo.address).unwrap();
        let mut second = TcpStream::connect(echo.address).unwrap();
        for pieces in [vec!["GET / HTTP/1.1\r\nhost: x\r\n\r\n"], vec!["GET / HTTP/1.1\r\n\r", "\n"]] {
            for piece in pieces {
                first.write_all(piece.as_bytes()).unwrap();
            }
            check(&mut first, 1);
        }
        second.write_all("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n".as_bytes()).unwrap();
        check(&mut second, 2);
        echo.join().unwrap().unwrap();
        assert_eq!(first.read(&mut [0]).unwrap(), 0, "the echo must take its connections with it");
    }

    #[track_caller]
    fn check(stream: &mut TcpStream, answers: usize) {
        let mut read = vec![0; ANSWER.len() * answers];
        stream.read_exact(&mut read).unwrap();
        assert_eq!(read, ANSWER.repeat(answers));
    }
}
