//! How attempts, connections and the load itself end: always with a record.

use super::{Deadline, Mark, OpenConnection, STOP_GRACE_NS, Sender, Unopened, attempt};
use crate::{
    clock::thread_cpu_us,
    drive::load::{
        clients::Clients,
        connection::{Exchange, Failure},
        schedule::Due,
        workload::Purchase,
    },
    observe::{Attempt, Buy, BuyOutcome, Cause, ClosedBy, Connection, Instrument, Phase},
};

impl Sender {
    /// Attempts under way, those of the clients included.
    pub(super) fn in_flight(&self) -> u32 {
        self.counts.in_flight + self.clients.as_ref().map_or(0, Clients::in_flight)
    }

    /// When there is something to do again; `None` when everything is done. For a send that is a little
    /// early, by what the machine takes to wake up.
    pub(super) fn wake_ns(&self) -> Option<u64> {
        let next_ns = self.schedule.next_ns().filter(|_| !self.stopped);
        let lead_ns = if self.bunch.is_single() { self.lead.ns() } else { 0 };
        let next_ns = next_ns.map(|next_ns| self.bunch.send_ns(next_ns).saturating_sub(lead_ns));
        let deadline_ns = self.deadlines.front().map(|deadline| deadline.at_ns);
        let ahead_ns = self.ahead.next_ns().filter(|_| !self.stopped);
        let work_ns = [next_ns, self.turns.next_ns(), deadline_ns, ahead_ns, self.paces.next_ns()];
        let work_ns = work_ns.into_iter().flatten().min()?;
        Some(work_ns.min(self.recorder.flush_at_ns()))
    }

    /// Ends the sending when that was asked for, and gives the attempts under way a short while.
    pub(super) fn obey_stop(&mut self) {
        if self.stopped || !self.progress.stop_asked() {
            return;
        }
        self.stopped = true;
        self.turns.stop();
        let cut_ns = self.clock.now_ns() + STOP_GRACE_NS;
        for deadline in &mut self.deadlines {
            deadline.at_ns = deadline.at_ns.min(cut_ns);
        }
    }

    /// Fails the attempts whose time is over.
    pub(super) fn expire(&mut self, now_ns: u64) {
        while let Some(&Deadline { at_ns, mark, attempt }) = self.deadlines.front() {
            let under_way = self.pool.get(mark).is_some_and(|connection| connection.carries(attempt));
            if under_way && at_ns > now_ns {
                return;
            }
            self.deadlines.pop_front();
            if under_way && let Some(connection) = self.pool.take(mark) {
                let failure = Failure { phase: connection.phase(), cause: Cause::Timeout };
                self.fail(mark, connection, failure, ClosedBy::Client);
            }
        }
    }

    /// Records an attempt that is never sent.
    pub(super) fn give_up(&mut self, due: Due, cause: Cause) {
        self.waste_ahead(due.stream);
        let purchase = self.requests.write(&due, &mut Vec::new());
        let attempt = self.judged(attempt(due, 0), purchase, Failure { phase: Phase::Send, cause }, None);
        self.recorder.attempt(attempt);
    }

    /// Gives a connection that was refused its number and its record, unless nothing reached the wire.
    pub(super) fn refused(&mut self, stream: u16, opened_ns: u64, failure: Failure) -> Unopened {
        if failure.phase == Phase::Send {
            return Unopened { id: 0, failure };
        }
        self.connections += 1;
        let id = self.connections;
        let closed_ns = self.clock.now_ns();
        let closed_by = ClosedBy::Unopened;
        self.recorder.connection(Connection { id, stream, opened_ns, closed_ns, requests: 0, closed_by });
        Unopened { id, failure }
    }

    /// Records the attempt that a connection was to be made for.
    pub(super) fn unopened(&mut self, attempt: Attempt, purchase: Option<Purchase>, unopened: Unopened) {
        let Unopened { id, failure } = unopened;
        let sent_ns = if failure.phase == Phase::Send { 0 } else { attempt.sent_ns };
        if sent_ns > 0 && !self.is_control(attempt.stream) {
            self.counts.sent += 1;
            self.progress.sent(self.counts.sent, self.counts.in_flight);
        }
        let attempt = Attempt { connection: id, sent_ns, ..attempt };
        let attempt = self.judged(attempt, purchase, failure, None);
        self.recorder.attempt(attempt);
    }

    /// Ends all attempts under way on a connection, and the connection. The failure is that of the first.
    pub(super) fn fail(
        &mut self,
        mark: Mark,
        mut connection: Box<OpenConnection>,
        failure: Failure,
        side: ClosedBy,
    ) {
        self.fail_first(&mut connection, failure);
        let cause = if failure.cause == Cause::ShortBody { Cause::Eof } else { failure.cause };
        self.fail_behind(mark, connection, cause, side);
    }

    /// Ends the attempts whose answers will not come any more, and the connection.
    pub(super) fn fail_behind(
        &mut self,
        mark: Mark,
        mut connection: Box<OpenConnection>,
        cause: Cause,
        side: ClosedBy,
    ) {
        while connection.exchange.is_some() {
            let failure = Failure { phase: connection.phase(), cause };
            self.fail_first(&mut connection, failure);
        }
        self.close(mark, connection, side);
    }

    fn fail_first(&mut self, connection: &mut OpenConnection, failure: Failure) {
        let Exchange { attempt, purchase, answer, .. } =
            connection.exchange.take().expect("a failure must have its attempt");
        connection.advance();
        let attempt =
            Attempt { status: answer.status, process: answer.process, config: answer.config, ..attempt };
        let attempt = self.end(attempt, purchase, failure, None);
        self.recorder.attempt(attempt);
    }

    /// Ends an attempt that was under way: what is to be recorded of it.
    pub(super) fn end(
        &mut self,
        attempt: Attempt,
        purchase: Option<Purchase>,
        ending: Failure,
        order: Option<&str>,
    ) -> Attempt {
        self.count_over(attempt.stream);
        self.judged(attempt, purchase, ending, order)
    }

    /// Closes a connection: its socket goes with it.
    pub(super) fn close(&mut self, mark: Mark, mut connection: Box<OpenConnection>, side: ClosedBy) {
        if let Some(settled) = connection.unsettled.take() {
            self.recorder.attempt(settled);
        }
        if side == ClosedBy::Client {
            connection.say_goodbye();
        }
        self.pool.release(mark);
        self.recorder.connection(connection.record(self.clock.now_ns(), side));
    }

    /// Counts what became of an attempt, and writes down what it bought.
    fn judged(
        &mut self,
        attempt: Attempt,
        purchase: Option<Purchase>,
        ending: Failure,
        order: Option<&str>,
    ) -> Attempt {
        let Failure { phase, cause } = ending;
        let attempt = Attempt { ended_ns: self.clock.now_ns(), phase, cause, ..attempt };
        if self.is_control(attempt.stream) {
            return attempt;
        }
        self.counts.planned += 1;
        self.progress.ended(attempt.ok(), self.counts.in_flight);
        self.turns.over(attempt.stream, attempt.ok(), attempt.ended_ns);
        if let Some(purchase) = purchase {
            self.recorder.buy(bought(&attempt, purchase, order));
        }
        attempt
    }

    /// Closes everything that is still open and says how it went.
    pub(super) fn finish(mut self) -> Instrument {
        for mark in self.pool.marks() {
            if let Some(connection) = self.pool.take(mark) {
                self.close(mark, connection, ClosedBy::Client);
                self.recorder.tick_patiently();
            }
        }
        let mut lost = self.recorder.finish();
        let mut instrument = Instrument {
            planned: self.counts.planned,
            sent: self.counts.sent,
            in_flight_max: self.counts.in_flight_max,
            cpu_us: thread_cpu_us(),
            interrupted: self.stopped,
            gaps: Vec::new(),
        };
        if let Some(books) = self.clients.map(Clients::finish) {
            instrument.planned += books.recorded;
            instrument.sent += books.sent;
            instrument.cpu_us += books.cpu_us;
            lost += books.lost;
        }
        if lost > 0 {
            let gap = format!("{lost} records were lost: the disk could not keep up with the load's logs");
            instrument.gaps.push(gap);
        }
        instrument
    }
}

/// The line of a purchase in the log.
pub(in crate::drive::load) fn bought(attempt: &Attempt, purchase: Purchase, order: Option<&str>) -> Buy {
    Buy {
        attempt: attempt.id,
        user: purchase.user,
        event: purchase.event,
        goods: purchase.goods,
        key: purchase.key,
        invoked_ns: attempt.sent_ns,
        ended_ns: attempt.ended_ns,
        outcome: outcome(attempt, order),
        process: attempt.process,
    }
}

/// What the client knows of a purchase. A server's error says nothing about the order: it may have failed
/// after the order was stored.
fn outcome(attempt: &Attempt, order: Option<&str>) -> BuyOutcome {
    match (order, attempt.phase) {
        (Some(order), _) => BuyOutcome::Acknowledged { order: order.into() },
        (None, Phase::Send | Phase::Resolve | Phase::Connect | Phase::Tls) => BuyOutcome::Unsent,
        (None, Phase::Done | Phase::Validate) if (400..500).contains(&attempt.status) => {
            BuyOutcome::Rejected { status: attempt.status }
        }
        (None, _) => BuyOutcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::{Attempt, BuyOutcome, Cause, Due, Phase, attempt, outcome};

    #[test]
    fn what_the_client_knows_of_a_purchase() {
        let check = |status, phase, cause, order: Option<&str>, expected| {
            let due = Due { id: 1, intended_ns: 0, stream: 0, request: 0 };
            assert_eq!(outcome(&Attempt { status, phase, cause, ..attempt(due, 1) }, order), expected);
        };
        let acknowledged = BuyOutcome::Acknowledged { order: "7".into() };
        check(201, Phase::Done, Cause::None, Some("7"), acknowledged);
        check(410, Phase::Done, Cause::None, None, BuyOutcome::Rejected { status: 410 });
        check(429, Phase::Validate, Cause::BadStatus, None, BuyOutcome::Rejected { status: 429 });
        check(0, Phase::Connect, Cause::Refused, None, BuyOutcome::Unsent);
        check(0, Phase::Tls, Cause::Eof, None, BuyOutcome::Unsent);
        check(0, Phase::Send, Cause::InFlightMax, None, BuyOutcome::Unsent);
        // The order may exist: the answer was lost, is not whole, or is a server's error.
        check(0, Phase::Write, Cause::Reset, None, BuyOutcome::Unknown);
        check(0, Phase::Wait, Cause::Timeout, None, BuyOutcome::Unknown);
        check(201, Phase::Body, Cause::ShortBody, None, BuyOutcome::Unknown);
        check(410, Phase::Body, Cause::Reset, None, BuyOutcome::Unknown);
        check(503, Phase::Validate, Cause::BadStatus, None, BuyOutcome::Unknown);
        check(201, Phase::Validate, Cause::Parse, None, BuyOutcome::Unknown);
    }
}
