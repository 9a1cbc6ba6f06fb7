//! Keeps the key of this process: put, renewed, put again after it was lost, and taken back at the end.
//!
//! What etcd knows of us is compared with what is wanted every third of the lease, and whenever a list of nodes comes
//! without us. A key is put only if it is still what was just read, so that a registration that is under way while
//! the successor registers cannot come after it.

use std::{sync::Arc, time::Duration};

use etcd_client::{Client, Compare, CompareOp, KeyValue, PutOptions, Txn, TxnOp};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::Entry;
use crate::{
    config::EtcdSettings,
    etcd::{self, Etcd},
    reload::Reload,
    state::Generation,
    telemetry::chain,
};

/// Nothing is to be done until something else is wanted.
const IDLE: Duration = Duration::from_secs(3600);

/// What is wanted of the register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// Nothing yet: this process does not serve.
    Nothing,
    /// That it names this process.
    Named,
    /// That the key stays, whoever's it is: a successor takes it over.
    Kept,
    /// That it does not name this process any more.
    Gone,
}

/// A process in the register.
#[derive(Debug)]
pub struct Registration {
    entry: Entry,
    etcd: EtcdSettings,
    lease: Duration,
    wish: watch::Sender<Wish>,
}

/// What is known of our place in the register.
struct Held {
    etcd: Etcd,
    /// Ours, and for how long it was granted.
    lease: Option<(i64, Duration)>,
    /// The key has been ours since this process is wanted there.
    is_ours: bool,
}

impl Registration {
    /// Does nothing before [`Registration::run`].
    #[must_use]
    pub fn new(entry: Entry, etcd: &EtcdSettings, lease: Duration) -> Arc<Self> {
        Arc::new(Self { entry, etcd: etcd.clone(), lease, wish: watch::Sender::new(Wish::Nothing) })
    }

    /// From now on this process is to be found.
    pub fn enter(&self) {
        self.wish.send_replace(Wish::Named);
    }

    /// A successor puts the key from now on. Until it does, and if it never does, ours is renewed.
    pub fn yield_to_successor(&self) {
        self.turn(Wish::Named, Wish::Kept);
    }

    /// The successor did not come.
    pub fn enter_again(&self) {
        self.turn(Wish::Kept, Wish::Named);
    }

    fn turn(&self, from: Wish, to: Wish) {
        self.wish.send_if_modified(|wish| {
            let turns = *wish == from;
            if turns {
                *wish = to;
            }
            turns
        });
    }

    /// Takes the key back if it is still ours. Waits until that is done, but not for an etcd that does not answer:
    /// then the key goes with its lease.
    pub async fn leave(&self) {
        self.wish.send_replace(Wish::Gone);
        if timeout(2 * self.etcd.timeout, self.wish.closed()).await.is_err() {
            tracing::warn!(
                key = self.entry.key(),
                "etcd does not take the node out; the end of its lease will"
            );
        }
    }

    /// Does what is wanted, until this process is to be gone and is.
    pub async fn run(self: Arc<Self>, reload: Arc<Reload>) {
        let mut wishes = self.wish.subscribe();
        let mut changes = reload.changes();
        let mut held = Held { etcd: Etcd::new(&self.etcd), lease: None, is_ours: false };
        let mut told = false;
        loop {
            let wish = *wishes.borrow_and_update();
            held.is_ours &= wish == Wish::Named;
            let done = self.fulfil(wish, &mut held).await;
            if wish == Wish::Gone {
                return;
            }
            match &done {
                Ok(_) => told = false,
                Err(error) if !told => {
                    told = true;
                    let error = chain(error);
                    tracing::warn!(key = self.entry.key(), error, "cannot be put into the register of nodes");
                }
                Err(_) => {}
            }
            let pause = async {
                match &done {
                    Ok(pause) => sleep(*pause).await,
                    Err(_) => held.etcd.rest().await,
                }
            };
            tokio::select! {
                () = pause => {}
                changed = wishes.changed() => if changed.is_err() { return },
                () = self.missed(&mut changes, &reload), if done.is_ok() && wish == Wish::Named => {}
            }
        }
    }

    /// One comparison of what etcd knows with what is wanted; for how long that will do.
    async fn fulfil(&self, wish: Wish, held: &mut Held) -> Result<Duration, etcd::Error> {
        match wish {
            Wish::Nothing => Ok(IDLE),
            Wish::Kept => {
                held.renew().await?;
                Ok(held.lease.map_or(IDLE, |(_, granted)| granted / 3))
            }
            Wish::Named => {
                held.renew().await?;
                let (lease, granted) = match held.lease {
                    Some(lease) => lease,
                    None => held.grant(self.lease).await?,
                };
                self.name(lease, held).await?;
                Ok(granted / 3)
            }
            Wish::Gone => {
                if let Some((lease, _)) = held.lease.take() {
                    // This deletes the keys of the lease; one that a successor has put is of another lease.
                    let revoking = |client: Client| async move { client.lease_client().revoke(lease).await };
                    held.etcd.call_any(revoking).await?;
                }
                Ok(IDLE)
            }
        }
    }

    /// Puts the key under `lease` unless it is, or something else is wanted by now.
    async fn name(&self, lease: i64, held: &mut Held) -> Result<(), etcd::Error> {
        let key = self.entry.key();
        let asked = key.clone();
        let seen = held.etcd.call(|client| async move { client.kv_client().get(asked, None).await }).await?;
        let seen = seen.kvs().first();
        if seen.is_some_and(|pair| pair.lease() == lease) || *self.wish.borrow() != Wish::Named {
            return Ok(());
        }
        if let Some(other) = seen.filter(|_| held.is_ours) {
            let other = other.value_str().unwrap_or_default();
            tracing::warn!(key, other, "another process has this name; give each its own node.name");
        }
        let revision = seen.map_or(0, KeyValue::mod_revision);
        let value = serde_json::to_vec(&self.entry).expect("an entry must be writable as JSON");
        let unchanged = Compare::mod_revision(key.as_str(), CompareOp::Equal, revision);
        let put = TxnOp::put(key.as_str(), value, Some(PutOptions::new().with_lease(lease)));
        let txn = Txn::new().when([unchanged]).and_then([put]);
        let done = held.etcd.call(|client| async move { client.kv_client().txn(txn).await }).await?;
        if done.succeeded() {
            held.is_ours = true;
            tracing::info!(key, "in the register of nodes");
        }
        Ok(())
    }

    /// Waits until a list of nodes is published that has not this process in it.
    async fn missed(&self, changes: &mut watch::Receiver<Generation>, reload: &Reload) {
        loop {
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
            if !reload.cell().load().nodes.iter().any(|node| self.entry.is(node)) {
                return;
            }
        }
    }
}

impl Held {
    /// Prolongs the lease; forgets it when etcd has.
    async fn renew(&mut self) -> Result<(), etcd::Error> {
        let Some((lease, _)) = self.lease else { return Ok(()) };
        let renewing = |client: Client| async move {
            match client.lease_client().keep_alive(lease).await {
                Ok(_) => Ok(true),
                Err(etcd_client::Error::LeaseKeepAliveError(_)) => Ok(false),
                Err(error) => Err(error),
            }
        };
        if !self.etcd.call(renewing).await? {
            tracing::warn!(lease, "etcd has let the lease of this node end");
            self.lease = None;
        }
        Ok(())
    }

    async fn grant(&mut self, wanted: Duration) -> Result<(i64, Duration), etcd::Error> {
        let seconds = i64::try_from(wanted.as_secs()).unwrap_or(i64::MAX);
        let granting = |client: Client| async move { client.lease_client().grant(seconds, None).await };
        let granted = self.etcd.call(granting).await?;
        let length = Duration::from_secs(u64::try_from(granted.ttl()).unwrap_or(1).max(1));
        self.lease = Some((granted.id(), length));
        Ok((granted.id(), length))
    }
}
