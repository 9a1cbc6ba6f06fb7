//! Closed loops: whose turn it is to send because his last attempt is over.
//!
//! Each place of a closed stream has one attempt under way at most: as many places as it keeps connections,
//! and one where each attempt has a connection of its own. After a failure the place rests: a target that
//! refuses everything would otherwise be asked a hundred thousand times a second, and fill the disk with it.

use std::collections::VecDeque;

use crate::plan::{Arrival, LoadPlan};

/// After a failed attempt.
const REST_NS: u64 = 10_000_000;

#[derive(Debug)]
pub(super) struct Turns {
    /// By stream.
    closed: Vec<bool>,
    ends_ns: u64,
    ready: VecDeque<u16>,
    /// When the rest is over, and whose. In order, since all rest equally long.
    resting: VecDeque<(u64, u16)>,
}

impl Turns {
    pub(super) fn new(load: &LoadPlan) -> Self {
        let closed: Vec<bool> = load.streams.iter().map(|stream| stream.arrival == Arrival::Closed).collect();
        let ready = (0_u16..).zip(&load.streams).filter(|(_, stream)| stream.arrival == Arrival::Closed);
        let ready = ready
            .flat_map(|(number, stream)| (0..stream.connection.pool().max(1)).map(move |_| number))
            .collect();
        Self { closed, ends_ns: load.duration_ns, ready, resting: VecDeque::new() }
    }

    /// An attempt of a stream is over.
    pub(super) fn over(&mut self, stream: u16, ok: bool, now_ns: u64) {
        match ok {
            _ if !self.closed[usize::from(stream)] || now_ns >= self.ends_ns => {}
            true => self.ready.push_back(stream),
            false => self.resting.push_back((now_ns + REST_NS, stream)),
        }
    }

    /// The stream whose turn it is.
    pub(super) fn take(&mut self, now_ns: u64) -> Option<u16> {
        if now_ns >= self.ends_ns {
            self.stop();
        }
        if let Some((_, stream)) = self.resting.pop_front_if(|(at_ns, _)| *at_ns <= now_ns) {
            return Some(stream);
        }
        self.ready.pop_front()
    }

    /// When it is somebody's turn; `None` when nobody waits for one.
    pub(super) fn next_ns(&self) -> Option<u64> {
        if self.ready.is_empty() { self.resting.front().map(|(at_ns, _)| *at_ns) } else { Some(0) }
    }

    /// Nobody sends any more.
    pub(super) fn stop(&mut self) {
        self.ends_ns = 0;
        self.ready.clear();
        self.resting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{REST_NS, Turns};

    fn turns() -> Turns {
        Turns { closed: vec![false, true], ends_ns: 1_000_000_000, ready: [1].into(), resting: [].into() }
    }

    #[test]
    fn an_answer_is_a_turn_and_a_failure_a_rest() {
        let mut turns = turns();
        assert_eq!((turns.take(5), turns.take(5), turns.next_ns()), (Some(1), None, None));
        turns.over(0, true, 6);
        assert_eq!(turns.next_ns(), None, "the first stream has a schedule");
        turns.over(1, true, 6);
        assert_eq!((turns.next_ns(), turns.take(6)), (Some(0), Some(1)));
        turns.over(1, false, 7);
        assert_eq!((turns.next_ns(), turns.take(6 + REST_NS)), (Some(7 + REST_NS), None));
        assert_eq!(turns.take(7 + REST_NS), Some(1));
    }

    #[test]
    fn there_is_no_turn_after_the_end() {
        let mut turns = turns();
        turns.over(1, false, 999_999_999);
        assert_eq!((turns.take(1_000_000_000), turns.next_ns()), (None, None));
        turns.over(1, true, 1_000_000_000);
        assert_eq!(turns.next_ns(), None);
    }
}
