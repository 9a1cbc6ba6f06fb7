//! What the reference server is configured with: every kind of data, as any change of a run makes it.
//!
//! All of it follows from the plan, its seed and the change's number; 0 is what the server starts with. No two
//! changes in a row have the same content or the same size. A blacklist's long part is made once: a change
//! replaces what stands before it.

use std::{fmt::Write as _, io, io::Write, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::json;

use crate::plan::{Bad, Datum, ReferencePlan, listed};

const PRICE_CENTS: u64 = 9_900;
/// Sales began this long before the run and end this long after it: no run sees one closed.
const SALE_MARGIN: SignedDuration = SignedDuration::from_hours(24);
/// Ids of the long part have ten digits; no user of the load has so many.
const ID_FIRST: u64 = 1_000_000_000;
const ID_COUNT: u64 = 8_999_999_999;
/// Of the long part, with the end of the line.
pub(super) const ID_LINE_BYTES: u64 = 11;
/// Has no divisor in common with `ID_COUNT`, so that no id comes twice; the ids come in no order.
const ID_STEP: u64 = 6_700_417_001;
/// After so many changes sizes come again; a history is shorter.
const SIZES: u64 = 1_024;
/// A user of the load has at most seven digits.
const USER_LINE_BYTES: usize = 8;
/// Above every rate of a run, and below what the server takes.
const PER_SECOND: u64 = 1_000_000;

/// The text of one kind of data.
#[derive(Debug, Clone)]
pub struct Content {
    head: Vec<u8>,
    rest: Arc<[u8]>,
}

/// Makes contents.
#[derive(Debug)]
pub struct Contents {
    users: u32,
    listed: u32,
    sale_events: u32,
    stock: u64,
    limit_per_user: u32,
    now: Timestamp,
    ids: Arc<[u8]>,
}

impl Content {
    fn short(text: String) -> Self {
        Self { head: text.into_bytes(), rest: Arc::default() }
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.head.len() + self.rest.len()) as u64
    }

    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.head)?;
        out.write_all(&self.rest)
    }

    /// Its parts, the changing one first.
    #[must_use]
    pub fn parts(&self) -> [&[u8]; 2] {
        [&self.head, &self.rest]
    }

    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.parts().concat()
    }
}

impl Contents {
    #[must_use]
    pub fn new(plan: &ReferencePlan, seed: u64, now: Timestamp) -> Self {
        Self {
            users: plan.users,
            listed: plan.listed,
            sale_events: plan.sale_events,
            stock: plan.stock,
            limit_per_user: plan.limit_per_user,
            now,
            ids: ids(plan.blacklist, seed),
        }
    }

    /// Who of the load's users a change lists: the first and the last.
    #[must_use]
    pub fn listed(&self, number: u64) -> Option<(u32, u32)> {
        listed(self.users, self.listed, number)
    }

    /// What change `number` makes of a kind of data.
    #[must_use]
    pub fn of(&self, datum: Datum, number: u64) -> Content {
        match datum {
            Datum::Blacklist => self.blacklist(number, ""),
            Datum::Cluster => {
                let per_second = json!({ "event_list": limit(number) });
                padded(&json!({ "rate_limits": { "per_second": per_second } }), number)
            }
            Datum::Activities => padded(&self.activities(number), number),
        }
    }

    /// Something that has to be refused.
    #[must_use]
    pub fn bad(&self, datum: Datum, number: u64, bad: Bad) -> Content {
        match (bad, datum) {
            (Bad::Malformed, Datum::Blacklist) => self.blacklist(number, "nobody\n"),
            (Bad::Malformed, Datum::Cluster) => padded(&json!({ "log_level": 7 }), number),
            (Bad::Malformed, Datum::Activities) => padded(&json!({ "events": 7 }), number),
            (Bad::OutOfRange, Datum::Blacklist) => self.blacklist(number, "99999999999999999999999\n"),
            (Bad::OutOfRange, Datum::Cluster) => padded(&json!({ "pools": { "mysql": 0 } }), number),
            (Bad::OutOfRange, Datum::Activities) => {
                let mut activities = self.activities(number);
                for event in &mut activities.events {
                    (event.starts_at, event.ends_at) = (event.ends_at, event.starts_at);
                }
                padded(&activities, number)
            }
            // What a machine that died leaves of a file: its length, and zeros.
            (Bad::Torn, Datum::Blacklist) => self.blacklist(number, "12345678\0\0\0\0\0\0\0\0\n"),
            (Bad::Torn, Datum::Cluster | Datum::Activities) => {
                let mut content = self.of(datum, number);
                let whole = content.head.trim_ascii_end().len();
                content.head.truncate(whole * 2 / 3);
                content
            }
            (Bad::Overtaken, _) => self.of(datum, number),
        }
    }

    /// What makes the blacklist of one change that of another.
    #[must_use]
    pub fn delta(&self, from: u64, to: u64) -> Content {
        let mut text = format!("# from change {from} to change {to}\n");
        for (sign, number) in [('-', from), ('+', to)] {
            for user in self.users(number) {
                writeln!(text, "{sign}{user}").expect("writing to a string must succeed");
            }
        }
        Content::short(text)
    }

    /// The single value of the cluster configuration that change `number` makes, by its path in the document: not the
    /// one that the document has.
    #[must_use]
    pub fn value(&self, number: u64, bad: Option<Bad>) -> (&'static [&'static str], Content) {
        let text = match bad {
            None | Some(Bad::Overtaken) => limit(number).to_string(),
            Some(Bad::Malformed) => "\"many\"".to_owned(),
            Some(Bad::Torn) => "[1000".to_owned(),
            Some(Bad::OutOfRange) => u64::from(u32::MAX).to_string(),
        };
        (&["rate_limits", "per_second", "event_info"], Content::short(text))
    }

    fn users(&self, number: u64) -> std::ops::Range<u32> {
        self.listed(number).map_or(0..0, |(first, last)| first..last + 1)
    }

    fn blacklist(&self, number: u64, more: &str) -> Content {
        let mut text = format!("# change {number}\n");
        for user in self.users(number) {
            writeln!(text, "{user}").expect("writing to a string must succeed");
        }
        text.push_str(more);
        // The users' numbers are longer and shorter; a comment makes up for it.
        let longest = (usize::try_from(self.listed).unwrap_or_default() + 8) * USER_LINE_BYTES + more.len();
        let fill = longest.saturating_sub(text.len()) + pad(number);
        writeln!(text, "#{}", "-".repeat(fill)).expect("writing to a string must succeed");
        Content { head: text.into_bytes(), rest: Arc::clone(&self.ids) }
    }

    fn activities(&self, number: u64) -> Activities {
        let change = if number == 0 { String::new() } else { format!(", change {number}") };
        let event = |id| SaleEvent {
            id,
            name: format!("Flash sale {id}{change}"),
            starts_at: self.now - SALE_MARGIN,
            ends_at: self.now + SALE_MARGIN,
            goods: vec![Good {
                id,
                name: format!("Good {id}"),
                price_cents: PRICE_CENTS,
                stock: self.stock,
                limit_per_user: self.limit_per_user,
            }],
        };
        Activities { events: (1..=self.sale_events).map(event).collect() }
    }
}

#[derive(Serialize)]
struct Activities {
    events: Vec<SaleEvent>,
}

#[derive(Serialize)]
struct SaleEvent {
    id: u32,
    name: String,
    starts_at: Timestamp,
    ends_at: Timestamp,
    goods: Vec<Good>,
}

#[derive(Serialize)]
struct Good {
    id: u32,
    name: String,
    price_cents: u64,
    stock: u64,
    limit_per_user: u32,
}

fn padded(value: &impl Serialize, number: u64) -> Content {
    let json = serde_json::to_string_pretty(value).expect("a configuration must serialize");
    Content::short(format!("{json}{}\n", " ".repeat(pad(number))))
}

fn pad(number: u64) -> usize {
    usize::try_from(number % SIZES).unwrap_or_default()
}

fn limit(number: u64) -> u64 {
    PER_SECOND + number % PER_SECOND
}

/// So many different ids, one a line.
fn ids(count: u64, seed: u64) -> Arc<[u8]> {
    let mut text = Vec::with_capacity(usize::try_from(count * ID_LINE_BYTES).unwrap_or_default());
    let mut id = seed % ID_COUNT;
    for _ in 0..count {
        writeln!(text, "{}", ID_FIRST + id).expect("writing to memory must succeed");
        id = (id + ID_STEP) % ID_COUNT;
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn contents(blacklist: u64, seed: u64) -> Contents {
        let plan = ReferencePlan { stock: 500, blacklist, listed: 2, ..ReferencePlan::example() };
        Contents::new(&plan, seed, "2026-01-02T03:04:05Z".parse().unwrap())
    }

    fn text(content: &Content) -> String {
        assert_eq!(content.bytes(), content.to_vec().len() as u64);
        String::from_utf8(content.to_vec()).unwrap()
    }

    #[test]
    fn activities_hold_one_good_per_event_with_the_plan_s_stock() {
        insta::assert_snapshot!(text(&contents(0, 1).of(Datum::Activities, 3)), @r#"
        {
          "events": [
            {
              "id": 1,
              "name": "Flash sale 1, change 3",
              "starts_at": "2026-01-01T03:04:05Z",
              "ends_at": "2026-01-03T03:04:05Z",
              "goods": [
                {
                  "id": 1,
                  "name": "Good 1",
                  "price_cents": 9900,
                  "stock": 500,
                  "limit_per_user": 2
                }
              ]
            }
          ]
        }
        "#);
    }

    #[test]
    fn a_blacklist_has_its_users_before_the_ids() {
        let contents = contents(3, 1);
        assert_eq!(
            text(&contents.of(Datum::Blacklist, 2)),
            format!("# change 2\n5\n6\n#{}\n1000000001\n7700417002\n5400834004\n", "-".repeat(67))
        );
        assert_eq!(text(&contents.delta(1, 2)), "# from change 1 to change 2\n-3\n-4\n+5\n+6\n");
        let text = text(&self::contents(1, 2).of(Datum::Blacklist, 0));
        assert!(text.starts_with("# change 0\n1\n2\n#-") && text.ends_with("-\n1000000002\n"), "{text}");
    }

    #[test]
    fn ids_are_different_and_have_ten_digits() {
        let text = ids(100_000, u64::MAX);
        let lines: BTreeSet<&[u8]> =
            text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        assert!(lines.len() == 100_000 && lines.iter().all(|line| line.len() == 10));
        // Without a common divisor the step visits every one.
        let (mut a, mut b) = (ID_COUNT, ID_STEP);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        assert_eq!(a, 1);
    }

    #[test]
    fn no_two_changes_in_a_row_look_alike() {
        let contents = contents(2, 1);
        for datum in Datum::ALL {
            let sizes: BTreeSet<u64> = (0..64).map(|number| contents.of(datum, number).bytes()).collect();
            assert_eq!(sizes.len(), 64, "{datum:?}");
        }
    }

    #[test]
    fn what_is_bad_is_bad_in_its_own_way() {
        let contents = contents(1, 1);
        for datum in [Datum::Cluster, Datum::Activities] {
            let parsed =
                |bad| serde_json::from_slice::<serde_json::Value>(&contents.bad(datum, 1, bad).to_vec());
            assert!(
                parsed(Bad::Torn).is_err()
                    && parsed(Bad::Malformed).is_ok()
                    && parsed(Bad::OutOfRange).is_ok()
            );
        }
        for (bad, value) in [
            (None, "1000007"),
            (Some(Bad::Malformed), "\"many\""),
            (Some(Bad::Torn), "[1000"),
            (Some(Bad::OutOfRange), "4294967295"),
        ] {
            assert_eq!(text(&contents.value(7, bad).1), value);
        }
        for (bad, line) in [
            (Bad::Malformed, "nobody"),
            (Bad::OutOfRange, "99999999999999999999999"),
            (Bad::Torn, "12345678\0\0\0\0\0\0\0\0"),
        ] {
            let text = text(&contents.bad(Datum::Blacklist, 1, bad));
            assert!(text.lines().any(|found| found == line), "{text:?}");
        }
    }
}
