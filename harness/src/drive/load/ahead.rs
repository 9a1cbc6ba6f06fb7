//! Connections that are opened a while before the attempts that they are for.
//!
//! The openings follow the streams' own schedules, so the oldest connection that was opened ahead belongs to
//! the next attempt. Deliberately absent: sockets.

use std::collections::VecDeque;

use super::{pool::Mark, sender::Unopened};
use crate::plan::{ConnectionMode, LoadPlan, arrivals};

/// The connections ahead of their attempts, of all streams that want it.
pub(super) struct Ahead {
    lanes: Vec<Lane>,
}

/// An attempt's connection, or why there is none.
pub(super) type Opened = Result<Mark, Unopened>;

struct Lane {
    stream: u16,
    /// When to open the next; `None` when there are no more.
    next_ns: Option<u64>,
    times: Box<dyn Iterator<Item = u64> + Send>,
    opened: VecDeque<Opened>,
}

impl Ahead {
    pub(super) fn new(load: &LoadPlan, seed: u64) -> Self {
        let lane = |(stream, index, wait_ns): (_, usize, u64)| {
            let times = arrivals(stream, index, seed, load);
            let mut times = times.map(move |due_ns| due_ns.saturating_sub(wait_ns));
            let number = u16::try_from(index).expect("a plan must have fewer than 65,536 streams");
            Lane { stream: number, next_ns: times.next(), times: Box::new(times), opened: VecDeque::new() }
        };
        let waiting = load.streams.iter().enumerate().filter_map(|(index, stream)| match stream.connection {
            ConnectionMode::ConnectWait { wait_ns } => Some((stream, index, wait_ns)),
            _ => None,
        });
        Self { lanes: waiting.map(lane).collect() }
    }

    /// When [`Ahead::next_stream`] has something.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.lanes.iter().filter_map(|lane| lane.next_ns).min()
    }

    /// The stream that a connection has to be opened for by now.
    pub(super) fn next_stream(&mut self, now_ns: u64) -> Option<u16> {
        let lane = self.lanes.iter_mut().min_by_key(|lane| lane.next_ns.unwrap_or(u64::MAX))?;
        lane.next_ns.filter(|at_ns| *at_ns <= now_ns)?;
        lane.next_ns = lane.times.next();
        Some(lane.stream)
    }

    pub(super) fn add(&mut self, stream: u16, opened: Opened) {
        if let Some(lane) = self.lane(stream) {
            lane.opened.push_back(opened);
        }
    }

    /// What was opened for the attempt of a stream that is due. Without anything its time came together
    /// with the attempt's, and it is not to be opened any more.
    pub(super) fn take(&mut self, stream: u16) -> Option<Opened> {
        let lane = self.lane(stream)?;
        let opened = lane.opened.pop_front();
        if opened.is_none() {
            lane.next_ns = lane.times.next();
        }
        opened
    }

    fn lane(&mut self, stream: u16) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.stream == stream)
    }
}
