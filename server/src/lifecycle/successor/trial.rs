//! What a new process has to show before it may serve: a greeting, its state, an answer, and that it lives.

use std::path::Path;

use tokio::time::{Instant as Deadline, timeout_at};

use super::{Swap, ended};
use crate::{
    config::Strategy,
    lifecycle::{
        ProcessIdentity, UpgradeError,
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
        let deadline = self.start_deadline();
        let inherited = match self.strategy {
            Strategy::Inherit => self.life.inheritance(),
            _ => Ok(Vec::new()),
        };
        let inherited = inherited.map_err(|error| self.error("start", "start-failed", error.to_string()))?;
        self.newcomer = Some(Newcomer::start(binary, &self.ticket, &inherited)?);
        let newcomer = self.newcomer.as_mut();
        let arrival = tokio::select! {
            biased;
            arrival = timeout_at(deadline, self.inbox.arrivals.recv()) => arrival,
            detail = ended(newcomer) => return Err(self.error("start", "exited", detail)),
        };
        match arrival {
            Ok(Some((hello, channel))) => {
                self.times.start = Some(self.lap());
                self.meet(&hello, channel)
            }
            Ok(None) => Err(self.error("start", "died", "this process is stopping".to_owned())),
            Err(_) => Err(self.late("start", "did not report")),
        }
    }

    /// Takes note of who greeted. One that speaks another protocol is refused with the reason.
    pub(super) fn meet(&mut self, hello: &Hello, channel: Channel) -> Result<(), UpgradeError> {
        self.new = Some(ProcessIdentity {
            pid: hello.pid,
            version: hello.version.clone(),
            process: self.life.identity.process.next(),
        });
        self.channel = Some(channel);
        self.batches = hello.batches;
        if self.strategy == Strategy::Inherit && self.newcomer.is_none() {
            let detail = "under inherit the old process has to start the new one: `seckill upgrade`, POST /upgrade or SIGUSR2";
            return Err(self.error("start", "refused", detail.to_owned()));
        }
        if hello.protocol == PROTOCOL {
            return self.has_room(hello);
        }
        let detail = format!(
            "the new process speaks protocol {}, this one {PROTOCOL}; stop this one, then start the new one",
            hello.protocol
        );
        Err(self.error("start", "protocol", detail))
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
                Err(self.error("start", "refused", detail))
            }
            _ => Ok(()),
        }
    }

    /// Gives it the sockets and waits until it has loaded its state.
    pub(super) async fn welcome(&mut self) -> Result<(), UpgradeError> {
        let channel = self.channel("start")?;
        let deadline = self.start_deadline();
        let sent = self.life.welcome(&channel, self.strategy, self.newcomer.is_some()).await;
        self.sockets = sent.map_err(|error| self.broken("load", &error))?;
        self.expect(&Message::Ready, "load", deadline).await?;
        self.times.load = Some(self.lap());
        Ok(())
    }

    /// Has the new process answer a request on a connection that came through the listener, and watches it
    /// for the time of probation. This process still accepts alone, so a new one that fails costs nothing.
    pub(super) async fn prove(&mut self) -> Result<(), UpgradeError> {
        let deadline = self.start_deadline();
        let channel = self.channel("probe")?;
        let expected = self.life.identity.process.next();
        let newcomer = self.newcomer.as_mut();
        let first = async {
            let mut probe = Probe::open(&self.life, &channel).await?;
            probe.ask(expected).await.map(|()| probe)
        };
        let probed = tokio::select! {
            biased;
            probed = timeout_at(deadline, first) => probed,
            detail = ended(newcomer) => return Err(self.error("probe", "died", detail)),
        };
        let mut probe = match probed {
            Ok(Ok(probe)) => probe,
            Ok(Err(detail)) => return Err(self.probe_failed("probe", detail).await),
            Err(_) => return Err(self.late("probe", "did not answer a request")),
        };
        self.times.probe = Some(self.lap());
        let newcomer = self.newcomer.as_mut();
        tokio::select! {
            biased;
            detail = ended(newcomer) => return Err(self.error("probation", "died", detail)),
            gone = channel.receive() => return Err(self.spoke_out_of_turn("probation", gone).await),
            () = tokio::time::sleep(self.life.config.upgrade.probation) => {}
        }
        let deadline = Deadline::now() + self.life.config.upgrade.start_timeout;
        match timeout_at(deadline, probe.ask(expected)).await {
            Ok(Ok(())) => {}
            Ok(Err(detail)) => return Err(self.probe_failed("probation", detail).await),
            Err(_) => return Err(self.late("probation", "did not answer a request")),
        }
        self.times.probation = Some(self.lap());
        Ok(())
    }
}
