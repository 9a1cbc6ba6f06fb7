//! What a candidate would change of what is served, for those who only try it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    reload::Content,
    state::{Event, Node, Snapshot},
};

/// By kind of data.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Difference {
    /// Users on the list, before and after.
    Blacklist { users_before: usize, users_after: usize },
    /// Values of a document.
    Values(Vec<Changed>),
    /// Events by id.
    Events { added: Vec<u64>, removed: Vec<u64>, changed: Vec<u64> },
}

/// A value that would change; null where there is none.
#[derive(Debug, PartialEq, Serialize)]
pub struct Changed {
    /// Its place in the document, such as `rate_limits.per_second.orders`.
    place: String,
    from: Value,
    to: Value,
}

impl Difference {
    /// What `content` would change of `served`.
    #[must_use]
    pub fn between(served: &Snapshot, content: &Content) -> Self {
        let users_before = served.blacklist.len();
        match content {
            Content::Blacklist(list) => Self::Blacklist { users_before, users_after: list.len() },
            Content::BlacklistDelta(delta) => {
                Self::Blacklist { users_before, users_after: served.blacklist.with(delta).len() }
            }
            Content::Cluster(cluster) => Self::values(&*served.cluster, &**cluster),
            Content::Activities(activities) => events(served.activities.events(), activities.events()),
            Content::Nodes(nodes) => Self::values::<[Node]>(&served.nodes, nodes),
        }
    }

    fn values<T: Serialize + ?Sized>(from: &T, to: &T) -> Self {
        let value = |of| serde_json::to_value(of).expect("a document must be writable as JSON");
        let mut changed = Vec::new();
        collect(String::new(), value(from), value(to), &mut changed);
        Self::Values(changed)
    }
}

fn events(from: &[Event], to: &[Event]) -> Difference {
    let before: BTreeMap<u64, &Event> = from.iter().map(|event| (event.id.0, event)).collect();
    let after: BTreeMap<u64, &Event> = to.iter().map(|event| (event.id.0, event)).collect();
    let only = |one: &BTreeMap<u64, &Event>, other: &BTreeMap<u64, &Event>| {
        one.keys().filter(|id| !other.contains_key(id)).copied().collect()
    };
    let differs = |(id, event): &(&u64, &&Event)| after.get(id).is_some_and(|now| now != *event);
    let changed = before.iter().filter(differs).map(|(id, _)| *id).collect();
    Difference::Events { added: only(&after, &before), removed: only(&before, &after), changed }
}

/// Walks both values side by side and notes where they part. What is on one side only is told value by value.
fn collect(place: String, from: Value, to: Value, changed: &mut Vec<Changed>) {
    match (from, to) {
        (from, to) if from == to => {}
        (from @ (Value::Object(_) | Value::Null), to @ (Value::Object(_) | Value::Null)) => {
            let (mut from, to) = (members(from), members(to));
            let below = |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
            for (key, value) in to {
                collect(below(&key), from.remove(&key).unwrap_or_default(), value, changed);
            }
            for (key, value) in from {
                collect(below(&key), value, Value::Null, changed);
            }
        }
        (Value::Array(from), Value::Array(to)) => {
            let longer = from.len().max(to.len());
            let (mut from, mut to) = (from.into_iter(), to.into_iter());
            for index in 0..longer {
                let (from, to) = (from.next().unwrap_or_default(), to.next().unwrap_or_default());
                collect(format!("{place}[{index}]"), from, to, changed);
            }
        }
        (from, to) => changed.push(Changed { place, from, to }),
    }
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::state::{Activities, Cluster, Generation};

    #[test]
    fn values_are_told_with_their_place() {
        let cluster = |text: &str| Arc::new(Cluster::parse(text.as_bytes()).unwrap());
        let served = Snapshot {
            cluster: cluster(r#"{"log_level":"info","rate_limits":{"per_second":{"orders":5}}}"#),
            ..Snapshot::empty(Generation(1))
        };
        let check = |text: &str, expected: &str| {
            let difference = Difference::between(&served, &Content::Cluster(cluster(text)));
            assert_eq!(serde_json::to_string(&difference).unwrap(), expected);
        };
        check(r#"{"log_level":"info","rate_limits":{"per_second":{"orders":5}}}"#, "[]");
        check(
            r#"{"rate_limits":{"per_second":{"orders":6}}}"#,
            r#"[{"place":"rate_limits.per_second.orders","from":5,"to":6},{"place":"log_level","from":"info","to":null}]"#,
        );
    }

    #[test]
    fn what_is_on_one_side_only_is_told_value_by_value() {
        let check = |from: &str, to: &str, expected: &[&str]| {
            let read = |text: &str| serde_json::from_str(text).unwrap();
            let mut changed = Vec::new();
            collect(String::new(), read(from), read(to), &mut changed);
            let told = changed.iter().map(|value| format!("{}: {} -> {}", value.place, value.from, value.to));
            assert_eq!(told.collect::<Vec<_>>(), expected);
        };
        check(r#"{"nodes":[]}"#, r#"{"nodes":[{"name":"a"}]}"#, &[r#"nodes[0].name: null -> "a""#]);
        check(
            r#"{"nodes":[{"name":"a"},{"name":"b"}]}"#,
            r#"{"nodes":[{"name":"b"}]}"#,
            &[r#"nodes[0].name: "a" -> "b""#, r#"nodes[1].name: "b" -> null"#],
        );
        check(r#"{"a":[1]}"#, r#"{"a":5}"#, &["a: [1] -> 5"]);
        check("{}", "{}", &[]);
    }

    #[test]
    fn events_are_told_by_id() {
        let activities = |ids: &[(u64, &str)]| {
            let events: Vec<_> = ids
                .iter()
                .map(|(id, name)| {
                    serde_json::json!({"id": id, "name": name, "starts_at": "2020-01-01T00:00:00Z",
                        "ends_at": "2030-01-01T00:00:00Z",
                        "goods": [{"id": 1, "name": "g", "price_cents": 1, "stock": 1, "limit_per_user": 1}]})
                })
                .collect();
            let text = serde_json::json!({ "events": events }).to_string();
            Arc::new(Activities::parse(text.as_bytes()).unwrap())
        };
        let activities_served = activities(&[(1, "a"), (2, "b"), (3, "c")]);
        let served = Snapshot { activities: activities_served, ..Snapshot::empty(Generation(1)) };
        let next = Content::Activities(activities(&[(2, "other"), (3, "c"), (4, "d")]));
        let told = serde_json::to_string(&Difference::between(&served, &next)).unwrap();
        assert_eq!(told, r#"{"added":[4],"removed":[1],"changed":[2]}"#);
    }
}
