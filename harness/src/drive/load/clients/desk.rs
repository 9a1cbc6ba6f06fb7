//! The books of the clients' thread: every attempt that it takes begins and ends here, with one record.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    io,
    panic::resume_unwind,
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header, uri::Scheme};
use sha2::{Digest as _, Sha256};
use tokio::{select, task::JoinSet, time::sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Books, http2, library, translate::translate};
use crate::{
    clock::RunClock,
    drive::load::{
        Progress,
        connection::Failure,
        response::generation,
        schedule::Due,
        sender::{attempt, bought},
        target::Target,
        workload::{Purchase, Requests, order_id},
        writer::Recorder,
    },
    observe::{Attempt, Cause, Connection, Phase},
    plan::LoadPlan,
    tls,
};

/// Who speaks for a stream.
#[derive(Debug)]
pub(super) enum Lane {
    Http2(http2::Lane),
    Library(library::Lane),
}

impl Lane {
    /// Opens the connections that a stream keeps. They are not attempts: one that fails is replaced when it
    /// is missed.
    pub(super) fn open_pool(&self, desk: &Rc<Desk>) {
        match self {
            Self::Http2(lane) => lane.open_pool(desk),
            Self::Library(_) => {}
        }
    }

    async fn exchange(&self, desk: &Rc<Desk>, asked: &mut Asked) -> Result<Whole, Failure> {
        match self {
            Self::Http2(lane) => lane.exchange(desk, asked).await,
            Self::Library(lane) => lane.exchange(desk, asked).await,
        }
    }
}

/// An attempt under way. Its phase is the step that it has come to, and it fails there when its time is over.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) attempt: Attempt,
    pub(super) request: Request<Bytes>,
    purchase: Option<Purchase>,
    location: Option<String>,
}

/// A whole answer, of which the head is noted already.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) sha256: Option<[u8; 32]>,
}

#[derive(Debug)]
pub(super) struct Desk {
    load: LoadPlan,
    pub(super) clock: RunClock,
    pub(super) target: RefCell<Target>,
    pub(super) tls: Option<tls::Client>,
    requests: RefCell<Requests>,
    recorder: RefCell<Recorder>,
    progress: Arc<Progress>,
    recorded: Cell<u64>,
    sent: Cell<u64>,
    in_flight: Cell<u32>,
    connections: Cell<u32>,
    tasks: RefCell<JoinSet<()>>,
    /// The load was cut short, and whoever is under way has had his time.
    pub(super) cut: CancellationToken,
    /// The load is over.
    pub(super) over: CancellationToken,
}

impl Desk {
    pub(super) fn new(
        load: LoadPlan,
        target: Target,
        tls: Option<tls::Client>,
        clock: RunClock,
        requests: Requests,
        recorder: Recorder,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            load,
            clock,
            target: RefCell::new(target),
            tls,
            requests: RefCell::new(requests),
            recorder: RefCell::new(recorder),
            progress,
            recorded: Cell::new(0),
            sent: Cell::new(0),
            in_flight: Cell::new(0),
            // The other half of the numbers is the sending thread's.
            connections: Cell::new(1 << 31),
            tasks: RefCell::new(JoinSet::new()),
            cut: CancellationToken::new(),
            over: CancellationToken::new(),
        }
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// Takes an attempt that is due: it starts as soon as its task is run.
    pub(super) fn take(self: &Rc<Self>, lane: Rc<Lane>, due: Due) {
        self.in_flight.set(self.in_flight.get() + 1);
        let desk = Rc::clone(self);
        self.spawn(async move { desk.attempt(&lane, due).await });
    }

    /// Runs a task whose end is waited for.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().spawn_local(task);
    }

    /// Clears a task away that has ended; never ready when there is none. A panic is passed on.
    pub(super) async fn reap(&self) {
        poll_fn(|cx| match self.tasks.borrow_mut().poll_join_next(cx) {
            Poll::Ready(Some(ended)) => Poll::Ready(ended),
            // A task that is spawned later is looked for with the next attempt or tick.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        })
        .await
        .unwrap_or_else(|failed| resume_unwind(failed.into_panic()));
    }

    /// Gives the connections up that are still open, and waits until they are closed.
    pub(super) async fn close(&self) {
        self.over.cancel();
        while !self.tasks.borrow().is_empty() {
            self.reap().await;
        }
    }

    pub(super) fn tick(&self) {
        self.recorder.borrow_mut().tick(self.clock.now_ns());
    }

    pub(super) fn next_connection(&self) -> u32 {
        self.connections.set(self.connections.get() + 1);
        self.connections.get()
    }

    pub(super) fn connection(&self, connection: Connection) {
        self.recorder.borrow_mut().connection(connection);
    }

    pub(super) fn books(self, cpu_us: u64) -> Books {
        let (recorded, sent) = (self.recorded.get(), self.sent.get());
        Books { recorded, sent, cpu_us, lost: self.recorder.into_inner().finish() }
    }

    async fn attempt(self: &Rc<Self>, lane: &Lane, due: Due) {
        let mut asked = self.begin(due);
        let deadline = self.clock.instant(asked.attempt.sent_ns + self.load.timeout_ns).into();
        let whole = select! {
            biased;
            whole = lane.exchange(self, &mut asked) => Some(whole),
            () = sleep_until(deadline) => None,
            () = self.cut.cancelled() => None,
        };
        let phase = asked.attempt.phase;
        let ending = match whole {
            None => Failure { phase, cause: Cause::Timeout },
            Some(Err(failure)) => failure,
            Some(Ok(whole)) => {
                let Attempt { stream, request, status, .. } = asked.attempt;
                let order = asked.location.as_deref().and_then(order_id);
                self.requests.borrow().judge(stream, request, status, order, whole.sha256)
            }
        };
        self.end(asked, ending);
    }

    fn begin(&self, due: Due) -> Asked {
        let attempt = attempt(due, self.clock.now_ns());
        let scheme = if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let mut bytes = Vec::new();
        let purchase = self.requests.borrow_mut().write(&due, &mut bytes);
        let request = translate(&bytes, &scheme).expect("every request must have been tried before");
        self.sent.set(self.sent.get() + 1);
        self.progress.sent(self.sent.get(), self.in_flight.get());
        Asked { attempt, request, purchase, location: None }
    }

    /// Notes the head of an answer.
    pub(super) fn head(&self, asked: &mut Asked, status: StatusCode, headers: &HeaderMap) {
        let requests = self.requests.borrow();
        let question = requests.question(asked.attempt.stream, asked.attempt.request);
        let attempt = &mut asked.attempt;
        attempt.first_byte_ns = self.clock.now_ns();
        attempt.phase = Phase::Body;
        attempt.status = status.as_u16();
        attempt.process = number(headers, question.names.process.as_deref());
        attempt.config = number(headers, question.names.config.as_deref());
        if question.location {
            let location = headers.get(header::LOCATION);
            asked.location = location.and_then(|value| value.to_str().ok()).map(str::to_owned);
        }
    }

    /// Takes the digest of an answer's body, where the plan asks for one.
    pub(super) fn digest(&self, attempt: &Attempt) -> Option<Sha256> {
        let requests = self.requests.borrow();
        requests.question(attempt.stream, attempt.request).digest.then(Sha256::new)
    }

    fn end(&self, asked: Asked, ending: Failure) {
        let Asked { attempt, purchase, location, .. } = asked;
        let Failure { phase, cause } = ending;
        let mut attempt = Attempt { ended_ns: self.clock.now_ns(), phase, cause, ..attempt };
        if phase == Phase::Send {
            // Nothing has reached the wire.
            (attempt.sent_ns, attempt.connection) = (0, 0);
            self.sent.set(self.sent.get() - 1);
        }
        self.in_flight.set(self.in_flight.get() - 1);
        self.recorded.set(self.recorded.get() + 1);
        self.progress.ended(attempt.ok(), self.in_flight.get());
        let mut recorder = self.recorder.borrow_mut();
        if let Some(purchase) = purchase {
            let whole = matches!(phase, Phase::Done | Phase::Validate) && attempt.status == 201;
            let order = location.as_deref().and_then(order_id).filter(|_| whole);
            if let Some(order) = order {
                self.requests.borrow_mut().acknowledge(purchase.user, order);
            }
            recorder.buy(bought(&attempt, purchase, order));
        }
        recorder.attempt(attempt);
        recorder.tick(attempt.ended_ns);
    }
}

/// A generation from a header; 0 when there is none.
fn number(headers: &HeaderMap, name: Option<&str>) -> u32 {
    let value = name.and_then(|name| headers.get(name));
    value.map(|value| generation(value.as_bytes())).unwrap_or_default()
}

/// What an error of a socket is in our terms.
pub(super) fn io_cause(kind: io::ErrorKind) -> Cause {
    match kind {
        io::ErrorKind::ConnectionRefused => Cause::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Cause::Reset
        }
        io::ErrorKind::UnexpectedEof => Cause::Eof,
        io::ErrorKind::InvalidData => Cause::Tls,
        _ => Cause::Network,
    }
}
