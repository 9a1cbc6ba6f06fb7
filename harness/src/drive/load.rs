//! The open-loop load: every attempt of the plan is sent when it is due, whatever became of the others.
//!
//! - One thread sends and receives on its own epoll, with HTTP/1.1 spoken by hand: no pool, no runtime and
//!   no library stands between the schedule and the wire, so nothing can retry, reconnect or wait unseen.
//! - A failure is a value with a phase and a cause ([`Attempt`](crate::observe::Attempt)); it is never
//!   tried again.
//! - What the generator cannot do (ports, descriptors, its own limits) is recorded as its own fault.
//!
//! - A closed loop, where a stream asks for one, is sent by the same thread, and the report says what it hides.

mod ahead;
mod bunch;
mod clients;
mod connection;
mod control;
pub mod hot;
mod lead;
mod machine;
mod pace;
mod poller;
mod pool;
mod response;
mod schedule;
mod sender;
mod target;
mod turns;
mod wire;
mod workload;
mod writer;

use std::{
    io,
    net::SocketAddr,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering},
    },
    thread::{self, Builder, JoinHandle},
};

use rustix::{
    io::Errno,
    process::{Pid, Resource, Rlimit, getrlimit, setrlimit},
    thread::gettid,
};

pub use workload::{HeaderNames, Workload};

use crate::{
    clock::RunClock,
    environment::chain,
    observe::{self, Instrument, RunDir},
    plan::{LoadPlan, Plan},
    tls,
};
use clients::{Clients, Setting};
use control::{Control, Echo};
use machine::Sampler;
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
    #[error("start the control target")]
    Control(#[source] io::Error),
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
    sampler: Sampler,
    /// None in a plan without a control.
    echo: Option<Echo>,
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
    let (load, seed) = (plan.load.with_control(), plan.seed);
    let requests = Requests::new(&load, host, workload.clone())?;
    let descriptors = allow_descriptors();
    let echo = (plan.load.control_rate > 0.0).then(Echo::start).transpose().map_err(Error::Control)?;
    // Without a control no stream is the control's, so its address is never used.
    let control = Control::new(&load, echo.as_ref().map_or(target, |echo| echo.address));
    let (recorder, writer) = writer::start(run_dir, control.first)?;
    let [progress, clients_progress] = [(), ()].map(|()| Arc::new(Progress::default()));
    let sampler = machine::start(run_dir, clock, Arc::clone(&progress))?;
    let setting = Setting {
        plan: &plan.target,
        load: &load,
        target,
        host,
        workload,
        clock,
        stop: Arc::clone(&progress),
        progress: Arc::clone(&clients_progress),
    };
    let clients = Clients::start(&setting, recorder.another())?;
    let places = Places { target: Target::new(target, setting.tls(&["http/1.1"])?), control, descriptors };
    let sender = {
        let progress = Arc::clone(&progress);
        Builder::new()
            .name("load-sender".to_owned())
            .spawn(move || {
                progress.set_sender(gettid());
                Sender::new(load, seed, clock, requests, places, recorder, progress)
                    .map_err(Error::Poll)?
                    .with(clients)
                    .run()
            })
            .map_err(Error::Thread)?
    };
    let clients = clients_progress;
    Ok(LoadHandle { planned: expected(&plan.load), progress, clients, sender, writer, sampler, echo })
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
    /// When the kernel refused to go on. A log that could not be written is a gap of the instrument instead:
    /// what was seen until then is still worth a look.
    ///
    /// # Panics
    /// When a thread of the load did; what was seen until then is on disk.
    pub fn join(self) -> Result<Instrument, Error> {
        let sent = self.sender.join();
        let echoed = self.echo.map(Echo::join);
        let sampled = self.sampler.join();
        let written = self.writer.join();
        let mut instrument = whole(sent)?;
        let echoed = echoed.map_or(Ok(()), whole);
        let gap = |what: &str, error: &dyn std::error::Error| format!("{what}: failed to {}", chain(error));
        instrument
            .gaps
            .extend(whole(written).err().map(|error| gap("the load's logs are not whole", &error)));
        instrument.gaps.extend(whole(sampled).err().map(|error| gap("the machine was not watched", &error)));
        instrument.gaps.extend(echoed.err().map(|errno| format!("the control target broke off: {errno}")));
        Ok(instrument)
    }
}

/// What a thread returned; its panic goes on in this one.
fn whole<T>(ended: thread::Result<T>) -> T {
    ended.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Where attempts go, and how many connections there may be.
#[derive(Debug)]
struct Places {
    target: Target,
    control: Control,
    /// Attempts at the target that may be in flight at once before the process runs out of descriptors.
    descriptors: u32,
}

/// Figures that one sending thread alone writes and anyone reads.
#[derive(Debug, Default)]
struct Progress {
    sent: AtomicU64,
    ok: AtomicU64,
    failed: AtomicU64,
    in_flight: AtomicU32,
    stop: AtomicBool,
    /// The kernel's number of the sending thread; 0 before it runs.
    sender: AtomicI32,
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

    fn set_sender(&self, id: Pid) {
        self.sender.store(id.as_raw_pid(), Ordering::Relaxed);
    }

    fn sender(&self) -> Option<Pid> {
        Pid::from_raw(self.sender.load(Ordering::Relaxed))
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

/// Descriptors that are kept for other uses: logs, the control plane, the processes that events start.
const DESCRIPTORS_KEPT: u64 = 256;

/// Raises the process's limit of descriptors to what it may have, and says how many attempts may be in
/// flight then: a target that stalls for a second takes as many connections as attempts are due in it.
/// Where raising is not allowed the load goes on, and says so attempt by attempt if it runs out.
fn allow_descriptors() -> u32 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _unchanged = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    // Both ends of the control's connections are here; its queue is as good as never full.
    let kept = DESCRIPTORS_KEPT + u64::from(control::IN_FLIGHT_MAX) / 4;
    let Some(limit) = getrlimit(Resource::Nofile).current else { return u32::MAX };
    u32::try_from(limit.saturating_sub(kept).max(limit / 2)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        time::Duration,
    };

    use super::*;

    /// A panic is a bug of ours and must not be told as a doubt about the target.
    #[test]
    fn a_panic_of_a_thread_goes_on_in_the_one_that_joins() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = RunDir::new(dir.path());
        let progress = Arc::new(Progress::default());
        let clock = RunClock::starting_in(Duration::ZERO);
        let (recorder, writer) = writer::start(&run_dir, 0).unwrap();
        let load = LoadHandle {
            planned: 0,
            progress: Arc::clone(&progress),
            clients: Arc::default(),
            sender: thread::spawn(move || {
                let _dropped = recorder;
                panic!("a bug");
            }),
            writer,
            sampler: machine::start(&run_dir, clock, progress).unwrap(),
            echo: Some(Echo::start().unwrap()),
        };
        let panic = catch_unwind(AssertUnwindSafe(|| load.join())).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"a bug"));
        assert!(run_dir.attempts().is_file(), "what was seen is kept");
    }
}
