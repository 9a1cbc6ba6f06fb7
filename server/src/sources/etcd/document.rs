//! One document out of a key and those below it.
//!
//! `/seckill/config/rate_limits/per_second/orders` with the value `100` takes the place of that member of the document
//! at `/seckill/config`; a longer path goes before a shorter one. What is wrong is told with the key that it is in.

use serde_json::{Map, Value};

use crate::{
    etcd::Keys,
    nodes,
    reload::{Candidate, Content},
    state::{Datum, Origin},
};

/// Makes one of the keys at and below `key`.
pub(super) fn candidate(datum: Datum, origin: Origin, key: &str, keys: &Keys) -> Candidate {
    let document = keys.get(key);
    let candidate = match datum {
        Datum::Nodes => {
            let mut candidate = Candidate::unreadable(datum, origin, String::new());
            candidate.content = Ok(Content::Nodes(nodes::list(keys).into()));
            candidate
        }
        _ if below(key, keys).next().is_none() => {
            return Candidate::parse(datum, origin, document.unwrap_or_default());
        }
        Datum::Blacklist | Datum::Cluster | Datum::Activities => merged(datum, &origin, key, keys),
    };
    Candidate { bytes: u64::try_from(keys.bytes()).unwrap_or(u64::MAX), ..candidate }
}

fn merged(datum: Datum, origin: &Origin, key: &str, keys: &Keys) -> Candidate {
    let parse = |document: &Value| Candidate::parse(datum, origin.clone(), document.to_string().as_bytes());
    let (mut document, mut faults) = match keys.get(key).map(|text| read(text).map_err(|error| (text, error)))
    {
        None => (Value::Object(Map::new()), Vec::new()),
        Some(Ok(document)) => (document, Vec::new()),
        Some(Err((text, error))) => {
            let told = Candidate::parse(datum, origin.clone(), text).content.err();
            (Value::Object(Map::new()), vec![told.unwrap_or(error)])
        }
    };
    let alone = document.clone();
    let mut set = Vec::new();
    for (path, value) in below(key, keys) {
        let put = read(value).map_err(|error| format!("{error}; write it as JSON, words between quotes"));
        match put.and_then(|value| put_at(&mut document, path, value.clone()).map(|()| value)) {
            Ok(value) => set.push((path, value)),
            Err(fault) => faults.push(format!("{key}/{path}: {fault}")),
        }
    }
    let mut candidate = parse(&document);
    let Err(fault) = candidate.content else {
        candidate.content = if faults.is_empty() { candidate.content } else { Err(faults.join("; ")) };
        return candidate;
    };
    // Which of them it is in: the document by itself, or a key that is a fault on its own.
    match (keys.get(key), parse(&alone).content) {
        (Some(_), Err(fault)) if faults.is_empty() => faults.push(without_position(&fault)),
        (Some(_), Err(_)) => {}
        (None, _) | (Some(_), Ok(_)) => {
            for (path, value) in set {
                let mut document = alone.clone();
                let put = put_at(&mut document, path, value);
                if let (Ok(()), Err(fault)) = (put, parse(&document).content) {
                    faults.push(format!("{key}/{path}: {}", without_position(&fault)));
                }
            }
        }
    }
    if faults.is_empty() {
        faults.push(format!("{key} and the keys below it together: {}", without_position(&fault)));
    }
    Candidate { content: Err(faults.join("; ")), ..candidate }
}

/// The keys below `key`, without it.
fn below<'k>(key: &'k str, keys: &'k Keys) -> impl Iterator<Item = (&'k str, &'k [u8])> {
    keys.iter().filter_map(move |(name, value)| Some((name.strip_prefix(key)?.strip_prefix('/')?, value)))
}

fn read(text: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

/// Puts `value` where `path` leads from member to member; objects on the way that are not there are made.
fn put_at(document: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let mut place = document;
    let mut before = String::new();
    for member in path.split('/') {
        if member.is_empty() {
            return Err("a member without a name; delete this key".to_owned());
        }
        let Value::Object(members) = place else {
            let what = if before.is_empty() { "the document" } else { &before };
            return Err(format!("{what} has no members to be set one by one; write it as a whole"));
        };
        place = members.entry(member).or_insert_with(|| Value::Object(Map::new()));
        before = if before.is_empty() { member.to_owned() } else { format!("{before}.{member}") };
    }
    *place = value;
    Ok(())
}

/// A line and a column are those of a text that nobody has written.
fn without_position(fault: &str) -> String {
    fault.rfind(" at line ").map_or(fault, |end| &fault[..end]).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Mechanism;

    fn made(datum: Datum, pairs: &[(&str, &str)]) -> Candidate {
        let keys: Keys =
            pairs.iter().map(|(key, value)| (format!("/seckill/config{key}"), value.as_bytes())).collect();
        candidate(datum, Origin::new(Mechanism::Etcd, "etcd:/seckill/config"), "/seckill/config", &keys)
    }

    #[track_caller]
    fn check(pairs: &[(&str, &str)], expected: &str) {
        let Content::Cluster(cluster) = made(Datum::Cluster, pairs).content.unwrap() else { panic!() };
        assert_eq!(serde_json::to_value(&*cluster).unwrap(), with_defaults(expected));
    }

    fn with_defaults(text: &str) -> Value {
        serde_json::to_value(crate::state::Cluster::parse(text.as_bytes()).unwrap()).unwrap()
    }

    #[track_caller]
    fn refused(pairs: &[(&str, &str)], expected: &str) {
        assert_eq!(made(Datum::Cluster, pairs).content.unwrap_err(), expected);
    }

    #[test]
    fn single_keys_take_the_place_of_members() {
        check(&[("", r#"{"pools":{"mysql":1}}"#)], r#"{"pools":{"mysql":1}}"#);
        check(
            &[
                ("", r#"{"log_level":"info","pools":{"mysql":1,"redis":2}}"#),
                ("/log_level", "\"debug\""),
                ("/pools/mysql", "9"),
                ("/rate_limits/per_second/orders", " 100\n"),
            ],
            r#"{"log_level":"debug","pools":{"mysql":9,"redis":2},"rate_limits":{"per_second":{"orders":100}}}"#,
        );
        check(&[("/degradation/buying_closed", "true")], r#"{"degradation":{"buying_closed":true}}"#);
    }

    #[test]
    fn a_longer_path_goes_before_a_shorter_one() {
        check(
            &[("/pools", r#"{"mysql":1,"redis":2}"#), ("/pools/mysql", "3")],
            r#"{"pools":{"mysql":3,"redis":2}}"#,
        );
        check(&[("", r#"{"pools":{"redis":2}}"#), ("/pools", r#"{"mysql":1}"#)], r#"{"pools":{"mysql":1}}"#);
    }

    #[test]
    fn every_fault_is_told_with_its_key() {
        refused(
            &[("/log_level", "debug"), ("/pools/mysql", "0"), ("/pools/mongo", "1"), ("/pools/redis", "7")],
            "/seckill/config/log_level: expected value at line 1 column 1; write it as JSON, words between quotes; \
             /seckill/config/pools/mongo: pools.mongo: unknown field `mongo`, expected `mysql` or `redis`; \
             /seckill/config/pools/mysql: pools.mysql: 0 is not from 1 to 10000",
        );
        refused(
            &[("", "{"), ("/pools/redis", "7")],
            "the text ends within an object at line 1 column 1; `seckill config cluster` prints a right one",
        );
        refused(
            &[("", r#"{"loglevel":"info"}"#), ("/pools/redis", "7")],
            "loglevel: unknown field `loglevel`, expected one of `log_level`, `rate_limits`, `degradation`, `pools`, `nodes`",
        );
        refused(
            &[("/", "{}"), ("/log_level/x", "1"), ("/log_level", "\"info\"")],
            "/seckill/config/: a member without a name; delete this key; /seckill/config/log_level/x: log_level has \
             no members to be set one by one; write it as a whole",
        );
        refused(
            &[("", "7"), ("/pools/redis", "7")],
            "/seckill/config/pools/redis: the document has no members to \
             be set one by one; write it as a whole",
        );
    }

    #[test]
    fn the_text_of_a_document_alone_is_taken_as_it_is() {
        let candidate = made(Datum::Cluster, &[("", "{\n  \"pools\": {\"mysql\": true}\n}")]);
        assert_eq!(
            candidate.content.unwrap_err(),
            "pools.mysql: true is not a whole number from 0 to 4294967295 at line 2 column 25; `seckill config \
             cluster` prints a right one"
        );
        assert_eq!(candidate.bytes, 30);
        assert_eq!(made(Datum::Cluster, &[("", "{}"), ("/log_level", "\"info\"")]).bytes, 8);
    }

    #[test]
    fn a_list_is_the_text_of_its_key() {
        let Content::Blacklist(list) = made(Datum::Blacklist, &[("", "1\n2\n")]).content.unwrap() else {
            panic!()
        };
        assert_eq!(list.len(), 2);
    }
}
