//! What this process holds while it serves, and the few moves that a swap makes with it.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{
    Phase, ProcessIdentity, UpgradeReport,
    binding::{self, Bound},
    channel::{self, Channel, ControlSocket},
    connections::{Connections, Directive, Parcel},
    listeners::{Accepting, Diversion, Listener},
    message::{Message, Welcome},
    pid_file::PidFile,
    service_manager,
};
use crate::{
    config::{Bind, Config, Strategy},
    http::{App, Side},
    nodes::{Entry, Registration},
    reload::{self, Reload},
    sources,
    state::{Digests, Generation},
    stores,
};

/// The process while it serves.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) config: Arc<Config>,
    pub(super) identity: ProcessIdentity,
    pub(super) connections: Arc<Connections>,
    pub(super) control: ControlSocket,
    pub(super) pid_file: PidFile,
    pub(super) diversion: Diversion,
    /// Where connections come out when they move.
    pub(super) parcels: tokio::sync::Mutex<mpsc::UnboundedReceiver<Parcel>>,
    pub(super) reload: Arc<Reload>,
    /// Where there is an etcd.
    pub(super) registration: Option<Arc<Registration>>,
    pub(super) app: Arc<App>,
    phase: watch::Sender<Phase>,
    listeners: Mutex<Vec<Listener>>,
    accepting: Mutex<Option<Accepting>>,
    /// What only the old process has, until that has gone.
    dropped: Mutex<Vec<Listener>>,
    accepting_dropped: Mutex<Option<Accepting>>,
    /// A successor serves: nothing may stop the handover any more.
    committed: watch::Sender<bool>,
}

impl Life {
    pub(super) fn new(
        config: Arc<Config>,
        identity: ProcessIdentity,
        app: Arc<App>,
        reload: Arc<Reload>,
        control: ControlSocket,
        bound: Bound,
        phase: watch::Sender<Phase>,
    ) -> Arc<Self> {
        let registration = register(&config, &identity, &bound.wanted);
        let (connections, parcels) = Connections::new(Arc::clone(&app));
        Arc::new(Self {
            pid_file: PidFile::at(&config.global.pid),
            config,
            identity,
            connections: Arc::new(connections),
            control,
            diversion: Diversion::default(),
            parcels: tokio::sync::Mutex::new(parcels),
            app,
            reload,
            registration,
            phase,
            listeners: Mutex::new(bound.wanted),
            accepting: Mutex::default(),
            dropped: Mutex::new(bound.dropped),
            accepting_dropped: Mutex::default(),
            committed: watch::Sender::new(false),
        })
    }

    /// Announces where the process is in its life.
    pub(super) fn phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
        if phase == Phase::Ready {
            service_manager::tell_ready();
        }
        tracing::info!(%phase, process = %self.identity.process, "phase");
    }

    pub(super) fn is_ready(&self) -> bool {
        *self.phase.borrow() == Phase::Ready
    }

    /// Accepts from every listener, unless that goes on already. Their queues get this process's length, also if another
    /// process had given them another one: it has not served, or serves no more.
    pub(super) fn accept(&self) -> io::Result<()> {
        for listener in self.listeners().iter() {
            listener.listen(self.config.limits.listen_backlog)?;
        }
        start(&self.accepting, &self.listeners(), self)?;
        start(&self.accepting_dropped, &lock(&self.dropped), self)
    }

    /// Accepts no more; the listeners stay open.
    pub(super) async fn stop_accepting(&self) {
        stop(&self.accepting).await;
        stop(&self.accepting_dropped).await;
        #[cfg(debug_assertions)]
        crate::faults::shut_down(self.listeners().iter().filter(|listener| listener.side == Side::Public));
    }

    /// Accepts no more and closes the listeners: what waits in their queues is reset by the kernel.
    pub(super) async fn close_listeners(&self) {
        self.stop_accepting().await;
        for listener in self.listeners().drain(..) {
            listener.remove_file();
        }
    }

    /// The same, but what waits in the queues is accepted before. Who comes between the last look at a queue and its
    /// end is reset all the same, unless `net.ipv4.tcp_migrate_req` is set.
    pub(super) async fn empty_listeners(&self) {
        self.stop_accepting().await;
        let listeners: Vec<_> = self.listeners().drain(..).collect();
        self.close_in_order(listeners);
    }

    /// Accepts no more and lets go of the listeners, which the successor has.
    pub(super) async fn leave_listeners(&self) {
        self.stop_accepting().await;
        self.listeners().clear();
    }

    /// Closes what the configuration does not name any more, now that no other process has it.
    pub(super) async fn close_dropped(&self) {
        stop(&self.accepting_dropped).await;
        let dropped: Vec<_> = lock(&self.dropped).drain(..).collect();
        for listener in &dropped {
            tracing::info!(side = %listener.side, address = %listener.bound, "not in the settings any more; closed");
        }
        self.close_in_order(dropped);
    }

    /// Serves who waits in a queue, and closes it.
    fn close_in_order(&self, listeners: Vec<Listener>) {
        for listener in listeners {
            // Nobody finds the way any more, so the queue stays empty.
            listener.remove_file();
            for stream in listener.waiting() {
                self.connections.metrics().connections_accepted.inc();
                self.connections.serve(stream, Bytes::new(), listener.side);
            }
        }
    }

    /// Serves on after a swap that failed; `back` are connections that the successor did not take.
    pub(super) async fn serve_again(&self, back: Vec<Parcel>) -> io::Result<()> {
        self.reopen_reload().await;
        self.connections.direct(Directive::Serve);
        // Under this directive no connection gives itself away any more.
        let mut parcels = self.parcels.lock().await;
        let unsent = std::iter::from_fn(|| parcels.try_recv().ok());
        for Parcel { stream, bytes, side, .. } in back.into_iter().chain(unsent) {
            self.connections.serve(stream, bytes, side);
        }
        // A successor that could still accept is gone by now, so a fresh bind cannot meet it.
        if self.listeners().is_empty() {
            let bound = binding::bind(&self.config, self.config.upgrade.strategy, Vec::new())?;
            *self.listeners() = bound.wanted;
        }
        self.accept()?;
        // A successor that had begun to serve has put its number there.
        self.pid_file.write();
        self.committed.send_replace(false);
        if let Some(registration) = &self.registration {
            registration.enter_again();
        }
        if self.is_ready() {
            service_manager::tell_ready();
        } else {
            self.phase(Phase::Ready);
        }
        Ok(())
    }

    /// Publishes nothing any more, and leaves the register of nodes to the successor; what that has to go on from.
    /// Waits for what is being published.
    pub(super) async fn close_reload(&self) -> (Generation, Digests) {
        if let Some(registration) = &self.registration {
            registration.yield_to_successor();
        }
        let reload = Arc::clone(&self.reload);
        let closing = tokio::task::spawn_blocking(move || reload.close());
        closing.await.expect("nothing in it can panic")
    }

    /// Publishes again after a swap that failed, with what the successor has published meanwhile, if it came to that.
    async fn reopen_reload(&self) {
        if *self.reload.openings().borrow() {
            return;
        }
        let ours = self.reload.cell().load().generation;
        // A successor writes the number down before it serves.
        let last =
            self.reload.copies().and_then(|copies| copies.last_generation()).filter(|last| *last > ours);
        let last = last.unwrap_or(Generation(ours.0.saturating_sub(1)));
        if let Err(refused) = sources::catch_up(&self.config, &self.reload, last, None).await {
            tracing::error!(reason = reload::reason(&refused), "what the new process has published is lost");
        }
        self.reload.reopen();
    }

    /// From now on the successor serves.
    pub(super) fn commit(&self) {
        self.committed.send_replace(true);
    }

    pub(super) fn committed(&self) -> bool {
        *self.committed.borrow()
    }

    /// Waits for the next process that reports at the control socket. Once a successor serves, such a
    /// process is the successor's to hear, so it is left in the queue.
    pub(super) async fn next_arrival(&self) -> io::Result<Channel> {
        let mut committed = self.committed.subscribe();
        loop {
            // The sender is ours, so no wait can fail.
            _ = committed.wait_for(|committed| !committed).await;
            tokio::select! {
                biased;
                _ = committed.wait_for(|committed| *committed) => {}
                arrival = self.control.accept() => return arrival,
            }
        }
    }

    /// Answers a greeting; returns how many listening sockets went along.
    pub(super) async fn welcome(
        &self,
        channel: &Channel,
        strategy: Strategy,
        stderr: bool,
    ) -> Result<u32, channel::Error> {
        let (mut sides, mut files) = (Vec::new(), Vec::new());
        let mut descriptors: Vec<OwnedFd> = vec![self.control.as_fd().try_clone_to_owned()?];
        if stderr {
            descriptors.push(io::stderr().as_fd().try_clone_to_owned()?);
        }
        if matches!(strategy, Strategy::Handoff | Strategy::HandoffLive) {
            for listener in self.listeners().iter() {
                sides.push(listener.side);
                descriptors.push(listener.as_fd().try_clone_to_owned()?);
            }
        }
        if strategy.commits() {
            let listeners = self.listeners();
            let own = listeners.iter().filter_map(|listener| listener.file.as_ref());
            // What lies at the path of one that was removed is somebody else's.
            files.extend(own.filter(|file| file.is_there()).map(|file| file.path().to_path_buf()));
        }
        let shared = if strategy.commits() { self.listeners().len() } else { 0 };
        let sockets = u32::try_from(shared).unwrap_or(u32::MAX);
        if !strategy.commits() {
            // Without a commitment this is all that the successor will know.
            self.close_reload().await;
        }
        let message = Message::Welcome(Welcome {
            strategy,
            process: self.identity.process.next(),
            config_generation: self.app.config_generation().0,
            orders: Some(stores::place(&self.config)),
            program: self.app.programs().own.clone(),
            previous: self.app.programs().previous.clone(),
            stderr,
            listeners: sides,
            files,
        });
        let descriptors: Vec<_> = descriptors.iter().map(OwnedFd::as_fd).collect();
        channel.send(&message, &[], &descriptors).await?;
        Ok(sockets)
    }

    /// The listeners, for a process that is about to be started.
    pub(super) fn inheritance(&self) -> io::Result<Vec<(Side, OwnedFd)>> {
        let listeners = self.listeners();
        listeners.iter().map(|listener| Ok((listener.side, listener.as_fd().try_clone_to_owned()?))).collect()
    }

    /// Where a client on this machine may reach the public side.
    pub(super) fn probe_addresses(&self) -> Vec<Bind> {
        let listeners = self.listeners();
        let public = listeners.iter().filter(|listener| listener.side == Side::Public);
        let ways = public.flat_map(|listener| {
            // The first is always of the listener's own family.
            let ways = if listener.only_v6 { 1 } else { usize::MAX };
            listener.bound.reachable().into_iter().take(ways)
        });
        ways.collect()
    }

    /// Counts and logs the outcome of an upgrade.
    pub(super) fn note(&self, report: &UpgradeReport) {
        self.app.metrics().count_upgrade(report.outcome);
        let strategy = report.strategy.as_str();
        match &report.error {
            None => tracing::info!(
                strategy,
                new = ?report.new,
                connections = ?report.connections,
                total_ms = report.phases_ms.total,
                "replaced"
            ),
            Some(error) => tracing::warn!(
                strategy,
                step = error.step,
                kind = error.kind,
                detail = error.detail,
                stderr = error.stderr,
                "no upgrade, this process serves on"
            ),
        }
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        lock(&self.listeners)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(accepting: &Mutex<Option<Accepting>>, listeners: &[Listener], life: &Life) -> io::Result<()> {
    let mut accepting = lock(accepting);
    if accepting.is_none() && !listeners.is_empty() {
        let limit = u32::try_from(life.config.limits.connections_max).unwrap_or(u32::MAX);
        *accepting = Some(Accepting::start(listeners, &life.connections, limit, &life.diversion)?);
    }
    Ok(())
}

async fn stop(accepting: &Mutex<Option<Accepting>>) {
    let accepting = lock(accepting).take();
    if let Some(accepting) = accepting {
        accepting.stop().await;
    }
}

/// What is to stand in the register of nodes, if there is one.
fn register(
    config: &Config,
    identity: &ProcessIdentity,
    listeners: &[Listener],
) -> Option<Arc<Registration>> {
    let etcd = config.etcd.as_ref()?;
    let bound = |side| {
        let of_side = listeners.iter().filter(move |listener| listener.side == side);
        of_side.map(|listener| listener.bound.clone()).collect::<Vec<_>>()
    };
    let entry = Entry::of(&config.node, identity, &bound(Side::Public), &bound(Side::Admin));
    Some(Registration::new(entry, etcd, config.node.lease))
}
