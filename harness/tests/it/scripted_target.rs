//! A server whose every act is written in the test, and which counts what it did.
//!
//! One thread per connection, blocking, nothing clever: it has to be plainly right, because the harness is
//! measured against it.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use rustix::net::{SendFlags, send};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

/// A request as the server sees it.
#[derive(Debug)]
pub(crate) struct Request {
    /// Number of this request on its connection, from 1.
    pub(crate) on_connection: u64,
    /// Number of this request at this server, from 1.
    pub(crate) at_server: u64,
    pub(crate) head: String,
    pub(crate) body: String,
    /// How often the server read until it was whole; 0 when it came with the one before it.
    pub(crate) reads: u64,
    /// What TLS's handshake said, if there was one: the name asked for and the protocol agreed on.
    pub(crate) tls: Option<(String, String)>,
    /// Connections that had come by then.
    pub(crate) connections: u64,
}

/// What the server does with a request that it has read.
#[derive(Debug)]
pub(crate) enum Act {
    Answer(Vec<u8>),
    /// Each piece is a write of its own.
    Pieces(Vec<Vec<u8>>),
    /// The answer and the end of the stream in one segment.
    AnswerAndFin(Vec<u8>),
    /// As [`Act::AnswerAndFin`], after a word of TLS that this is the end.
    AnswerAndGoodbye(Vec<u8>),
    /// The answer, and a reset right behind it.
    AnswerAndReset(Vec<u8>),
    /// The end of the stream instead of an answer.
    Fin,
    /// A reset instead of an answer.
    Reset,
    /// Nothing until the client gives up.
    Silence,
}

/// What the server did.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) answers: AtomicU64,
    pub(crate) resets: AtomicU64,
    pub(crate) fins: AtomicU64,
}

impl Counts {
    pub(crate) fn of(count: &AtomicU64) -> usize {
        usize::try_from(count.load(Ordering::SeqCst)).expect("counts must be small")
    }
}

type Script = dyn Fn(&Request) -> Act + Send + Sync;

pub(crate) struct ScriptedTarget {
    pub(crate) address: SocketAddr,
    pub(crate) counts: Arc<Counts>,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    tls: Option<Arc<ServerConfig>>,
    /// By number of the connection, from 1: what is done before anything is read.
    welcome: Box<dyn Fn(u64) -> Option<Act> + Send + Sync>,
    script: Box<Script>,
    counts: Arc<Counts>,
    over: AtomicBool,
    /// For closing the connections when the server goes away.
    streams: Mutex<Vec<TcpStream>>,
}

impl ScriptedTarget {
    /// A server on a free loopback port.
    pub(crate) fn start(script: impl Fn(&Request) -> Act + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script)
    }

    /// A server on a port that an earlier one may have had.
    pub(crate) fn start_at(
        address: SocketAddr,
        script: impl Fn(&Request) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::start_as(address, None, |_| None, script)
    }

    /// A server that speaks TLS.
    pub(crate) fn start_tls(
        config: ServerConfig,
        script: impl Fn(&Request) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::start_as(SocketAddr::from(([127, 0, 0, 1], 0)), Some(config), |_| None, script)
    }

    /// A server that may do something to a connection, told by its number from 1, before it reads.
    pub(crate) fn start_welcoming(
        welcome: impl Fn(u64) -> Option<Act> + Send + Sync + 'static,
        script: impl Fn(&Request) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::start_as(SocketAddr::from(([127, 0, 0, 1], 0)), None, welcome, script)
    }

    fn start_as(
        address: SocketAddr,
        tls: Option<ServerConfig>,
        welcome: impl Fn(u64) -> Option<Act> + Send + Sync + 'static,
        script: impl Fn(&Request) -> Act + Send + Sync + 'static,
    ) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket must be had");
        socket.set_reuse_address(true).expect("the address must be reusable");
        socket.bind(&SockAddr::from(address)).expect("the address must be free");
        socket.listen(1024).expect("the socket must listen");
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().expect("a listener must have an address");
        let counts = Arc::new(Counts::default());
        let shared = Arc::new(Shared {
            tls: tls.map(Arc::new),
            welcome: Box::new(welcome),
            script: Box::new(script),
            counts: Arc::clone(&counts),
            over: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.accept(&listener))
        };
        Self { address, counts, shared, acceptor: Some(acceptor) }
    }
}

impl Drop for ScriptedTarget {
    /// Goes away: closes the listener and every connection, and waits for all threads.
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().expect("the scripted target must not panic");
        }
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        let mut threads = Vec::new();
        for stream in listener.incoming() {
            let stream = stream.expect("accepting must work");
            if self.over.load(Ordering::SeqCst) {
                break;
            }
            let number = self.counts.connections.fetch_add(1, Ordering::SeqCst) + 1;
            let copy = stream.try_clone().expect("a stream must be clonable");
            self.streams.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
            let shared = Arc::clone(self);
            threads.push(std::thread::spawn(move || shared.serve(stream, number)));
        }
        for stream in self.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // Gone already is as good.
            let _gone = stream.shutdown(Shutdown::Both);
        }
        for thread in threads {
            thread.join().expect("the scripted target must not panic");
        }
    }

    fn serve(&self, stream: TcpStream, number: u64) {
        stream.set_nodelay(true).expect("nodelay must be possible");
        let peer = stream.peer_addr().ok();
        let mut stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(config) => {
                let session = ServerConnection::new(Arc::clone(config)).expect("the config must be right");
                Stream::Tls(Box::new(StreamOwned::new(session, stream)))
            }
        };
        if (self.welcome)(number).is_none_or(|act| self.act(&mut stream, act)) {
            self.answer_all(&mut stream);
        }
        // The copy kept for `drop` would hold the connection open.
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|copy| copy.peer_addr().ok() != peer);
    }

    fn answer_all(&self, stream: &mut Stream) {
        let mut pending = Vec::new();
        let mut on_connection = 0;
        while let Some((head, body, reads)) = read_request(stream, &mut pending) {
            on_connection += 1;
            let at_server = self.counts.requests.fetch_add(1, Ordering::SeqCst) + 1;
            let connections = self.counts.connections.load(Ordering::SeqCst);
            let tls = stream.tls();
            let request = Request { on_connection, at_server, head, body, reads, tls, connections };
            if !self.act(stream, (self.script)(&request)) {
                break;
            }
        }
    }

    /// Does it; whether the connection goes on. Where it does not, it is closed in order, unless the
    /// linger time is zero.
    fn act(&self, stream: &mut Stream, act: Act) -> bool {
        let count = |count: &AtomicU64| count.fetch_add(1, Ordering::SeqCst);
        match act {
            Act::Answer(bytes) => {
                count(&self.counts.answers);
                stream.write_all(&bytes).is_ok()
            }
            Act::Pieces(pieces) => {
                count(&self.counts.answers);
                pieces.iter().all(|piece| stream.write_all(piece).is_ok())
            }
            Act::AnswerAndFin(bytes) => {
                count(&self.counts.answers);
                count(&self.counts.fins);
                match stream {
                    Stream::Plain(stream) => {
                        send(stream, &bytes, SendFlags::MORE).expect("an answer must fit the socket");
                    }
                    Stream::Tls(_) => stream.write_all(&bytes).expect("an answer must fit the socket"),
                }
                false
            }
            Act::AnswerAndGoodbye(bytes) => {
                count(&self.counts.answers);
                count(&self.counts.fins);
                stream.write_all(&bytes).expect("an answer must fit the socket");
                if let Stream::Tls(stream) = stream {
                    stream.conn.send_close_notify();
                    stream.flush().expect("a goodbye must fit the socket");
                }
                false
            }
            Act::AnswerAndReset(bytes) => {
                count(&self.counts.answers);
                count(&self.counts.resets);
                stream.write_all(&bytes).expect("an answer must fit the socket");
                reset_on_close(stream.socket());
                false
            }
            Act::Fin => {
                count(&self.counts.fins);
                false
            }
            Act::Reset => {
                count(&self.counts.resets);
                reset_on_close(stream.socket());
                false
            }
            Act::Silence => true,
        }
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref(),
        }
    }

    fn tls(&self) -> Option<(String, String)> {
        let Self::Tls(stream) = self else { return None };
        let name = stream.conn.server_name().unwrap_or_default().to_owned();
        let protocol = stream.conn.alpn_protocol().unwrap_or_default();
        Some((name, String::from_utf8_lossy(protocol).into_owned()))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn reset_on_close(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("linger must be possible");
}

/// Reads one request, and in how many pieces it came; `None` at the end of the stream.
fn read_request(stream: &mut Stream, pending: &mut Vec<u8>) -> Option<(String, String, u64)> {
    for reads in 0.. {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        if let Ok(httparse::Status::Complete(head)) = request.parse(pending) {
            let length = request
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |header| {
                    String::from_utf8_lossy(header.value).parse().expect("a length is a number")
                });
            if pending.len() >= head + length {
                let rest = pending.split_off(head + length);
                let body = String::from_utf8(pending.split_off(head)).expect("bodies must be text");
                let head = String::from_utf8(std::mem::replace(pending, rest)).expect("heads must be text");
                return Some((head, body, reads));
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(read) => pending.extend_from_slice(&buffer[..read]),
        }
    }
    None
}

/// A whole answer with a body of known length.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} Scripted\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes()
}

/// Holds everyone back until so many have come.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    come: Mutex<u64>,
    changed: Condvar,
}

impl Gathering {
    pub(crate) fn wait_for(&self, all: u64) {
        let mut come = self.come.lock().unwrap_or_else(PoisonError::into_inner);
        *come += 1;
        self.changed.notify_all();
        while *come < all {
            come = self.changed.wait(come).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
