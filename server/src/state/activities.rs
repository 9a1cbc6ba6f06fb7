//! What is sold, when, and how much of it: the text of `activities.json` -> checked events.
//!
//! A file with a fault is refused as a whole, with every fault that its values have; only a file that is
//! not JSON of the right shape at all gets its first fault alone.

use std::{collections::HashSet, fmt};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    object::{Object, objects},
    shape,
};
use crate::seckill::{EventId, GoodsId, ID_MAX, Refusal};

/// Longest name of an event or of goods, in bytes.
const NAME_BYTES_MAX: usize = 200;
/// For what has another shape.
const REMEDY: &str = "activities.example.json is a right one";

/// The events on sale and the body of `GET /event/list`, written once for all requests.
#[derive(Debug, Clone)]
pub struct Activities {
    /// Ascending by id.
    events: Vec<Event>,
    list_body: Bytes,
}

/// A sale with its beginning and end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    pub id: EventId,
    pub name: String,
    /// The first instant at which somebody can buy.
    pub starts_at: Timestamp,
    /// The first instant at which nobody can buy any more.
    pub ends_at: Timestamp,
    pub goods: Vec<Goods>,
}

/// Something on sale in an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Goods {
    pub id: GoodsId,
    pub name: String,
    pub price_cents: u64,
    /// How many there are before the first is sold.
    pub stock: u64,
    /// How many one user may order; 0: any number.
    pub limit_per_user: u32,
}

/// How many of some goods there are before the first is sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    pub event: EventId,
    pub goods: GoodsId,
    pub initial: u64,
}

/// All that is wrong with a file, each with the place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityFaults(Vec<String>);

impl Activities {
    /// Reads the text of `activities.json`.
    ///
    /// # Errors
    /// It is not JSON of the right shape, or its values contradict each other.
    pub fn parse(text: &[u8]) -> Result<Self, ActivityFaults> {
        let Object(raw): Object<RawFile> =
            shape::read(text, REMEDY).map_err(|fault| ActivityFaults(vec![fault]))?;
        let mut faults = Vec::new();
        let mut seen = HashSet::new();
        let mut events = Vec::with_capacity(raw.events.len());
        for (index, event) in raw.events.into_iter().enumerate() {
            let place = format!("events[{index}]");
            if !seen.insert(event.id) {
                faults.push(format!("{place}.id: {} is the id of an earlier event", event.id));
            }
            events.extend(check_event(event, &place, &mut faults));
        }
        if faults.is_empty() { Ok(Self::new(events)) } else { Err(ActivityFaults(faults)) }
    }

    fn new(mut events: Vec<Event>) -> Self {
        events.sort_by_key(|event| event.id);
        let list = List { events: &events };
        let list_body = serde_json::to_vec(&list).expect("events must be writable as JSON").into();
        Self { events, list_body }
    }

    /// The events, ascending by id.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The event called `id`.
    #[must_use]
    pub fn event(&self, id: EventId) -> Option<&Event> {
        self.events.binary_search_by_key(&id, |event| event.id).ok().map(|index| &self.events[index])
    }

    /// The body of `GET /event/list`.
    #[must_use]
    pub fn list_body(&self) -> Bytes {
        self.list_body.clone()
    }

    /// How much there is of everything before the first is sold.
    pub fn stock(&self) -> impl Iterator<Item = Stock> + '_ {
        self.events.iter().flat_map(|event| {
            event.goods.iter().map(|goods| Stock { event: event.id, goods: goods.id, initial: goods.stock })
        })
    }
}

impl Default for Activities {
    /// Nothing is on sale.
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Event {
    /// The goods called `id`.
    #[must_use]
    pub fn goods(&self, id: GoodsId) -> Option<&Goods> {
        self.goods.iter().find(|goods| goods.id == id)
    }

    /// Why nobody can buy at `now`, if so.
    #[must_use]
    pub fn closed(&self, now: Timestamp) -> Option<Refusal> {
        if now < self.starts_at {
            Some(Refusal::NotStarted)
        } else if now >= self.ends_at {
            Some(Refusal::Ended)
        } else {
            None
        }
    }
}

impl fmt::Display for ActivityFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ActivityFaults {}

#[derive(Serialize)]
struct List<'a> {
    events: &'a [Event],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(deserialize_with = "objects")]
    events: Vec<RawEvent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvent {
    id: u64,
    name: String,
    starts_at: String,
    ends_at: String,
    #[serde(deserialize_with = "objects")]
    goods: Vec<RawGoods>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGoods {
    id: u64,
    name: String,
    price_cents: u64,
    stock: u64,
    limit_per_user: u32,
}

fn check_event(raw: RawEvent, place: &str, faults: &mut Vec<String>) -> Option<Event> {
    check_id(raw.id, place, faults);
    check_name(&raw.name, place, faults);
    let starts_at = check_time(&raw.starts_at, &format!("{place}.starts_at"), faults);
    let ends_at = check_time(&raw.ends_at, &format!("{place}.ends_at"), faults);
    if let (Some(starts_at), Some(ends_at)) = (starts_at, ends_at)
        && ends_at <= starts_at
    {
        faults.push(format!("{place}.ends_at: {ends_at} is not after starts_at {starts_at}"));
    }
    if raw.goods.is_empty() {
        faults.push(format!("{place}.goods: an event must sell something"));
    }
    let mut seen = HashSet::new();
    for (index, goods) in raw.goods.iter().enumerate() {
        let place = format!("{place}.goods[{index}]");
        if !seen.insert(goods.id) {
            faults.push(format!("{place}.id: {} is the id of earlier goods of this event", goods.id));
        }
        check_id(goods.id, &place, faults);
        check_name(&goods.name, &place, faults);
        for (member, value) in [("price_cents", goods.price_cents), ("stock", goods.stock)] {
            if value > ID_MAX {
                faults.push(format!("{place}.{member}: {value} is more than {ID_MAX}"));
            }
        }
    }
    let goods = raw.goods.into_iter().map(Goods::from).collect();
    Some(Event { id: EventId(raw.id), name: raw.name, starts_at: starts_at?, ends_at: ends_at?, goods })
}

impl From<RawGoods> for Goods {
    fn from(raw: RawGoods) -> Self {
        let RawGoods { id, name, price_cents, stock, limit_per_user } = raw;
        Self { id: GoodsId(id), name, price_cents, stock, limit_per_user }
    }
}

fn check_id(id: u64, place: &str, faults: &mut Vec<String>) {
    if !(1..=ID_MAX).contains(&id) {
        faults.push(format!("{place}.id: {id} is not from 1 to {ID_MAX}"));
    }
}

fn check_name(name: &str, place: &str, faults: &mut Vec<String>) {
    if name.trim().is_empty() {
        faults.push(format!("{place}.name: must not be empty"));
    } else if name.len() > NAME_BYTES_MAX {
        faults.push(format!("{place}.name: has {} bytes, more than {NAME_BYTES_MAX}", name.len()));
    }
}

fn check_time(text: &str, place: &str, faults: &mut Vec<String>) -> Option<Timestamp> {
    match text.parse() {
        Ok(time) => Some(time),
        Err(_) => {
            faults
                .push(format!("{place}: {text:?} is no time with its offset, such as 2026-08-23T10:00:00Z"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"events":[
        {"id":2,"name":"later","starts_at":"2026-01-01T00:00:00+08:00","ends_at":"2026-01-02T00:00:00Z",
         "goods":[{"id":1,"name":"kettle","price_cents":9900,"stock":10,"limit_per_user":1},
                  {"id":2,"name":"lamp","price_cents":0,"stock":0,"limit_per_user":0}]},
        {"id":1,"name":"now","starts_at":"2020-01-01T00:00:00Z","ends_at":"2030-01-01T00:00:00Z",
         "goods":[{"id":1,"name":"phone","price_cents":1,"stock":5,"limit_per_user":2}]}]}"#;

    #[test]
    fn events_are_read_sorted_and_found() {
        let activities = Activities::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(activities.events().iter().map(|event| event.id.0).collect::<Vec<_>>(), [1, 2]);
        let later = activities.event(EventId(2)).unwrap();
        assert_eq!(later.starts_at.to_string(), "2025-12-31T16:00:00Z");
        assert_eq!(later.goods(GoodsId(2)).unwrap().name, "lamp");
        assert_eq!(activities.event(EventId(3)), None);
        let stock: Vec<_> =
            activities.stock().map(|stock| (stock.event.0, stock.goods.0, stock.initial)).collect();
        assert_eq!(stock, [(1, 1, 5), (2, 1, 10), (2, 2, 0)]);
    }

    #[test]
    fn the_list_is_the_file_again() {
        let activities = Activities::parse(GOOD.as_bytes()).unwrap();
        let again = Activities::parse(&activities.list_body()).unwrap();
        assert_eq!(again.events(), activities.events());
        assert_eq!(Activities::default().list_body(), r#"{"events":[]}"#);
    }

    #[test]
    fn an_event_is_open_from_its_start_to_before_its_end() {
        let activities = Activities::parse(GOOD.as_bytes()).unwrap();
        let event = activities.event(EventId(1)).unwrap();
        let check = |now: &str, expected| assert_eq!(event.closed(now.parse().unwrap()), expected, "{now}");
        check("2019-12-31T23:59:59.999Z", Some(Refusal::NotStarted));
        check("2020-01-01T00:00:00Z", None);
        check("2029-12-31T23:59:59.999Z", None);
        check("2030-01-01T00:00:00Z", Some(Refusal::Ended));
    }

    #[test]
    fn all_faults_of_the_values_are_told_at_once() {
        let bad = r#"{"events":[
            {"id":0,"name":"","starts_at":"yesterday","ends_at":"2026-01-02T00:00:00Z","goods":[]},
            {"id":5,"name":"a","starts_at":"2026-01-02T00:00:00Z","ends_at":"2026-01-01T00:00:00Z",
             "goods":[{"id":1,"name":"b","price_cents":1,"stock":9223372036854775808,"limit_per_user":1},
                      {"id":1,"name":"c","price_cents":1,"stock":1,"limit_per_user":1}]},
            {"id":5,"name":"d","starts_at":"2026-01-01","ends_at":"2026-01-02T00:00:00Z",
             "goods":[{"id":1,"name":"e","price_cents":1,"stock":1,"limit_per_user":1}]}]}"#;
        let faults = Activities::parse(bad.as_bytes()).unwrap_err().to_string();
        let expected = [
            "events[0].id: 0 is not from 1 to 9223372036854775807",
            "events[0].name: must not be empty",
            r#"events[0].starts_at: "yesterday" is no time with its offset, such as 2026-08-23T10:00:00Z"#,
            "events[0].goods: an event must sell something",
            "events[1].ends_at: 2026-01-01T00:00:00Z is not after starts_at 2026-01-02T00:00:00Z",
            "events[1].goods[0].stock: 9223372036854775808 is more than 9223372036854775807",
            "events[1].goods[1].id: 1 is the id of earlier goods of this event",
            "events[2].id: 5 is the id of an earlier event",
            r#"events[2].starts_at: "2026-01-01" is no time with its offset, such as 2026-08-23T10:00:00Z"#,
        ];
        assert_eq!(faults, expected.join("\n"));
    }

    #[test]
    fn another_shape_is_refused_with_its_place() {
        let check = |text: &str, expected: &str| {
            let told = Activities::parse(text.as_bytes()).unwrap_err().to_string();
            assert_eq!(told, format!("{expected}; activities.example.json is a right one"));
        };
        check("", "the text is empty");
        check("[[]]", "a list is not an object at line 1 column 0");
        check(
            r#"{"events":[],"extra":1}"#,
            "extra: unknown field `extra`, expected `events` at line 1 column 20",
        );
        check(
            "{\"events\":[\n{\"id\":-1}]}",
            "events[0].id: -1 is not a whole number from 0 to 18446744073709551615 at line 2 column 8",
        );
    }
}
