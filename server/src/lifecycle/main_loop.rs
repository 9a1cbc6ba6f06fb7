//! The one loop that decides over the process's life: it reads every request, greeting and signal in turn.
//!
//! One swap at a time: a second request is refused while one goes on. What is asked while this process is
//! still being handed things by its own predecessor waits until that is over, which is soon and bounded.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::{
    ConnectionCounts, ControlRequest, Phase, PhaseTimes, UpgradeError, UpgradeOutcome, UpgradeReport,
    UpgradeTo, carrying,
    channel::Channel,
    connections::Directive,
    life::Life,
    message::{Hello, Message},
    newcomer,
    predecessor::{self, Turn},
    service_manager,
    signals::{Request, Signals},
    successor::{Cause, Inbox, Swap},
};
use crate::{config, config::Strategy, tasks::Tasks};

/// How long a process may take to say who it is after it has connected.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);

/// Greetings that may wait for the loop.
const GREETINGS_MAX: usize = 4;

/// Why the process ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// A successor has everything.
    Replaced,
    /// It was told to.
    Stopped,
    /// The process before it serves again, and says why.
    Dismissed(String),
}

/// Runs until the process is replaced, or told to stop and has stopped.
pub(super) async fn run(
    life: &Arc<Life>,
    mut requests: mpsc::Receiver<ControlRequest>,
    predecessor: Option<Channel>,
    claim: Option<JoinHandle<()>>,
    mut signals: Signals,
) -> End {
    let tasks = Tasks::default();
    let mut inheritance: Option<Pin<Box<dyn Future<Output = Option<String>> + Send>>> =
        Some(Box::pin(inherit(Arc::clone(life), predecessor, claim)));
    let mut greetings = None;
    let mut swap: Option<Going> = None;
    let (mut signalled, mut stopping) = (false, false);
    loop {
        if inheritance.is_none() && greetings.is_none() {
            // Only now the control socket is ours alone.
            greetings = Some(greet(life, &tasks));
        }
        tokio::select! {
            biased;
            signal = signals.next() => match signal {
                Request::TellPending => tell_pending(life, &tasks),
                // Like a request it waits until this process has everything.
                Request::Upgrade if inheritance.is_some() => signalled = true,
                Request::Upgrade => swap = begin_again(life, swap.is_some()).or(swap),
                // A process that stops while it takes over would leave the old one alone, which had said that it is
                // replaced; told twice it goes at once.
                Request::Stop if inheritance.is_some() && !stopping => stopping = true,
                Request::Stop => match &swap {
                    Some(going) if going.strategy.binds_twice() && !life.committed() => {
                        going.retired.notify_one();
                    }
                    Some(_) if life.committed() => {
                        tracing::info!("a signal came while the successor takes over; it is left to finish");
                    }
                    _ => {
                        drop(swap.take());
                        return stop(life, requests, &mut signals).await;
                    }
                },
            },
            dismissed = finished(&mut inheritance) => {
                inheritance = None;
                if let Some(reason) = dismissed {
                    return leave(life, requests, &mut signals, reason).await;
                }
                if stopping {
                    return stop(life, requests, &mut signals).await;
                }
                if std::mem::take(&mut signalled) {
                    swap = begin_again(life, swap.is_some()).or(swap);
                }
            }
            replaced = over(&mut swap) => {
                swap = None;
                if replaced {
                    return End::Replaced;
                }
            }
            request = requests.recv(), if inheritance.is_none() => match request {
                Some(ControlRequest::Upgrade { to, answer }) => {
                    swap = begin(life, swap.is_some(), to, answer).or(swap);
                }
                // A swap that goes on ends this process anyway, or fails and can be drained then. Whoever asked
                // may have gone.
                Some(ControlRequest::Drain { answer }) if swap.is_some() => _ = answer.send(false),
                Some(ControlRequest::Drain { answer }) => {
                    _ = answer.send(true);
                    return stop(life, requests, &mut signals).await;
                }
                None => return stop(life, requests, &mut signals).await,
            },
            Some(greeting) = greeted(&mut greetings) => {
                swap = meet(life, &tasks, swap.as_ref(), greeting).or(swap);
            }
        }
    }
}

/// A swap in progress, as the loop sees it.
struct Going {
    swap: Pin<Box<dyn Future<Output = bool> + Send>>,
    ticket: String,
    arrivals: mpsc::Sender<(Hello, Channel)>,
    retired: Arc<Notify>,
    strategy: Strategy,
}

impl Going {
    fn start(life: &Arc<Life>, cause: Cause) -> Self {
        // A word that only the process started by this swap knows.
        let ticket = uuid::Uuid::now_v7().to_string();
        let (arrivals, receiver) = mpsc::channel(1);
        let retired = Arc::new(Notify::new());
        let strategy = match &cause {
            Cause::Asked { .. } => life.config.upgrade.strategy,
            Cause::Arrived { hello, .. } => hello.strategy,
        };
        let inbox = Inbox { arrivals: receiver, retired: Arc::clone(&retired) };
        let swap = Box::pin(Swap::new(Arc::clone(life), inbox, ticket.clone()).run(cause));
        Self { swap, ticket, arrivals, retired, strategy }
    }
}

async fn over(swap: &mut Option<Going>) -> bool {
    match swap {
        Some(going) => going.swap.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn finished<T>(task: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match task {
        Some(task) => task.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn greeted(greetings: &mut Option<mpsc::Receiver<(Hello, Channel)>>) -> Option<(Hello, Channel)> {
    match greetings {
        Some(greetings) => greetings.recv().await,
        None => std::future::pending().await,
    }
}

/// Serves the connections that the predecessor still sends, and waits until the pid file names this process: whoever
/// comes next reads there whom to signal. Gives the reason why this process has to go, if it has to.
async fn inherit(
    life: Arc<Life>,
    predecessor: Option<Channel>,
    claim: Option<JoinHandle<()>>,
) -> Option<String> {
    if let Some(channel) = predecessor
        && let Some(reason) = take_the_rest(&life, channel).await
    {
        return Some(reason);
    }
    if let Some(claim) = claim {
        // It cannot panic, and is not ended by anybody.
        _ = claim.await;
    }
    None
}

async fn take_the_rest(life: &Arc<Life>, channel: Channel) -> Option<String> {
    let turn = loop {
        match predecessor::adopt(&channel, &life.connections).await {
            Ok(Turn::State(document)) => {
                if let Err(error) = carrying::absorb(&life.app, document).await {
                    tracing::error!("failed to {error}; what the old process has counted last is lost");
                }
                life.app.settle(true);
            }
            // It publishes no more; until now a request may have begun in it.
            Ok(Turn::Stopped) => life.reload.reopen(),
            turn => break turn,
        }
    };
    life.reload.reopen();
    life.app.settle(true);
    match turn {
        Ok(Turn::Done(report)) => {
            tracing::info!("everything is handed over");
            life.app.taken_over(report);
        }
        Ok(Turn::Gone) => tracing::warn!("the old process ended before everything was handed over"),
        Ok(Turn::Refused(reason)) => return Some(reason),
        Ok(turn) => tracing::error!(?turn, "the old process lost its way"),
        Err(error) => tracing::error!(%error, "the handover broke off"),
    }
    life.close_dropped().await;
    None
}

/// Listens for processes that want to take over, and reads their greetings.
fn greet(life: &Arc<Life>, tasks: &Tasks) -> mpsc::Receiver<(Hello, Channel)> {
    let (sender, receiver) = mpsc::channel(GREETINGS_MAX);
    let (life, inner) = (Arc::clone(life), tasks.clone());
    drop(tasks.spawn(async move {
        loop {
            let channel = match life.next_arrival().await {
                Ok(channel) => channel,
                Err(error) => {
                    tracing::warn!(%error, "a process at the control socket was turned away");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            let sender = sender.clone();
            drop(inner.spawn(async move {
                match timeout(GREETING_TIMEOUT, channel.receive()).await {
                    Ok(Ok(received)) => match received.message {
                        // The loop ends only with the process.
                        Message::Hello(hello) => _ = sender.send((hello, channel)).await,
                        other => tracing::warn!(?other, "not a greeting"),
                    },
                    Ok(Err(error)) => tracing::warn!(%error, "no greeting came"),
                    Err(_) => tracing::warn!("no greeting came in time"),
                }
            }));
        }
    }));
    receiver
}

fn turn_away(tasks: &Tasks, channel: Channel, reason: &str) {
    let refusal = Message::Refuse { reason: reason.to_owned() };
    drop(tasks.spawn(async move {
        // A process that does not wait for its refusal has no need of it.
        _ = channel.send(&refusal, &[], &[]).await;
    }));
}

/// Why an upgrade does not begin: kind and detail.
type Reason = (&'static str, &'static str);

const BUSY: Reason = ("busy", "an upgrade is going on; ask again when it is over");
const MANAGED: Reason = (
    "refused",
    "under activate the service manager starts the new process, with the sockets that it holds; have it start the \
     next instance beside this one",
);

/// Only a service manager can start a process with its sockets.
fn is_managed(life: &Life) -> bool {
    life.config.upgrade.strategy == Strategy::Activate
}

fn refused((kind, detail): Reason) -> UpgradeError {
    UpgradeError::at_start(kind, detail.to_owned())
}

/// Hands a greeting to the swap that waits for it; one that nobody waits for begins a swap, or is turned away.
fn meet(
    life: &Arc<Life>,
    tasks: &Tasks,
    swap: Option<&Going>,
    (hello, channel): (Hello, Channel),
) -> Option<Going> {
    match swap {
        Some(going) if hello.ticket.as_deref() == Some(going.ticket.as_str()) => {
            // The swap that waits for it reads at once; a second greeting with its ticket is turned away.
            _ = going.arrivals.try_send((hello, channel));
        }
        Some(_) => turn_away(tasks, channel, "an upgrade is going on; try again when it is over"),
        None if hello.ticket.is_some() => {
            turn_away(tasks, channel, "the upgrade that started this process is over");
        }
        None => return Some(Going::start(life, Cause::Arrived { hello, channel })),
    }
    None
}

/// Begins an upgrade, or tells at once why not.
fn begin(
    life: &Arc<Life>,
    is_busy: bool,
    to: UpgradeTo,
    answer: oneshot::Sender<UpgradeReport>,
) -> Option<Going> {
    let binary = match to {
        _ if is_busy => Err(refused(BUSY)),
        _ if is_managed(life) => Err(refused(MANAGED)),
        UpgradeTo::Binary(binary) => Ok(binary),
        UpgradeTo::Previous => life.app.programs().to_go_back_to(),
    };
    match binary {
        Ok(binary) => Some(Going::start(life, Cause::Asked { binary, answer })),
        Err(error) => {
            refuse(life, error, answer);
            None
        }
    }
}

/// The same for a signal, which brings no path and hears no answer.
fn begin_again(life: &Arc<Life>, is_busy: bool) -> Option<Going> {
    begin(life, is_busy, UpgradeTo::Binary(newcomer::own_path()), oneshot::channel().0)
}

/// Answers a request for an upgrade that cannot be at once.
fn refuse(life: &Life, error: UpgradeError, answer: oneshot::Sender<UpgradeReport>) {
    let report = UpgradeReport {
        outcome: UpgradeOutcome::Refused,
        strategy: life.config.upgrade.strategy.to_string(),
        old: life.identity.clone(),
        new: None,
        sockets: 0,
        connections: ConnectionCounts::default(),
        phases_ms: PhaseTimes::default(),
        error: Some(error),
    };
    life.note(&report);
    // Whoever asked may have gone.
    _ = answer.send(report);
}

/// An orderly stop: no new connections, the requests in flight are finished, the rest is cut in time.
async fn stop(life: &Life, requests: mpsc::Receiver<ControlRequest>, signals: &mut Signals) -> End {
    // Who asks for anything else gets no answer from the loop any more, and must not wait for one.
    drop(requests);
    service_manager::tell_stopping();
    life.phase(Phase::Draining);
    life.close_listeners().await;
    drain(life, signals).await;
    End::Stopped
}

/// The end of a process that serves beside one that serves again, whose the files at the paths are.
async fn leave(
    life: &Life,
    requests: mpsc::Receiver<ControlRequest>,
    signals: &mut Signals,
    reason: String,
) -> End {
    drop(requests);
    life.phase(Phase::Draining);
    life.leave_listeners().await;
    drain(life, signals).await;
    End::Dismissed(reason)
}

/// Answers what is in flight, with the listeners closed.
async fn drain(life: &Life, signals: &mut Signals) {
    life.connections.direct(Directive::Close);
    // Others are to know it before the last answer is given.
    let leaving = async {
        if let Some(registration) = &life.registration {
            registration.leave().await;
        }
    };
    let again = async { while signals.next().await != Request::Stop {} };
    tokio::select! {
        _ = async { tokio::join!(life.connections.gone(life.config.upgrade.drain), leaving) } => {}
        () = again => tracing::warn!("told twice: what is in flight is cut"),
    }
    let ended = life.connections.ended();
    tracing::info!(finished = ended.finished, closed = ended.closed, cut = ended.cut, "drained");
}

/// Compares the settings in use with the file, and tells what an upgrade or a restart would change.
fn tell_pending(life: &Life, tasks: &Tasks) {
    let loaded = Arc::clone(&life.config);
    drop(tasks.spawn_blocking(move || match config::load(&loaded.source) {
        Ok(now) => {
            for change in config::pending(&loaded, &now) {
                tracing::warn!(key = change.key, needs = ?change.needs, "changed in the file, not in use");
            }
        }
        Err(error) => tracing::error!(%error, "the configuration file has faults and is not used"),
    }));
}
