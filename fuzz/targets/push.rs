//! Any bytes as a push: a byte for the kind of data, a line that is the query, a line that is `if-match`, and the
//! body. It is refused, or offered to a writer as it would be in a server: then what is served is what was said.

#![no_main]

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use server::{
    reload::{Candidate, Content, Reload},
    sources::push,
    state::{Activities, Blacklist, Cluster, Datum, Generation, Mechanism, Origin, Snapshot},
};

/// Who is on the list before the push.
const SERVED: &[u8] = b"1\n2\n7\n9223372036854775807\n";
const GENERATION: Generation = Generation(4);

fuzz_target!(|input: &[u8]| {
    let [kind, rest @ ..] = input else { return };
    let mut parts = rest.splitn(3, |&byte| byte == b'\n');
    let (Some(query), Some(tag), Some(body)) = (parts.next(), parts.next(), parts.next()) else { return };
    let Ok(query) = std::str::from_utf8(query) else { return };
    let mut headers = HeaderMap::new();
    if !tag.is_empty() {
        let Ok(tag) = HeaderValue::from_bytes(tag) else { return };
        headers.insert(header::IF_MATCH, tag);
    }
    let datum = Datum::SOURCED[usize::from(*kind) % Datum::SOURCED.len()];
    let Ok(push) = push::parse(datum, Some(query), &headers, body) else { return };
    let first = Candidate::parse(Datum::Blacklist, Origin::new(Mechanism::Start, "the list"), SERVED);
    let writer = Reload::start(vec![first], GENERATION, Box::new(|_| Ok(()))).expect("a good list must be taken");
    let before = writer.cell().load();
    let outcome = push.offer(&writer);
    let now = writer.cell().load();
    match outcome {
        Ok(pushed) if pushed.changed && !push.conditions.dry_run => {
            assert_eq!(now.generation, GENERATION.next());
            assert_eq!(now.digests.of(datum), pushed.digest);
            let content = push.candidate.content.as_ref().expect("what is published must have no fault");
            served(content, body, &now);
        }
        Ok(_) | Err(_) => {
            assert_eq!(now.generation, GENERATION);
            assert_eq!(now.digests, before.digests);
        }
    }
});

/// Holds what is served to the body of the push, read again in the plainest way there is.
fn served(content: &Content, body: &[u8], now: &Snapshot) {
    match content {
        Content::Blacklist(_) => assert_eq!(Blacklist::parse(body).as_ref(), Ok(&*now.blacklist)),
        Content::BlacklistDelta(_) => {
            let expected = with_delta(body);
            assert!(now.blacklist.iter().map(|user| user.0).eq(expected.iter().copied()));
            let text: String = expected.iter().map(|id| format!("{id}\n")).collect();
            let list = Blacklist::parse(text.as_bytes()).expect("a list of ids must be one");
            assert_eq!((now.blacklist.len(), now.blacklist.digest()), (list.len(), list.digest()));
        }
        Content::Cluster(_) => assert_eq!(Cluster::parse(body).as_ref(), Ok(&*now.cluster)),
        Content::Activities(_) => {
            let again = Activities::parse(&now.activities.list_body()).expect("the list must be readable");
            assert_eq!(again.events(), now.activities.events());
            assert_eq!(Activities::parse(body).expect("it was taken before").events(), again.events());
        }
        Content::Nodes(_) => panic!("nodes are not pushed"),
    }
}

/// [`SERVED`] after a delta without faults.
fn with_delta(body: &[u8]) -> BTreeSet<u64> {
    let text = |bytes| std::str::from_utf8(bytes).expect("lines without fault must be text");
    let mut ids: BTreeSet<u64> =
        text(SERVED).lines().map(|id| id.parse().expect("an id must be a number")).collect();
    for line in body.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
        match line {
            [b'+', id @ ..] => drop(ids.insert(text(id).parse().expect("an id must be a number"))),
            [b'-', id @ ..] => drop(ids.remove(&text(id).parse().expect("an id must be a number"))),
            _ => assert!(line.is_empty() || line[0] == b'#', "{line:?} is no line of a delta"),
        }
    }
    ids
}
