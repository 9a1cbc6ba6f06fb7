//! A stream over HTTP/2: many attempts share a connection, and none is tried twice.
//!
//! A connection that the server has ended, or has announced to end, takes no further attempt; the next one
//! goes to another or opens one. An attempt changes its connection only while not a byte of it has been
//! written. Connections are used in turn; when each of them carries as many requests as the server allows, a
//! further one is opened: sending never waits for answers.

mod link;
mod wire;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{pending, poll_fn},
    pin::pin,
    rc::Rc,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client::ResponseFuture};
use http::{HeaderMap, header};
use sha2::Digest as _;
use tokio::select;

use super::desk::{Asked, Desk, Whole, io_cause};
use crate::{
    drive::load::connection::Failure,
    observe::{Attempt, Cause, Phase},
    plan::ConnectionMode,
};
use link::{Link, Seat, Step};

#[derive(Debug)]
pub(super) struct Lane {
    stream: u16,
    /// Connections that are kept; 0: each carries a single attempt.
    keep: usize,
    /// Those that take attempts, the least recently used in front.
    links: RefCell<VecDeque<Rc<Link>>>,
}

impl Lane {
    pub(super) fn new(stream: u16, connection: ConnectionMode) -> Self {
        let keep = match connection {
            ConnectionMode::Reused { connections }
            | ConnectionMode::Idle { connections, .. }
            | ConnectionMode::Pipelined { connections, .. } => connections as usize,
            ConnectionMode::New | ConnectionMode::ConnectWait { .. } => 0,
        };
        Self { stream, keep, links: RefCell::default() }
    }

    pub(super) fn open_pool(&self, desk: &Rc<Desk>) {
        for _ in 0..self.keep {
            self.open(desk, 0);
        }
    }

    pub(super) async fn exchange(&self, desk: &Rc<Desk>, asked: &mut Asked) -> Result<Whole, Failure> {
        loop {
            asked.attempt.phase = Phase::Connect;
            let known = self.next();
            let fresh = known.is_none();
            let link = known.unwrap_or_else(|| self.open(desk, asked.attempt.sent_ns));
            let mut seat = Seat::take(&link);
            asked.attempt.connection = link.id;
            if !ready(&link, &mut asked.attempt.phase).await? {
                continue;
            }
            let (parts, body) = asked.request.clone().into_parts();
            let request = http::Request::from_parts(parts, ());
            match link.send(request, body.is_empty()) {
                // The connection was over before the attempt began: nothing of it has been written.
                None if !fresh => {}
                Some(Err(error)) if !fresh => link.leave(error.is_go_away()),
                None => {
                    let cause = link.fate().unwrap_or(Cause::Network);
                    return Err(Failure { phase: Phase::Write, cause });
                }
                Some(Err(error)) => return Err(failed(&link, asked, &error, false)),
                Some(Ok((response, stream))) => {
                    asked.attempt.connection_requests = link.requests.replace(link.requests.get() + 1);
                    let idle_us = link.idle_ns(asked.attempt.sent_ns) / 1_000;
                    asked.attempt.idle_us = u32::try_from(idle_us).unwrap_or(u32::MAX);
                    let announced = Cell::new(false);
                    let whole = answer(desk, asked, response, stream, body, &announced).await;
                    let whole = whole.map_err(|error| failed(&link, asked, &error, announced.get()));
                    if self.keep > 0 {
                        seat.done(desk.clock.now_ns());
                    }
                    return whole;
                }
            }
        }
    }

    /// The next connection that has room for an attempt.
    fn next(&self) -> Option<Rc<Link>> {
        let mut links = self.links.borrow_mut();
        // Those that are over are met in turn, and forgotten then.
        let mut left = links.len();
        while left > 0 {
            left -= 1;
            let link = links.pop_front()?;
            if link.left() {
                continue;
            }
            links.push_back(Rc::clone(&link));
            // A kept connection that is missing is opened anew by the attempt that misses it.
            if link.has_room() && links.len() >= self.keep {
                return Some(link);
            }
        }
        None
    }

    fn open(&self, desk: &Rc<Desk>, opened_ns: u64) -> Rc<Link> {
        let link = Link::open(desk, self.stream, self.keep == 0, opened_ns);
        if self.keep > 0 {
            self.links.borrow_mut().push_back(Rc::clone(&link));
        }
        link
    }
}

/// What an error means for the attempt that met it.
fn failed(link: &Link, asked: &Asked, error: &h2::Error, announced: bool) -> Failure {
    let cause = cause(error, link.fate(), announced);
    if cause == Cause::Goaway {
        link.leave(true);
    }
    Failure { phase: asked.attempt.phase, cause }
}

/// Waits until a connection has come about. `false`: it was given up before, and the attempt goes elsewhere.
async fn ready(link: &Link, phase: &mut Phase) -> Result<bool, Failure> {
    let mut step = link.step();
    loop {
        match *step.borrow_and_update() {
            Step::Connecting => *phase = Phase::Connect,
            Step::Securing => *phase = Phase::Tls,
            Step::Ready => return Ok(true),
            Step::Failed(failure) => return Err(failure),
            Step::GivenUp => return Ok(false),
        }
        if step.changed().await.is_err() {
            return Ok(false);
        }
    }
}

/// Sends the body and reads the whole answer.
async fn answer(
    desk: &Desk,
    asked: &mut Asked,
    response: ResponseFuture,
    stream: SendStream<Bytes>,
    body: Bytes,
    announced: &Cell<bool>,
) -> Result<Whole, h2::Error> {
    let (mut response, mut upload) = (pin!(response), pin!(upload(stream, body)));
    asked.attempt.phase = Phase::Write;
    let response = loop {
        select! {
            biased;
            () = &mut upload, if asked.attempt.phase == Phase::Write => asked.attempt.phase = Phase::Wait,
            // A server may answer before it has read everything.
            response = &mut response => break response?,
        }
    };
    desk.head(asked, response.status(), response.headers());
    announced.set(response.headers().contains_key(header::CONTENT_LENGTH));
    read(desk, &asked.attempt, response.into_body()).await
}

/// Writes a body as fast as the server takes it. What keeps it from that is told by the answer.
async fn upload(mut stream: SendStream<Bytes>, mut body: Bytes) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await;
        let Some(Ok(room)) = room else { break };
        let piece = body.split_to(room.min(body.len()));
        if stream.send_data(piece, body.is_empty()).is_err() {
            break;
        }
    }
    if !body.is_empty() {
        pending::<()>().await;
    }
}

async fn read(desk: &Desk, attempt: &Attempt, mut body: RecvStream) -> Result<Whole, h2::Error> {
    let mut digest = desk.digest(attempt);
    while let Some(piece) = body.data().await {
        let piece = piece?;
        if let Some(digest) = &mut digest {
            digest.update(&piece);
        }
        body.flow_control().release_capacity(piece.len())?;
    }
    let _trailers: Option<HeaderMap> = body.trailers().await?;
    Ok(Whole { sha256: digest.map(|digest| digest.finalize().into()) })
}

/// What an error of the protocol is in our terms. `fate` is what became of the connection's socket, and
/// `announced` says that the head had told the length of the body.
pub(super) fn cause(error: &h2::Error, fate: Option<Cause>, announced: bool) -> Cause {
    if error.is_io() {
        return fate.unwrap_or_else(|| error.get_io().map_or(Cause::Network, |io| io_cause(io.kind())));
    }
    match (error.is_remote(), error.is_reset(), error.is_go_away()) {
        (true, true, _) if error.reason() == Some(Reason::REFUSED_STREAM) => Cause::RefusedStream,
        (true, true, _) => Cause::StreamReset,
        // Only the streams after the last one that the server answers see it.
        (true, _, true) => Cause::Goaway,
        // The library found the body longer or shorter than its announced length, and says no more of it.
        (false, true, _) if announced && error.is_library() => Cause::ShortBody,
        (false, ..) if error.is_library() => Cause::Parse,
        _ => Cause::Network,
    }
}
