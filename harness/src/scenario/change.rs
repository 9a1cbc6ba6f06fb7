//! `[target.reload]`: how the server's configuration comes to it; and the events that change it.

use tomlcheck::Section;

use crate::plan::{Action, Bad, By, Datum, FeedPlan, Feeds, How, Kept, ReloadAction, Storm, TargetPlan};

use super::duration::{POSITIVE, duration};

const DATA: &[(&str, Datum)] =
    &[("blacklist", Datum::Blacklist), ("cluster", Datum::Cluster), ("activities", Datum::Activities)];
const MECHANISMS: &[(&str, By)] =
    &[("file", By::File), ("etcd", By::Etcd), ("push", By::Push), ("timer", By::Timer)];
const PLACES: &[(&str, Kept)] = &[("file", Kept::File), ("http", Kept::Http), ("etcd", Kept::Etcd)];
const WAYS: &[(&str, How)] = &[
    ("rename", How::Rename),
    ("in-place", How::InPlace),
    ("pieces", How::Pieces),
    ("delete-create", How::DeleteCreate),
    ("symlink", How::Symlink),
    ("folder", How::Folder),
];
const FAULTY: &[(&str, Bad)] = &[
    ("malformed", Bad::Malformed),
    ("torn", Bad::Torn),
    ("out-of-range", Bad::OutOfRange),
    ("overtaken", Bad::Overtaken),
];

/// How long a change may take to arrive when the scenario does not say: longer than a large list takes on a busy
/// machine, and than an upgrade that it meets. Milliseconds.
const TIMEOUT_MS: u64 = 10_000;
/// The server takes no shorter and no longer interval. Milliseconds.
const EVERY_MS: std::ops::RangeInclusive<u64> = 10..=3_600_000;
/// Changes of one storm.
const STORM_MAX: u32 = 100_000;
const NS_PER_MS: u64 = 1_000_000;

/// `[target.reload]` with a table for each kind of data.
pub(super) fn read_feeds(section: &Section<'_>) -> Feeds {
    let read = |(word, datum): &(&str, Datum)| {
        let section = section.section(word)?;
        let feed = read_feed(&section);
        section.finish();
        Some((*datum, feed?))
    };
    DATA.iter().filter_map(read).collect()
}

fn read_feed(section: &Section<'_>) -> Option<FeedPlan> {
    section.require("by", "write by = \"file\", \"etcd\", \"push\" or \"timer\"");
    let by = section.choice("by", MECHANISMS);
    let from = section.choice("from", PLACES);
    let every_ms = section.integer("every_ms", EVERY_MS).map(|entry| entry.value);
    let by = by?;
    let usual = if by == By::Etcd { Kept::Etcd } else { Kept::File };
    match (by, from) {
        (By::File, Some(Kept::Http | Kept::Etcd)) | (By::Etcd, Some(Kept::Http | Kept::File)) => {
            let what = format!("a change by {} comes from nowhere else than its own place", by.word());
            section.fault_at("from", what, "remove it, or write by = \"timer\"");
        }
        _ => {}
    }
    Some(FeedPlan { by, from: from.unwrap_or(usual), every_ms })
}

pub(super) fn read_reload(section: &Section<'_>, target: Option<&TargetPlan>) -> Option<Action> {
    section.require("datum", "write datum = \"blacklist\", \"cluster\" or \"activities\"");
    let datum = section.choice("datum", DATA);
    let by = section.choice("by", MECHANISMS);
    let how = section.choice("how", WAYS);
    let bad = section.choice("bad", FAULTY);
    let storm = section.integer("storm", 2..=STORM_MAX).map(|entry| entry.value);
    let within = duration(section, "within", &POSITIVE);
    let delta = section.boolean("delta").is_some_and(|entry| entry.value);
    let single_key = section.boolean("single_key").is_some_and(|entry| entry.value);
    let timeout_ms = duration(section, "timeout", &POSITIVE).map_or(TIMEOUT_MS, |ns| ns / NS_PER_MS);
    let rest_ms = duration(section, "rest", &POSITIVE).map_or(0, |ns| ns / NS_PER_MS);
    let Some(TargetPlan::Reference(reference)) = target else {
        if target.is_some() {
            let hint = "write action = \"exec\" or \"http\" with what changes this target";
            section.fault_at("action", "only the reference server's configuration is known", hint);
        }
        return None;
    };
    let datum = datum?;
    let feed = reference.reload.get(&datum).copied();
    let by = by.or(feed.map(|feed| feed.by)).unwrap_or(By::Push);
    let kept = match feed {
        _ if by == By::Push => None,
        Some(feed) if feed.by == by => Some(feed.from),
        _ => {
            let what = format!("the {} does not come by {}", datum.word(), by.word());
            let hint = format!("write [target.reload.{}] with by = {:?}", datum.word(), by.word());
            section.fault_at("by", what, hint);
            return None;
        }
    };
    check_parts(section, datum, kept);
    if let (Some(_), false) = (within, section.has("storm")) {
        section.fault_at("within", "a time without a storm", "write storm = 100, or remove it");
    }
    if storm.is_some() && bad.is_some() {
        section.fault_at("bad", "every change of a storm is a good one", "write an event of its own for it");
    }
    if bad == Some(Bad::Overtaken) && by != By::Push {
        section.fault_at("bad", "only a push can be overtaken", "write by = \"push\"");
    }
    if rest_ms >= timeout_ms {
        section.fault_at("rest", "the change's time is over before anybody asks", "write a longer timeout");
    }
    let within_ms = within.map_or(1_000, |ns| ns / NS_PER_MS);
    Some(Action::Reload(ReloadAction {
        datum,
        by,
        kept,
        how: how.unwrap_or_default(),
        bad,
        storm: storm.map(|changes| Storm { changes, within_ms }),
        delta,
        single_key,
        timeout_ms,
        rest_ms,
    }))
}

/// Keys that go with one place or one kind of data alone.
fn check_parts(section: &Section<'_>, datum: Datum, kept: Option<Kept>) {
    let goes = [
        ("how", kept == Some(Kept::File), "only a file can be changed in different ways"),
        ("delta", kept.is_none() && datum == Datum::Blacklist, "only a pushed blacklist has a difference"),
        (
            "single_key",
            kept == Some(Kept::Etcd) && datum == Datum::Cluster,
            "only the cluster configuration in etcd has keys of single values",
        ),
    ];
    for (key, fits, what) in goes {
        if section.has(key) && !fits {
            section.fault_at(key, what, "remove it");
        }
    }
}
