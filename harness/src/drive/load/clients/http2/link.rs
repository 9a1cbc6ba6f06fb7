//! One connection of HTTP/2, from its socket to its record.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use h2::{
    SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::Request;
use rustix::io::Errno;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    select,
    sync::watch,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use super::wire::{Fate, Wire};
use crate::{
    drive::load::{
        clients::desk::{Desk, io_cause},
        connection::Failure,
        target::{Use, connect_failure},
    },
    observe::{Cause, ClosedBy, Connection, Phase},
    tls,
};

/// What the server may send on one stream, and on all of them together, before it is read: enough that a
/// large answer is never held up by us. Bytes.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// A request under way: its answer to come, and where its body goes.
pub(super) type Sent = (ResponseFuture, SendStream<Bytes>);

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Connecting,
    /// TLS.
    Securing,
    Ready,
    Failed(Failure),
    /// We ended it before it came about.
    GivenUp,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: u32,
    stream: u16,
    opened_ns: u64,
    step: watch::Sender<Step>,
    /// `None` before the connection has come about, and when it takes no further attempt.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    fate: Rc<Fate>,
    left: Cell<bool>,
    /// The server said that it will end the connection.
    announced: Cell<bool>,
    /// Attempts that it has carried, those under way included.
    pub(super) requests: Cell<u32>,
    /// Attempts that hold it.
    seats: Cell<u32>,
    idle_since_ns: Cell<u64>,
    /// Nobody waits for the connection any more.
    given_up: CancellationToken,
}

impl Link {
    /// Begins a connection; `once` says that it will carry a single attempt.
    pub(super) fn open(desk: &Rc<Desk>, stream: u16, once: bool, opened_ns: u64) -> Rc<Self> {
        let link = Rc::new(Self {
            id: desk.next_connection(),
            stream,
            opened_ns,
            step: watch::Sender::new(Step::Connecting),
            sender: RefCell::new(None),
            fate: Rc::default(),
            left: Cell::new(false),
            announced: Cell::new(false),
            requests: Cell::new(0),
            seats: Cell::new(0),
            idle_since_ns: Cell::new(opened_ns),
            given_up: desk.over.child_token(),
        });
        let (desk, connection) = (Rc::clone(desk), Rc::clone(&link));
        Rc::clone(&desk).spawn(async move { connection.live(&desk, once).await });
        link
    }

    pub(super) fn step(&self) -> watch::Receiver<Step> {
        self.step.subscribe()
    }

    /// It takes no further attempt.
    pub(super) fn left(&self) -> bool {
        self.left.get()
    }

    /// The server takes one more request now.
    pub(super) fn has_room(&self) -> bool {
        let sender = self.sender.borrow();
        // What a server allows at least, by the library's measure, as long as it has not said.
        let most = sender.as_ref().map_or(100, SendRequest::current_max_send_streams);
        (self.seats.get() as usize) < most
    }

    /// How the socket ended, if it did.
    pub(super) fn fate(&self) -> Option<Cause> {
        self.fate.ended()
    }

    /// How long nobody had used it at this time.
    pub(super) fn idle_ns(&self, at_ns: u64) -> u64 {
        if self.seats.get() > 1 { 0 } else { at_ns.saturating_sub(self.idle_since_ns.get()) }
    }

    /// Takes no further attempt from now on; it ends with those that it carries. `announced`: the server said
    /// that it will end the connection.
    pub(super) fn leave(&self, announced: bool) {
        self.left.set(true);
        self.announced.set(self.announced.get() || announced);
        self.sender.take();
        if matches!(*self.step.borrow(), Step::Connecting | Step::Securing) {
            self.given_up.cancel();
        }
    }

    /// Begins a request. Nothing of it has been written when there is an error, or nothing because the
    /// connection takes no more.
    pub(super) fn send(&self, request: Request<()>, whole: bool) -> Option<Result<Sent, h2::Error>> {
        let mut sender = self.sender.borrow().clone()?;
        let sent = sender.send_request(request, whole);
        self.fate.write_first();
        Some(sent)
    }

    async fn live(&self, desk: &Rc<Desk>, once: bool) {
        let (closed_by, failure) = select! {
            biased;
            ended = self.run(desk, once) => ended,
            () = self.given_up.cancelled() => (ClosedBy::Client, None),
        };
        self.left.set(true);
        self.sender.take();
        let ready = *self.step.borrow() == Step::Ready;
        if !ready {
            self.step.send_replace(failure.map_or(Step::GivenUp, Step::Failed));
        }
        if failure.is_some_and(|failure| failure.phase == Phase::Send) {
            return;
        }
        desk.connection(Connection {
            id: self.id,
            stream: self.stream,
            opened_ns: self.opened_ns,
            closed_ns: desk.clock.now_ns(),
            requests: self.requests.get(),
            closed_by: if ready { closed_by } else { ClosedBy::Unopened },
        });
    }

    /// Connects and keeps the connection going to its end; who ended it, or why it never came about.
    async fn run(&self, desk: &Rc<Desk>, once: bool) -> (ClosedBy, Option<Failure>) {
        let socket = desk.target.borrow_mut().connect(Use { once, slow: false });
        let stream = match connected(socket).await {
            Ok(stream) => stream,
            Err(failure) => return (ClosedBy::Unopened, Some(failure)),
        };
        let Some(tls) = &desk.tls else {
            return self.speak(desk, stream).await;
        };
        self.step.send_replace(Step::Securing);
        match secured(stream, tls).await {
            Ok(stream) => self.speak(desk, stream).await,
            Err(failure) => (ClosedBy::Unopened, Some(failure)),
        }
    }

    async fn speak(
        &self,
        desk: &Rc<Desk>,
        stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> (ClosedBy, Option<Failure>) {
        let wire = Wire::new(stream, Rc::clone(&self.fate));
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, connection) = match builder.handshake(wire).await {
            Ok(both) => both,
            Err(error) => {
                let cause = super::cause(&error, self.fate.ended(), false);
                return (ClosedBy::Unopened, Some(Failure { phase: Phase::Write, cause }));
            }
        };
        self.idle_since_ns.set(desk.clock.now_ns());
        self.sender.replace(Some(sender));
        self.step.send_replace(Step::Ready);
        // What is wrong with it is told to its streams.
        let _ended = connection.await;
        let ours = self.left.get() && !self.announced.get() && self.fate.ended().is_none();
        (if ours { ClosedBy::Client } else { ClosedBy::Server }, None)
    }
}

/// A socket whose connection has come about.
async fn connected(socket: Result<OwnedFd, Failure>) -> Result<TcpStream, Failure> {
    let failed = |error: io::Error| connect_failure(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    let stream = TcpStream::from_std(std::net::TcpStream::from(socket?)).map_err(failed)?;
    stream.writable().await.map_err(failed)?;
    match stream.take_error().map_err(failed)? {
        None => Ok(stream),
        Some(error) => Err(failed(error)),
    }
}

/// A socket with TLS, whose server has chosen HTTP/2.
async fn secured(stream: TcpStream, tls: &tls::Client) -> Result<TlsStream<TcpStream>, Failure> {
    let failed = |cause| Failure { phase: Phase::Tls, cause };
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    let stream = connector.connect(tls.server.clone(), stream).await;
    let stream = stream.map_err(|error| failed(io_cause(error.kind())))?;
    let chosen = stream.get_ref().1.alpn_protocol();
    if chosen == Some(b"h2".as_slice()) { Ok(stream) } else { Err(failed(Cause::Tls)) }
}

/// An attempt's hold on a connection. One that is dropped in the middle, because the attempt's time is over,
/// takes the connection out of use: as with HTTP/1.1, who does not answer is not asked again.
#[derive(Debug)]
pub(super) struct Seat {
    link: Rc<Link>,
    done: bool,
}

impl Seat {
    pub(super) fn take(link: &Rc<Link>) -> Self {
        link.seats.set(link.seats.get() + 1);
        Self { link: Rc::clone(link), done: false }
    }

    /// The attempt has ended by itself.
    pub(super) fn done(&mut self, now_ns: u64) {
        self.done = true;
        self.link.idle_since_ns.set(now_ns);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.link.seats.set(self.link.seats.get() - 1);
        if !self.done {
            self.link.leave(false);
        }
    }
}
