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

    /// Notes that a connection waits for an attempt.
    pub(super) fn set_idle(&mut self, stream: u16, mark: Mark) {
        self.idle[usize::from(stream)].push_back(mark);
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
    use crate::drive::load::connection::OpenConnection;

    proptest! {
        #[test]
        fn a_mark_survives_as_bits(slot in any::<u32>(), id in any::<u32>()) {
            prop_assert_eq!(Mark::from_bits(Mark { slot, id }.bits()), Mark { slot, id });
        }
    }

    fn connect(pool: &mut Pool, id: u32) -> Mark {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a socket must be had");
        let mark = pool.reserve(id);
        pool.put(mark, Box::new(OpenConnection::new(OwnedFd::from(socket), id, 0, 0)));
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
