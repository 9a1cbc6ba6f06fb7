//! A server whose every act is written in the test, and which counts what it did.
//!
//! One thread per connection, blocking, nothing clever: it has to be plainly right, because the harness is
//! measured against it.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use rustix::net::{SendFlags, send};
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
}

/// What the server does with a request that it has read.
#[derive(Debug)]
pub(crate) enum Act {
    Answer(Vec<u8>),
    /// Each piece is a write of its own.
    Pieces(Vec<Vec<u8>>),
    /// The answer and the end of the stream in one segment.
    AnswerAndFin(Vec<u8>),
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
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket must be had");
        socket.set_reuse_address(true).expect("the address must be reusable");
        socket.bind(&SockAddr::from(address)).expect("the address must be free");
        socket.listen(1024).expect("the socket must listen");
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().expect("a listener must have an address");
        let counts = Arc::new(Counts::default());
        let shared = Arc::new(Shared {
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
            self.counts.connections.fetch_add(1, Ordering::SeqCst);
            let copy = stream.try_clone().expect("a stream must be clonable");
            self.streams.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
            let shared = Arc::clone(self);
            threads.push(std::thread::spawn(move || shared.serve(stream)));
        }
        for stream in self.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // Gone already is as good.
            let _gone = stream.shutdown(Shutdown::Both);
        }
        for thread in threads {
            thread.join().expect("the scripted target must not panic");
        }
    }

    fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).expect("nodelay must be possible");
        let mut pending = Vec::new();
        let mut on_connection = 0;
        while let Some((head, body)) = read_request(&mut stream, &mut pending) {
            on_connection += 1;
            let at_server = self.counts.requests.fetch_add(1, Ordering::SeqCst) + 1;
            let act = (self.script)(&Request { on_connection, at_server, head, body });
            if !self.act(&mut stream, act) {
                break;
            }
        }
        // The copy kept for `drop` would hold the connection open.
        let peer = stream.peer_addr().ok();
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|copy| copy.peer_addr().ok() != peer);
    }

    /// Does it; whether the connection goes on. Where it does not, it is closed in order, unless the
    /// linger time is zero.
    fn act(&self, stream: &mut TcpStream, act: Act) -> bool {
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
                send(&*stream, &bytes, SendFlags::MORE).expect("an answer must fit the socket");
                false
            }
            Act::AnswerAndReset(bytes) => {
                count(&self.counts.answers);
                count(&self.counts.resets);
                stream.write_all(&bytes).expect("an answer must fit the socket");
                reset_on_close(stream);
                false
            }
            Act::Fin => {
                count(&self.counts.fins);
                false
            }
            Act::Reset => {
                count(&self.counts.resets);
                reset_on_close(stream);
                false
            }
            Act::Silence => true,
        }
    }
}

fn reset_on_close(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("linger must be possible");
}

/// Reads one request; `None` at the end of the stream.
fn read_request(stream: &mut TcpStream, pending: &mut Vec<u8>) -> Option<(String, String)> {
    loop {
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
                return Some((head, body));
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(read) => pending.extend_from_slice(&buffer[..read]),
        }
    }
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
