//! What is due when: the streams of the plan merged by intended time.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
};

use crate::plan::{LoadPlan, RequestPicker, arrivals};

/// Bits of an attempt's id that hold its number within the stream.
const SEQUENCE_BITS: u32 = 48;

/// An attempt that has to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) id: u64,
    pub(super) intended_ns: u64,
    pub(super) stream: u16,
    pub(super) request: u16,
}

/// The attempts of all streams in the order in which they are due.
pub(super) struct Schedule {
    streams: Vec<Lane>,
    /// The next of each stream: when, and which stream. Ties go to the stream that the plan names first.
    next: BinaryHeap<Reverse<(u64, u16)>>,
}

struct Lane {
    times: Box<dyn Iterator<Item = u64> + Send>,
    picker: RequestPicker,
    sequence: u64,
}

impl Schedule {
    pub(super) fn new(load: &LoadPlan, seed: u64) -> Self {
        let mut schedule = Self { streams: Vec::new(), next: BinaryHeap::new() };
        for (index, stream) in load.streams.iter().enumerate() {
            let mut times = arrivals(stream, index, seed, load);
            let number = u16::try_from(index).expect("a plan must have fewer than 65,536 streams");
            schedule.next.extend(times.next().map(|first| Reverse((first, number))));
            schedule.streams.push(Lane {
                times: Box::new(times),
                picker: RequestPicker::new(stream, index, seed),
                sequence: 0,
            });
        }
        schedule
    }

    /// When the next attempt is due; `None` when there are no more.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.next.peek().map(|Reverse((at_ns, _))| *at_ns)
    }

    /// An attempt of a closed loop, which is due when it is sent.
    pub(super) fn turn(&mut self, stream: u16, now_ns: u64) -> Due {
        self.streams[usize::from(stream)].due(stream, now_ns)
    }
}

impl Iterator for Schedule {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        let mut top = self.next.peek_mut()?;
        let Reverse((intended_ns, stream)) = *top;
        let lane = &mut self.streams[usize::from(stream)];
        match lane.times.next() {
            Some(following) => *top = Reverse((following, stream)),
            None => {
                PeekMut::pop(top);
            }
        }
        Some(lane.due(stream, intended_ns))
    }
}

impl Lane {
    fn due(&mut self, stream: u16, intended_ns: u64) -> Due {
        // From 1, so that no attempt has the id 0.
        self.sequence += 1;
        let request =
            u16::try_from(self.picker.next()).expect("a stream must have fewer than 65,536 requests");
        Due { id: u64::from(stream) << SEQUENCE_BITS | self.sequence, intended_ns, stream, request }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Due, Schedule};
    use crate::plan::{
        Arrival, Client, ConnectionMode, LoadPlan, Op, Pace, RequestPlan, StreamPlan, planned,
    };

    fn load() -> LoadPlan {
        let stream = |name: &str, rate, arrival| StreamPlan {
            name: name.to_owned(),
            client: Client::Http1,
            pace: Pace::default(),
            connection: ConnectionMode::New,
            rate,
            arrival,
            requests: ["a", "b"]
                .map(|name| RequestPlan { name: name.to_owned(), weight: 1, op: Op::List })
                .to_vec(),
        };
        LoadPlan {
            duration_ns: 1_000_000_000,
            warmup_ns: 0,
            timeout_ns: 1,
            slow_ns: 1,
            in_flight_max: 1,
            coalesce_ns: 0,
            stages: Vec::new(),
            control_rate: 0.0,
            streams: vec![
                stream("uniform", 300.0, Arrival::Uniform),
                stream("poisson", 700.0, Arrival::Poisson),
            ],
        }
    }

    /// Nothing is lost or made up by the merge, and it is in order.
    #[test]
    fn streams_are_merged_by_time() {
        let load = load();
        let due: Vec<Due> = Schedule::new(&load, 7).collect();
        assert_eq!(due.len() as u64, planned(&load, 7));
        assert!(due.is_sorted_by_key(|due| due.intended_ns));
        assert_eq!(due.iter().filter(|due| due.stream == 0).count(), 300);
        assert_eq!(due.iter().map(|due| due.id).collect::<HashSet<_>>().len(), due.len());
        assert!(due.iter().all(|due| due.id >> 48 == u64::from(due.stream) && due.id != 0));
        assert!(due.iter().any(|due| due.request == 1));
    }

    #[test]
    fn the_next_time_is_known_before_it_is_taken() {
        let mut schedule = Schedule::new(&load(), 7);
        while let Some(next_ns) = schedule.next_ns() {
            assert_eq!(schedule.next().map(|due| due.intended_ns), Some(next_ns));
        }
        assert_eq!(schedule.next(), None);
    }
}
