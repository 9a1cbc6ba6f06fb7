//! The sending thread: sends what is due, reads what comes, gives up what is late.
//!
//! Sending never waits for answers. One thread does everything in turn: the news of at most sixteen
//! sockets, then at most sixteen sends, so neither can hold the other up for long. News go first: a
//! connection that the server has closed by then is not used.

mod ending;
mod places;
mod using;

use std::{collections::VecDeque, sync::Arc};

use rustix::{event::epoll::EventFlags, io::Errno};

pub(super) use ending::bought;

use super::{
    Error, Places, Progress,
    ahead::Ahead,
    bunch::Bunch,
    clients::Clients,
    connection::{Exchange, Failure, OpenConnection, Reading},
    lead::Lead,
    pace::Paces,
    poller::Poller,
    pool::{Mark, Pool},
    schedule::{Due, Schedule},
    target::Use,
    turns::Turns,
    workload::{Purchase, Requests, order_id},
    writer::Recorder,
};
use crate::{
    clock::RunClock,
    observe::{Attempt, Cause, ClosedBy, Instrument, Phase},
    plan::LoadPlan,
};
use using::Found;

/// Attempts sent before the sockets are looked at again.
const SENDS_MAX: usize = 16;
/// How long the answers under way are waited for after the load was cut short.
pub(super) const STOP_GRACE_NS: u64 = 500_000_000;
/// Enough for a large answer in few reads, small enough to stay in the cache.
const BUFFER_BYTES: usize = 64 * 1024;

pub(super) struct Sender {
    load: LoadPlan,
    clock: RunClock,
    schedule: Schedule,
    ahead: Ahead,
    paces: Paces,
    turns: Turns,
    bunch: Bunch,
    requests: Requests,
    places: Places,
    poller: Poller,
    pool: Pool,
    /// By the time at which an attempt has failed if it is still under way. Since all have the same time
    /// limit, the queue is in order; attempts that ended in time are skipped.
    deadlines: VecDeque<Deadline>,
    recorder: Recorder,
    progress: Arc<Progress>,
    buffer: Box<[u8]>,
    connections: u32,
    counts: Counts,
    stopped: bool,
    lead: Lead,
    /// Takes the attempts of the streams that do not speak HTTP/1.1.
    clients: Option<Clients>,
}

#[derive(Debug, Default)]
struct Counts {
    planned: u64,
    sent: u64,
    in_flight: u32,
    in_flight_max: u32,
}

/// A connection that could not be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unopened {
    /// 0 when nothing reached the wire.
    id: u32,
    failure: Failure,
}

#[derive(Debug, Clone, Copy)]
struct Deadline {
    at_ns: u64,
    mark: Mark,
    attempt: u64,
}

impl Sender {
    pub(super) fn new(
        load: LoadPlan,
        seed: u64,
        clock: RunClock,
        requests: Requests,
        places: Places,
        recorder: Recorder,
        progress: Arc<Progress>,
    ) -> Result<Self, Errno> {
        Ok(Self {
            schedule: Schedule::new(&load, seed),
            ahead: Ahead::new(&load, seed),
            paces: Paces::default(),
            turns: Turns::new(&load),
            bunch: Bunch::new(load.coalesce_ns),
            pool: Pool::new(load.streams.len()),
            load,
            clock,
            requests,
            places,
            poller: Poller::new()?,
            deadlines: VecDeque::new(),
            recorder,
            progress,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            connections: 0,
            counts: Counts::default(),
            stopped: false,
            lead: Lead::default(),
            clients: None,
        })
    }

    /// Leaves the streams of these clients to them.
    pub(super) fn with(self, clients: Option<Clients>) -> Self {
        Self { clients, ..self }
    }

    /// Sends the whole schedule and waits for the last answer.
    ///
    /// # Errors
    /// When the kernel refuses to watch sockets.
    pub(super) fn run(mut self) -> Result<Instrument, Error> {
        self.open_pools().map_err(Error::Poll)?;
        while !self.clock.until(0).is_zero() && !self.progress.stop_asked() {
            self.poller.wait_until(self.clock.monotonic(0)).map_err(Error::Poll)?;
            self.handle_news().map_err(Error::Poll)?;
        }
        loop {
            self.obey_stop();
            self.open_ahead().map_err(Error::Poll)?;
            self.send_due().map_err(Error::Poll)?;
            self.pass_pieces();
            let now_ns = self.clock.now_ns();
            self.expire(now_ns);
            self.recorder.tick(now_ns);
            let Some(wake_ns) = self.wake_ns() else { break };
            if wake_ns <= now_ns {
                self.poller.look().map_err(Error::Poll)?;
            } else {
                self.poller.wait_until(self.clock.monotonic(wake_ns)).map_err(Error::Poll)?;
                if self.poller.only_rang() {
                    self.lead.learn(self.clock.now_ns().saturating_sub(wake_ns));
                }
            }
            self.handle_news().map_err(Error::Poll)?;
        }
        Ok(self.finish())
    }

    /// Sends what is due. What is still unsent when even the last answer should have come is given up.
    fn send_due(&mut self) -> Result<(), Errno> {
        for _ in 0..SENDS_MAX {
            let now_ns = self.clock.now_ns();
            let Some(due) = self.due(now_ns) else { return Ok(()) };
            if now_ns > self.load.duration_ns + self.load.timeout_ns {
                self.give_up(due, Cause::Late);
                while let Some(due) = self.schedule.next() {
                    self.give_up(due, Cause::Late);
                    self.recorder.tick_patiently();
                }
            } else {
                self.send(due, now_ns)?;
            }
        }
        Ok(())
    }

    /// The attempt that is to be sent now. What has a schedule goes before a closed loop.
    fn due(&mut self, now_ns: u64) -> Option<Due> {
        if self.stopped {
            return None;
        }
        match self.schedule.next_ns() {
            Some(next_ns) if self.bunch.sends(next_ns, now_ns) => self.schedule.next(),
            _ => self.turns.take(now_ns).map(|stream| self.schedule.turn(stream, now_ns)),
        }
    }

    fn send(&mut self, due: Due, now_ns: u64) -> Result<(), Errno> {
        if let Some(cause) = self.full(due.stream) {
            self.give_up(due, cause);
            return Ok(());
        }
        if let Some(clients) = self.clients.as_mut().filter(|clients| clients.speak_for(due.stream)) {
            clients.hand_over(due);
            self.counts.in_flight_max = self.counts.in_flight_max.max(self.in_flight());
            return Ok(());
        }
        let attempt = attempt(due, now_ns);
        let pace = self.load.streams[usize::from(due.stream)].pace;
        let unopened = match self.find(due.stream, now_ns) {
            Found::Connection(mark, mut connection) => {
                let purchase = self.requests.write(&due, connection.room());
                connection.begin(attempt, purchase, pace);
                self.under_way(mark, connection, attempt);
                return Ok(());
            }
            Found::Unopened(unopened) => Err(unopened),
            Found::Nothing => self.open(due.stream, now_ns)?,
        };
        let mut request = Vec::new();
        let purchase = self.requests.write(&due, &mut request);
        match unopened {
            Ok((mark, mut connection)) => {
                *connection.room() = request;
                connection.begin(attempt, purchase, pace);
                self.under_way(mark, connection, attempt);
            }
            Err(unopened) => self.unopened(attempt, purchase, unopened),
        }
        Ok(())
    }

    /// Opens a connection, whose place in the pool is kept for it.
    fn open(
        &mut self,
        stream: u16,
        opened_ns: u64,
    ) -> Result<Result<(Mark, Box<OpenConnection>), Unopened>, Errno> {
        let plan = &self.load.streams[usize::from(stream)];
        let purpose = Use { once: !plan.connection.keeps_alive(), slow: plan.pace.download_ns > 0 };
        let wire = match self.place(stream).open(purpose) {
            Ok(wire) => wire,
            Err(failure) => return Ok(Err(self.refused(stream, opened_ns, failure))),
        };
        self.connections += 1;
        let connection = OpenConnection::new(wire, self.connections, stream, opened_ns);
        let mark = self.pool.reserve(connection.id);
        self.poller.watch(&connection, mark.bits())?;
        Ok(Ok((mark, Box::new(connection))))
    }

    /// Puts the attempt that a connection has taken on the wire.
    fn under_way(&mut self, mark: Mark, mut connection: Box<OpenConnection>, attempt: Attempt) {
        if let Some(settled) = connection.unsettled.take() {
            self.recorder.attempt(settled);
        }
        self.count_under_way(attempt.stream);
        match connection.lost.map_or_else(|| connection.write(), Err) {
            Ok(()) => {
                let at_ns = attempt.sent_ns + self.load.timeout_ns;
                self.deadlines.push_back(Deadline { at_ns, mark, attempt: attempt.id });
                self.pace(mark, &attempt);
                self.offer_more(mark, &connection);
                self.pool.put(mark, connection);
            }
            Err(failure) => self.fail(mark, connection, failure, ClosedBy::Server),
        }
    }

    fn handle_news(&mut self) -> Result<(), Errno> {
        while let Some((bits, flags)) = self.poller.take() {
            let mark = Mark::from_bits(bits);
            if let Some(connection) = self.pool.take(mark) {
                self.news(mark, connection, flags);
            }
        }
        Ok(())
    }

    fn news(&mut self, mark: Mark, mut connection: Box<OpenConnection>, flags: EventFlags) {
        if connection.lost.is_some() {
            return self.pool.put(mark, connection);
        }
        if connection.can_write() {
            if let Err(failure) = connection.write() {
                return self.fail(mark, connection, failure, ClosedBy::Server);
            }
        } else if !connection.connected() {
            if let Err(failure) = connection.confirm() {
                return self.over(mark, connection, failure);
            }
            connection.idle_since_ns = self.clock.now_ns();
            if connection.greet() {
                self.pool.set_idle(connection.stream, mark);
            }
        }
        let hangup = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        if hangup || flags.contains(EventFlags::IN) {
            self.read(mark, connection, hangup);
        } else {
            self.pool.put(mark, connection);
        }
    }

    fn read(&mut self, mark: Mark, mut connection: Box<OpenConnection>, hangup: bool) {
        loop {
            let question = connection
                .exchange
                .as_ref()
                .map(|Exchange { attempt, .. }| self.requests.question(attempt.stream, attempt.request));
            match connection.read(&mut self.buffer, question, hangup, &self.clock) {
                Reading::Pending => return self.pool.put(mark, connection),
                Reading::Ready => {
                    connection.idle_since_ns = self.clock.now_ns();
                    self.pool.set_idle(connection.stream, mark);
                    return self.pool.put(mark, connection);
                }
                Reading::Over(failure) => return self.over(mark, connection, failure),
                Reading::Failed(failure) if failure.cause == Cause::Parse => {
                    return self.fail(mark, connection, failure, ClosedBy::Client);
                }
                Reading::Failed(failure) => return self.fail(mark, connection, failure, ClosedBy::Server),
                Reading::Answered { surplus, drained } => {
                    if let Some(side) = self.answered(&mut connection, surplus) {
                        return self.fail_behind(mark, connection, Cause::Eof, side);
                    }
                    self.offer_again(mark, &connection);
                    if drained {
                        return self.pool.put(mark, connection);
                    }
                }
            }
        }
    }

    /// Judges a whole answer; who closes the connection, unless it goes on.
    fn answered(&mut self, connection: &mut OpenConnection, surplus: usize) -> Option<ClosedBy> {
        let unwritten = connection.unwritten();
        let Exchange { attempt, purchase, mut answer, .. } =
            connection.exchange.take().expect("an answer must have its attempt");
        connection.advance();
        let digest = answer.digest();
        let order = answer.location.as_deref().and_then(order_id);
        let judged = self.requests.judge(attempt.stream, attempt.request, answer.status, order, digest);
        let verdict = match judged.cause {
            Cause::BadStatus => judged,
            _ if surplus > 0 => Failure { phase: Phase::Validate, cause: Cause::Surplus },
            _ => judged,
        };
        let acknowledged = order.filter(|_| answer.status == 201);
        if let (Some(order), Some(Purchase { user, .. })) = (acknowledged, &purchase) {
            self.requests.acknowledge(*user, order);
        }
        let attempt =
            Attempt { status: answer.status, process: answer.process, config: answer.config, ..attempt };
        let attempt = self.end(attempt, purchase, verdict, acknowledged);
        connection.idle_since_ns = attempt.ended_ns;
        let goes_on = answer.keep_alive && surplus == 0;
        if goes_on && connection.under_way() == 0 {
            connection.unsettled = Some(attempt);
        } else {
            self.recorder.attempt(attempt);
        }
        if !self.mode(connection.stream).keeps_alive() || unwritten {
            return Some(ClosedBy::Client);
        }
        (!goes_on).then_some(ClosedBy::Server)
    }
}

/// An attempt of which nothing but the question is known.
pub(super) fn attempt(due: Due, sent_ns: u64) -> Attempt {
    Attempt {
        id: due.id,
        stream: due.stream,
        request: due.request,
        intended_ns: due.intended_ns,
        sent_ns,
        first_byte_ns: 0,
        ended_ns: 0,
        connection: 0,
        connection_requests: 0,
        idle_us: 0,
        status: 0,
        phase: Phase::Send,
        cause: Cause::None,
        process: 0,
        config: 0,
    }
}
