//! Any bytes as a push: a byte for the kind of data, a line that is the query, a line that is `if-match`, and the
//! body. It is refused, or offered to a writer as it would be in a server: then what is served is what was said.

#![no_main]

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use server::{
    reload::{Content, Reload},
    sources::push,
    state::{Datum, Generation},
};

/// One for all inputs: a delta is to meet lists of any kind.
static WRITER: LazyLock<Arc<Reload>> = LazyLock::new(|| {
    Reload::start(Vec::new(), Generation::FIRST, Box::new(|_| Ok(()))).expect("an empty start must succeed")
});

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
    let before = WRITER.cell().load();
    let outcome = push.offer(&WRITER);
    let now = WRITER.cell().load();
    match outcome {
        Ok(pushed) if pushed.changed && !push.conditions.dry_run => {
            assert_eq!(now.generation, before.generation.next());
            assert_eq!(now.digests.of(datum), pushed.digest);
        }
        Ok(_) | Err(_) => assert_eq!(now.generation, before.generation),
    }
    if let Ok(Content::BlacklistDelta(delta)) = &push.candidate.content {
        if now.generation != before.generation {
            let told = delta.words().all(|(user, adds)| now.blacklist.contains(user) == adds);
            assert!(told, "who was added is on the list, and who was taken off is not");
        }
        assert_eq!(now.blacklist.len(), now.blacklist.iter().count());
    }
});
