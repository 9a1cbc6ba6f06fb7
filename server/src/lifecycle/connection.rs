//! One connection, from the first byte to its end or its departure to the successor.
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge share a port, so the first bytes decide. What a connection
//! does when this process is about to leave is told by the [`Directive`]:
//!
//! | directive | idle connection | request in flight |
//! |---|---|---|
//! | `Serve` | stays | is answered |
//! | `Move` | leaves to the successor | is answered here, then the connection leaves |
//! | `LastAnswer` | answers one more request with `Connection: close`; closed after the grace | the same |
//! | `Close` | closed at once, as `hyper`, nginx and Go do | answered with `Connection: close` |
//!
//! Nobody but the process itself gives directives: their sender lives in [`Shared`], as long as any connection
//! does, so waiting for the next one cannot fail.
//!
//! An HTTP/2 connection cannot move between processes (its streams share state that hyper keeps to
//! itself), so every directive but `Serve` sends the two-step GOAWAY and lets its streams end.

use std::{convert::Infallible, future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, Version, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::{http1, http2},
    service::Service,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep_until, timeout},
};

use super::{
    connections::{Cut, Directive, Parcel, Shared},
    gate::{Gate, Latch, Ledger, Owed},
    stream::Stream,
    streams::Overdue,
};
#[cfg(debug_assertions)]
use crate::faults;
use crate::http::{Body, Sender, Side};

/// The bytes that open an HTTP/2 connection with prior knowledge (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// hyper's read buffer. What is left in it at a boundary must fit into one message to the successor.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// How long a closed connection waits for the client's end, so that unread bytes do not turn the close into
/// a reset that destroys the last answer (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_millis(500);

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// In order: by the client, by an answer that announced it, or by an error of the network.
    Finished,
    /// By us, while it was idle.
    Closed,
    /// By us, with a request in flight, because the drain time was over.
    Cut,
    /// It goes on in the successor.
    Moved(Parcel),
}

/// Serves one connection whose first bytes, `front`, may have been read already.
pub(super) async fn serve(stream: Stream, front: Bytes, side: Side, shared: Arc<Shared>) -> End {
    #[cfg(debug_assertions)]
    let resets = resets_on_drain(&stream, side);
    let mut cut = shared.cut.subscribe();
    let ledger = Arc::new(Ledger::default());
    let life = async {
        match read_preface(stream, front, side, &shared).await {
            Opening::Http1(stream, front) => serve_http1(stream, front, side, &shared, &ledger).await,
            Opening::Http2(stream, front) => serve_http2(stream, front, side, &shared, &ledger).await,
            Opening::Over(end) => end,
        }
    };
    #[cfg(debug_assertions)]
    let life = async {
        tokio::select! {
            biased;
            () = about_to_leave(&shared), if resets => End::Cut,
            end = life => match end {
                // It saw the directive first.
                End::Moved(_) if resets => End::Cut,
                end => end,
            },
        }
    };
    let cut = async {
        // The sender lives in `shared`, so neither wait can fail.
        _ = cut.wait_for(|now| *now >= Cut::Others).await;
        if ledger.asks_upgrade() {
            _ = cut.wait_for(|now| *now >= Cut::All).await;
        }
    };
    let overdue = ledger
        .endless
        .overdue(shared.app.stream_settings(), shared.directive.subscribe(), || !ledger.at_boundary());
    tokio::select! {
        biased;
        end = life => end,
        overdue = overdue => drop_stream(overdue, &shared),
        () = cut => if ledger.at_boundary() { End::Closed } else { End::Cut },
    }
}

/// Whoever does not read has no use for an end in order.
fn drop_stream(overdue: Overdue, shared: &Shared) -> End {
    match overdue {
        Overdue::Slow => {
            shared.app.metrics().streams_slow.inc();
            End::Finished
        }
        Overdue::Goodbye => {
            shared.app.metrics().streams_cut.inc();
            End::Cut
        }
    }
}

/// The fault `reset-on-drain`: a socket that is reset when it is closed, as soon as the process is about to leave.
#[cfg(debug_assertions)]
fn resets_on_drain(stream: &Stream, side: Side) -> bool {
    let strikes = side == Side::Public && faults::strikes(faults::Fault::ResetOnDrain);
    strikes && stream.set_zero_linger().is_ok()
}

#[cfg(debug_assertions)]
async fn about_to_leave(shared: &Shared) {
    // The sender lives in `shared`, so the wait cannot fail.
    _ = shared.directive.subscribe().wait_for(|directive| *directive != Directive::Serve).await;
}

/// What the first bytes say.
enum Opening {
    Http1(Stream, Bytes),
    Http2(Stream, Bytes),
    Over(End),
}

/// Reads until the bytes differ from the HTTP/2 preface or complete it.
async fn read_preface(mut stream: Stream, front: Bytes, side: Side, shared: &Shared) -> Opening {
    let mut directive = shared.directive.subscribe();
    let mut read = BytesMut::from(front);
    let mut grace = Grace::default();
    loop {
        let known = read.len().min(PREFACE.len());
        if known > 0 && read.get(..known) != PREFACE.get(..known) {
            return Opening::Http1(stream, read.freeze());
        }
        if known == PREFACE.len() {
            return Opening::Http2(stream, read.freeze());
        }
        match *directive.borrow_and_update() {
            Directive::Serve => grace.clear(),
            Directive::Move => {
                return Opening::Over(End::Moved(Parcel { side, stream, bytes: read.freeze(), idle: true }));
            }
            Directive::LastAnswer { grace: limit } => grace.start(limit),
            Directive::Close => return Opening::Over(End::Closed),
        }
        tokio::select! {
            biased;
            got = stream.read_buf(&mut read) => match got {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Opening::Over(End::Finished),
            },
            _ = directive.changed() => {}
            () = grace.over() => return Opening::Over(End::Closed),
        }
    }
}

async fn serve_http1(
    stream: Stream,
    front: Bytes,
    side: Side,
    shared: &Arc<Shared>,
    ledger: &Arc<Ledger>,
) -> End {
    let api = Api::new(side, &stream, shared, ledger);
    let gate = Gate::new(front, stream, Arc::clone(ledger), shared.latch.clone());
    let mut connection = http1::Builder::new()
        // hyper's timer for heads also runs on an idle connection, and closing that is what loses
        // requests: the client may be sending. The number of connections is bounded instead.
        .header_read_timeout(None)
        .half_close(true)
        .max_buf_size(READ_BUFFER_BYTES)
        .serve_connection(gate, api);
    let mut directive = shared.directive.subscribe();
    let mut grace = Grace::default();
    let mut moving = false;
    let mut idle = false;
    let mut closing = false;
    loop {
        match *directive.borrow_and_update() {
            Directive::Serve => {
                moving = false;
                grace.clear();
            }
            Directive::Move if moving => {}
            Directive::Move => {
                moving = true;
                idle = ledger.at_boundary();
            }
            Directive::LastAnswer { grace: limit } => grace.start(limit),
            Directive::Close => close_in_order(&mut connection, ledger, &mut closing),
        }
        // Polled as a future it also flushes its last answer before it is over.
        let ended = poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if moving && ledger.at_boundary() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        tokio::select! {
            biased;
            ended = ended => {
                let parts = connection.into_parts();
                let (stream, front) = parts.io.into_parts();
                return match ended {
                    None => {
                        let bytes = joined(parts.read_buf, &front);
                        End::Moved(Parcel { side, stream, bytes, idle })
                    }
                    Some(over) => {
                        // An error may be a bad request that has been answered.
                        linger(stream).await;
                        if closing && over.is_ok() { End::Closed } else { End::Finished }
                    }
                };
            }
            _ = directive.changed() => {}
            () = grace.over() => {
                grace.clear();
                close_in_order(&mut connection, ledger, &mut closing);
            }
        }
    }
}

/// hyper's graceful shutdown: idle connections end now, others after their answer.
fn close_in_order(connection: &mut http1::Connection<Gate, Api>, ledger: &Ledger, closing: &mut bool) {
    *closing |= ledger.at_boundary();
    Pin::new(connection).graceful_shutdown();
}

async fn serve_http2(
    stream: Stream,
    front: Bytes,
    side: Side,
    shared: &Arc<Shared>,
    ledger: &Arc<Ledger>,
) -> End {
    // Its frames must flow until its streams have ended, so it has a latch that nobody closes.
    let api = Api::new(side, &stream, shared, ledger);
    let gate = Gate::new(front, stream, Arc::clone(ledger), Latch::default()).lingering(LINGER);
    let mut connection =
        std::pin::pin!(http2::Builder::new(shared.streams.clone()).serve_connection(gate, api));
    let mut directive = shared.directive.subscribe();
    loop {
        if *directive.borrow_and_update() != Directive::Serve {
            connection.as_mut().graceful_shutdown();
        }
        tokio::select! {
            biased;
            _result = connection.as_mut() => return End::Finished,
            _ = directive.changed() => {}
        }
    }
}

/// The bytes that hyper had read, then those that it had not come to.
fn joined(read: Bytes, rest: &Bytes) -> Bytes {
    if rest.is_empty() {
        return read;
    }
    let mut all = BytesMut::from(read);
    all.extend_from_slice(rest);
    all.freeze()
}

/// Says that we are done and reads what the client still sends, for a while.
async fn linger(mut stream: Stream) {
    let until_end = async {
        stream.shutdown().await?;
        let mut sink = [0_u8; 4096];
        while stream.read(&mut sink).await? > 0 {}
        std::io::Result::Ok(())
    };
    // However it ends, the connection is over.
    let _over = timeout(LINGER, until_end).await;
}

/// The time that an idle connection has left under [`Directive::LastAnswer`].
#[derive(Debug, Default)]
struct Grace(Option<Instant>);

impl Grace {
    fn start(&mut self, limit: Duration) {
        self.0.get_or_insert_with(|| Instant::now() + limit);
    }

    fn clear(&mut self) {
        self.0 = None;
    }

    async fn over(&self) {
        match self.0 {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

/// Hands complete requests to the application and keeps the connection's ledger.
struct Api {
    side: Side,
    shared: Arc<Shared>,
    ledger: Arc<Ledger>,
    /// Known on the admin side, where it is remembered who changed something.
    sender: Option<Sender>,
}

impl Api {
    fn new(side: Side, stream: &Stream, shared: &Arc<Shared>, ledger: &Arc<Ledger>) -> Self {
        let sender = (side == Side::Admin).then(|| stream.sender()).flatten();
        Self { side, shared: Arc::clone(shared), ledger: Arc::clone(ledger), sender }
    }
}

type Answer = Response<Owed<Body>>;

impl Service<Request<Incoming>> for Api {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if let Some(sender) = self.sender {
            request.extensions_mut().insert(sender);
        }
        // A stream of HTTP/2 can end in the middle of a body without harm to the connection.
        let has_body = request.version() < Version::HTTP_2 && !request.body().is_end_stream();
        let debt = self.ledger.begin(has_body);
        // On HTTP/2 other streams go on beside an answer.
        let alone = request.version() < Version::HTTP_2;
        let (side, shared, ledger) = (self.side, Arc::clone(&self.shared), Arc::clone(&self.ledger));
        Box::pin(async move {
            let mut response = answer(side, &shared, &ledger, request).await;
            if matches!(*shared.directive.borrow(), Directive::LastAnswer { .. } | Directive::Close) {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            #[cfg(debug_assertions)]
            if side == Side::Public {
                ledger.answering.choose();
            }
            Ok(response.map(|body| match body.is_stream() {
                true => Owed::endless(body, debt, alone),
                false => Owed::new(body, debt),
            }))
        })
    }
}

/// Reads the whole request, so that nothing of it is left on the connection, and has it answered.
async fn answer(
    side: Side,
    shared: &Arc<Shared>,
    ledger: &Arc<Ledger>,
    request: Request<Incoming>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let limit = shared.app.body_bytes_max(side, &head);
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        // Not a byte of it is read, so that a client that waits to be told to go on sends none.
        return closing(shared.app.too_large(side, &head));
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => {
            ledger.body_read();
            let asks_upgrade = side == Side::Admin && head.uri.path() == "/upgrade";
            let _asking = asks_upgrade.then(|| shared.asking(ledger));
            shared.app.answer(side, Request::from_parts(head, body.to_bytes())).await
        }
        Err(error) => closing(if error.is::<LengthLimitError>() {
            shared.app.too_large(side, &head)
        } else {
            shared.app.unreadable(side, &*error)
        }),
    }
}

/// The rest of the body is unread: this connection cannot be used again.
fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
