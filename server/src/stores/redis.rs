//! The store of many machines: Redis decides and remembers, one script for each purchase, and the stream of orders
//! that the script writes is carried into MySQL by consumers of one group.
//!
//! Nobody waits for a Redis that is away ([`link`]). A Redis that was started anew sells nothing before it was
//! compared with MySQL ([`keeper`]), since it may have lost the end of its log. Whoever dies with orders in hand
//! leaves them in the group, where others find them ([`consumer`]). Deliberately absent: a cache of stock, and
//! keys that expire: a client may repeat a purchase as late as he likes.

mod compare;
mod consumer;
mod error;
mod keeper;
mod link;
mod script;
mod standing;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prometheus_client::metrics::gauge::Gauge;
use redis::{ErrorKind, ServerErrorKind, Value, cmd};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

pub(super) use self::error::Error;
pub(super) use self::keeper::Wanted;
pub(in crate::stores) use self::script::Entry;
pub use self::standing::Services;
use self::{
    consumer::Consumer,
    error::unavailable,
    keeper::Keeper,
    link::{Links, Taken},
    script::{BUY, Bought, STOCK, goods_field, orders_key, user_key},
};
use super::{StoreCounters, Unavailable, mysql::Mysql, sales::Sales};
#[cfg(debug_assertions)]
use crate::faults::{self, Fault};
use crate::{
    config::RedisSettings,
    lifecycle::ProcessGeneration,
    seckill::{EventId, GoodsId, IdempotencyKey, Order, OrderId, Outcome, Purchase, Refusal, UserId},
    state::{Activities, Event, Pools},
    tasks::Tasks,
    telemetry::chain,
};

/// How long a start waits for services that are away.
const START_MAX: Duration = Duration::from_secs(1);
/// How long the end waits for the batch that is being written.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// The store of this process.
pub struct Store {
    links: Links,
    mysql: Mysql,
    wanted: Arc<Wanted>,
    process: ProcessGeneration,
    orders_waiting_max: u64,
    counters: StoreCounters,
    conflicts: Gauge,
    up: [Gauge; 2],
    sales: Sales,
    pools: watch::Sender<Pools>,
    closed: AtomicBool,
    /// Redis does not do what it is asked, and that is logged.
    refusing: AtomicBool,
    /// Of the consumer, which has to finish first.
    writing: (Tasks, CancellationToken),
    tasks: Tasks,
    stop: CancellationToken,
}

impl Store {
    /// Starts everything, and waits for a second at most until something can be bought. `node`: what all processes of
    /// this server are called among those who write orders into MySQL, so that the next one goes on with what the
    /// last one had in hand.
    pub(super) async fn open(
        settings: &RedisSettings,
        mysql: Mysql,
        wanted: Arc<Wanted>,
        activities: &Activities,
        process: ProcessGeneration,
        node: String,
    ) -> Result<Self, Error> {
        let (tasks, stop) = (Tasks::default(), CancellationToken::new());
        let links = Links::new(settings, &tasks, &stop)?;
        let store = Self {
            links: links.clone(),
            mysql: mysql.clone(),
            wanted: Arc::clone(&wanted),
            process,
            orders_waiting_max: settings.orders_waiting_max,
            counters: StoreCounters::default(),
            conflicts: Gauge::default(),
            up: Default::default(),
            sales: Sales::default(),
            pools: watch::Sender::default(),
            closed: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
            writing: (Tasks::default(), stop.child_token()),
            tasks,
            stop,
        };
        wanted.want(activities);
        links.resize(None);
        drop(store.tasks.spawn(mysql.clone().keep(store.stop.clone())));
        let keeper = Keeper::new(links.clone(), mysql.clone(), Arc::clone(&wanted), store.up.clone());
        let mut ready = keeper.ready();
        drop(store.tasks.spawn(keeper.run(store.stop.clone())));
        let consumer = Consumer {
            links,
            mysql: mysql.clone(),
            wanted,
            name: node,
            claim_after: settings.claim_after,
            counters: store.counters.clone(),
            conflicts: store.conflicts.clone(),
        };
        let (writing, stop) = &store.writing;
        drop(writing.spawn(consumer.run(stop.clone())));
        let waited = async {
            _ = ready.wait_for(|ready| *ready).await;
            _ = mysql.up().wait_for(|up| *up).await;
        };
        if timeout(START_MAX, waited).await.is_err() {
            if let Some(refusal) = store.links.refusal() {
                return Err(Error::RedisRefuses(refusal));
            }
            if let Some(refusal) = mysql.refusal() {
                return Err(Error::MysqlRefuses(refusal));
            }
            tracing::warn!("the store starts without all of its services");
        }
        Ok(store)
    }

    pub(super) async fn buy(&self, purchase: Purchase) -> Result<Outcome, Unavailable> {
        #[cfg(debug_assertions)]
        let purchase = faults::understood(purchase, self.process.0);
        let outcome = self.try_to_buy(&purchase).await;
        self.counters.count(&outcome);
        if let Ok(Outcome::Placed(order)) = &outcome {
            self.sales.tell([order.event].into_iter());
        }
        outcome
    }

    async fn try_to_buy(&self, purchase: &Purchase) -> Result<Outcome, Unavailable> {
        let taken = self.take()?;
        #[cfg(debug_assertions)]
        if let Some(outcome) = self.go_wrong(&taken, purchase).await {
            return Ok(outcome);
        }
        match self.run_script(&taken, purchase).await? {
            Bought::Placed => Ok(Outcome::Placed(self.order_of(purchase))),
            Bought::Stored(entry) if entry.digest == purchase.digest => Ok(Outcome::Replayed(entry.order)),
            Bought::Stored(_) => Ok(Outcome::Refused(Refusal::KeyReused)),
            // The script says so only because the purchase does.
            Bought::Closed => Ok(Outcome::Refused(purchase.closed.unwrap_or(Refusal::Ended))),
            Bought::Limit => Ok(Outcome::Refused(Refusal::LimitReached)),
            Bought::SoldOut => Ok(Outcome::Refused(Refusal::SoldOut)),
            Bought::Unknown if self.wanted.has(purchase.request) => {
                self.wanted.look_again();
                Err(Unavailable::NotStocked)
            }
            Bought::Unknown => Ok(Outcome::Refused(Refusal::UnknownGoods)),
            Bought::Full => Err(Unavailable::TooManyWaiting),
            Bought::Unverified => {
                self.wanted.look_again();
                Err(Unavailable::RedisUnverified)
            }
        }
    }

    async fn run_script(&self, taken: &Taken, purchase: &Purchase) -> Result<Bought, Unavailable> {
        let command = script::buy(&taken.line, purchase, self.process, self.orders_waiting_max);
        let answer = match self.links.ask::<Value>(taken, &command).await {
            // It was not run; somebody has thrown the scripts away.
            Err(Error::Asked(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let loading = cmd("SCRIPT").arg("LOAD").arg(BUY).clone();
                self.links.ask::<String>(taken, &loading).await.map_err(|error| self.unavailable(&error))?;
                self.links.ask::<Value>(taken, &command).await
            }
            answer => answer,
        };
        let answer = answer.map_err(|error| self.unavailable(&error))?;
        self.refusing.store(false, Ordering::Relaxed);
        Bought::read(&answer, purchase).map_err(|error| {
            tracing::error!("failed to read what the script says: {error}");
            Unavailable::Failed
        })
    }

    /// What the one who asked is told. That Redis refuses is logged once, until it does not.
    fn unavailable(&self, error: &Error) -> Unavailable {
        let unavailable = unavailable(error);
        if unavailable == Unavailable::Failed && !self.refusing.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = chain(error), "redis does not do what it is asked");
        }
        unavailable
    }

    fn order_of(&self, purchase: &Purchase) -> Order {
        Order {
            id: purchase.id,
            event: purchase.request.event,
            goods: purchase.request.goods,
            user: purchase.user,
            process: self.process,
            created_at: purchase.created_at,
        }
    }

    /// What Redis has forgotten, or was never told, MySQL may know.
    pub(super) async fn order(&self, id: OrderId, user: UserId) -> Result<Option<Order>, Unavailable> {
        let here = match self.take() {
            Ok(taken) => self.find(&taken, id, user).await.map_err(|error| self.unavailable(&error)),
            Err(away) => Err(away),
        };
        if let Ok(Some(order)) = here {
            return Ok(Some(order));
        }
        match (self.mysql.order(id, user).await, here) {
            (Ok(Some(order)), _) => Ok(Some(order)),
            (Ok(None), Ok(_)) => Ok(None),
            // It may be on its way.
            (Ok(None), Err(unavailable)) => Err(unavailable),
            (Err(error), _) => {
                tracing::debug!(%error, "an order is not found");
                Err(Unavailable::MysqlAway)
            }
        }
    }

    async fn find(&self, taken: &Taken, id: OrderId, user: UserId) -> Result<Option<Order>, Error> {
        let asking = cmd("HGET").arg(user_key(user)).arg(id.to_string()).clone();
        let Some(key) = self.links.ask::<Option<String>>(taken, &asking).await? else { return Ok(None) };
        let asking = cmd("HGET").arg(orders_key(user)).arg(&key).clone();
        let stored = self.links.ask::<Option<String>>(taken, &asking).await?;
        Ok(stored.and_then(|stored| {
            let key = IdempotencyKey::parse(key.as_bytes()).ok()?;
            Entry::parse(user, key, &stored).map(|entry| entry.order)
        }))
    }

    pub(super) async fn left(&self, event: &Event) -> Result<Vec<(GoodsId, u64)>, Unavailable> {
        let mut goods: Vec<GoodsId> = event.goods.iter().map(|goods| goods.id).collect();
        goods.sort_unstable();
        let taken = self.take()?;
        let mut asking = cmd("HMGET");
        asking.arg(STOCK);
        for goods in &goods {
            asking.arg(goods_field(event.id, *goods));
        }
        let left = self.links.ask::<Vec<Option<i64>>>(&taken, &asking).await;
        let left = left.map_err(|error| self.unavailable(&error))?;
        // Two that were sold from at once may have sold more than there was.
        let left = left.into_iter().map(|left| Some(u64::try_from(left?).unwrap_or(0)));
        let pairs = goods.into_iter().zip(left).map(|(goods, left)| Some((goods, left?)));
        pairs.collect::<Option<_>>().ok_or(Unavailable::NotStocked)
    }

    pub(super) fn sales(&self, event: EventId) -> watch::Receiver<()> {
        self.sales.of(event)
    }

    pub(super) fn size_pools(&self, pools: Pools) {
        if self.pools.send_if_modified(|sizes| std::mem::replace(sizes, pools) != pools) {
            self.links.resize(pools.redis);
            self.mysql.resize(pools.mysql);
        }
    }

    pub(super) fn pools(&self) -> Pools {
        *self.pools.borrow()
    }

    pub(super) fn counters(&self) -> &StoreCounters {
        &self.counters
    }

    pub(super) fn gauges(&self) -> Vec<(&'static str, &'static str, Gauge)> {
        let [redis, mysql] = self.up.clone();
        vec![
            ("redis_up", "1 while Redis answers", redis),
            ("mysql_up", "1 while MySQL answers", mysql),
            ("orders_waiting", "Orders that are not in MySQL yet", self.links.waiting().clone()),
            ("orders_conflicting", "Orders of which the key was taken in MySQL", self.conflicts.clone()),
        ]
    }

    /// Writes what is in hand; what is left is written by others, or by the next start.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        let (writing, stop) = &self.writing;
        stop.cancel();
        if !writing.finish(CLOSE_MAX).await {
            tracing::warn!("orders are still being written; whoever comes next finds them in redis");
        }
        self.stop.cancel();
        self.tasks.finish(CLOSE_MAX).await;
    }

    fn take(&self) -> Result<Taken, Unavailable> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Unavailable::Closed);
        }
        self.links.take().ok_or(Unavailable::RedisAway)
    }

    /// What this process does wrong on purpose instead of, or before, buying.
    #[cfg(debug_assertions)]
    async fn go_wrong(&self, taken: &Taken, purchase: &Purchase) -> Option<Outcome> {
        if faults::strikes(Fault::Oversell) {
            let field = goods_field(purchase.request.event, purchase.request.goods);
            let putting = cmd("HINCRBY").arg(STOCK).arg(field).arg(1).clone();
            _ = self.links.ask::<i64>(taken, &putting).await;
        }
        if faults::strikes(Fault::StoreTwice) {
            _ = self.run_script(taken, &faults::again(purchase)).await;
        }
        if faults::strikes(Fault::LoseOrder) {
            return Some(Outcome::Placed(self.order_of(purchase)));
        }
        if faults::strikes(Fault::AnswerFirst) {
            let (links, taken) = (self.links.clone(), taken.clone());
            let command = script::buy(&taken.line, purchase, self.process, self.orders_waiting_max);
            drop(self.tasks.spawn(async move { drop(links.ask::<Value>(&taken, &command).await) }));
            return Some(Outcome::Placed(self.order_of(purchase)));
        }
        None
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("links", &self.links)
            .field("mysql", &self.mysql)
            .finish_non_exhaustive()
    }
}
