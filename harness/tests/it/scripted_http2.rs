//! A server of HTTP/2 whose every act is written in the test, frame by frame, and which counts what it did.
//!
//! One thread per connection, blocking. It understands no headers and takes requests one after the other, so
//! that nothing of a library hides in it.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use socket2::SockRef;

const PREFACE_BYTES: usize = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// The largest identifier that a GOAWAY can name.
const EVERY_STREAM: u32 = u32::MAX >> 1;
/// Error codes of RFC 9113 section 7.
const NO_ERROR: u32 = 0;
pub(crate) const INTERNAL_ERROR: u32 = 2;
pub(crate) const REFUSED_STREAM: u32 = 7;

/// A request as the server sees it.
#[derive(Debug)]
pub(crate) struct Request {
    /// Number of this request on its connection, from 1.
    pub(crate) on_connection: u64,
    /// Number of this request at this server, from 1.
    pub(crate) at_server: u64,
    pub(crate) body_bytes: usize,
}

/// What the server does with a request that it has read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// 200 with a body of this many bytes.
    Answer(usize),
    /// 500.
    Error,
    /// The body has five bytes of the ten that were announced.
    ShortBody,
    /// RST_STREAM with this code.
    ResetStream(u32),
    /// GOAWAY that names the stream before this one as the last; what comes on later ones is not answered.
    Abandon,
    /// The answer, then the two steps of a shutdown that loses nothing (RFC 9113 section 6.8).
    AnswerAndLeave,
    /// The end of the stream instead of an answer.
    Fin,
    /// A reset of the connection instead of an answer.
    Reset,
    /// What no peer of HTTP/2 understands.
    Garbage,
    /// Nothing until the client gives up.
    Silence,
}

/// What the server did.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicU64,
    pub(crate) requests: AtomicU64,
    /// Requests that got anything else than their answer.
    pub(crate) spoiled: AtomicU64,
}

impl Counts {
    pub(crate) fn of(count: &AtomicU64) -> usize {
        usize::try_from(count.load(Ordering::SeqCst)).expect("counts must be small")
    }
}

type Script = dyn Fn(&Request) -> Act + Send + Sync;

pub(crate) struct ScriptedHttp2 {
    pub(crate) address: SocketAddr,
    pub(crate) counts: Arc<Counts>,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    script: Box<Script>,
    counts: Arc<Counts>,
    /// Streams that a client may have open at once; 0 says nothing about it.
    streams_max: u32,
    over: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

impl ScriptedHttp2 {
    /// A server on a free loopback port.
    pub(crate) fn start(streams_max: u32, script: impl Fn(&Request) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port must be had");
        let address = listener.local_addr().expect("a listener must have an address");
        let counts = Arc::new(Counts::default());
        let shared = Arc::new(Shared {
            script: Box::new(script),
            counts: Arc::clone(&counts),
            streams_max,
            over: AtomicBool::new(false),
            sockets: Mutex::default(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.accept(&listener))
        };
        Self { address, counts, shared, acceptor: Some(acceptor) }
    }
}

impl Drop for ScriptedHttp2 {
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
        for socket in listener.incoming() {
            let socket = socket.expect("accepting must work");
            if self.over.load(Ordering::SeqCst) {
                break;
            }
            self.counts.connections.fetch_add(1, Ordering::SeqCst);
            let copy = socket.try_clone().expect("a socket must be clonable");
            self.sockets.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
            let shared = Arc::clone(self);
            threads.push(std::thread::spawn(move || {
                let mut session =
                    Session { shared: &shared, socket, requests: 0, abandoned: false, reset: false };
                // A client that has gone is no fault.
                let _gone = session.serve();
                if !session.reset {
                    // Somebody else holds a copy of the socket.
                    session.socket.shutdown(Shutdown::Both).ok();
                }
            }));
        }
        for socket in self.sockets.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            socket.shutdown(Shutdown::Both).ok();
        }
        for thread in threads {
            thread.join().expect("a connection's thread must not panic");
        }
    }
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

struct Session<'s> {
    shared: &'s Shared,
    socket: TcpStream,
    requests: u64,
    /// Nothing is answered any more.
    abandoned: bool,
    /// The socket is closed with a reset.
    reset: bool,
}

impl Session<'_> {
    fn serve(&mut self) -> std::io::Result<()> {
        // Who forgets to close must not hang the test.
        self.socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        self.socket.set_nodelay(true)?;
        let mut preface = [0; PREFACE_BYTES];
        self.socket.read_exact(&mut preface)?;
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let limit = [&3_u16.to_be_bytes()[..], &self.shared.streams_max.to_be_bytes()].concat();
        self.write(SETTINGS, 0, 0, if self.shared.streams_max > 0 { &limit } else { &[] })?;
        let mut bodies: HashMap<u32, usize> = HashMap::new();
        loop {
            let frame = self.read()?;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.write(SETTINGS, ACK, 0, &[])?,
                // The second step: what was sent before this answer has been read.
                PING if frame.flags & ACK != 0 => {
                    let last = u32::try_from(self.requests * 2 - 1).expect("streams must be few");
                    self.goaway(last)?;
                    self.socket.shutdown(Shutdown::Write)?;
                    return self.drain();
                }
                HEADERS if frame.flags & END_STREAM != 0 => self.request(frame.stream, 0)?,
                DATA => {
                    let body_bytes = bodies.entry(frame.stream).or_default();
                    *body_bytes += frame.payload.len();
                    let room = u32::try_from(frame.payload.len()).expect("frames must be short");
                    if room > 0 {
                        // The last frame's room too, or the connection's window shrinks with every body.
                        self.write(WINDOW_UPDATE, 0, 0, &room.to_be_bytes())?;
                    }
                    if frame.flags & END_STREAM != 0 {
                        self.request(frame.stream, *body_bytes)?;
                    } else if room > 0 {
                        self.write(WINDOW_UPDATE, 0, frame.stream, &room.to_be_bytes())?;
                    }
                }
                _ => {}
            }
        }
    }

    fn request(&mut self, stream: u32, body_bytes: usize) -> std::io::Result<()> {
        self.requests += 1;
        let counts = &self.shared.counts;
        let at_server = counts.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let request = Request { on_connection: self.requests, at_server, body_bytes };
        let act = if self.abandoned { Act::Silence } else { (self.shared.script)(&request) };
        if !matches!(act, Act::Answer(_) | Act::AnswerAndLeave) {
            counts.spoiled.fetch_add(1, Ordering::SeqCst);
        }
        match act {
            Act::Answer(bytes) => self.answer(stream, bytes),
            // `:status: 500` of the static table (RFC 7541 appendix A).
            Act::Error => self.write(HEADERS, END_HEADERS | END_STREAM, stream, &[0x8e]),
            Act::ShortBody => {
                // `:status: 200` and `content-length: 10`, by its index, without indexing.
                self.write(HEADERS, END_HEADERS, stream, &[0x88, 0x0f, 0x0d, 2, b'1', b'0'])?;
                self.write(DATA, END_STREAM, stream, b"hello")
            }
            Act::ResetStream(code) => self.write(RST_STREAM, 0, stream, &code.to_be_bytes()),
            Act::Abandon => {
                self.abandoned = true;
                self.goaway(stream.saturating_sub(2))
            }
            Act::AnswerAndLeave => {
                self.answer(stream, 5)?;
                self.goaway(EVERY_STREAM)?;
                self.write(PING, 0, 0, b"leaving!")
            }
            Act::Fin => {
                self.socket.shutdown(Shutdown::Write)?;
                self.drain()
            }
            Act::Reset => {
                self.reset = true;
                SockRef::from(&self.socket).set_linger(Some(Duration::ZERO))?;
                let copies = &self.shared.sockets;
                let address = self.socket.peer_addr()?;
                let is_copy = |copy: &TcpStream| copy.peer_addr().is_ok_and(|other| other == address);
                copies.lock().unwrap_or_else(PoisonError::into_inner).retain(|copy| !is_copy(copy));
                Err(ErrorKind::ConnectionReset.into())
            }
            Act::Garbage => self.socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            Act::Silence => Ok(()),
        }
    }

    fn answer(&mut self, stream: u32, bytes: usize) -> std::io::Result<()> {
        // `:status: 200`, and a header that is not in the static table: `x-seckill-process: 3`.
        let head = [b"\x88\x00\x11x-seckill-process".as_slice(), b"\x013"].concat();
        self.write(HEADERS, END_HEADERS, stream, &head)?;
        let body = vec![b'x'; bytes];
        let mut pieces = body.chunks(16_384).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { END_STREAM } else { 0 };
            self.write(DATA, flags, stream, piece)?;
        }
        Ok(())
    }

    fn goaway(&mut self, last: u32) -> std::io::Result<()> {
        self.write(GOAWAY, 0, 0, &[last.to_be_bytes(), NO_ERROR.to_be_bytes()].concat())
    }

    /// Reads to the client's end, so that nothing unread turns the close into a reset.
    fn drain(&mut self) -> std::io::Result<()> {
        let mut sink = [0; 4096];
        while self.socket.read(&mut sink)? > 0 {}
        Err(ErrorKind::UnexpectedEof.into())
    }

    fn read(&mut self) -> std::io::Result<Frame> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.socket.read_exact(&mut payload)?;
        Ok(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(payload.len()).expect("frames must be short").to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.socket.write_all(&[head.as_slice(), payload].concat())
    }
}
