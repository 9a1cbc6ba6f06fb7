//! Signs at their times, and when that leads to a look.

use super::*;

/// Lets signs come at their times, in milliseconds, and looks whenever a look is due; a look takes no time and its
/// result is settled. Returns when it looked, until nothing is due any more.
fn looks(signs: &[(u64, Sign)]) -> Vec<u64> {
    let zero = Instant::now();
    let mut settle = Settle::default();
    let mut looks = Vec::new();
    let look_until = |settle: &mut Settle, until: Option<Instant>, looks: &mut Vec<u64>| {
        while let Some(due) = settle.due().filter(|due| until.is_none_or(|until| *due <= until)) {
            let begun = settle.begin(due).expect("what is due must begin");
            assert!(settle.end(&begun, Settled::Yes, due));
            looks.push(u64::try_from((due - zero).as_millis()).unwrap());
        }
    };
    for &(ms, sign) in signs {
        let now = zero + Duration::from_millis(ms);
        look_until(&mut settle, Some(now), &mut looks);
        settle.note(sign, now);
    }
    look_until(&mut settle, None, &mut looks);
    looks
}

#[test]
fn a_look_follows_what_proves_that_the_file_is_whole() {
    use Sign::{Closed, Created, Gone, Lost, Opened, Replaced, Strayed, Touched, Written};
    let check = |signs: &[(u64, Sign)], expected: &[u64]| assert_eq!(looks(signs), expected, "{signs:?}");
    // Written at once, or in pieces: only after the close.
    check(&[(0, Opened), (0, Written), (1, Closed)], &[4]);
    check(&[(0, Written), (700, Written), (1400, Written), (1500, Closed)], &[1503]);
    // A close each time: when nobody comes back.
    check(&[(0, Written), (1, Closed), (2, Written), (3, Closed), (4, Written), (5, Closed)], &[8]);
    // Replaced as a whole: at once.
    check(&[(5, Replaced)], &[5]);
    check(&[(5, Strayed)], &[5]);
    // Never closed: when it has stood still.
    check(&[(0, Written), (1000, Written)], &[3000]);
    // Created by a writer, or as a link.
    check(&[(0, Created), (0, Opened), (900, Written), (901, Closed)], &[904]);
    check(&[(0, Created)], &[3]);
    // Somebody only reads it.
    check(&[(0, Opened)], &[]);
    // Deleted, and created again.
    check(&[(0, Gone)], &[3]);
    check(&[(0, Gone), (1, Created), (1, Opened), (2, Written), (20, Closed)], &[23]);
    // Rights, or times.
    check(&[(0, Touched)], &[3]);
    check(&[(0, Written), (1, Touched), (30, Closed)], &[33]);
    // Nobody knows what has happened.
    check(&[(0, Lost)], &[50]);
    check(&[(0, Lost), (10, Written), (90, Closed)], &[93]);
}

#[test]
fn a_storm_is_looked_at_in_between_and_its_end_always() {
    let rewrites = (0..1000).flat_map(|ms| [(ms, Sign::Written), (ms, Sign::Closed)]);
    let in_place = looks(&rewrites.collect::<Vec<_>>());
    assert!((90..=120).contains(&in_place.len()), "{in_place:?}");
    assert!(in_place.last().is_some_and(|last| *last >= 999), "{in_place:?}");
    assert!(in_place.windows(2).all(|pair| pair[1] - pair[0] <= 12), "{in_place:?}");

    let renames: Vec<_> = (0..1000).map(|ms| (ms, Sign::Replaced)).collect();
    let replaced = looks(&renames);
    assert!((400..=501).contains(&replaced.len()), "{replaced:?}");
    assert!(replaced.last().is_some_and(|last| *last >= 999), "{replaced:?}");
}

#[test]
fn what_was_written_during_a_look_makes_it_worthless() {
    let at = Instant::now();
    let later = at + Duration::from_millis(20);
    let mut settle = Settle::default();
    settle.note(Sign::Replaced, at);
    let begun = settle.begin(at).unwrap();
    settle.note(Sign::Written, at);
    assert!(!settle.end(&begun, Settled::Yes, at));
    assert!(settle.begin(later).is_none(), "it is being written");
    settle.note(Sign::Closed, later);
    assert_eq!(settle.due(), Some(later), "its patience has ended while it was written");
    assert!(settle.begin(later).unwrap().at_last);
}

#[test]
fn what_is_not_settled_is_looked_at_again_and_at_last_whatever_it_is() {
    let mut now = Instant::now();
    let mut settle = Settle::default();
    settle.note(Sign::Replaced, now);
    let mut tries = 0;
    loop {
        let begun = settle.begin(now).expect("it must be due");
        if begun.at_last {
            break;
        }
        assert!(settle.end(&begun, Settled::No, now));
        now = settle.due().expect("it must be looked at again");
        tries += 1;
    }
    assert_eq!(tries, 5);
}

/// To open a file for writing cuts it off, of which some kernels tell nothing but that it was opened.
#[test]
fn an_empty_file_that_somebody_has_open_is_left_to_him() {
    let at = Instant::now();
    let mut settle = Settle::default();
    let mut look = |signs: &[Sign], during: &[Sign], result| {
        for sign in signs {
            settle.note(*sign, at);
        }
        settle.due = Some(at);
        let begun = settle.begin(at).unwrap();
        for sign in during {
            settle.note(*sign, at);
        }
        (begun.opened, settle.end(&begun, result, at), settle.due)
    };
    let still = Some(at + STILL);
    use Sign::{Closed, Opened};
    // The look itself opens the file. What was closed is empty.
    assert_eq!(look(&[Opened, Closed], &[Opened], Settled::Empty), (false, true, None));
    // Somebody opens it before the look, during it, or both.
    assert_eq!(look(&[Opened], &[Opened], Settled::Filled), (true, false, still));
    assert_eq!(look(&[Closed], &[Opened, Opened], Settled::Empty), (false, false, still));
    // It has been empty for so long that it is meant.
    assert_eq!(look(&[], &[Opened], Settled::Empty), (true, true, None));
    // What is not empty may be read by anybody.
    assert_eq!(look(&[Opened], &[Opened], Settled::Yes), (true, true, None));
    // It is not there, so the look opens nothing.
    assert_eq!(look(&[Closed], &[], Settled::Absent), (false, true, None));
    assert_eq!(look(&[Closed, Opened], &[Opened], Settled::Filled), (true, false, still));
}
