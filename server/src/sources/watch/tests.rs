//! Ways to files, and real events of real folders.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::*;
use crate::state::Datum;

/// The trail of `path` in a folder that `lay_out` fills; without what leads to the folder.
fn trail(path: &str, lay_out: impl FnOnce(&Path)) -> (Vec<String>, Vec<String>, Option<String>) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    lay_out(&root);
    let trail = Trail::find(&root.join(path)).unwrap();
    let inside = |path: &Path| path.strip_prefix(&root).ok().map(|path| path.display().to_string());
    let folders = trail.folders.keys().filter_map(|path| inside(path)).collect();
    let steps = trail.steps.iter().filter_map(|path| inside(path)).filter(|step| !step.is_empty()).collect();
    (folders, steps, trail.file.and_then(|path| inside(&path)))
}

#[test]
fn the_way_goes_through_every_folder_and_link() {
    let check = |path: &str, lay_out: &dyn Fn(&Path), expected: (&[&str], &[&str], Option<&str>)| {
        let (folders, steps, file) = trail(path, lay_out);
        assert_eq!(
            (&*folders, &*steps, file.as_deref()),
            (&*owned(expected.0), &*owned(expected.1), expected.2)
        );
    };
    let nothing = |_: &Path| {};
    check("list", &nothing, (&[""], &[], Some("list")));
    check("a/b/list", &nothing, (&[""], &["a"], None));
    let a_folder = |root: &Path| fs::create_dir_all(root.join("a/b")).unwrap();
    check("a/b/list", &a_folder, (&["", "a", "a/b"], &["a", "a/b"], Some("a/b/list")));
    check("a/./b/../list", &a_folder, (&["", "a"], &["a", "a/b"], Some("a/list")));
    let a_map = |root: &Path| {
        fs::create_dir(root.join("..2026")).unwrap();
        fs::write(root.join("..2026/list"), "").unwrap();
        symlink("..2026", root.join("..data")).unwrap();
        symlink("..data/list", root.join("list")).unwrap();
    };
    check("list", &a_map, (&["", "..2026"], &["..2026", "..data", "list"], Some("..2026/list")));
    let dangling = |root: &Path| symlink("gone/list", root.join("list")).unwrap();
    check("list", &dangling, (&[""], &["gone", "list"], None));
    let round = |root: &Path| symlink("list", root.join("list")).unwrap();
    check("list", &round, (&[""], &["list"], None));
    let a_file = |root: &Path| fs::write(root.join("a"), "").unwrap();
    check("a/list", &a_file, (&[""], &["a"], None));
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A watched file of which the first look is done.
async fn watched(path: &Path) -> (Watch, Option<Version>) {
    let events = Arc::new(Events::default());
    let mut watch = Watch::open(&events, Datum::Blacklist, path, Duration::from_secs(3600));
    assert_eq!(watch.blind, None);
    let version = found(&mut watch, None).await.map(|(_, version)| version);
    (watch, version)
}

/// What the next look that is worth something finds; `None`: nothing is there.
async fn found(watch: &mut Watch, known: Option<&Version>) -> Option<(u64, Version)> {
    loop {
        watch.due().await;
        match watch.look(known, Mechanism::File).await {
            Some(Look::Found { candidate, version }) => return Some((candidate.bytes, version)),
            Some(Look::Absent) => return None,
            Some(Look::Same | Look::Unsettled { .. }) | None => {}
        }
    }
}

#[tokio::test]
async fn a_file_is_found_again_wherever_its_way_leads() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (mut watch, version) = watched(&at("a/b/list")).await;
    assert_eq!(version, None);
    fs::create_dir_all(at("a/b")).unwrap();
    fs::write(at("a/b/list"), "1\n").unwrap();
    let mut known = None;
    while known.is_none() {
        known = found(&mut watch, None).await;
    }
    let (bytes, version) = known.unwrap();
    assert_eq!(bytes, 2);
    // Another folder takes the place of one further up.
    fs::create_dir_all(at("new/b")).unwrap();
    fs::write(at("new/b/list"), "10\n").unwrap();
    fs::rename(at("a"), at("old")).unwrap();
    fs::rename(at("new"), at("a")).unwrap();
    let mut replaced = None;
    while replaced.is_none() {
        replaced = found(&mut watch, Some(&version)).await;
    }
    let (bytes, version) = replaced.unwrap();
    assert_eq!(bytes, 3);
    // And is watched from then on.
    fs::write(at("a/b/list"), "100\n").unwrap();
    assert_eq!(found(&mut watch, Some(&version)).await.unwrap().0, 4);
}

#[tokio::test]
async fn signs_that_were_lost_lead_to_a_look() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list");
    fs::write(&path, "1\n").unwrap();
    let (mut watch, version) = watched(&path).await;
    watch.eye.events.drain();
    assert_eq!(watch.eye.listener.heard().settle.due(), None);
    let overflow = notify::Event::new(notify::EventKind::Other).set_flag(notify::event::Flag::Rescan);
    watch.eye.listener.hear(Some(&overflow), Instant::now());
    watch.due().await;
    assert!(matches!(watch.look(version.as_ref(), Mechanism::File).await, Some(Look::Same)));
}

#[test]
fn what_may_have_been_missed_is_confirmed_by_what_is_seen_later() {
    let version = |word: &str| Version(word.to_owned());
    let check = |now: Version, seen: Version, expected| assert_eq!(now.confirms(&seen), expected);
    check(version("1"), version("1").or_later(), true);
    check(version("1").or_later(), version("1").or_later(), false);
    check(version("1"), version("1"), false);
    check(version("2"), version("1").or_later(), false);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list");
    fs::create_dir(&path).unwrap();
    let (mut watch, version) = watched(&path).await;
    let look = watch.look(version.as_ref(), Mechanism::File).await;
    assert!(matches!(look, Some(Look::Same)), "{look:?}");
}
