//! Waits for sockets and for a point in time.
//!
//! Sockets are watched edge-triggered and for everything at once, so that a connection costs one
//! registration in its life. Time is a timer descriptor among them, because epoll's own timeout has a
//! resolution of 1 ms before Linux 5.11 and the thread's timer slack (50 us) after: an absolute timer has
//! neither, and is set only when the time changes.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    io::Errno,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

/// Events taken at once. Small, because whatever is due meanwhile waits for all of them.
const EVENTS_MAX: usize = 16;
/// The timer's mark among the events; no connection has it.
const TIMER: u64 = u64::MAX;
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

pub(super) struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    armed: Timespec,
    events: Vec<Event>,
    /// Events already taken.
    taken: usize,
}

impl Poller {
    pub(super) fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, timer, armed: NOW, events: Vec::with_capacity(EVENTS_MAX), taken: 0 })
    }

    /// Watches a socket until it is closed; its events carry the mark.
    pub(super) fn watch(&self, socket: impl AsFd, mark: u64) -> Result<(), Errno> {
        let all = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, EventData::new_u64(mark), all)
    }

    /// Waits until a socket has news or `CLOCK_MONOTONIC` has come to `at`.
    pub(super) fn wait_until(&mut self, at: Timespec) -> Result<(), Errno> {
        if self.armed != at {
            let once = Itimerspec { it_interval: NOW, it_value: at };
            timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
            self.armed = at;
        }
        self.wait(None)
    }

    /// The last wait was ended by the timer alone.
    pub(super) fn only_rang(&self) -> bool {
        matches!(self.events[..], [event] if { event.data }.u64() == TIMER)
    }

    /// Only looks.
    pub(super) fn look(&mut self) -> Result<(), Errno> {
        self.wait(Some(&NOW))
    }

    /// Takes the next socket with news: its mark, and what is new.
    pub(super) fn take(&mut self) -> Option<(u64, EventFlags)> {
        loop {
            let Event { flags, data, .. } = *self.events.get(self.taken)?;
            self.taken += 1;
            if data.u64() != TIMER {
                return Some((data.u64(), flags));
            }
        }
    }

    fn wait(&mut self, timeout: Option<&Timespec>) -> Result<(), Errno> {
        self.events.clear();
        self.taken = 0;
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
