//! Which connection an attempt gets, and what goes on between attempts: connections opened ahead, pieces of
//! slow requests and answers.

use rustix::io::Errno;

use super::{Mark, OpenConnection, SENDS_MAX, Sender, Unopened};
use crate::{
    drive::load::{
        ahead::Opened,
        connection::Failure,
        pace::{Piece, interval_ns},
    },
    observe::{Attempt, Cause, ClosedBy, Phase},
    plan::ConnectionMode,
};

/// What there is for an attempt.
pub(super) enum Found {
    Connection(Mark, Box<OpenConnection>),
    /// A connection was opened ahead for it, in vain.
    Unopened(Unopened),
    /// It needs a further connection.
    Nothing,
}

impl Sender {
    pub(super) fn mode(&self, stream: u16) -> ConnectionMode {
        self.load.streams[usize::from(stream)].connection
    }

    /// Opens the pools of the streams that keep connections. Their connections are made before the load
    /// begins, and are not attempts: one that fails is replaced when it is missed.
    pub(super) fn open_pools(&mut self) -> Result<(), Errno> {
        for index in 0..self.load.streams.len() {
            let stream = u16::try_from(index).expect("a plan must have fewer than 65,536 streams");
            if self.clients.as_ref().is_some_and(|clients| clients.speak_for(stream)) {
                continue;
            }
            for _ in 0..self.mode(stream).pool() {
                if let Ok((mark, connection)) = self.open(stream, 0)? {
                    self.pool.put(mark, connection);
                }
            }
        }
        Ok(())
    }

    /// Finds the connection that an attempt of a stream has to use.
    pub(super) fn find(&mut self, stream: u16, now_ns: u64) -> Found {
        let found = match self.mode(stream) {
            ConnectionMode::New => None,
            ConnectionMode::Reused { .. } | ConnectionMode::Pipelined { .. } => self.pool.take_idle(stream),
            ConnectionMode::Idle { wait_ns, .. } => {
                self.pool.take_rested(stream, now_ns.saturating_sub(wait_ns))
            }
            ConnectionMode::ConnectWait { .. } => match self.ahead.take(stream) {
                Some(Ok(mark)) => self.pool.take(mark).map(|connection| (mark, connection)),
                Some(Err(unopened)) => return Found::Unopened(unopened),
                None => None,
            },
        };
        found.map_or(Found::Nothing, |(mark, connection)| Found::Connection(mark, connection))
    }

    /// Opens the connections whose attempts are due a while later.
    pub(super) fn open_ahead(&mut self) -> Result<(), Errno> {
        for _ in 0..SENDS_MAX {
            let now_ns = self.clock.now_ns();
            let Some(stream) = self.ahead.next_stream(now_ns).filter(|_| !self.stopped) else { break };
            let opened: Opened = self.open(stream, now_ns)?.map(|(mark, connection)| {
                self.pool.put(mark, connection);
                mark
            });
            self.ahead.add(stream, opened);
        }
        Ok(())
    }

    /// Gives up what was opened ahead for an attempt that is not sent.
    pub(super) fn waste_ahead(&mut self, stream: u16) {
        if let Some(Ok(mark)) = self.ahead.take(stream)
            && let Some(connection) = self.pool.take(mark)
        {
            self.close(mark, connection, ClosedBy::Client);
        }
    }

    /// Notes that a connection with an attempt under way can take further ones. They come in runs of the
    /// pipeline's depth, so that there are several under way at once whatever the number of connections.
    pub(super) fn offer_more(&mut self, mark: Mark, connection: &OpenConnection) {
        let depth = self.mode(connection.stream).depth();
        if connection.under_way() >= depth as usize {
        } else if connection.requests.is_multiple_of(depth) {
            self.pool.set_idle(connection.stream, mark);
        } else {
            self.pool.set_next(connection.stream, mark);
        }
    }

    /// Notes that a connection has room again, now that an attempt on it is over.
    pub(super) fn offer_again(&mut self, mark: Mark, connection: &OpenConnection) {
        if connection.under_way() + 1 == self.mode(connection.stream).depth() as usize {
            self.pool.set_idle(connection.stream, mark);
        }
    }

    /// A connection ended while nothing was asked. Where one was opened ahead somebody is still to come for
    /// it and hear of it. Bytes that nobody asked for spoil the answer before them.
    pub(super) fn over(&mut self, mark: Mark, mut connection: Box<OpenConnection>, failure: Failure) {
        if matches!(self.mode(connection.stream), ConnectionMode::ConnectWait { .. }) {
            connection.lost = Some(failure);
            return self.pool.put(mark, connection);
        }
        if let Some(attempt) = &mut connection.unsettled
            && failure.cause == Cause::Surplus
            && attempt.ok()
        {
            (attempt.phase, attempt.cause) = (Phase::Validate, Cause::Surplus);
        }
        self.close(mark, connection, ClosedBy::Server);
    }

    /// Remembers when the next piece of a slow attempt may pass.
    pub(super) fn pace(&mut self, mark: Mark, attempt: &Attempt) {
        let pace = self.load.streams[usize::from(attempt.stream)].pace;
        if let Some(interval_ns) = interval_ns(pace) {
            self.paces.add(attempt.sent_ns + interval_ns, Piece { mark, attempt: attempt.id });
        }
    }

    /// Lets the pieces pass whose time has come.
    pub(super) fn pass_pieces(&mut self) {
        let now_ns = self.clock.now_ns();
        while let Some(piece) = self.paces.take(now_ns) {
            let Piece { mark, attempt } = piece;
            let Some(mut connection) = self.pool.take(mark) else { continue };
            if !connection.carries(attempt) {
                self.pool.put(mark, connection);
                continue;
            }
            let pace = self.load.streams[usize::from(connection.stream)].pace;
            if let Some(interval_ns) = interval_ns(pace) {
                self.paces.add(now_ns + interval_ns, piece);
            }
            connection.next_piece(now_ns);
            match connection.write() {
                Ok(()) => self.read(mark, connection, true),
                Err(failure) => self.fail(mark, connection, failure, ClosedBy::Server),
            }
        }
    }
}
