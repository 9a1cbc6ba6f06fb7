//! Keeps Redis in step with MySQL and with what is on sale.
//!
//! A Redis that was started, or emptied, is compared with MySQL before anything is sold from it ([`compare`]).
//! Until then the script refuses, because the name of this start of Redis is not in it.

use std::{sync::Arc, time::Duration};

use prometheus_client::metrics::gauge::Gauge;
use redis::cmd;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Error, Mysql,
    compare::{compare, is_compared, put_stock},
    link::{Links, Taken},
    script::{INITIAL, goods_field},
};
use crate::{
    seckill::OrderRequest,
    state::{Activities, Stock},
    telemetry::chain,
};

/// How long whoever publishes something waits for its stock.
const STOCK_MAX: Duration = Duration::from_millis(500);
/// When to try again what failed.
const REST: Duration = Duration::from_millis(50);
/// When to look again although nothing has happened.
const IDLE: Duration = Duration::from_secs(1);
/// So many failures in a row are told; a service that is just being started is none.
const TOLD_AFTER: u32 = 20;

/// What is to be on sale, and how far that is done.
#[derive(Debug, Default)]
pub struct Wanted {
    wish: watch::Sender<Wish>,
    done: watch::Sender<Done>,
    again: Notify,
}

#[derive(Debug, Default, Clone)]
struct Wish {
    /// Rises with every wish.
    number: u64,
    activities: Activities,
}

#[derive(Debug, Default, Clone, Copy)]
struct Done {
    number: u64,
    /// Whether there is any use in waiting.
    is_ready: bool,
}

/// The task that does it.
pub(super) struct Keeper {
    links: Links,
    mysql: Mysql,
    wanted: Arc<Wanted>,
    up: [Gauge; 2],
    ready: watch::Sender<bool>,
    /// The wish that MySQL knows.
    remembered: u64,
    /// Tries in a row that have failed.
    failed: u32,
}

impl Wanted {
    /// Has the stock put in soon.
    pub(super) fn want(&self, activities: &Activities) -> u64 {
        let mut number = 0;
        self.wish.send_modify(|wish| {
            wish.number += 1;
            wish.activities = activities.clone();
            number = wish.number;
        });
        number
    }

    /// As [`Wanted::want`], and waits for it unless Redis is away.
    pub(in crate::stores) fn put(&self, activities: &Activities) {
        let number = self.want(activities);
        let mut done = self.done.subscribe();
        let waiting = timeout(STOCK_MAX, async move {
            _ = done.wait_for(|done| done.number >= number || !done.is_ready).await;
        });
        // Without a runtime there is nobody to wait for.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            _ = runtime.block_on(waiting);
        }
    }

    /// These goods are on sale.
    pub(super) fn has(&self, request: OrderRequest) -> bool {
        let wish = self.wish.borrow();
        wish.activities.event(request.event).is_some_and(|event| event.goods(request.goods).is_some())
    }

    /// Redis is not what it was taken for.
    pub(super) fn look_again(&self) {
        self.again.notify_one();
    }
}

impl Keeper {
    pub(super) fn new(links: Links, mysql: Mysql, wanted: Arc<Wanted>, up: [Gauge; 2]) -> Self {
        let ready = watch::Sender::new(false);
        Self { links, mysql, wanted, up, ready, remembered: 0, failed: 0 }
    }

    /// Whether something can be bought.
    pub(super) fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let (mut links, mut mysql) = (self.links.changes(), self.mysql.up());
        let mut wishes = self.wanted.wish.subscribe();
        let mut force = true;
        loop {
            links.mark_unchanged();
            mysql.mark_unchanged();
            wishes.mark_unchanged();
            let done = tokio::select! {
                () = stop.cancelled() => return,
                done = self.step(force) => done,
            };
            self.tell(&done);
            let pause = if done.is_ok() { IDLE } else { REST };
            force = false;
            tokio::select! {
                () = stop.cancelled() => return,
                _ = links.changed() => force = true,
                _ = mysql.changed() => {}
                _ = wishes.changed() => {}
                () = self.wanted.again.notified() => {
                    // Whoever asks does so for every request that meets it.
                    sleep(REST / 5).await;
                    force = true;
                }
                () = sleep(pause) => {}
            }
            force |= done.is_err();
        }
    }

    fn tell(&mut self, done: &Result<(), Error>) {
        let is_ready = done.is_ok();
        self.up[0].set(i64::from(self.links.up() > 0));
        self.up[1].set(i64::from(*self.mysql.up().borrow()));
        self.ready.send_if_modified(|ready| std::mem::replace(ready, is_ready) != is_ready);
        self.wanted.done.send_if_modified(|done| std::mem::replace(&mut done.is_ready, is_ready) != is_ready);
        match done {
            Ok(()) => self.failed = 0,
            // That is told by who looks for it.
            Err(Error::Away) => {}
            Err(error) => {
                self.failed = self.failed.saturating_add(1);
                if self.failed == TOLD_AFTER {
                    let error = chain(error);
                    tracing::warn!(error, "redis is not compared with mysql yet; nothing can be bought");
                }
            }
        }
    }

    /// Does what is left to do. `force`: Redis may be another one than before.
    async fn step(&mut self, force: bool) -> Result<(), Error> {
        let taken = self.links.take().ok_or(Error::Away)?;
        let wish = self.wanted.wish.borrow().clone();
        let stock: Vec<Stock> = wish.activities.stock().collect();
        if force {
            let is_compared = is_compared(&self.links, &taken, &self.mysql).await?;
            if !is_compared {
                compare(&self.links, &taken, &self.mysql, &stock).await?;
            }
        }
        let done = *self.wanted.done.borrow();
        if force || done.number < wish.number {
            put_stock(&self.links, &taken, &stock).await?;
            self.wanted.done.send_replace(Done { number: wish.number, is_ready: true });
        }
        if self.remembered < wish.number && *self.mysql.up().borrow() {
            let stock = initial(&self.links, &taken, &stock).await?;
            match self.mysql.put_stock(&stock).await {
                Ok(()) => self.remembered = wish.number,
                // Nobody buys less for it; the next look tries again.
                Err(error) => tracing::warn!(%error, "mysql does not know the stock yet"),
            }
        }
        Ok(())
    }
}

/// How many there were of each, as Redis has it.
async fn initial(links: &Links, taken: &Taken, stock: &[Stock]) -> Result<Vec<Stock>, Error> {
    if stock.is_empty() {
        return Ok(Vec::new());
    }
    let mut asking = cmd("HMGET");
    asking.arg(INITIAL);
    for stock in stock {
        asking.arg(goods_field(stock.event, stock.goods));
    }
    let known: Vec<Option<u64>> = links.ask(taken, &asking).await?;
    let pairs = stock.iter().zip(known);
    Ok(pairs.map(|(stock, known)| Stock { initial: known.unwrap_or(stock.initial), ..*stock }).collect())
}
