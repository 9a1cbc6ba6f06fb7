//! A list is a set: what a text makes of it, what deltas do to it, and how much memory it takes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[test]
fn ids_blank_lines_and_comments() {
    let list = Blacklist::parse(b"# scalpers\n7\n\n 3 \r\n7\n9223372036854775807").unwrap();
    assert_eq!(list.len(), 3);
    for id in [3, 7, ID_MAX] {
        assert!(list.contains(UserId(id)), "{id}");
    }
    for id in [0, 4, 8] {
        assert!(!list.contains(UserId(id)), "{id}");
    }
    assert!(Blacklist::parse(b"").unwrap().is_empty());
}

#[test]
fn one_bad_line_refuses_the_list() {
    let long = "1".repeat(300);
    let bad =
        ["x", "-1", "+1", "1 2", "1.0", "9223372036854775808", "\u{661}", "7 # scalper", "1\r2", "\0", "1\0"];
    for bad in bad.into_iter().chain(["\u{feff}1", "12345678901234567890", &long]) {
        let told = Blacklist::parse(format!("1\n{bad}\n2\n").as_bytes()).unwrap_err().to_string();
        assert!(told.ends_with(": 2"), "{bad:?}: {told}");
    }
}

#[test]
fn every_spelling_of_an_id() {
    let zeros = format!("{}7", "0".repeat(300));
    for text in ["7", "7\n", "7\r\n", "\n\n7\r\n\r\n", "\t 7 \x0c", "007", "#7\n7", "#\0\n7", &zeros] {
        let list = Blacklist::parse(text.as_bytes()).unwrap();
        assert!(list.iter().eq([UserId(7)]), "{text:?}");
    }
}

#[test]
fn the_first_ten_bad_lines_are_told() {
    let check = |text: &str, expected: &str| {
        assert_eq!(Blacklist::parse(text.as_bytes()).unwrap_err().to_string(), expected);
    };
    let told = "of its lines are not one user id each (decimal digits, at most 9223372036854775807)";
    check("1\nx\n2\ny\n", &format!("2 {told}: 2, 4"));
    check("1\n2\nx", &format!("1 {told}: 3"));
    check(&"x\n".repeat(12), &format!("12 {told}: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and more"));
}

#[test]
fn a_list_of_ten_million_takes_little_more_than_it_must() {
    // Every 900th id has the same mean distance as ten million random ids of ten digits.
    let count = 100_000_u64;
    let text: String = (0..count).map(|index| format!("{}\n", 1_000_000_000 + index * 900)).collect();
    let list = Blacklist::parse(text.as_bytes()).unwrap();
    let bits_per_id = list.heap_bytes() as f64 * 8.0 / count as f64;
    assert!(bits_per_id < 13.0, "{bits_per_id}");
}

#[test]
fn many_changes_are_packed_and_few_are_not() {
    let list = Blacklist::parse(b"5\n20000000").unwrap();
    let delta = |ids: std::ops::Range<u64>, sign: char| {
        let text: String = ids.map(|id| format!("{sign}{id}\n")).collect();
        Delta::parse(text.as_bytes()).unwrap()
    };
    let few = list.with(&delta(10..20, '+'));
    assert!(!few.overlay.is_empty() && few.len() == 12);
    let many = few.with(&delta(100..20_100, '+'));
    assert!(many.overlay.is_empty() && many.len() == 20_012);
    let back = many.with(&delta(100..20_100, '-')).with(&delta(10..20, '-'));
    assert_eq!(back, list);
    assert_eq!(back.digest(), list.digest());
}

/// Ids that lie far apart, close together, without any gap, at the ends.
fn ids() -> impl Strategy<Value = BTreeSet<u64>> {
    let anywhere = prop::collection::btree_set(0..=ID_MAX, 0..600);
    let dense = (0..=ID_MAX - 1000, 0_u64..1000).prop_map(|(first, count)| (first..first + count).collect());
    let clusters =
        prop::collection::vec((0..=ID_MAX - 1000, prop::collection::vec(0_u64..1000, 0..200)), 0..8);
    let clustered = clusters.prop_map(|clusters| {
        clusters.into_iter().flat_map(|(first, ids)| ids.into_iter().map(move |id| first + id)).collect()
    });
    let ends = prop::collection::btree_set(
        prop_oneof![
            Just(0),
            Just(1),
            Just(ID_MAX),
            Just(ID_MAX - 1),
            (0_u32..63).prop_map(|bit| 1_u64 << bit)
        ],
        0..60,
    );
    let one = prop_oneof![anywhere, dense, clustered, ends];
    (one, prop::collection::btree_set(0..=ID_MAX, 0..3))
        .prop_map(|(ids, others): (BTreeSet<u64>, _)| ids.into_iter().chain(others).collect())
}

fn text<'a>(ids: impl IntoIterator<Item = &'a u64>) -> String {
    ids.into_iter().map(|id| format!("{id}\n")).collect()
}

fn check(list: &Blacklist, expected: &BTreeSet<u64>, asked: impl IntoIterator<Item = u64>) {
    assert_eq!(list.len(), expected.len());
    assert!(list.iter().map(|user| user.0).eq(expected.iter().copied()));
    let near = |id: u64| [id.saturating_sub(1), id, id.saturating_add(1)];
    for id in expected.iter().copied().chain(asked).flat_map(near).chain([0, ID_MAX, u64::MAX]) {
        assert_eq!(list.contains(UserId(id)), expected.contains(&id), "{id}");
    }
}

proptest! {
    #[test]
    fn a_list_is_the_set_of_its_ids(ids in ids().prop_flat_map(|ids| {
        (Just(ids.clone()), Just(ids.into_iter().collect::<Vec<_>>()).prop_shuffle())
    })) {
        let (set, shuffled) = ids;
        check(&Blacklist::parse(text(&shuffled).as_bytes()).unwrap(), &set, []);
    }

    #[test]
    fn a_list_with_deltas_is_the_set_with_them(
        first in ids(),
        deltas in prop::collection::vec(
            prop::collection::vec((any::<prop::sample::Index>(), ids(), any::<bool>()), 0..3), 0..4),
    ) {
        let mut set = first.clone();
        let mut list = Blacklist::parse(text(&first).as_bytes()).unwrap();
        for words in deltas {
            let mut delta = String::new();
            for (index, ids, adds) in words {
                // Some of what is on the list, and some of what is not.
                let listed = (!set.is_empty()).then(|| *index.get(&set.iter().copied().collect::<Vec<_>>()));
                for id in ids.into_iter().take(50).chain(listed) {
                    delta.push_str(&format!("{}{id}\n", if adds { '+' } else { '-' }));
                    if adds { set.insert(id) } else { set.remove(&id) };
                }
            }
            list = list.with(&Delta::parse(delta.as_bytes()).unwrap());
            check(&list, &set, first.iter().copied());
        }
        let spelt_out = Blacklist::parse(text(&set).as_bytes()).unwrap();
        prop_assert_eq!(list.digest(), spelt_out.digest());
        check(&list.packed_anew(), &set, []);
        prop_assert_eq!(list, spelt_out);
    }

    #[test]
    fn a_text_may_be_cut_anywhere(text in "([0-9]{0,20}|#.{0,9}| |x)(\r?\n([0-9]{0,20}|#.{0,9}| |x)){0,20}", at in any::<prop::sample::Index>()) {
        let text = text.as_bytes();
        let (head, tail) = text.split_at(at.index(text.len() + 1));
        let mut lines = Lines::of_bytes(0);
        lines.read(head);
        lines.read(tail);
        prop_assert_eq!(lines.finish(), Blacklist::parse(text));
    }

    #[test]
    fn a_line_is_an_id_exactly_when_it_is_digits_up_to_the_largest(line in "[0-9]{0,22}|[0-9]{1,20}[ -~]") {
        let trimmed = line.trim();
        let is_skipped = trimmed.is_empty() || trimmed.starts_with('#');
        let expected = trimmed.parse::<u64>().ok().filter(|&id| id <= ID_MAX && !trimmed.starts_with('+'));
        match Blacklist::parse(format!("{line}\n").as_bytes()) {
            Ok(list) => prop_assert!(list.iter().map(|user| user.0).eq(expected)),
            Err(_) => prop_assert!(expected.is_none() && !is_skipped),
        }
    }
}
