//! What is kept in Redis under which names, the scripts that change it, and how an order is written down there.

use std::str::FromStr as _;

use jiff::Timestamp;
use redis::{Cmd, FromRedisValue, ParsingError, Value, cmd};

use super::link::Line;
use crate::{
    hex,
    lifecycle::ProcessGeneration,
    seckill::{EventId, GoodsId, IdempotencyKey, Order, OrderId, Purchase, RequestDigest, UserId},
};

pub(super) const BUY: &str = include_str!("buy.lua");
pub(super) const RESTORE: &str = include_str!("restore.lua");
pub(super) const COMPARED: &str = include_str!("compared.lua");
pub(super) const DONE: &str = include_str!("done.lua");
pub(super) const CONSUMERS: &str = include_str!("consumers.lua");

/// The `run_id` of the Redis that was compared with MySQL.
pub(super) const INSTANCE: &str = "seckill:instance";
/// The number of the comparison that was begun last: as in MySQL, unless this is not the Redis that is sold from.
pub(super) const EPOCH: &str = "seckill:epoch";
/// Comparisons that were begun: epoch -> 1 if the position in the stream says nothing. One that is done ends all.
pub(super) const COMPARING: &str = "seckill:comparing";
/// `EVENT:GOODS` -> how many are left.
pub(super) const STOCK: &str = "seckill:stock";
/// `EVENT:GOODS` -> how many there were.
pub(super) const INITIAL: &str = "seckill:initial";
/// Orders that are not in MySQL yet, oldest first.
pub(super) const STREAM: &str = "seckill:orders";
/// What was found in the stream and is no order.
pub(super) const MALFORMED: &str = "seckill:orders:malformed";
/// Those who write orders into MySQL.
pub(super) const GROUP: &str = "mysql";

/// What the script made of a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bought {
    Placed,
    /// There is an order under this key.
    Stored(Box<Entry>),
    Closed,
    Limit,
    SoldOut,
    /// There is no stock of these goods.
    Unknown,
    /// Too many orders wait for MySQL.
    Full,
    /// Redis was started since it was compared with MySQL.
    Unverified,
}

/// An order with all that is kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::stores) struct Entry {
    pub(in crate::stores) order: Order,
    pub(in crate::stores) key: IdempotencyKey,
    pub(in crate::stores) digest: RequestDigest,
}

/// How many of what a user has, and the keys of his orders by their ids.
pub(super) fn user_key(user: UserId) -> String {
    format!("seckill:user:{user}")
}

/// A user's orders by their keys.
pub(super) fn orders_key(user: UserId) -> String {
    format!("seckill:key:{user}")
}

pub(super) fn goods_field(event: EventId, goods: GoodsId) -> String {
    format!("{event}:{goods}")
}

/// The call of the script, with at most `waiting_max` orders before it in the stream.
pub(super) fn buy(line: &Line, purchase: &Purchase, process: ProcessGeneration, waiting_max: u64) -> Cmd {
    let Purchase { id, created_at, user, request, key, digest, limit_per_user, closed } = purchase;
    let mut command = cmd("EVALSHA");
    command.arg(&line.buy).arg(5).arg(INSTANCE).arg(STOCK).arg(STREAM);
    command.arg(user_key(*user)).arg(orders_key(*user));
    command.arg(&line.instance).arg(goods_field(request.event, request.goods)).arg(key.as_str());
    command.arg(u8::from(closed.is_some())).arg(*limit_per_user).arg(waiting_max);
    command.arg(id.to_string()).arg(user.0).arg(request.event.0).arg(request.goods.0);
    command.arg(hex::digits(digest)).arg(process.0).arg(created_at.to_string());
    command
}

impl Entry {
    /// As the script writes it under the key.
    pub(super) fn stored(&self) -> String {
        let Order { id, event, goods, process, created_at, .. } = &self.order;
        format!("{id} {} {event} {goods} {process} {created_at}", hex::digits(&self.digest))
    }

    /// Reads what is under `key` of `user`.
    pub(super) fn parse(user: UserId, key: IdempotencyKey, stored: &str) -> Option<Self> {
        let mut words = stored.split(' ');
        let [id, digest, event, goods, process, created_at] = std::array::from_fn(|_| words.next());
        let order = Order {
            id: OrderId::parse(id?)?,
            event: EventId(event?.parse().ok()?),
            goods: GoodsId(goods?.parse().ok()?),
            user,
            process: ProcessGeneration(process?.parse().ok()?),
            created_at: Timestamp::from_str(created_at?).ok()?,
        };
        Some(Self { order, key, digest: bytes(digest?)? })
    }

    /// Reads the fields of an entry of the stream: names and values in turn.
    pub(super) fn from_fields(fields: &[String]) -> Option<Self> {
        let of = |name: &str| {
            let mut pairs = fields.chunks_exact(2);
            pairs.find_map(|pair| (pair[0] == name).then_some(pair[1].as_str()))
        };
        let user = UserId(of("user")?.parse().ok()?);
        let key = IdempotencyKey::parse(of("key")?.as_bytes()).ok()?;
        let words = ["id", "digest", "event", "goods", "process", "created_at"];
        let words: Option<Vec<&str>> = words.into_iter().map(of).collect();
        Self::parse(user, key, &words?.join(" "))
    }
}

impl Bought {
    /// What the answer says of `purchase`.
    pub(super) fn read(answer: &Value, purchase: &Purchase) -> Result<Self, ParsingError> {
        let words = Vec::<String>::from_redis_value(answer.clone())?;
        let bought = match words.first().map_or("", String::as_str) {
            "placed" => Some(Self::Placed),
            "stored" => words.get(1).and_then(|stored| {
                let entry = Entry::parse(purchase.user, purchase.key.clone(), stored)?;
                Some(Self::Stored(Box::new(entry)))
            }),
            "closed" => Some(Self::Closed),
            "limit" => Some(Self::Limit),
            "sold-out" => Some(Self::SoldOut),
            "unknown" => Some(Self::Unknown),
            "full" => Some(Self::Full),
            "unverified" => Some(Self::Unverified),
            _ => None,
        };
        bought.ok_or_else(|| ParsingError::from(format!("the script says {words:?}")))
    }
}

fn bytes(digits: &str) -> Option<RequestDigest> {
    let mut bytes = RequestDigest::default();
    if digits.len() != 2 * bytes.len() || !digits.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seckill::OrderRequest;

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let request = OrderRequest { event: EventId(3), goods: GoodsId(4) };
        let order = Order {
            id: OrderId::new(),
            event: request.event,
            goods: request.goods,
            user: UserId(5),
            process: ProcessGeneration(6),
            created_at: Timestamp::from_microsecond(1_787_000_000_123_456).unwrap(),
        };
        let key = IdempotencyKey::parse(b"k").unwrap();
        let entry = Entry { order, key: key.clone(), digest: request.digest() };
        let stored = entry.stored();
        assert_eq!(Entry::parse(UserId(5), key.clone(), &stored).as_ref(), Some(&entry));
        for broken in ["", "x", &stored[..stored.len() - 30], &stored.replace(' ', "  ")] {
            assert_eq!(Entry::parse(UserId(5), key.clone(), broken), None, "{broken:?}");
        }
        let words: Vec<&str> = stored.split(' ').collect();
        let fields = [
            ["id", words[0]],
            ["user", "5"],
            ["event", words[2]],
            ["goods", words[3]],
            ["key", "k"],
            ["digest", words[1]],
            ["process", words[4]],
            ["created_at", words[5]],
        ];
        let fields: Vec<String> = fields.concat().into_iter().map(str::to_owned).collect();
        assert_eq!(Entry::from_fields(&fields), Some(entry));
        assert_eq!(Entry::from_fields(&fields[2..]), None);
    }
}
