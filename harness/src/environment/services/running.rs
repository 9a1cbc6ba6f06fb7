//! A service that runs, whoever started it.

use std::{path::Path, time::Duration};

use rustix::process::Signal;
use tokio::time::sleep;

use super::{
    Error,
    container::Container,
    ledger,
    link::{Conduct, Link},
    process::Process,
    ready::{self, Patience},
};
use crate::{
    environment::Gateway,
    plan::{Access, Service},
};

/// From the start until it must be ready. A process takes a tenth of a second when the machine is idle, a container
/// whose image makes its data first some seconds.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A running service. Dropping it ends it, if it is ours.
#[derive(Debug)]
pub struct Running {
    service: Service,
    body: Body,
    access: Access,
    /// Of etcd.
    gateway: Option<Gateway>,
    /// The server's way to it.
    link: Option<Link>,
}

#[derive(Debug)]
enum Body {
    Process(Process),
    Container(Container),
    External,
}

impl Running {
    /// As a process; ready.
    pub(super) async fn process(service: Service, program: &Path, run_folder: &Path) -> Result<Self, Error> {
        let (process, access) = Process::start(service, program, run_folder).await?;
        Self::ready(service, Body::Process(process), access).await
    }

    /// As a container; ready.
    pub(super) async fn container(service: Service, image: &str) -> Result<Self, Error> {
        let (container, access) = Container::start(service, image).await?;
        Self::ready(service, Body::Container(container), access).await
    }

    /// Somebody else's, which has to be ready, and to have room for a run.
    pub(super) async fn external(service: Service, access: Access) -> Result<Self, Error> {
        let address = access.address.clone();
        let running = Self::new(service, Body::External, access)?;
        let asked = ready::ask(service, &running.access, running.gateway.as_ref()).await;
        asked.map_err(|why| Error::Nobody { service: service.word(), address, why })?;
        ledger::check_free(service, &running.access).await?;
        Ok(running)
    }

    /// Marks somebody else's as used by a run, once all of them have turned out to be free.
    pub(super) async fn claim(&self) -> Result<(), Error> {
        ledger::claim(self.service, &self.access).await
    }

    fn new(service: Service, body: Body, access: Access) -> Result<Self, Error> {
        let gateway = (service == Service::Etcd).then(|| Gateway::new(access.address.clone())).transpose()?;
        Ok(Self { service, body, access, gateway, link: None })
    }

    async fn ready(service: Service, body: Body, access: Access) -> Result<Self, Error> {
        let mut running = Self::new(service, body, access)?;
        running.become_ready().await?;
        Ok(running)
    }

    /// Puts a link before it.
    pub(super) fn link_up(&mut self) -> Result<(), Error> {
        let failed = |source| Error::Link { service: self.service.word(), source };
        self.link = Some(Link::start(&self.access.address).map_err(failed)?);
        Ok(())
    }

    /// How the harness reaches it.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Where the server reaches it.
    #[must_use]
    pub fn address(&self) -> String {
        self.link.as_ref().map_or_else(|| self.access.address.clone(), |link| link.address().to_string())
    }

    /// What the report calls it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.body {
            Body::Process(_) => "process",
            Body::Container(_) => "container",
            Body::External => "external",
        }
    }

    pub(super) fn gateway(&self) -> Option<&Gateway> {
        self.gateway.as_ref()
    }

    /// Kills it; its data stays.
    ///
    /// # Errors
    /// When it is not ours, or cannot be killed.
    pub async fn kill(&mut self) -> Result<(), Error> {
        match &mut self.body {
            Body::Process(process) => process.kill(),
            Body::Container(container) => container.ask("kill").await?,
            Body::External => return Err(self.not_ours()),
        }
        Ok(())
    }

    /// Starts it once more with its data, at its address; returns when it is ready.
    ///
    /// # Errors
    /// When it is not ours, or does not start.
    pub async fn start_again(&mut self) -> Result<(), Error> {
        match &mut self.body {
            Body::Process(process) => process.start_again()?,
            Body::Container(container) => container.ask("start").await?,
            Body::External => return Err(self.not_ours()),
        }
        self.become_ready().await
    }

    /// Stops it where it is.
    ///
    /// # Errors
    /// When it is not ours, or cannot be stopped.
    pub async fn pause(&mut self) -> Result<(), Error> {
        match &mut self.body {
            Body::Process(process) => process.signal(Signal::STOP),
            Body::Container(container) => container.ask("pause").await?,
            Body::External => return Err(self.not_ours()),
        }
        Ok(())
    }

    /// Lets it go on; returns when it is ready.
    ///
    /// # Errors
    /// When it is not ours, or does not come back.
    pub async fn resume(&mut self) -> Result<(), Error> {
        match &mut self.body {
            Body::Process(process) => process.signal(Signal::CONT),
            Body::Container(container) => container.ask("unpause").await?,
            Body::External => return Err(self.not_ours()),
        }
        self.become_ready().await
    }

    /// Lets it and the link to it go on, whatever had happened to them; one that was killed stays so.
    pub(super) async fn mend(&mut self) {
        if let Some(link) = &self.link {
            link.conduct(Conduct::Normal);
        }
        match &mut self.body {
            Body::Process(process) => process.signal(Signal::CONT),
            Body::Container(container) => {
                // An error means that it did not stand still.
                let _went_on = container.ask("unpause").await;
            }
            Body::External => {}
        }
    }

    /// Has etcd throw its history away up to now.
    ///
    /// # Errors
    /// When it is no etcd, refuses, or does not answer.
    pub async fn compact(&self, limit: Duration) -> Result<(), crate::environment::Error> {
        let gateway = self.gateway.as_ref().ok_or_else(|| self.not_ours())?;
        gateway.compact(limit).await.map(drop)
    }

    /// Has the link to it behave like this from now on.
    ///
    /// # Errors
    /// When there is no link.
    pub fn conduct(&self, conduct: Conduct) -> Result<(), Error> {
        let link = self.link.as_ref().ok_or(Error::NoLink { service: self.service.word() })?;
        link.conduct(conduct);
        Ok(())
    }

    /// Ends it and removes its data, or what a run has left in somebody else's.
    pub(super) async fn stop(self) {
        if matches!(self.body, Body::External) {
            // Whoever is away keeps what it has; the next run that finds it takes it away.
            let _away = ledger::release(self.service, &self.access).await;
        }
    }

    fn not_ours(&self) -> Error {
        Error::NotOurs { service: self.service.word(), address: self.access.address.clone() }
    }

    async fn become_ready(&mut self) -> Result<(), Error> {
        let patience = Patience::of(READY_LIMIT);
        loop {
            let Err(why) = ready::ask(self.service, &self.access, self.gateway.as_ref()).await else {
                return Ok(());
            };
            let ended = match &mut self.body {
                Body::Process(process) => process.ended(),
                Body::Container(container) => container.ended().await,
                Body::External => None,
            };
            let how = ended.or_else(|| {
                let waited = READY_LIMIT.as_secs();
                patience.is_over().then(|| format!("it was not after {waited} s: {why}"))
            });
            if let Some(how) = how {
                let (log, tail) = match &self.body {
                    Body::Process(process) => process.log(),
                    Body::Container(container) => container.log().await,
                    Body::External => Default::default(),
                };
                return Err(Error::NotReady { service: self.service.word(), how, log, tail });
            }
            sleep(patience.interval).await;
        }
    }
}
