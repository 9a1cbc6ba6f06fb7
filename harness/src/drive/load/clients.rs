//! The clients of streams that do not speak HTTP/1.1 by hand: HTTP/2, and a library as applications use it.
//!
//! One schedule drives every stream: the sending thread hands an attempt over when it is due, in order and
//! without waiting, to the one thread here. That thread stamps the attempt when it really starts it, so its
//! lateness is measured like that of the others, and writes its own records. It ends when the sending thread
//! has handed everything over and the last answer has come or is given up.
//!
//! Deliberately absent: a pool with rules of its own and any retry, but for those inside of the library
//! whose stream it is.

mod desk;
mod http2;
mod library;
mod translate;

use std::{
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    thread::{Builder as ThreadBuilder, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime::Builder as RuntimeBuilder,
    select,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::LocalSet,
    time::{MissedTickBehavior, interval, sleep_until},
};

use super::{
    Error, Progress,
    schedule::Due,
    sender::STOP_GRACE_NS,
    target::Target,
    whole,
    workload::{Requests, Workload},
    writer::Recorder,
};
use crate::{
    clock::{RunClock, thread_cpu_us},
    plan::{Client, LoadPlan, StreamPlan, TargetPlan},
    tls,
};
use desk::{Desk, Lane};

/// Between two looks at whether the load was cut short and at what has to go to the disk.
const TICK: Duration = Duration::from_millis(50);

/// The sending thread's end.
#[derive(Debug)]
pub(super) struct Clients {
    /// By stream: its attempts are handed over.
    speaks_for: Vec<bool>,
    due: UnboundedSender<Due>,
    handed: u64,
    progress: Arc<Progress>,
    thread: JoinHandle<Books>,
}

/// What the thread of the clients says of itself at the end.
#[derive(Debug)]
pub(super) struct Books {
    /// Attempts that were handed over and recorded.
    pub(super) recorded: u64,
    pub(super) sent: u64,
    pub(super) cpu_us: u64,
    /// Records that the disk was too slow for.
    pub(super) lost: u64,
}

/// What the clients need to know of a run.
pub(super) struct Setting<'a> {
    pub(super) plan: &'a TargetPlan,
    pub(super) load: &'a LoadPlan,
    pub(super) target: SocketAddr,
    pub(super) host: &'a str,
    pub(super) workload: Workload,
    pub(super) clock: RunClock,
    /// Tells whether the load was cut short.
    pub(super) stop: Arc<Progress>,
    /// Counts the attempts of these streams.
    pub(super) progress: Arc<Progress>,
}

impl Setting<'_> {
    /// How to speak TLS with the target, offering these protocols; `None` for a target without it.
    ///
    /// # Errors
    /// When the plan's certificates or the host are of no use.
    pub(super) fn tls(&self, alpn: &[&str]) -> Result<Option<tls::Client>, Error> {
        match self.plan.foreign().and_then(|foreign| foreign.tls.as_ref()) {
            Some(plan) => tls::client(plan, self.host, alpn).map(Some).map_err(Error::Tls),
            None => Ok(None),
        }
    }
}

impl Clients {
    /// Starts the thread; `None` when every stream of the plan speaks HTTP/1.1.
    ///
    /// # Errors
    /// When a request cannot be expressed for these clients, or the thread cannot be made.
    pub(super) fn start(setting: &Setting<'_>, recorder: Recorder) -> Result<Option<Self>, Error> {
        let load = setting.load;
        let speaks_for: Vec<bool> =
            load.streams.iter().map(|stream| stream.client != Client::Http1).collect();
        if !speaks_for.contains(&true) {
            return Ok(None);
        }
        let requests = || Requests::new(load, setting.host, setting.workload.clone());
        translate::check(load, requests()?)?;
        let libraries = load.streams.iter().map(|stream| match stream.client {
            Client::Reqwest => library::Lane::new(stream, setting).map(Some),
            Client::Http1 | Client::Http2 => Ok(None),
        });
        let libraries = libraries.collect::<Result<_, _>>()?;
        let office = Office {
            load: load.clone(),
            target: Target::new(setting.target, None),
            tls: setting.tls(&["h2"])?,
            clock: setting.clock,
            requests: requests()?,
            recorder,
            stop: Arc::clone(&setting.stop),
            progress: Arc::clone(&setting.progress),
            libraries,
        };
        let runtime = RuntimeBuilder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        let (due, orders) = unbounded_channel();
        let thread = ThreadBuilder::new()
            .name("load-clients".to_owned())
            .spawn(move || LocalSet::new().block_on(&runtime, serve(office, orders)))
            .map_err(Error::Thread)?;
        let progress = Arc::clone(&setting.progress);
        Ok(Some(Self { speaks_for, due, handed: 0, progress, thread }))
    }

    /// The attempts of this stream are to be handed over.
    pub(super) fn speak_for(&self, stream: u16) -> bool {
        self.speaks_for[usize::from(stream)]
    }

    /// Hands an attempt over that is due now.
    pub(super) fn hand_over(&mut self, due: Due) {
        self.handed += 1;
        // When the thread is gone, which is a gap of the instrument, the attempt stays in flight for ever.
        let _gone = self.due.send(due);
    }

    /// Attempts that were handed over and have not ended.
    pub(super) fn in_flight(&self) -> u32 {
        let Progress { ok, failed, .. } = &*self.progress;
        let ended = ok.load(Ordering::Relaxed) + failed.load(Ordering::Relaxed);
        u32::try_from(self.handed.saturating_sub(ended)).unwrap_or(u32::MAX)
    }

    /// Waits for the last answer. A panic of the thread goes on in this one.
    pub(super) fn finish(self) -> Books {
        let Self { due, thread, .. } = self;
        drop(due);
        whole(thread.join())
    }
}

/// What the thread works with.
struct Office {
    load: LoadPlan,
    target: Target,
    tls: Option<tls::Client>,
    clock: RunClock,
    requests: Requests,
    recorder: Recorder,
    stop: Arc<Progress>,
    progress: Arc<Progress>,
    /// By stream; `None` for those of other clients.
    libraries: Vec<Option<library::Lane>>,
}

/// Who speaks for each stream; `None` for those that the sending thread serves itself.
fn lanes(load: &LoadPlan, libraries: Vec<Option<library::Lane>>) -> Vec<Option<Rc<Lane>>> {
    let lane = |((stream, number), library): ((&StreamPlan, u16), _)| match (stream.client, library) {
        (Client::Http2, _) => Some(Lane::Http2(http2::Lane::new(number, stream.connection))),
        (Client::Http1 | Client::Reqwest, library) => Option::map(library, Lane::Library),
    };
    load.streams.iter().zip(0..).zip(libraries).map(lane).map(|lane| lane.map(Rc::new)).collect()
}

async fn serve(office: Office, mut orders: UnboundedReceiver<Due>) -> Books {
    let Office { load, target, tls, clock, requests, recorder, stop, progress, libraries } = office;
    let lanes = lanes(&load, libraries);
    let desk = Rc::new(Desk::new(load, target, tls, clock, requests, recorder, progress));
    for lane in lanes.iter().flatten() {
        lane.open_pool(&desk);
    }
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut cut_at = None;
    let mut open = true;
    while open || desk.in_flight() > 0 {
        let cut = async {
            match cut_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        select! {
            biased;
            due = orders.recv(), if open => match due {
                Some(due) => {
                    let lane = lanes[usize::from(due.stream)].as_ref();
                    let lane = lane.expect("an attempt must be handed to the thread that serves its stream");
                    desk.take(Rc::clone(lane), due);
                }
                None => open = false,
            },
            () = desk.reap() => {}
            () = cut, if !desk.cut.is_cancelled() => desk.cut.cancel(),
            _ = ticks.tick() => {
                desk.tick();
                if cut_at.is_none() && stop.stop_asked() {
                    cut_at = Some(clock.instant(clock.now_ns() + STOP_GRACE_NS).into());
                }
            }
        }
    }
    desk.close().await;
    let desk = Rc::into_inner(desk).expect("every task must have ended");
    desk.books(thread_cpu_us())
}
