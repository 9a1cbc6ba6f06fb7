//! Any bytes as the text of a blacklist: read whole, cut at any place, and by a reader that is as plain as it
//! can be, they are the same list or have the same faulty lines.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use server::{
    seckill::{ID_MAX, UserId},
    state::{Blacklist, Lines},
};

fuzz_target!(|input: &[u8]| {
    let [cut, text @ ..] = input else { return };
    let whole = Blacklist::parse(text);
    let (head, tail) = text.split_at(usize::from(*cut) * (text.len() + 1) / 256);
    let mut lines = Lines::of_bytes(text.len() as u64);
    lines.read(head);
    lines.read(tail);
    assert_eq!(lines.finish(), whole);
    let (ids, faulty) = plainly(text);
    match whole {
        Ok(list) => {
            assert!(faulty.is_empty(), "{faulty:?} are taken");
            assert!(list.iter().map(|user| user.0).eq(ids.iter().copied()));
            for id in ids.iter().flat_map(|id| [id.saturating_sub(1), *id, id + 1]) {
                assert_eq!(list.contains(UserId(id)), ids.contains(&id));
            }
        }
        Err(faults) => {
            let first: Vec<String> = faulty.iter().take(10).map(ToString::to_string).collect();
            let more = if faulty.len() > 10 { " and more" } else { "" };
            assert!(faults.to_string().ends_with(&format!(": {}{more}", first.join(", "))));
        }
    }
});

/// The ids of a text, and the numbers of its faulty lines.
fn plainly(text: &[u8]) -> (BTreeSet<u64>, Vec<usize>) {
    let (mut ids, mut faulty) = (BTreeSet::new(), Vec::new());
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        let digits = std::str::from_utf8(line).ok().filter(|line| line.bytes().all(|byte| byte.is_ascii_digit()));
        match digits.and_then(|digits| digits.parse().ok()).filter(|&id| id <= ID_MAX) {
            Some(id) => drop(ids.insert(id)),
            None => faulty.push(index + 1),
        }
    }
    (ids, faulty)
}
