//! The target's thread: one epoll, one timer, and the script.
//!
//! Level-triggered and without cleverness, because it has to be plainly right: the instrument is measured
//! against it. Every time in the truth is read right before or right after the system call it speaks of.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    thread::yield_now,
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, bind, getsockname,
        ipproto, listen, recv, send, socket_with, sockopt,
    },
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

use super::{
    Kills, Script, Step, StepKind, TrueOutage, TrueStall, Truth, Victims,
    ways::{Then, whole_answer},
};
use crate::{analyze::intervals::Interval, clock::RunClock};

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
const EVENTS_MAX: usize = 64;
const BACKLOG: i32 = 4096;
/// Answers that are given one after the other at the end of a stall. Between them the processor is offered
/// to others: when generator and target share one, the first answers would be read after the last.
const ANSWERS_IN_A_ROW: usize = 8;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// Marks among the events that no connection has.
const TIMER: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;
const STOP: u64 = u64::MAX - 2;

pub(super) struct Server {
    clock: RunClock,
    epoll: OwnedFd,
    timer: OwnedFd,
    /// Its end of the pair that tells it to stop.
    _stopped: UnixStream,
    address: SocketAddr,
    /// Listens, except during an outage: then it only keeps the port from everybody else.
    listener: OwnedFd,
    listening: bool,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    /// Connections so far.
    accepted: u64,
    /// Steps that are not over, the next one first.
    steps: std::vec::IntoIter<Step>,
    current: Option<(Step, bool)>,
    kills: Option<Kills>,
    /// Requests so far that could have been killed.
    eligible: u64,
    /// Answers held back, in the order of their requests.
    held: Vec<Held>,
    stalled: bool,
    answer: Vec<u8>,
    answered_last_ns: u64,
    buffer: Box<[u8]>,
    truth: Truth,
}

struct Peer {
    socket: OwnedFd,
    number: u64,
    requests: u64,
    /// The beginning of a request.
    pending: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Held {
    slot: usize,
    /// Of the connection: another one may have come to the slot.
    number: u64,
    read_ns: u64,
}

impl Server {
    pub(super) fn new(script: Script, clock: RunClock, stopped: UnixStream) -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let listener = bound(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        listen(&listener, BACKLOG)?;
        let address = getsockname(&listener)?.try_into()?;
        // Edge-triggered, because the timer is never read.
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        epoll::add(&epoll, &stopped, EventData::new_u64(STOP), EventFlags::RDHUP)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let mut steps = script.steps.into_iter();
        Ok(Self {
            clock,
            epoll,
            timer,
            _stopped: stopped,
            address,
            listener,
            listening: true,
            peers: Vec::new(),
            free: Vec::new(),
            accepted: 0,
            current: steps.next().map(|step| (step, false)),
            steps,
            kills: script.kills,
            eligible: 0,
            held: Vec::new(),
            stalled: false,
            answer: whole_answer(),
            answered_last_ns: 0,
            buffer: vec![0; 16 * 1024].into_boxed_slice(),
            truth: Truth::default(),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is told to stop.
    pub(super) fn run(mut self) -> Result<Truth, Errno> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        loop {
            self.follow_script()?;
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
            // Time goes first: what came in while a step was due meets the step.
            self.follow_script()?;
            for &Event { data, .. } in &events {
                match data.u64() {
                    TIMER => {}
                    STOP => return Ok(self.truth),
                    LISTENER => self.accept()?,
                    slot => self.read(usize::try_from(slot).expect("a slot must be an index")),
                }
            }
        }
    }

    /// Begins and ends the steps that are due, and sets the timer for the next one.
    fn follow_script(&mut self) -> Result<(), Errno> {
        while let Some((step, begun)) = self.current {
            let due_ns = step.at_ns + if begun { step.for_ns } else { 0 };
            let now_ns = self.clock.now_ns();
            if now_ns < due_ns {
                let once = Itimerspec { it_interval: NOW, it_value: self.clock.monotonic(due_ns) };
                timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
                return Ok(());
            }
            self.truth.late.push(Interval { from_ns: due_ns, to_ns: now_ns });
            match (step.kind, begun) {
                (StepKind::Stall, false) => self.fall_silent(),
                (StepKind::Stall, true) => self.speak_again(),
                (StepKind::Refuse | StepKind::Away, false) => self.go_down(step.kind)?,
                (StepKind::Refuse | StepKind::Away, true) => self.come_back()?,
            }
            self.current =
                if begun { self.steps.next().map(|step| (step, false)) } else { Some((step, true)) };
        }
        Ok(())
    }

    fn fall_silent(&mut self) {
        self.stalled = true;
        self.truth.stalls.push(TrueStall {
            silent_since_ns: self.answered_last_ns,
            begun_ns: self.clock.now_ns(),
            ..TrueStall::default()
        });
    }

    fn speak_again(&mut self) {
        self.stalled = false;
        let held = std::mem::take(&mut self.held);
        let ended_ns = self.clock.now_ns();
        let mut held_max_ns = 0;
        for (place, &Held { slot, number, read_ns }) in held.iter().enumerate() {
            if place % ANSWERS_IN_A_ROW == ANSWERS_IN_A_ROW - 1 {
                yield_now();
            }
            if self.peers[slot].as_ref().is_some_and(|peer| peer.number == number) {
                self.answer(slot);
                held_max_ns = held_max_ns.max(self.answered_last_ns - read_ns);
            }
        }
        let stall = self.truth.stalls.last_mut().expect("a stall must have begun");
        let (answered_ns, held) = (self.clock.now_ns(), held.len() as u64);
        *stall = TrueStall { ended_ns, answered_ns, held_max_ns, held, ..*stall };
    }

    fn go_down(&mut self, kind: StepKind) -> Result<(), Errno> {
        if kind == StepKind::Refuse {
            // Who has come by now is served; the kernel would reset him with the listener.
            self.accept()?;
        }
        let from_ns = self.clock.now_ns();
        let SocketAddr::V4(address) = self.address else { return Err(Errno::AFNOSUPPORT) };
        // A descriptor in the old one's place closes it.
        self.listener = socket()?;
        if kind == StepKind::Away {
            for slot in 0..self.peers.len() {
                self.close(slot, Then::Reset);
            }
            self.held.clear();
        }
        let down = Interval { from_ns, to_ns: self.clock.now_ns() };
        bind(&self.listener, &address)?;
        self.listening = false;
        // Until it is up again.
        self.truth.outages.push(TrueOutage { down, up: down });
        Ok(())
    }

    fn come_back(&mut self) -> Result<(), Errno> {
        let from_ns = self.clock.now_ns();
        listen(&self.listener, BACKLOG)?;
        let up = Interval { from_ns, to_ns: self.clock.now_ns() };
        self.listening = true;
        self.truth.outages.last_mut().expect("an outage must have begun").up = up;
        epoll::add(&self.epoll, &self.listener, EventData::new_u64(LISTENER), EventFlags::IN)
    }

    fn accept(&mut self) -> Result<(), Errno> {
        while self.listening {
            let socket = match accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(errno) => return Err(errno),
            };
            // A peer that is gone already cannot be told anything; reading from it will show that.
            let _gone = sockopt::set_tcp_nodelay(&socket, true);
            let slot = self.free.pop().unwrap_or(self.peers.len());
            epoll::add(&self.epoll, &socket, EventData::new_u64(slot as u64), EventFlags::IN)?;
            self.accepted += 1;
            let peer = Peer { socket, number: self.accepted, requests: 0, pending: Vec::new() };
            match self.peers.get_mut(slot) {
                Some(place) => *place = Some(peer),
                None => self.peers.push(Some(peer)),
            }
        }
        Ok(())
    }

    fn read(&mut self, slot: usize) {
        let Some(Some(peer)) = self.peers.get_mut(slot) else { return };
        match recv(&peer.socket, &mut *self.buffer, RecvFlags::empty()) {
            Ok((0, _)) => return self.close(slot, Then::Close),
            Ok((read, _)) => peer.pending.extend_from_slice(&self.buffer[..read]),
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => return self.close(slot, Then::Close),
        }
        while let Some(Some(peer)) = self.peers.get_mut(slot)
            && let Some(end) = peer.pending.windows(END_OF_HEAD.len()).position(|bytes| bytes == END_OF_HEAD)
        {
            peer.pending.drain(..end + END_OF_HEAD.len());
            peer.requests += 1;
            let fresh = peer.requests == 1;
            self.truth.requests += 1;
            self.serve(slot, fresh);
        }
    }

    fn serve(&mut self, slot: usize, fresh: bool) {
        if self.stalled {
            let number = self.peers[slot].as_ref().map_or(0, |peer| peer.number);
            return self.held.push(Held { slot, number, read_ns: self.clock.now_ns() });
        }
        let Some(kills) = self.kills else { return self.answer(slot) };
        let is_eligible = fresh == (kills.victims == Victims::Fresh);
        self.eligible += u64::from(is_eligible);
        if !is_eligible || self.truth.killed == kills.count || !self.eligible.is_multiple_of(kills.every) {
            return self.answer(slot);
        }
        self.truth.killed += 1;
        let (bytes, then) = kills.way.act();
        self.write(slot, &bytes);
        if then != Then::Keep {
            self.close(slot, then);
        }
    }

    fn answer(&mut self, slot: usize) {
        let answer = std::mem::take(&mut self.answer);
        self.truth.answered += u64::from(self.write(slot, &answer));
        self.answer = answer;
        self.answered_last_ns = self.clock.now_ns();
    }

    /// Whether the socket took everything; it always does, unless the client is gone.
    fn write(&self, slot: usize, bytes: &[u8]) -> bool {
        let peer = self.peers[slot].as_ref().expect("an answer must have its connection");
        bytes.is_empty() || send(&peer.socket, bytes, SendFlags::NOSIGNAL) == Ok(bytes.len())
    }

    fn close(&mut self, slot: usize, then: Then) {
        let Some(peer) = self.peers[slot].take() else { return };
        if then == Then::Reset {
            // Without a linger time the kernel cannot but end the connection with a reset.
            let _gone = sockopt::set_socket_linger(&peer.socket, Some(Duration::ZERO));
        }
        self.free.push(slot);
    }
}

/// A socket for an address that may have been used a moment ago.
fn socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(socket.as_fd(), true)?;
    Ok(socket)
}

fn bound(address: SocketAddrV4) -> Result<OwnedFd, Errno> {
    let socket = socket()?;
    bind(&socket, &address)?;
    Ok(socket)
}
