//! The one loop that decides over the process's life: it reads every request, greeting and signal in turn.
//!
//! One swap at a time: a second request is refused while one goes on. What is asked while this process is
//! still being handed things by its own predecessor waits until that is over, or is refused when that takes too long.

use std::{
    ops::ControlFlow,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    ConnectionCounts, ControlRequest, PhaseTimes, UpgradeError, UpgradeOutcome, UpgradeReport, UpgradeTo,
    channel::Channel,
    ending::{self, End},
    inheritance::{self, Giver},
    life::Life,
    message::{Hello, Message},
    newcomer,
    signals::{Request, Signals},
    successor::{self, Cause, Inbox, Seen, Swap},
};
use crate::{config, config::Strategy, tasks::Tasks};

/// How long a process may take to say who it is after it has connected.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);

/// Greetings that may wait for the loop.
const GREETINGS_MAX: usize = 4;

/// Runs until the process is replaced, or told to stop and has stopped.
pub(super) async fn run(
    life: &Arc<Life>,
    mut requests: mpsc::Receiver<ControlRequest>,
    predecessor: Option<Giver>,
    claim: Option<JoinHandle<()>>,
    mut signals: Signals,
) -> End {
    let tasks = Tasks::default();
    let came_after = predecessor.is_some();
    let mut inheritance: Option<Pin<Box<dyn Future<Output = Option<String>> + Send>>> =
        Some(Box::pin(inheritance::take(Arc::clone(life), predecessor, claim)));
    let mut greetings = None;
    let mut swap: Option<Going> = None;
    let (mut signalled, mut stopping, mut overdue) = (false, false, false);
    let mut patience = std::pin::pin!(sleep(life.config.upgrade.handover()));
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
                Request::Stop => match due(life, inheritance.is_some(), swap.as_ref(), stopping) {
                    Due::Later => stopping = true,
                    Due::Leave(retired) => retired.notify_one(),
                    Due::Now => break,
                },
            },
            dismissed = finished(&mut inheritance) => {
                inheritance = None;
                if let Some(reason) = dismissed {
                    drop(requests);
                    return ending::leave(life, &mut signals, reason).await;
                }
                if stopping {
                    break;
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
                if stopping {
                    break;
                }
            }
            () = &mut patience, if !overdue => overdue = true,
            request = requests.recv(), if inheritance.is_none() || overdue => {
                match asked(life, request, inheritance.is_some(), swap.is_some()) {
                    ControlFlow::Continue(begun) => swap = begun.or(swap),
                    ControlFlow::Break(()) => break,
                }
            }
            Some(greeting) = greeted(&mut greetings) => {
                swap = meet(life, &tasks, swap.as_ref(), greeting).or(swap);
            }
        }
    }
    // Who asks for anything else gets no answer from the loop any more, and must not wait for one.
    drop(requests);
    if came_after && inheritance.take().is_some() {
        // The old process hears it, and serves again; everything that has a path is its own.
        return ending::leave(life, &mut signals, TOLD_TWICE.to_owned()).await;
    }
    stop(life, &tasks, &mut signals, swap, greetings).await
}

/// Carries out what the admin side asks for; an upgrade may have begun then. `Break`: this process is to stop.
fn asked(
    life: &Arc<Life>,
    request: Option<ControlRequest>,
    is_inheriting: bool,
    is_swapping: bool,
) -> ControlFlow<(), Option<Going>> {
    let busy = if is_inheriting { Some(UNFINISHED) } else { is_swapping.then_some(BUSY) };
    match request {
        Some(ControlRequest::Upgrade { to, answer }) => ControlFlow::Continue(begin(life, busy, to, answer)),
        // A swap that goes on ends this process anyway, or fails and can be drained then. Whoever asked may have gone.
        Some(ControlRequest::Drain { answer }) if busy.is_some() => {
            _ = answer.send(false);
            ControlFlow::Continue(None)
        }
        Some(ControlRequest::Drain { answer }) => {
            _ = answer.send(true);
            ControlFlow::Break(())
        }
        None => ControlFlow::Break(()),
    }
}

/// Ends what goes on, and with it the process.
async fn stop(
    life: &Arc<Life>,
    tasks: &Tasks,
    signals: &mut Signals,
    swap: Option<Going>,
    greetings: Option<mpsc::Receiver<(Hello, Channel)>>,
) -> End {
    if let Some(going) = swap {
        going.give_up().await;
    }
    let greetings = greetings.unwrap_or_else(|| greet(life, tasks));
    ending::stop(life, signals, turn_all_away(tasks, greetings)).await
}

/// What becomes of a signal to stop.
enum Due {
    /// This process stops at once.
    Now,
    /// It stops when it is certain who serves, if that is still this process.
    Later,
    /// It is the successor that wants this process to leave.
    Leave(Arc<Notify>),
}

/// Whoever stops a server stops all of it, so a process that is about to take over goes too. Nothing is broken off after
/// which nobody, or somebody without what was handed over, would be left.
fn due(life: &Life, is_inheriting: bool, swap: Option<&Going>, told_before: bool) -> Due {
    match swap {
        // The old process has said that it is replaced, and would be left alone. Told twice this one goes at once.
        None if is_inheriting && !told_before => Due::Later,
        None => Due::Now,
        Some(_) if life.committed() => {
            tracing::info!("told to stop while the successor takes over: if that fails, this process stops");
            Due::Later
        }
        Some(going) if going.seen.may_serve.load(Ordering::Relaxed) => Due::Leave(Arc::clone(&going.retired)),
        // A service manager has started the next process for itself, and means this one alone.
        Some(going) if going.strategy == Strategy::Activate && !told_before => {
            tracing::info!(
                "told to stop beside the next process: this one stops when that serves, or does not"
            );
            Due::Later
        }
        Some(_) => Due::Now,
    }
}

/// A swap in progress, as the loop sees it.
struct Going {
    swap: Pin<Box<dyn Future<Output = bool> + Send>>,
    ticket: String,
    arrivals: mpsc::Sender<(Hello, Channel)>,
    retired: Arc<Notify>,
    seen: Arc<Seen>,
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
        let seen = Arc::<Seen>::default();
        let inbox = Inbox { arrivals: receiver, retired: Arc::clone(&retired), seen: Arc::clone(&seen) };
        let swap = Box::pin(Swap::new(Arc::clone(life), inbox, ticket.clone()).run(cause));
        Self { swap, ticket, arrivals, retired, seen, strategy }
    }

    /// Ends a swap that is not committed. A process that was started for it is killed; one that came by itself is told
    /// why it has to go, for it would take the end of this one for a death, and serve.
    async fn give_up(self) {
        let Self { swap, seen, .. } = self;
        drop(swap);
        if let Some(channel) = seen.channel.get() {
            successor::refuse(channel, STOPPING).await;
        }
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

/// Tells whoever greets that he comes too late.
async fn turn_all_away(tasks: &Tasks, mut greetings: mpsc::Receiver<(Hello, Channel)>) {
    while let Some((_, channel)) = greetings.recv().await {
        turn_away(tasks, channel, STOPPING);
    }
}

fn turn_away(tasks: &Tasks, channel: Channel, reason: &str) {
    let refusal = Message::Refuse { reason: reason.to_owned() };
    drop(tasks.spawn(async move {
        // A process that does not wait for its refusal has no need of it.
        _ = channel.send(&refusal, &[], &[]).await;
    }));
}

const TOLD_TWICE: &str =
    "this process was told twice to stop before it had everything; the other one serves on";

/// Why a process cannot take over from one that stops.
const STOPPING: &str = "it was told to stop, and stops; start this one when it has ended";

/// Why an upgrade does not begin: kind and detail.
type Reason = (&'static str, &'static str);

const BUSY: Reason = ("busy", "an upgrade is going on; ask again when it is over");
const UNFINISHED: Reason = (
    "busy",
    "the process before this one has not handed everything over, and says nothing; if it is stopped, let it go on \
     (SIGCONT) or kill it, then ask again",
);
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
    busy: Option<Reason>,
    to: UpgradeTo,
    answer: oneshot::Sender<UpgradeReport>,
) -> Option<Going> {
    let binary = match (busy.or(is_managed(life).then_some(MANAGED)), to) {
        (Some(reason), _) => Err(refused(reason)),
        (None, UpgradeTo::Binary(binary)) => Ok(binary),
        (None, UpgradeTo::Previous) => life.app.programs().to_go_back_to(),
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
    begin(life, is_busy.then_some(BUSY), UpgradeTo::Binary(newcomer::own_path()), oneshot::channel().0)
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
