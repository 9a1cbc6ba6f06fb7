//! The open-loop load: every attempt of the plan is sent when it is due, whatever became of the others.
//!
//! - One thread sends and receives on its own epoll, with HTTP/1.1 spoken by hand: no pool, no runtime and
//!   no library stands between the schedule and the wire, so nothing can retry, reconnect or wait unseen.
//! - A failure is a value with a phase and a cause ([`Attempt`](crate::observe::Attempt)); it is never
//!   tried again.
//! - What the generator cannot do (ports, descriptors, its own limits) is recorded as its own fault.
//!
//! Deliberately absent: closed loops.

mod ahead;
mod clients;
mod connection;
mod lead;
mod pace;
mod poller;
mod pool;
mod response;
mod schedule;
mod sender;
mod target;
mod wire;
mod workload;
mod writer;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::{Builder, JoinHandle},
};

use rustix::{
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

pub use workload::{HeaderNames, Workload};

use crate::{
    clock::RunClock,
    observe::{self, Instrument, RunDir},
    plan::{LoadPlan, Plan},
    tls,
};
use clients::{Clients, Setting};
use sender::Sender;
use target::Target;
use workload::Requests;
use writer::Writer;

/// What keeps a load from starting or going on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("use {0:?} as run id: it must be 1 to 100 visible ASCII characters")]
    RunId(String),
    #[error("build the request {request:?}: it needs {what}, and the target has none")]
    Workload { request: String, what: &'static str },
    #[error("build a request with {0:?}: a control character would end its line")]
    ControlCharacter(String),
    #[error("expect a body with the SHA-256 {0:?}: write 64 hexadecimal digits")]
    Digest(String),
    #[error("speak TLS with the target")]
    Tls(#[source] tls::Error),
    #[error("say {request:?} in anything but HTTP/1.1: its path or a header is not a valid one")]
    Untranslatable { request: String },
    #[error("make the reqwest client of a stream")]
    Library(#[source] reqwest::Error),
    #[error("make the load's logs")]
    Log(#[source] observe::Error),
    #[error("start a thread of the load")]
    Thread(#[source] io::Error),
    #[error("watch the load's sockets")]
    Poll(#[source] Errno),
}

/// How far a load is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgressSnapshot {
    /// Attempts in the schedule, from the streams' rates; the exact number is the instrument's.
    pub planned: u64,
    /// Attempts put on the wire.
    pub sent: u64,
    pub ok: u64,
    /// Attempts that failed, those that could not be sent included.
    pub failed: u64,
    pub in_flight: u32,
}

/// A load under way.
#[derive(Debug)]
pub struct LoadHandle {
    planned: u64,
    progress: Arc<Progress>,
    /// Of the streams that do not speak HTTP/1.1.
    clients: Arc<Progress>,
    sender: JoinHandle<Result<Instrument, Error>>,
    writer: Writer,
}

/// Starts the load of a plan against a target. Connections of reused streams are opened at once, the first
/// attempt is sent when the clock comes to its zero.
///
/// `host` goes into the `host` header. The logs of attempts, connections and buys in `run_dir` (which must
/// exist) are written while the load goes on, and whole after [`LoadHandle::join`].
///
/// # Errors
/// When the plan asks for what the workload lacks, or files or threads cannot be made.
pub fn start(
    plan: &Plan,
    target: SocketAddr,
    host: &str,
    workload: Workload,
    run_dir: &RunDir,
    clock: RunClock,
) -> Result<LoadHandle, Error> {
    let requests = Requests::new(&plan.load, host, workload.clone())?;
    allow_descriptors();
    let (recorder, writer) = writer::start(run_dir)?;
    let [progress, clients_progress] = [(), ()].map(|()| Arc::new(Progress::default()));
    let setting = Setting {
        plan: &plan.target,
        load: &plan.load,
        target,
        host,
        workload: &workload,
        clock,
        stop: Arc::clone(&progress),
        progress: Arc::clone(&clients_progress),
    };
    let clients = Clients::start(&setting, recorder.another())?;
    let sending = Target::new(target, setting.tls(&["http/1.1"])?);
    let sender = {
        let (load, seed, progress) = (plan.load.clone(), plan.seed, Arc::clone(&progress));
        Builder::new()
            .name("load-sender".to_owned())
            .spawn(move || {
                Sender::new(load, seed, clock, requests, sending, recorder, progress, clients)
                    .map_err(Error::Poll)?
                    .run()
            })
            .map_err(Error::Thread)?
    };
    Ok(LoadHandle { planned: expected(&plan.load), progress, clients: clients_progress, sender, writer })
}

impl LoadHandle {
    #[must_use]
    pub fn progress(&self) -> ProgressSnapshot {
        let both = [&self.progress, &self.clients];
        let sum =
            |of: fn(&Progress) -> &AtomicU64| both.map(|one| of(one).load(Ordering::Relaxed)).iter().sum();
        ProgressSnapshot {
            planned: self.planned,
            sent: sum(|one| &one.sent),
            ok: sum(|one| &one.ok),
            failed: sum(|one| &one.failed),
            in_flight: both.map(|one| one.in_flight.load(Ordering::Relaxed)).iter().sum(),
        }
    }

    /// Cuts the load short: nothing more is sent, and the answers under way have half a second to come.
    /// What was not due by then is not recorded.
    pub fn stop(&self) {
        self.progress.stop.store(true, Ordering::Relaxed);
    }

    /// The load is over, and [`LoadHandle::join`] will not wait.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.sender.is_finished() && self.writer.is_finished()
    }

    /// Waits until the last answer has come or is given up, and the logs are whole.
    ///
    /// # Errors
    /// When the kernel refused to go on. A panic and a log that could not be written are gaps of the
    /// instrument instead: what was seen until then is still worth a look.
    pub fn join(self) -> Result<Instrument, Error> {
        let seen = self.progress();
        let sent = self.sender.join();
        let written = self.writer.join();
        let mut instrument = match sent {
            Ok(instrument) => instrument?,
            Err(_) => Instrument {
                planned: seen.planned,
                sent: seen.sent,
                gaps: vec!["the thread that sends the load panicked".to_owned()],
                ..Instrument::default()
            },
        };
        instrument.gaps.extend(written.err());
        Ok(instrument)
    }
}

/// Figures that one sending thread alone writes and anyone reads.
#[derive(Debug, Default)]
struct Progress {
    sent: AtomicU64,
    ok: AtomicU64,
    failed: AtomicU64,
    in_flight: AtomicU32,
    stop: AtomicBool,
}

impl Progress {
    fn sent(&self, sent: u64, in_flight: u32) {
        self.sent.store(sent, Ordering::Relaxed);
        self.in_flight.store(in_flight, Ordering::Relaxed);
    }

    fn ended(&self, ok: bool, in_flight: u32) {
        let count = if ok { &self.ok } else { &self.failed };
        // With a single writer a load and a store do, and cost less than an atomic addition.
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.in_flight.store(in_flight, Ordering::Relaxed);
    }

    fn stop_asked(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Attempts that the streams' rates let expect.
fn expected(load: &LoadPlan) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate for a progress bar"
    )]
    let attempts =
        |rate: f64| (rate * std::time::Duration::from_nanos(load.duration_ns).as_secs_f64()).round() as u64;
    load.streams.iter().map(|stream| attempts(stream.rate)).sum()
}

/// Raises the process's limit of descriptors to what it may have: a target that stalls for a second takes
/// as many connections as attempts are due in it. Where that is not allowed the load goes on, and says so
/// attempt by attempt if it runs out.
fn allow_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _unchanged = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
