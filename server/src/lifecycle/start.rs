//! The life of the process from its start to its end.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Control, ControlRequest, Phase, ProcessGeneration, ProcessIdentity, Programs, activation, binding,
    carrying,
    channel::{self, Channel, ControlSocket},
    descriptors,
    ending::End,
    inheritance::Giver,
    life::Life,
    listeners::{Listener, queues_move},
    main_loop,
    message::Message,
    predecessor::{self, Held, Predecessor, Turn},
    signals::Signals,
};
#[cfg(debug_assertions)]
use crate::faults::{self, Fault};
use crate::{
    carried,
    config::{Config, Strategy},
    effective, http, identity,
    reload::{self, Copies, Reload},
    secrets::{self, Secrets},
    sources::{self, Sources},
    state::{Activities, Digests, Generation},
    stores::{self, Stocking, Store},
    tasks::Tasks,
    telemetry::{self, Metrics},
};

/// How long the end of the sources is waited for. They wait for nothing but a list that is being read.
const SOURCES_END: Duration = Duration::from_secs(1);

/// Why the process cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("start the runtime")]
    Runtime(#[source] io::Error),
    #[error("take over from the process that serves now")]
    Predecessor(#[from] predecessor::Error),
    #[error("bind the control socket {path}; its folder must exist, and the path be shorter than 108 bytes")]
    ControlSocket {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("use the sockets that this process was started with")]
    Passed(#[source] io::Error),
    #[error(
        "use the sockets of a service manager, which upgrade.strategy = \"activate\" needs: none were passed on \
         (LISTEN_FDS); have the manager start this program, or choose another strategy"
    )]
    Unmanaged,
    #[error("bind a listener")]
    Listen(#[source] io::Error),
    #[error("get ready to serve")]
    Accept(#[source] io::Error),
    #[error("install the signal handlers")]
    Signals(#[source] io::Error),
    #[error("load the secrets")]
    Secrets(#[from] secrets::Error),
    #[error("load what is served")]
    Reload(#[from] reload::Refused),
    #[error(transparent)]
    State(#[from] carried::Refused),
    #[error("open the store")]
    Store(#[from] stores::Error),
    #[error("tell the process that serves now that this one is ready")]
    Channel(#[from] channel::Error),
    #[error(
        "take over: where orders are kept is not the same: {theirs} by the process that serves now, {ours} by this \
         one; both would sell; stop the other one first, when no orders wait"
    )]
    OrdersElsewhere { theirs: String, ours: String },
    /// By the process that was there before, or because this one cannot have everything of it.
    #[error("take over: {0}")]
    Dismissed(String),
}

/// Serves until the process is replaced or told to stop.
///
/// # Errors
/// When it cannot start, or cannot take over from the process that serves now. Then that one serves on.
pub fn serve(config: Config) -> Result<(), Error> {
    let passed = activation::listeners(&config).map_err(Error::Passed)?;
    if passed.is_empty() && config.upgrade.strategy == Strategy::Activate {
        return Err(Error::Unmanaged);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Runtime)?;
    runtime.block_on(live(Arc::new(config), passed))
}

async fn live(config: Arc<Config>, passed: Vec<Listener>) -> Result<(), Error> {
    let signals = Signals::install().map_err(Error::Signals)?;
    let version = identity::release_label();
    let patience = config.upgrade.start_timeout + config.upgrade.drain;
    let descriptors = descriptors::raise(config.limits.connections_max);
    let strategy = config.upgrade.strategy;
    #[cfg(debug_assertions)]
    if std::env::var_os(predecessor::TICKET_VARIABLE).is_some() {
        faults::hang(Fault::HangStart).await;
    }
    let predecessor =
        Predecessor::find(&config.upgrade.socket, strategy, &version, descriptors, patience).await?;
    let channel = predecessor.as_ref().map(|predecessor| predecessor.channel.clone());
    let served = match prepare(config, predecessor, passed).await {
        Ok(ready) => Box::pin(ready.serve(signals)).await,
        Err(error) => Err(error),
    };
    if let (Some(channel), Err(error)) = (channel, &served) {
        let detail = format!("failed to {}", telemetry::chain(error));
        // If it is gone too, standard error has the reason.
        _ = channel.send(&Message::Failed { detail }, &[], &[]).await;
    }
    served
}

/// Everything loaded and bound, nobody served yet.
struct Prepared {
    life: Arc<Life>,
    strategy: Strategy,
    requests: mpsc::Receiver<ControlRequest>,
    store: Arc<Store>,
    sources: Sources,
    predecessor: Option<Channel>,
    /// What another process has served last, as far as this one knows.
    last: Generation,
}

/// Binds or takes over the sockets and loads the state. Blocks now and then; nothing else runs yet.
async fn prepare(
    config: Arc<Config>,
    predecessor: Option<Predecessor>,
    passed: Vec<Listener>,
) -> Result<Prepared, Error> {
    let (phase, watched) = watch::channel(Phase::Starting);
    if let Some(theirs) = predecessor.as_ref().and_then(|predecessor| predecessor.welcome.orders.clone()) {
        let ours = stores::place(&config);
        if theirs != ours {
            return Err(Error::OrdersElsewhere { theirs, ours });
        }
    }
    let (strategy, process, theirs) = match &predecessor {
        Some(Predecessor { welcome, .. }) => {
            (welcome.strategy, welcome.process, Some(Generation(welcome.config_generation)))
        }
        None => (config.upgrade.strategy, ProcessGeneration::FIRST, None),
    };
    let (control_socket, inherited, channel, programs) = match predecessor {
        Some(Predecessor { control, mut listeners, channel, welcome }) => {
            listeners.extend(passed);
            for listener in &mut listeners {
                listener.own_file_of(&welcome.files);
            }
            (control, listeners, Some(channel), Programs::after(welcome.program, welcome.previous))
        }
        None => {
            let path = &config.upgrade.socket;
            let control = ControlSocket::bind(path)
                .map_err(|source| Error::ControlSocket { path: path.display().to_string(), source })?;
            (control, passed, None, Programs::after(None, None))
        }
    };
    warn_of_queues(strategy);
    let bound = binding::bind(&config, strategy, inherited).map_err(Error::Listen)?;
    phase.send_replace(Phase::Bound);
    let identity = identity::current(process);
    #[cfg(debug_assertions)]
    crate::faults::leak(process.0);
    let stocking = Stocking::new(&config);
    let putting = stocking.clone();
    let prepare = Box::new(move |activities: &Activities| {
        putting.put(activities).map_err(|error| telemetry::chain(&error))
    });
    let copies = Arc::new(Copies::open(&config.reload));
    // Generations go on rising after a restart, too.
    let last = theirs.max(copies.last_generation());
    let (sources, first) = Box::pin(sources::open(&config, &copies)).await;
    let generation = last.map_or(Generation::FIRST, Generation::next);
    let reload = Reload::start_with(first, generation, prepare, Some(copies))?;
    let snapshots = reload.cell();
    let activities = Arc::clone(&snapshots.load().activities);
    let store = Box::pin(Store::open(&config, &stocking, &activities, identity.process)).await?;
    let store = Arc::new(store);
    let (control, requests) = Control::new(watched);
    let app = http::App::new(http::Parts {
        config: Arc::clone(&config),
        identity: identity.clone(),
        programs,
        secrets: Secrets::load(&config)?,
        snapshots,
        reload: Arc::clone(&reload),
        sources: sources.states(),
        store: Arc::clone(&store),
        control,
        metrics: Arc::new(Metrics::new()),
    });
    app.learn_what_is_left().await;
    // Until it is told what its predecessor has counted.
    app.settle(channel.is_none());
    let life = Life::new(config, identity, app, reload, control_socket, bound, phase);
    let last = last.unwrap_or(Generation(0));
    Ok(Prepared { life, strategy, requests, store, sources, predecessor: channel, last })
}

/// Where the kernel is set so that this strategy loses requests.
fn warn_of_queues(strategy: Strategy) {
    if strategy.binds_twice() && queues_move() == Some(false) {
        tracing::warn!(
            %strategy,
            "net.ipv4.tcp_migrate_req is 0: at each upgrade the kernel resets who waits in the old process's queues; \
             set it to 1 before the server starts, or use handoff-live"
        );
    }
}

impl Prepared {
    async fn serve(self, signals: Signals) -> Result<(), Error> {
        let Self { life, strategy, requests, store, sources, predecessor, last } = self;
        let came_after = predecessor.is_some();
        let tasks = Tasks::default();
        let following =
            effective::follow(Arc::clone(&life.config), Arc::clone(&life.reload), Arc::clone(&store));
        // It ends with the process.
        drop(tasks.spawn(following));
        drop(tasks.spawn(Arc::clone(&life.app).run_streams()));
        let predecessor = match predecessor {
            Some(channel) => take_over(&life, strategy, channel, last).await?,
            None => {
                go_on(&life, last, None).await?;
                life.reload.reopen();
                None
            }
        };
        // Not before it is this process's turn: until then the old one publishes, and tells what it has.
        let (sourcing, stop) = (Tasks::default(), CancellationToken::new());
        sources.run(&sourcing, &life.reload, &stop);
        life.accept().map_err(Error::Accept)?;
        if predecessor.is_none() {
            // There is no old process, or it died without a word.
            life.close_dropped().await;
        }
        life.phase(Phase::Ready);
        if let Some(registration) = &life.registration {
            drop(tasks.spawn(Arc::clone(registration).run(Arc::clone(&life.reload))));
            registration.enter();
        }
        let claim = claim_pid_file(&life, strategy, &tasks);
        if let Some(Giver { channel, .. }) = &predecessor {
            let word = if strategy.commits() { Message::Committed } else { Message::Ready };
            // If it has gone, or gives up, that is read next.
            channel.tell(&word).await?;
        }
        tell_who_serves(&life.identity, came_after);
        let end = main_loop::run(&life, requests, predecessor, claim, signals).await;
        life.phase(Phase::Stopped);
        stop.cancel();
        if !sourcing.finish(SOURCES_END).await {
            tracing::warn!("a source is still at work");
        }
        store.close().await;
        match end {
            // A successor's files are left alone.
            End::Replaced => Ok(()),
            End::Stopped => {
                life.pid_file.remove();
                ControlSocket::remove(&life.config.upgrade.socket);
                Ok(())
            }
            End::Dismissed(reason) => Err(Error::Dismissed(reason)),
        }
    }
}

/// Waits for the word of the process that serves now. Gives the channel back while it has more to hand over.
async fn take_over(
    life: &Arc<Life>,
    strategy: Strategy,
    channel: Channel,
    last: Generation,
) -> Result<Option<Giver>, Error> {
    #[cfg(debug_assertions)]
    faults::hang(Fault::HangLoad).await;
    let word = if strategy.commits() { Message::Ready } else { Message::Loaded };
    channel.tell(&word).await?;
    // Until this process is told to serve that is the probe, which nobody asks when the old one is dead.
    let mut probe = Held::default();
    let mut turn = predecessor::adopt(&channel, &life.connections, &mut probe).await?;
    if let Turn::State(document) = turn {
        #[cfg(debug_assertions)]
        faults::hang(Fault::HangState).await;
        carrying::absorb(&life.app, document).await?;
        channel.tell(&Message::Taken).await?;
        if !strategy.commits() {
            // This process has listeners of its own and serves as soon as it can. The old one has published nothing
            // since it said what it serves.
            go_on(life, last, None).await?;
            life.reload.reopen();
            return Ok(Some(Giver { channel, closed_at: None }));
        }
        turn = predecessor::adopt(&channel, &life.connections, &mut probe).await?;
    }
    #[cfg(debug_assertions)]
    faults::hang(Fault::HangCommit).await;
    match turn {
        Turn::Commit { generation, digests, closes } => {
            let closed_at = closes.map(|limit| Instant::now() + limit);
            go_on(life, generation, Some(&digests)).await?;
            if strategy != Strategy::HandoffLive {
                // Its last answers are told apart by their process; nothing waits for them.
                life.reload.reopen();
            }
            Ok(Some(Giver { channel, closed_at }))
        }
        // It died without a word. Its listeners are here and their queues are waiting.
        Turn::Gone => {
            let last = life.reload.copies().and_then(|copies| copies.last_generation()).max(Some(last));
            go_on(life, last.unwrap_or(Generation(0)), None).await?;
            life.reload.reopen();
            life.app.settle(true);
            Ok(None)
        }
        Turn::State(_) | Turn::Done(_) | Turn::Stopped => {
            Err(Error::Dismissed("it was done before it began".to_owned()))
        }
        Turn::Refused(reason) => Err(predecessor::Error::Refused(reason).into()),
    }
}

/// Serves nothing older than what another process has served last.
async fn go_on(life: &Arc<Life>, last: Generation, theirs: Option<&Digests>) -> Result<(), Error> {
    Ok(sources::catch_up(&life.config, &life.reload, last, theirs).await?)
}

/// The line for whoever has started this process by hand, whatever the log level is: without it, he is told by the exit
/// status and the reason.
fn tell_who_serves(identity: &ProcessIdentity, came_after: bool) {
    let ProcessIdentity { pid, version, process } = identity;
    let how = if came_after { "taken over" } else { "started" };
    tracing::info!(target: telemetry::NOTICE, "process {process} (release {version}, pid {pid}) serves: {how}");
}

/// Writes the pid file, before anybody is told that this process serves. Where both bind the port whom it named
/// before is first made to leave, as the seed does, which takes its time.
fn claim_pid_file(life: &Arc<Life>, strategy: Strategy, tasks: &Tasks) -> Option<JoinHandle<()>> {
    if !strategy.binds_twice() {
        life.pid_file.write();
        return None;
    }
    // The old process needs its drain time, and a little more to end.
    let patience = life.config.upgrade.drain + Duration::from_secs(2);
    #[cfg(debug_assertions)]
    if faults::strikes(Fault::HangCommit) {
        return None;
    }
    let life = Arc::clone(life);
    Some(tasks.spawn_blocking(move || {
        let retired = life.pid_file.retire(patience);
        tracing::info!(?retired, "the process of the pid file");
        life.pid_file.write();
    }))
}
