//! The open connections: found by their mark, and the idle ones of each stream in the order of their use.

use std::collections::VecDeque;

use super::connection::OpenConnection;

/// Names an open connection, also among the poller's events. A mark is never used twice, so an event for a
/// connection that is gone finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    slot: u32,
    id: u32,
}

impl Mark {
    pub(super) fn from_bits(bits: u64) -> Self {
        let [slot, id] = [bits & u64::from(u32::MAX), bits >> 32]
            .map(|half| u32::try_from(half).expect("half of 64 bits must fit 32"));
        Self { slot, id }
    }

    pub(super) fn bits(self) -> u64 {
        u64::from(self.id) << 32 | u64::from(self.slot)
    }
}

#[derive(Debug)]
pub(super) struct Pool {
    slots: Vec<Option<Box<OpenConnection>>>,
    free: Vec<u32>,
    /// By stream, the least recently used in front. Marks of connections that are gone are left in and
    /// skipped.
    idle: Vec<VecDeque<Mark>>,
}

impl Pool {
    pub(super) fn new(streams: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), idle: vec![VecDeque::new(); streams] }
    }

    /// A place for a connection with this id, which is then put there.
    pub(super) fn reserve(&mut self, id: u32) -> Mark {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("there must be fewer than 2^32 sockets")
        });
        Mark { slot, id }
    }

    pub(super) fn put(&mut self, mark: Mark, connection: Box<OpenConnection>) {
        self.slots[mark.slot as usize] = Some(connection);
    }

    /// Looks at a connection.
    pub(super) fn get(&self, mark: Mark) -> Option<&OpenConnection> {
        self.slots.get(mark.slot as usize)?.as_deref().filter(|connection| connection.id == mark.id)
    }

    /// Takes a connection out, to be put back or released.
    pub(super) fn take(&mut self, mark: Mark) -> Option<Box<OpenConnection>> {
        self.slots.get_mut(mark.slot as usize)?.take_if(|connection| connection.id == mark.id)
    }

    /// Gives the place of a connection that was taken out, or never came, to others.
    pub(super) fn release(&mut self, mark: Mark) {
        self.free.push(mark.slot);
    }

    /// Notes that a connection can take an attempt, after the others.
    pub(super) fn set_idle(&mut self, stream: u16, mark: Mark) {
        self.idle[usize::from(stream)].push_back(mark);
    }

    /// Notes that a connection can take an attempt, before the others.
    pub(super) fn set_next(&mut self, stream: u16, mark: Mark) {
        self.idle[usize::from(stream)].push_front(mark);
    }

    /// As [`Pool::take_idle`], if the connection has been idle since `before_ns` or was never used.
    pub(super) fn take_rested(&mut self, stream: u16, before_ns: u64) -> Option<(Mark, Box<OpenConnection>)> {
        loop {
            let mark = *self.idle[usize::from(stream)].front()?;
            match self.get(mark) {
                Some(connection) if connection.requests > 0 && connection.idle_since_ns > before_ns => {
                    return None;
                }
                Some(_) => return self.take_idle(stream),
                None => drop(self.idle[usize::from(stream)].pop_front()),
            }
        }
    }

    /// Takes out the idle connection of a stream that was used longest ago.
    pub(super) fn take_idle(&mut self, stream: u16) -> Option<(Mark, Box<OpenConnection>)> {
        loop {
            let mark = self.idle[usize::from(stream)].pop_front()?;
            if let Some(connection) = self.take(mark) {
                return Some((mark, connection));
            }
        }
    }

    /// The marks of all connections.
    pub(super) fn marks(&self) -> Vec<Mark> {
        let mark = |(slot, connection): (usize, &Option<Box<OpenConnection>>)| {
            let slot = u32::try_from(slot).expect("there must be fewer than 2^32 sockets");
            connection.as_ref().map(|connection| Mark { slot, id: connection.id })
        };
        self.slots.iter().enumerate().filter_map(mark).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::fd::OwnedFd};

    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{Mark, Pool};
    use crate::drive::load::{connection::OpenConnection, wire::Wire};

    proptest! {
        #[test]
        fn a_mark_survives_as_bits(slot in any::<u32>(), id in any::<u32>()) {
            prop_assert_eq!(Mark::from_bits(Mark { slot, id }.bits()), Mark { slot, id });
        }
    }

    fn connect(pool: &mut Pool, id: u32) -> Mark {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a socket must be had");
        let mark = pool.reserve(id);
        let wire = Wire::new(OwnedFd::from(socket), None);
        pool.put(mark, Box::new(OpenConnection::new(wire, id, 0, 0)));
        mark
    }

    #[test]
    fn the_connection_idle_longest_comes_first_and_dead_ones_are_skipped() {
        let mut pool = Pool::new(1);
        let marks = [1, 2, 3].map(|id| connect(&mut pool, id));
        for mark in marks {
            pool.set_idle(0, mark);
        }
        drop(pool.take(marks[0]));
        pool.release(marks[0]);
        let (mark, connection) = pool.take_idle(0).expect("two must be idle");
        assert_eq!(connection.id, 2);
        pool.put(mark, connection);
        assert_eq!(pool.take_idle(0).map(|(_, connection)| connection.id), Some(3));
        assert!(pool.take_idle(0).is_none(), "the second is busy");
    }

    #[test]
    fn a_connection_rests_after_its_answer() {
        let mut pool = Pool::new(1);
        for (id, requests, idle_since_ns) in [(1, 0, 900), (2, 3, 100), (3, 3, 200), (4, 3, 300)] {
            let mark = connect(&mut pool, id);
            let mut connection = pool.take(mark).unwrap();
            (connection.requests, connection.idle_since_ns) = (requests, idle_since_ns);
            if id != 2 {
                pool.put(mark, connection);
            }
            pool.set_idle(0, mark);
        }
        let mut take = |before_ns| pool.take_rested(0, before_ns).map(|(_, connection)| connection.id);
        assert_eq!(take(0), Some(1), "it was never used");
        assert_eq!(take(199), None);
        assert_eq!(take(200), Some(3), "the second is gone");
        assert_eq!(take(299), None);
        assert_eq!(take(900), Some(4));
        assert_eq!(take(900), None);
    }

    #[test]
    fn a_place_is_used_again_but_a_mark_is_not() {
        let mut pool = Pool::new(1);
        let first = connect(&mut pool, 1);
        drop(pool.take(first));
        pool.release(first);
        let second = connect(&mut pool, 2);
        assert_eq!(first.slot, second.slot);
        assert!(pool.get(first).is_none() && pool.take(first).is_none());
        assert_eq!(pool.marks(), [second]);
    }
}
