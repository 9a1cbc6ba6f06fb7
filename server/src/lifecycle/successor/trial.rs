//! What a new process has to show before it may serve: a greeting, its state, an answer, and that it lives.

use std::{path::Path, sync::atomic::Ordering};

use tokio::time::timeout;

use super::{Step, Swap, ended};
use crate::{
    config::Strategy,
    lifecycle::{
        ProcessIdentity, UpgradeError, carrying,
        channel::Channel,
        descriptors,
        message::{Hello, Message, PROTOCOL},
        newcomer::Newcomer,
        probe::Probe,
    },
};

impl Swap {
    /// Starts the binary and waits for its greeting.
    pub(super) async fn greet(&mut self, binary: &Path) -> Result<(), UpgradeError> {
        let inherited = match self.strategy {
            Strategy::Inherit => self.life.inheritance(),
            _ => Ok(Vec::new()),
        };
        let inherited =
            inherited.map_err(|error| UpgradeError::new("start", "start-failed", error.to_string()))?;
        self.newcomer = Some(Newcomer::start(binary, &self.ticket, &inherited)?);
        let newcomer = self.newcomer.as_mut();
        let arrival = tokio::select! {
            biased;
            arrival = timeout(Step::Start.limit(&self.life.config), self.inbox.arrivals.recv()) => arrival,
            detail = ended(newcomer) => return Err(UpgradeError::new("start", "exited", detail)),
        };
        match arrival {
            Ok(Some((hello, channel))) => {
                self.times.start = Some(self.lap());
                self.meet(&hello, channel)
            }
            Ok(None) => Err(UpgradeError::new("start", "died", "this process is stopping".to_owned())),
            Err(_) => Err(self.late(Step::Start, "did not report")),
        }
    }

    /// Takes note of who greeted. One that speaks another protocol is refused with the reason.
    pub(super) fn meet(&mut self, hello: &Hello, channel: Channel) -> Result<(), UpgradeError> {
        self.new = Some(ProcessIdentity {
            pid: hello.pid,
            version: hello.version.clone(),
            process: self.life.identity.process.next(),
        });
        // A swap meets one process.
        _ = self.inbox.seen.channel.set(channel.clone());
        self.channel = Some(channel);
        self.batches = hello.batches;
        if self.strategy == Strategy::Inherit && self.newcomer.is_none() {
            let detail = "under inherit the old process has to start the new one: `seckill upgrade`, POST /upgrade or SIGUSR2";
            return Err(UpgradeError::new("start", "refused", detail.to_owned()));
        }
        let mend = "stop this one, then start the new one";
        if hello.protocol != PROTOCOL {
            let theirs = hello.protocol;
            let detail = format!("the new process speaks protocol {theirs}, this one {PROTOCOL}; {mend}");
            return Err(UpgradeError::new("start", "protocol", detail));
        }
        let (theirs, ours) = (hello.state, carrying::version());
        if theirs != ours {
            let detail = format!(
                "the new process takes along a state of version {theirs}, this one has version {ours} in memory; {mend}"
            );
            return Err(UpgradeError::new("start", "state-version", detail));
        }
        self.has_room(hello)
    }

    /// A process that cannot hold the connections would lose them when they are handed over.
    fn has_room(&self, hello: &Hello) -> Result<(), UpgradeError> {
        let open = self.life.connections.open();
        match hello.descriptors {
            Some(descriptors) if descriptors < descriptors::needed_for(open.into()) => {
                let detail = format!(
                    "the new process may have {descriptors} descriptors, and {open} connections are open; raise its \
                     limit (ulimit -Hn)"
                );
                Err(UpgradeError::new("start", "refused", detail))
            }
            _ => Ok(()),
        }
    }

    /// Gives it the sockets and waits until it has loaded what it serves; where it need not be told to, until it serves.
    pub(super) async fn welcome(&mut self) -> Result<(), UpgradeError> {
        let channel = self.channel("start")?;
        let sent = self.life.welcome(&channel, self.strategy, self.newcomer.is_some()).await;
        self.sockets = sent.map_err(|error| self.broken("load", &error))?;
        if self.strategy.commits() {
            self.expect(&Message::Ready, Step::Load).await?;
            self.times.load = Some(self.lap());
            return Ok(());
        }
        self.expect(&Message::Loaded, Step::Load).await?;
        self.times.load = Some(self.lap());
        // With its state it has all that it waits for.
        self.inbox.seen.may_serve.store(self.strategy.binds_twice(), Ordering::Relaxed);
        self.send_state().await?;
        self.expect(&Message::Ready, Step::Commit).await
    }

    /// Has the new process answer a request on a connection that came through the listener, and watches it
    /// for the time of probation. This process still accepts alone, so a new one that fails costs nothing.
    pub(super) async fn prove(&mut self) -> Result<(), UpgradeError> {
        let limit = Step::Probe.limit(&self.life.config);
        let channel = self.channel("probe")?;
        let expected = self.life.identity.process.next();
        let newcomer = self.newcomer.as_mut();
        let first = async {
            let mut probe = Probe::open(&self.life, &channel).await?;
            probe.ask(expected).await.map(|()| probe)
        };
        let probed = tokio::select! {
            biased;
            probed = timeout(limit, first) => probed,
            detail = ended(newcomer) => return Err(UpgradeError::new("probe", "died", detail)),
        };
        let mut probe = match probed {
            Ok(Ok(probe)) => probe,
            Ok(Err(detail)) => return Err(self.probe_failed("probe", detail).await),
            Err(_) => return Err(self.late(Step::Probe, "did not answer a request")),
        };
        self.times.probe = Some(self.lap());
        let newcomer = self.newcomer.as_mut();
        tokio::select! {
            biased;
            detail = ended(newcomer) => return Err(UpgradeError::new("probation", "died", detail)),
            gone = channel.receive() => return Err(self.spoke_out_of_turn("probation", gone).await),
            () = tokio::time::sleep(self.life.config.upgrade.probation) => {}
        }
        match timeout(limit, probe.ask(expected)).await {
            Ok(Ok(())) => {}
            Ok(Err(detail)) => return Err(self.probe_failed("probation", detail).await),
            Err(_) => return Err(self.late(Step::Probation, "did not answer a request")),
        }
        self.times.probation = Some(self.lap());
        Ok(())
    }
}
