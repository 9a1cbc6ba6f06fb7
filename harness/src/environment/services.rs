//! What the reference server leans on: found, started, asked whether it is there, broken, and taken away again.
//!
//! Invariants: a service is ready only when it says so in its own protocol; what was started here is gone when the
//! [`Services`] are dropped, and what was kept for it on disk with it. Processes end with the harness even when
//! that is killed, and containers that a killed harness left behind are removed when the next one starts some.

mod container;
mod ledger;
mod link;
mod mysql;
mod owner;
mod process;
mod programs;
mod ready;
mod redis;
mod running;
mod start;
mod template;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Gateway, Stored};
use crate::plan::{Access, Service};

pub use self::{link::Conduct, running::Running, start::lacks_etcd};

/// The services of a run, once they are ready.
#[derive(Debug, Default)]
pub struct Services {
    running: BTreeMap<Service, Running>,
    /// Where they come from and why, in a sentence; empty when there are none.
    told: String,
}

impl Services {
    /// Where they come from and why, in a sentence; empty when there are none.
    #[must_use]
    pub fn told(&self) -> &str {
        &self.told
    }

    /// A service, if the run has it.
    #[must_use]
    pub fn get(&self, service: Service) -> Option<&Running> {
        self.running.get(&service)
    }

    /// Each of them, to be broken on its own.
    pub fn each_mut(&mut self) -> impl Iterator<Item = (Service, &mut Running)> {
        self.running.iter_mut().map(|(service, running)| (*service, running))
    }

    /// Lets everything go on that stands still or carries nothing.
    pub async fn mend(&mut self) {
        for running in self.running.values_mut() {
            running.mend().await;
        }
    }

    /// How etcd is talked to, past every link.
    #[must_use]
    pub fn gateway(&self) -> Option<&Gateway> {
        self.get(Service::Etcd)?.gateway()
    }

    /// For the report: each service with what it is.
    pub(super) fn kinds(&self) -> BTreeMap<String, String> {
        let kind =
            |(service, running): (&Service, &Running)| (service.word().to_owned(), running.kind().to_owned());
        self.running.iter().map(kind).collect()
    }

    /// The way of the orders into MySQL; `None`: the server does not buy through Redis.
    #[must_use]
    pub fn queue(&self) -> Option<Queue> {
        self.get(Service::Mysql)?;
        Some(Queue { redis: self.get(Service::Redis)?.access().clone() })
    }

    /// Waits until the orders on their way to MySQL have arrived there, and for how long that was; `None`: the server
    /// does not buy through Redis.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub(super) async fn settle(&self) -> Result<Option<Duration>, Error> {
        match (self.get(Service::Redis), self.get(Service::Mysql)) {
            (Some(redis), Some(_)) => ledger::settle(redis.access()).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Reads what Redis and MySQL hold; the server must be stopped, or the figures move.
    ///
    /// # Errors
    /// When one of them cannot be asked, or does not hold what was agreed on.
    pub(super) async fn read(&self, waited: Duration) -> Result<Stored, Error> {
        let access =
            |service| self.get(service).map(Running::access).expect("there must be what was waited for");
        ledger::read(access(Service::Redis), access(Service::Mysql), waited).await
    }

    /// Ends them and removes their data.
    pub(super) async fn stop(self) {
        for running in self.running.into_values() {
            running.stop().await;
        }
    }
}

/// The way of the orders from Redis into MySQL.
#[derive(Debug, Clone)]
pub struct Queue {
    redis: Access,
}

impl Queue {
    /// Waits until somebody has bought again, and that order and all before it have arrived in MySQL, and for how long
    /// that was; `None`: for longer than `limit`.
    pub async fn catch_up(&self, limit: Duration) -> Option<Duration> {
        ledger::catch_up(&self.redis, limit).await
    }
}

/// Why a service could not be started, reached, broken or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "start {missing} as processes: not in PATH, /usr/sbin or /usr/local/sbin; `apt-get install {packages}` \
         brings what is missing, and `--services containers` or `--services external` does without"
    )]
    Missing { missing: String, packages: String },
    #[error(
        "use containers: {why}; start the Docker engine (`docker info` has to answer, DOCKER_HOST says where it \
         is), or use `--services processes` or `--services external`"
    )]
    NoEngine { why: String },
    #[error(
        "start {service} as a container: there is no image {image} and it cannot be pulled ({said}); \
         `ci/images` builds one out of packages, and services.{service}_image names another"
    )]
    NoImage { service: &'static str, image: String, said: String },
    #[error("start {needed}: nothing works. As processes: {processes}. As containers: {containers}")]
    Nothing { needed: String, processes: Box<Self>, containers: Box<Self> },
    #[error("see {service} ready: {how}; its log is {log}, which ends with:\n{tail}")]
    NotReady { service: &'static str, how: String, log: PathBuf, tail: String },
    #[error("use {service} at {address}: {why}; start it, or name another with services.{service}")]
    Nobody { service: &'static str, address: String, why: String },
    #[error(
        "use {service} at {address}: it holds {what}, which may be somebody's; empty it by hand, or name another"
    )]
    NotEmpty { service: &'static str, address: String, what: String },
    #[error(
        "use {service} at {address}: another run uses it (the harness {owner}); wait for its end, name another, or if \
         it was killed elsewhere remove {mark}"
    )]
    InUse { service: &'static str, address: String, owner: String, mark: &'static str },
    #[error("break {service} at {address}: it is not ours; use `--services processes`")]
    NotOurs { service: &'static str, address: String },
    #[error("break the way to {service}: there is no link to it in this plan")]
    NoLink { service: &'static str },
    #[error("run `{command}`")]
    Run {
        command: String,
        #[source]
        source: io::Error,
    },
    #[error("run `{command}`: it ended with {how}: {said}")]
    Command { command: String, how: String, said: String },
    #[error("{what} {path}")]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("put a link before {service}")]
    Link {
        service: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("ask Redis at {address}")]
    Redis {
        address: String,
        #[source]
        source: redis::Error,
    },
    #[error("ask MySQL at {address}")]
    Mysql {
        address: String,
        #[source]
        source: Box<mysql_async::Error>,
    },
    #[error("ask MySQL at {address}: no answer within {limit_ms} ms")]
    MysqlSilent { address: String, limit_ms: u128 },
    #[error("read {what}: {why}")]
    Ledger { what: String, why: String },
    #[error(transparent)]
    Environment(#[from] Box<super::Error>),
}

impl Error {
    /// For `map_err` on file operations.
    fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { what, path: path.to_owned(), source }
    }
}

impl From<super::Error> for Error {
    fn from(error: super::Error) -> Self {
        Self::Environment(Box::new(error))
    }
}

#[cfg(test)]
mod tests;
