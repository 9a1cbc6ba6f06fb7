//! How etcd is spoken to: one endpoint at a time, another one when it fails, and nothing waits without limit.
//!
//! [`Etcd`] asks, [`Watched`] keeps what is at and below a key up to date. Deliberately absent: what the keys mean
//! ([`crate::sources`], [`crate::nodes`]), and balancing over several endpoints, with which every second call would
//! meet the one that is dead.

mod keys;
mod watched;

use std::{fmt, fs, future::Future, io, path::PathBuf, time::Duration};

use etcd_client::{Client, ConnectOptions};
use tokio::time::{sleep, timeout};

pub use self::{
    keys::{Keys, Scope},
    watched::{News, Watched},
};
use crate::config::EtcdSettings;

/// Between two rounds over all endpoints, doubled with each round that finds none. Together with the time that an
/// etcd needs for its start the longest of them bounds how late a change comes that was made meanwhile.
const REST_FIRST: Duration = Duration::from_millis(20);
const REST_MAX: Duration = Duration::from_millis(200);

/// Why etcd did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It refuses, or the connection broke.
    #[error("ask etcd at {endpoint}; is it running, and is etcd.address right? ({source})")]
    Asked {
        endpoint: String,
        #[source]
        source: Box<etcd_client::Error>,
    },
    /// It is frozen, far away or overloaded.
    #[error("get an answer of etcd at {endpoint} within {limit_ms} ms (etcd.timeout_ms)")]
    Late { endpoint: String, limit_ms: u128 },
    /// Read when etcd is connected to.
    #[error("read etcd's password from {} (etcd.password_file)", path.display())]
    Password {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A watch is over: etcd stops, has no leader, or has compacted what was asked for.
    #[error("watch etcd at {endpoint} any longer: {reason}")]
    Ended { endpoint: String, reason: String },
}

/// A way to ask etcd, of one task.
pub struct Etcd {
    settings: EtcdSettings,
    /// Which endpoint is asked now.
    turn: usize,
    /// Failures in a row.
    failures: u32,
    client: Option<Client>,
}

impl Etcd {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(settings: &EtcdSettings) -> Self {
        Self { settings: settings.clone(), turn: 0, failures: 0, client: None }
    }

    /// Has `work` done once by the endpoint whose turn it is. If that fails the next one has its turn.
    ///
    /// # Errors
    /// It fails, or takes longer than `etcd.timeout_ms`.
    pub async fn call<T, F>(&mut self, work: impl FnOnce(Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let limit = self.settings.timeout;
        let user = self.user().inspect_err(|_| _ = self.failed())?;
        let done = timeout(limit, async { work(self.client(user).await?).await }).await;
        match done {
            Ok(Ok(done)) => {
                self.failures = 0;
                Ok(done)
            }
            Ok(Err(source)) => {
                let endpoint = self.failed();
                Err(Error::Asked { endpoint, source: Box::new(source) })
            }
            Err(_) => Err(Error::Late { endpoint: self.failed(), limit_ms: limit.as_millis() }),
        }
    }

    /// As [`Etcd::call`], by each endpoint in turn until one of them does it.
    ///
    /// # Errors
    /// All of them fail; the last of the errors.
    pub async fn call_any<T, F>(&mut self, work: impl Fn(Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        for _ in 1..self.settings.endpoints.len() {
            if let Ok(done) = self.call(&work).await {
                return Ok(done);
            }
        }
        self.call(&work).await
    }

    /// Everything at and below a key, at one revision.
    ///
    /// # Errors
    /// No endpoint answers.
    pub async fn read(&mut self, scope: &Scope) -> Result<Keys, Error> {
        let reading = |client: Client| async move { watched::read(&client, scope).await };
        self.call_any(reading).await.map(|(keys, _)| keys)
    }

    /// Hangs up; the next endpoint has its turn. Returns the one that failed.
    fn failed(&mut self) -> String {
        let endpoint = self.endpoint().to_owned();
        self.client = None;
        self.turn += 1;
        self.failures = self.failures.saturating_add(1);
        endpoint
    }

    /// None of the endpoints has done anything since each was asked.
    #[must_use]
    pub fn all_failed(&self) -> bool {
        self.rounds() > 0
    }

    /// How often all of them have failed in a row.
    fn rounds(&self) -> u32 {
        self.failures / u32::try_from(self.settings.endpoints.len().max(1)).unwrap_or(u32::MAX)
    }

    /// Waits before the next try: not at all until every endpoint has failed once.
    pub async fn rest(&self) {
        match self.rounds() {
            0 => {}
            rounds => sleep(REST_MAX.min(REST_FIRST * (1 << (rounds - 1).min(4)))).await,
        }
    }

    fn endpoint(&self) -> &str {
        let endpoints = &self.settings.endpoints;
        endpoints.get(self.turn % endpoints.len().max(1)).map_or("", String::as_str)
    }

    /// Name and password for a connection that is to be made.
    fn user(&self) -> Result<Option<(String, String)>, Error> {
        let Some(user) = self.settings.user.as_ref().filter(|_| self.client.is_none()) else {
            return Ok(None);
        };
        let path = &user.password_file;
        let text =
            fs::read_to_string(path).map_err(|source| Error::Password { path: path.clone(), source })?;
        Ok(Some((user.name.clone(), text.lines().next().unwrap_or_default().to_owned())))
    }

    async fn client(&mut self, user: Option<(String, String)>) -> Result<Client, etcd_client::Error> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        // Silence is asked about only while something is awaited: an etcd server hangs up on who asks otherwise.
        let mut options = ConnectOptions::new()
            .with_keep_alive(self.settings.keep_alive, self.settings.timeout)
            .with_keep_alive_while_idle(false)
            .with_connect_timeout(self.settings.timeout)
            .with_require_leader(true);
        if let Some((name, password)) = user {
            options = options.with_user(name, password);
        }
        let client = Client::connect([self.endpoint()], Some(options)).await?;
        self.client = Some(client.clone());
        Ok(client)
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}
