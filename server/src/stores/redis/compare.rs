//! The comparison of a Redis with MySQL, before anything is sold from it.
//!
//! Its log ends somewhere; if that is before the last order that MySQL has, every order of MySQL that is missing is
//! put back. It begins with a new epoch ([`Mysql::begin`]), so that nobody writes afterwards what he read before.
//! Redis is told of it at once: what it was told is gone with everything else if it is emptied meanwhile. A Redis with
//! another epoch than MySQL may lack orders in the middle, so it gets all of them.
//! Many processes may do it at once, and again.

use redis::{Cmd, Value, cmd};

use super::{
    Error, Mysql,
    link::{Links, Taken},
    script::{
        COMPARED, COMPARING, EPOCH, GROUP, INITIAL, INSTANCE, RESTORE, STOCK, STREAM, goods_field,
        orders_key, user_key,
    },
};
use crate::{
    state::Stock,
    stores::mysql::{Epoch, Position},
};

/// Orders that are put back together.
const RESTORED_TOGETHER: usize = 500;

/// Whether this Redis is the one that was compared last, as far as MySQL can be asked.
pub(super) async fn is_compared(links: &Links, taken: &Taken, mysql: &Mysql) -> Result<bool, Error> {
    let told: (Option<String>, Option<u64>) = links.ask(taken, cmd("MGET").arg(INSTANCE).arg(EPOCH)).await?;
    let (Some(instance), Some(epoch)) = told else { return Ok(false) };
    // What is sold from it waits while MySQL is away, and is not written if it is the wrong one.
    Ok(instance == taken.line.instance && mysql.epoch().await.map_or(true, |known| known.0 == epoch))
}

/// Compares; `wished` is the stock that is to be there.
pub(super) async fn compare(
    links: &Links,
    taken: &Taken,
    mysql: &Mysql,
    wished: &[Stock],
) -> Result<(), Error> {
    if !taken.line.has_log {
        tracing::warn!("redis has no appendonly log: orders that are not in mysql yet go with it");
    }
    let told: Option<u64> = links.ask(taken, cmd("GET").arg(EPOCH)).await?;
    let begun = mysql.begin().await?;
    let epoch = begun.epoch.0;
    let astray = u8::from(Epoch(told.unwrap_or(0)) != begun.before);
    let telling =
        [cmd("SET").arg(EPOCH).arg(epoch).clone(), cmd("HSET").arg(COMPARING).arg(epoch).arg(astray).clone()];
    links.ask_together::<Value>(taken, &telling).await?;
    let (last, known) = (last_position(links, taken).await?, begun.written);
    // Somebody may have found out before, and died.
    let astray: Vec<u8> = links.ask(taken, cmd("HVALS").arg(COMPARING)).await?;
    if last < known || astray.contains(&1) {
        tracing::warn!(?last, ?known, "redis may have lost orders that mysql has; they are put back");
        let restored = restore(links, taken, mysql, wished).await?;
        tracing::warn!(restored, "orders are back in redis");
    }
    make_group(links, taken).await?;
    if last < known {
        // What comes next comes after them.
        let Position { ms, sequence } = known;
        let setting = cmd("XSETID").arg(STREAM).arg(format!("{ms}-{sequence}")).clone();
        links.ask::<()>(taken, &setting).await?;
    }
    let instance = taken.line.instance.as_str();
    let mut opening = cmd("EVAL");
    opening.arg(COMPARED).arg(2).arg(INSTANCE).arg(COMPARING).arg(instance).arg(epoch);
    if !links.ask::<bool>(taken, &opening).await? {
        return Err(Error::Uncompared);
    }
    tracing::info!(instance, epoch, "redis is compared with mysql");
    Ok(())
}

/// Puts back every order that is missing; how many.
async fn restore(links: &Links, taken: &Taken, mysql: &Mysql, wished: &[Stock]) -> Result<u64, Error> {
    put_stock(links, taken, &mysql.stock().await?).await?;
    // MySQL may not have been told yet of what it has orders of.
    put_stock(links, taken, wished).await?;
    let script: String = links.ask(taken, cmd("SCRIPT").arg("LOAD").arg(RESTORE)).await?;
    let (mut after, mut restored) = (String::new(), 0);
    loop {
        let entries = mysql.orders_after(&after, RESTORED_TOGETHER).await?;
        let Some(last) = entries.last() else { return Ok(restored) };
        after = last.order.id.to_string();
        let commands: Vec<Cmd> = entries
            .iter()
            .map(|entry| {
                let order = &entry.order;
                let mut command = cmd("EVALSHA");
                command.arg(&script).arg(3).arg(STOCK);
                command.arg(user_key(order.user)).arg(orders_key(order.user));
                command.arg(goods_field(order.event, order.goods)).arg(entry.key.as_str());
                command.arg(order.id.to_string()).arg(entry.stored());
                command
            })
            .collect();
        restored += links.ask_all::<u64>(taken, &commands).await?.into_iter().sum::<u64>();
    }
}

/// Puts in what is not known; what is known stays as it is.
pub(super) async fn put_stock(links: &Links, taken: &Taken, stock: &[Stock]) -> Result<(), Error> {
    for stock in stock {
        let field = goods_field(stock.event, stock.goods);
        let commands = [INITIAL, STOCK].map(|key| {
            let mut command = cmd("HSETNX");
            command.arg(key).arg(&field).arg(stock.initial);
            command
        });
        links.ask_together::<Value>(taken, &commands).await?;
    }
    Ok(())
}

/// The id that was given last in the stream.
async fn last_position(links: &Links, taken: &Taken) -> Result<Position, Error> {
    let exists: bool = links.ask(taken, cmd("EXISTS").arg(STREAM)).await?;
    if !exists {
        return Ok(Position::default());
    }
    let told: Value = links.ask(taken, cmd("XINFO").arg("STREAM").arg(STREAM)).await?;
    let pairs: Vec<Value> = match told {
        Value::Array(values) => values,
        Value::Map(pairs) => pairs.into_iter().flat_map(|(name, value)| [name, value]).collect(),
        _ => Vec::new(),
    };
    let text = |value: &Value| redis::from_redis_value::<String>(value.clone()).ok();
    let last = pairs
        .chunks_exact(2)
        .find_map(|pair| (text(&pair[0]).as_deref() == Some("last-generated-id")).then(|| text(&pair[1]))?);
    last.and_then(|id| position(&id)).ok_or_else(|| Error::Strange("a stream without a last id".to_owned()))
}

/// Reads `ms-sequence`.
pub(super) fn position(id: &str) -> Option<Position> {
    let (ms, sequence) = id.split_once('-')?;
    Some(Position { ms: ms.parse().ok()?, sequence: sequence.parse().ok()? })
}

/// Makes the group of those who write, unless it is there.
pub(super) async fn make_group(links: &Links, taken: &Taken) -> Result<(), Error> {
    let mut making = cmd("XGROUP");
    making.arg("CREATE").arg(STREAM).arg(GROUP).arg(0).arg("MKSTREAM");
    match links.ask::<()>(taken, &making).await {
        Err(Error::Asked(error)) if error.code() == Some("BUSYGROUP") => Ok(()),
        made => made,
    }
}
