//! What Redis and MySQL hold after a run, and whether somebody else's hold anything before one.
//!
//! The names are those that the server and the harness have agreed on (ARCHITECTURE.md, "The store's tables").

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    Error,
    mysql::Mysql,
    owner::Owner,
    redis::{Redis, Value},
};
use crate::{
    environment::{Gateway, Stored},
    observe::{StoredInitial, StoredOrder, StoredQueue, StoredStock},
    plan::{Access, Service},
};

/// Keys of Redis begin like this.
const PREFIX: &str = "seckill:";
/// `event:goods` -> what is left.
const STOCK: &str = "seckill:stock";
/// `event:goods` -> what there was at the start.
const INITIAL: &str = "seckill:initial";
/// Orders on their way to MySQL, and who takes them there.
const STREAM: &str = "seckill:orders";
const GROUP: &str = "mysql";
/// Below it is everything of etcd.
const ETCD_PREFIX: &str = "/seckill/";
/// Says that what is there is a run's, and whose: a key of Redis, of etcd, a table of MySQL.
const CLAIM: &str = "seckill:harness";
const CLAIM_KEY: &str = "/seckill/harness";
const CLAIM_TABLE: &str = "seckill_harness";
/// What the server makes in MySQL, and the claim last, so that half of it can be removed once more.
const TABLES: [&str; 7] = ["orders", "stock", "written", "compared", "activities", "migrations", CLAIM_TABLE];

/// For every order to arrive in MySQL once nobody buys any more. The server promises a second.
const QUIET_LIMIT: Duration = Duration::from_secs(10);
const QUIET_INTERVAL: Duration = Duration::from_millis(10);
/// One question; tables of a run have hundreds of thousands of rows at most.
const ASK_LIMIT: Duration = Duration::from_secs(30);

/// Waits until the orders of the stream have arrived in MySQL, for as long as it may take.
///
/// # Errors
/// When Redis cannot be asked.
pub(super) async fn settle(redis: &Access) -> Result<Duration, Error> {
    let begun = Instant::now();
    let mut redis = connect(redis).await?;
    loop {
        if redis.waiting().await? == 0 || begun.elapsed() >= QUIET_LIMIT {
            return Ok(begun.elapsed());
        }
        sleep(QUIET_INTERVAL).await;
    }
}

/// Waits until somebody has bought again, and that order and all before it have arrived in MySQL, and for how long that
/// was; `None`: for longer than `limit`. A Redis that is away meanwhile is asked again.
pub(super) async fn catch_up(redis: &Access, limit: Duration) -> Option<Duration> {
    let begun = Instant::now();
    let mut mark = Mark::default();
    loop {
        if let Ok(mut asked) = connect(redis).await
            && asked
                .has_caught_up(&mut mark, limit.saturating_sub(begun.elapsed()))
                .await
                .is_ok_and(|has| has)
        {
            return Some(begun.elapsed());
        }
        if begun.elapsed() >= limit {
            return None;
        }
        sleep(QUIET_INTERVAL).await;
    }
}

/// Reads everything back. The server must be stopped, or the figures move.
///
/// # Errors
/// When one of them cannot be asked, or does not hold what was agreed on.
pub(super) async fn read(redis: &Access, mysql: &Access, waited: Duration) -> Result<Stored, Error> {
    let mut asked = connect(redis).await?;
    let waiting = asked.waiting().await?;
    let left = asked.stock(STOCK).await?;
    let initial = asked.stock(INITIAL).await?;
    let mut stock = Vec::new();
    for (&(event, goods), &left) in &left {
        let why = || format!("{STOCK} has event {event} goods {goods}, and {INITIAL} does not");
        let initial = initial.get(&(event, goods)).ok_or_else(|| asked.odd(why()))?;
        let initial = u64::try_from(*initial).map_err(|_| asked.odd(format!("{INITIAL} has {initial}")))?;
        stock.push(StoredStock { event, goods, initial, left });
    }
    let mut asked = Mysql::connect(mysql, ASK_LIMIT).await?;
    let orders = asked
        .rows("SELECT id, user, event, goods, `key`, process FROM orders ORDER BY id", |mut row| {
            Some(StoredOrder {
                id: row.take_opt::<String, _>(0)?.ok()?.into(),
                user: row.take_opt(1)?.ok()?,
                event: row.take_opt(2)?.ok()?,
                goods: row.take_opt(3)?.ok()?,
                key: row.take_opt(4)?.ok()?,
                process: row.take_opt(5)?.ok()?,
            })
        })
        .await?;
    let initial = asked
        .rows("SELECT event, goods, initial FROM stock ORDER BY event, goods", |mut row| {
            Some(StoredInitial {
                event: row.take_opt(0)?.ok()?,
                goods: row.take_opt(1)?.ok()?,
                initial: row.take_opt(2)?.ok()?,
            })
        })
        .await?;
    asked.close().await;
    let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
    let queue = StoredQueue { waiting, waited_ms, initial };
    Ok(Stored { orders, stock, queue: Some(queue) })
}

/// How far the orders of the stream have to have come.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    /// The time of Redis in milliseconds when it was asked first.
    begun_ms: Option<u64>,
    /// An order that was taken after that: without one nobody knows whether orders are taken and written again.
    order: Option<EntryId>,
}

/// An entry of the stream: the time at which it came, milliseconds, and a number.
type EntryId = (u64, u64);

/// Redis, asked for the ledger.
struct Asked<'a> {
    redis: Redis,
    access: &'a Access,
}

async fn connect(access: &Access) -> Result<Asked<'_>, Error> {
    let failed = |source| Error::Redis { address: access.address.clone(), source };
    Ok(Asked { redis: Redis::connect(access, ASK_LIMIT).await.map_err(failed)?, access })
}

impl Asked<'_> {
    async fn ask(&mut self, command: &[&str]) -> Result<Value, Error> {
        let asked = self.redis.ask(command).await;
        asked.map_err(|source| Error::Redis { address: self.access.address.clone(), source })
    }

    /// Orders in the stream that MySQL is not known to have: not yet taken out, and taken out without a word that
    /// they have arrived.
    async fn waiting(&mut self) -> Result<u64, Error> {
        let length = number(&self.ask(&["XLEN", STREAM]).await?);
        if length == 0 {
            return Ok(0);
        }
        let groups = self.ask(&["XINFO", "GROUPS", STREAM]).await?;
        let is_ours = |group: &&Value| group.field("name").and_then(Value::text) == Some(GROUP);
        let Some(group) = groups.array().iter().find(is_ours) else { return Ok(length) };
        let pending = group.field("pending").map_or(0, number);
        let last = group.field("last-delivered-id").and_then(Value::text).unwrap_or("0-0");
        // Redis knows the lag only as long as nothing was deleted from the middle of a stream.
        let lag = match group.field("lag") {
            Some(lag @ Value::Integer(_)) => number(lag),
            _ => self.ask(&["XRANGE", STREAM, &format!("({last}"), "+"]).await?.array().len() as u64,
        };
        Ok(pending + lag)
    }

    /// Asks until no order up to the mark is in the stream; whether that was so before the end of `limit`.
    async fn has_caught_up(&mut self, mark: &mut Mark, limit: Duration) -> Result<bool, Error> {
        let begun_ms = match mark.begun_ms {
            Some(begun_ms) => begun_ms,
            None => *mark.begun_ms.insert(milliseconds(&self.ask(&["TIME"]).await?)),
        };
        let begun = Instant::now();
        loop {
            if mark.order.is_none() {
                // Where there is no stream nobody has bought yet.
                let stream = self.ask(&["XINFO", "STREAM", STREAM]).await.ok();
                let last = stream.as_ref().and_then(|stream| entry_id(stream.field("last-generated-id")?));
                mark.order = last.filter(|(taken_ms, _)| *taken_ms > begun_ms);
            }
            if let Some(order) = mark.order {
                let oldest = self.ask(&["XRANGE", STREAM, "-", "+", "COUNT", "1"]).await?;
                let oldest = oldest.array().first().map(|entry| entry.array().first().and_then(entry_id));
                if oldest.is_none_or(|oldest| oldest.is_some_and(|oldest| oldest > order)) {
                    return Ok(true);
                }
            }
            if begun.elapsed() >= limit {
                return Ok(false);
            }
            sleep(QUIET_INTERVAL).await;
        }
    }

    /// A hash of goods with a number each.
    async fn stock(&mut self, key: &str) -> Result<BTreeMap<(u32, u32), i64>, Error> {
        let hash = self.ask(&["HGETALL", key]).await?;
        let read = |pair: &[Value]| {
            let (event, goods) = pair[0].text()?.split_once(':')?;
            Some(((event.parse().ok()?, goods.parse().ok()?), pair[1].text()?.parse().ok()?))
        };
        let read = |pair| read(pair).ok_or_else(|| self.odd(format!("{key} has {pair:?}")));
        hash.array().chunks_exact(2).map(read).collect()
    }

    fn odd(&self, why: String) -> Error {
        Error::Ledger { what: format!("the stock in Redis at {}", self.access.address), why }
    }
}

fn entry_id(id: &Value) -> Option<EntryId> {
    let (ms, number) = id.text()?.split_once('-')?;
    Some((ms.parse().ok()?, number.parse().ok()?))
}

/// What the command `TIME` says: seconds and microseconds.
fn milliseconds(time: &Value) -> u64 {
    let parts = time.array().iter().filter_map(|part| part.text()?.parse::<u64>().ok());
    parts.zip([1_000_000, 1]).map(|(part, unit)| part * unit).sum::<u64>() / 1_000
}

fn number(value: &Value) -> u64 {
    value.integer().and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
}

/// Looks whether somebody else's service has room for a run: it is empty, or what is there an earlier run has left.
///
/// # Errors
/// When it holds anything else, another run uses it, or it does not answer.
pub(super) async fn check_free(service: Service, access: &Access) -> Result<(), Error> {
    let (names, owner) = match service {
        Service::Etcd => {
            let etcd = etcd(access)?;
            let owner = etcd.get(CLAIM_KEY, ASK_LIMIT).await?;
            let owner = owner.map(|owner| String::from_utf8_lossy(&owner).into_owned());
            (etcd.keys_below(ETCD_PREFIX, ASK_LIMIT).await?, owner)
        }
        Service::Redis => {
            let mut asked = connect(access).await?;
            let owner = asked.ask(&["GET", CLAIM]).await?.text().map(str::to_owned);
            (keys(&mut asked).await?, owner)
        }
        Service::Mysql => {
            let mut mysql = Mysql::connect(access, ASK_LIMIT).await?;
            let names = tables(&mut mysql).await?;
            let owner = match names.iter().any(|name| name == CLAIM_TABLE) {
                true => {
                    let asking = format!("SELECT owner FROM {CLAIM_TABLE}");
                    // A run that was killed before it had written its name.
                    let owners = mysql.rows(&asking, |mut row| row.take_opt(0)?.ok()).await?;
                    Some(owners.into_iter().next().unwrap_or_default())
                }
                false => None,
            };
            mysql.close().await;
            (names, owner)
        }
    };
    let (word, address) = (service.word(), access.address.clone());
    let (noun, mark) = names_of(service);
    match (owner, names.first()) {
        (Some(owner), _) if is_in_use(&owner) => Err(Error::InUse { service: word, address, owner, mark }),
        (None, Some(name)) => {
            Err(Error::NotEmpty { service: word, address, what: format!("the {noun} {name}") })
        }
        _ => Ok(()),
    }
}

/// What a service has many of, and that of them which says whose run it is.
fn names_of(service: Service) -> (&'static str, &'static str) {
    match service {
        Service::Etcd => ("key", CLAIM_KEY),
        Service::Redis => ("key", CLAIM),
        Service::Mysql => ("table", CLAIM_TABLE),
    }
}

/// Whether another run may need what is there. Runs of one process come one after the other.
fn is_in_use(owner: &str) -> bool {
    !owner.is_empty() && Owner::parse(owner).is_none_or(|owner| owner != Owner::us() && !owner.is_gone())
}

/// Removes what an earlier run has left, and marks the service as used by this one.
///
/// # Errors
/// When it does not answer, or another run was quicker.
pub(super) async fn claim(service: Service, access: &Access) -> Result<(), Error> {
    release(service, access).await?;
    let owner = Owner::us().to_string();
    match service {
        Service::Etcd => Ok(etcd(access)?.put(CLAIM_KEY, owner.as_bytes(), ASK_LIMIT).await?),
        Service::Redis => match connect(access).await?.ask(&["SET", CLAIM, &owner, "NX"]).await? {
            Value::Text(_) => Ok(()),
            _ => check_free(service, access).await,
        },
        Service::Mysql => {
            let mut mysql = Mysql::connect(access, ASK_LIMIT).await?;
            mysql.run(&format!("CREATE TABLE {CLAIM_TABLE}(owner VARCHAR(255))")).await?;
            mysql.run(&format!("INSERT INTO {CLAIM_TABLE} VALUES ('{owner}')")).await?;
            mysql.close().await;
            Ok(())
        }
    }
}

/// Takes away what a run has left in somebody else's service.
///
/// # Errors
/// When it does not answer.
pub(super) async fn release(service: Service, access: &Access) -> Result<(), Error> {
    match service {
        Service::Etcd => Ok(etcd(access)?.delete_below(ETCD_PREFIX, ASK_LIMIT).await?),
        Service::Redis => {
            let mut asked = connect(access).await?;
            let keys = keys(&mut asked).await?;
            remove(&mut asked, &keys).await
        }
        Service::Mysql => {
            let mut mysql = Mysql::connect(access, ASK_LIMIT).await?;
            mysql.run("SET FOREIGN_KEY_CHECKS = 0").await?;
            for table in TABLES {
                mysql.run(&format!("DROP TABLE IF EXISTS {table}")).await?;
            }
            mysql.close().await;
            Ok(())
        }
    }
}

fn etcd(access: &Access) -> Result<Gateway, Error> {
    Ok(Gateway::new(access.address.clone())?)
}

async fn keys(asked: &mut Asked<'_>) -> Result<Vec<String>, Error> {
    let mut keys = Vec::new();
    let mut cursor = "0".to_owned();
    loop {
        let page = asked.ask(&["SCAN", &cursor, "MATCH", &format!("{PREFIX}*"), "COUNT", "1000"]).await?;
        let [next, found] = page.array() else { return Ok(keys) };
        keys.extend(found.array().iter().filter_map(Value::text).map(str::to_owned));
        next.text().unwrap_or("0").clone_into(&mut cursor);
        if cursor == "0" {
            return Ok(keys);
        }
    }
}

async fn remove(asked: &mut Asked<'_>, keys: &[String]) -> Result<(), Error> {
    for some in keys.chunks(1_000) {
        let command: Vec<&str> = std::iter::once("DEL").chain(some.iter().map(String::as_str)).collect();
        asked.ask(&command).await?;
    }
    Ok(())
}

async fn tables(mysql: &mut Mysql) -> Result<Vec<String>, Error> {
    let statement =
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1";
    mysql.rows(statement, |mut row| row.take_opt(0)?.ok()).await
}
