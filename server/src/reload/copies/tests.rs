//! Copies through the one that publishes, from one process to the next.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, Mutex},
};

use super::*;
use crate::{
    config::FeedSettings,
    reload::{Published, Refused, Reload, Terms, reason},
    seckill::UserId,
};

const LEVEL: &str = r#"{"log_level":"debug"}"#;
const OTHER_LEVEL: &str = r#"{"log_level":"error"}"#;

/// A folder, and where the data come from: the blacklist from a file, the cluster configuration from an address.
struct Site {
    folder: tempfile::TempDir,
    settings: ReloadSettings,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = "127.0.0.1:0".parse().unwrap();
        let mut settings = crate::config::Config::with_defaults(nowhere, nowhere).reload;
        settings.copies = folder.path().join("copies");
        settings.cluster = FeedSettings {
            by: Mechanism::Timer,
            from: Place::Http("http://127.0.0.1:1/cluster".to_owned()),
            ..settings.cluster
        };
        Self { folder, settings }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.settings.copies.join(name)
    }

    fn edit(&self, name: &str, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.file(name)).unwrap();
        fs::write(self.file(name), change(text)).unwrap();
    }

    /// A process that finds this in its places when it starts, each with a version, and serves.
    fn start(&self, found: [Option<Candidate>; 2]) -> Process {
        let copies = Arc::new(Copies::open(&self.settings));
        let last = copies.last_generation();
        let first = [Datum::Blacklist, Datum::Cluster].into_iter().zip(found);
        let first = first.filter_map(|(datum, found)| copies.choose(datum, found)).collect();
        let generation = last.map_or(Generation::FIRST, Generation::next);
        let prepare = Box::new(|_: &_| Ok(()));
        let reload = Reload::start_with(first, generation, prepare, Some(Arc::clone(&copies))).unwrap();
        reload.follow(last.unwrap_or(Generation(0)), Vec::new()).unwrap();
        reload.reopen();
        Process { reload, copies }
    }
}

struct Process {
    reload: Arc<Reload>,
    copies: Arc<Copies>,
}

impl Process {
    fn offer(&self, candidate: Candidate) -> u64 {
        let Published { generation, .. } = self.reload.offer(candidate, Terms::default()).unwrap();
        generation.0
    }

    fn generation(&self) -> u64 {
        self.reload.cell().load().generation.0
    }

    fn level(&self) -> Option<&'static str> {
        self.reload.cell().load().cluster.log_level.map(crate::config::LogLevel::word)
    }

    fn listed(&self) -> Vec<u64> {
        self.reload.cell().load().blacklist.iter().map(|user| user.0).collect()
    }

    /// How what is served came, and whether it is a copy.
    fn last_change(&self, datum: Datum) -> (Mechanism, bool) {
        let history = self.reload.cell().history();
        let change = history.iter().rfind(|change| change.datum == datum).unwrap();
        (change.origin.mechanism, change.copied_at.is_some())
    }
}

fn found(datum: Datum, text: &str, version: &str) -> Option<Candidate> {
    let origin = Origin::new(Mechanism::Start, "source");
    Some(Candidate { version: Some(version.to_owned()), ..Candidate::parse(datum, origin, text.as_bytes()) })
}

fn list(text: &str, version: &str) -> Option<Candidate> {
    found(Datum::Blacklist, text, version)
}

fn cluster(text: &str, version: &str) -> Option<Candidate> {
    found(Datum::Cluster, text, version)
}

fn away() -> Option<Candidate> {
    let origin = Origin::new(Mechanism::Start, "source");
    Some(Candidate::unreadable(Datum::Cluster, origin, "nobody answers".to_owned()))
}

fn push(datum: Datum, text: &str) -> Candidate {
    Candidate::parse(datum, Origin::new(Mechanism::Push, "admin"), text.as_bytes())
}

fn delta(text: &str) -> Candidate {
    Candidate::delta(Origin::new(Mechanism::Push, "admin"), text.as_bytes())
}

#[test]
fn what_was_pushed_is_there_after_a_restart_until_its_source_changes() {
    let place = Site::new();
    let first = place.start([list("1", "v1"), cluster("{}", "c1")]);
    assert_eq!(first.offer(push(Datum::Cluster, LEVEL)), 2);
    assert_eq!(first.offer(push(Datum::Blacklist, "7\n8")), 3);

    let second = place.start([list("1", "v1"), cluster("{}", "c1")]);
    assert_eq!((second.generation(), second.level(), second.listed()), (4, Some("debug"), vec![7, 8]));
    assert_eq!(second.last_change(Datum::Blacklist), (Mechanism::Push, true));

    // The list has changed while nobody served, the source of the other is away.
    let third = place.start([list("2", "v2"), away()]);
    assert_eq!((third.generation(), third.level(), third.listed()), (5, Some("debug"), vec![2]));
    assert_eq!(third.last_change(Datum::Blacklist), (Mechanism::Start, false));
    assert!(!place.file("blacklist").exists(), "superseded");
    let told = third.copies.status();
    assert_eq!(
        told.iter().map(|copy| (copy.datum, copy.generation.0)).collect::<Vec<_>>(),
        [(Datum::Cluster, 2)]
    );

    let fourth = place.start([list("2", "v2"), cluster(OTHER_LEVEL, "c2")]);
    assert_eq!((fourth.generation(), fourth.level()), (6, Some("error")));
}

#[test]
fn what_a_source_shows_again_does_not_undo_a_push() {
    let place = Site::new();
    let first = place.start([list("1", "v1"), None]);
    first.offer(push(Datum::Blacklist, "7"));
    first.offer(list("1", "v1").unwrap());
    assert_eq!((first.generation(), first.listed()), (2, vec![7]));
    let again = Terms { again: true, ..Terms::default() };
    first.reload.offer(list("1", "v1").unwrap(), again).unwrap();
    assert_eq!((first.generation(), first.listed()), (3, vec![1]), "unless somebody asks for it");
    assert!(!place.file("blacklist").exists());
    first.offer(push(Datum::Blacklist, "8"));
    first.offer(list("1", "v2").unwrap());
    assert_eq!(first.listed(), [1], "or it is written again");
}

#[test]
fn what_comes_from_an_address_is_kept_for_when_nobody_answers() {
    let place = Site::new();
    drop(place.start([None, cluster(LEVEL, "c1")]));
    let second = place.start([None, away()]);
    assert_eq!(
        (second.level(), second.last_change(Datum::Cluster)),
        (Some("debug"), (Mechanism::Start, true))
    );
    // It answers again, with what it had, and then with something new.
    second.offer(cluster(LEVEL, "c1").unwrap());
    assert_eq!(second.generation(), 2);
    second.offer(cluster(OTHER_LEVEL, "c2").unwrap());
    assert_eq!(place.start([None, None]).level(), Some("error"));
}

#[test]
fn deltas_are_added_to_a_file_of_their_own() {
    let place = Site::new();
    let first = place.start([list("1\n2\n3", "v1"), None]);
    first.offer(delta("+9\n-2"));
    first.offer(delta("+2\n-1"));
    assert!(!place.file("blacklist").exists(), "the base is the local file");
    assert_eq!(fs::read_to_string(place.file("blacklist.delta")).unwrap().lines().count(), 3);

    let second = place.start([list("1\n2\n3", "v1"), None]);
    assert_eq!(second.listed(), [2, 3, 9]);
    assert_eq!(second.last_change(Datum::Blacklist), (Mechanism::Push, true));
    second.offer(delta("+4"));
    let third = place.start([list("1\n2\n3", "v1"), None]);
    assert_eq!(third.listed(), [2, 3, 4, 9]);

    // A whole list takes their place, and is the base of the next.
    third.offer(push(Datum::Blacklist, "5\n6"));
    assert!(!place.file("blacklist.delta").exists());
    third.offer(delta("-6"));
    let fourth = place.start([list("1\n2\n3", "v1"), None]);
    assert_eq!(fourth.listed(), [5]);
    let fifth = place.start([list("1\n2\n3", "v2"), None]);
    assert_eq!(fifth.listed(), [1, 2, 3], "written while nobody served");
    assert!(!place.file("blacklist.delta").exists());
}

#[test]
fn a_delta_that_was_not_acknowledged_does_not_count_and_is_no_base() {
    let place = Site::new();
    let first = place.start([list("1", "v1"), None]);
    first.offer(delta("+2"));
    place.edit("blacklist.delta", |text| format!("{text}{{\"format\":1,\"mech"));
    let second = place.start([list("1", "v1"), None]);
    assert_eq!(second.listed(), [1, 2]);
    second.offer(delta("+3"));
    assert!(place.file("blacklist").exists(), "after a torn line there is a copy of all");
    assert_eq!(place.start([list("1", "v1"), None]).listed(), [1, 2, 3]);
}

#[test]
fn a_copy_that_cannot_be_trusted_is_not_served() {
    let damages: [(&str, &dyn Fn(String) -> String); 6] = [
        ("blacklist", &|text| text.replace("\n8\n", "\n9\n")),
        ("blacklist", &|text| text.split_inclusive('\n').take(2).collect()),
        ("blacklist", &|text| text.replace(r#""format":1"#, r#""format":2,"new":true"#)),
        ("blacklist", &|_| "7\n8\n".to_owned()),
        ("blacklist", &|_| String::new()),
        ("blacklist", &|text| text.replace(r#""datum":"blacklist""#, r#""datum":"cluster""#)),
    ];
    for (index, (name, damage)) in damages.into_iter().enumerate() {
        let place = Site::new();
        place.start([list("1", "v1"), None]).offer(push(Datum::Blacklist, "7\n8"));
        place.edit(name, damage);
        let path = place.file(name);
        let told = document::read(&path, Datum::Blacklist).unwrap_err().to_string();
        let expected = [
            "trust it: it is torn",
            "trust it: it is torn",
            "understand it: it has format 2, this release knows 1",
            "understand its line 1: ",
            "understand its line 1: EOF",
            "trust it: it holds the cluster",
        ];
        assert!(told.starts_with(expected[index]), "{told}");
        assert_eq!(place.start([list("1", "v1"), None]).listed(), [1], "{told}");
    }
}

#[test]
fn deltas_that_cannot_be_trusted_are_not_served() {
    let damages: [&dyn Fn(String) -> String; 3] = [
        &|text| text.replace("+2", "+3"),
        &|text| text.replacen(r#""format":1"#, r#""format":9"#, 1),
        &|text| text.lines().take(1).chain(["nonsense"]).map(|line| format!("{line}\n")).collect(),
    ];
    for damage in damages {
        let place = Site::new();
        let first = place.start([list("1", "v1"), None]);
        first.offer(delta("+2"));
        first.offer(delta("+4"));
        place.edit("blacklist.delta", damage);
        let second = place.start([list("1", "v1"), None]);
        assert_eq!(second.listed(), [1]);
        second.offer(delta("+5"));
        assert_eq!(place.start([list("1", "v1"), None]).listed(), [1, 5]);
    }
}

#[test]
fn a_push_that_cannot_be_kept_is_refused_and_everything_else_is_served() {
    let mut place = Site::new();
    let file = place.folder.path().join("no-folder");
    fs::write(&file, "").unwrap();
    place.settings.copies = file;
    let process = place.start([list("1", "v1"), cluster(LEVEL, "c1")]);
    assert_eq!(process.offer(list("2", "v2").unwrap()), 2);
    assert_eq!(process.offer(cluster(OTHER_LEVEL, "c2").unwrap()), 3);
    for candidate in [push(Datum::Blacklist, "7"), push(Datum::Cluster, "{}"), delta("+7")] {
        let refused = process.reload.offer(candidate, Terms::default()).unwrap_err();
        assert!(matches!(refused, Refused::NotKept { .. }), "{refused:?}");
        let told = reason(&refused);
        assert!(told.starts_with("failed to keep a copy of the "), "{told}");
        assert!(told.ends_with("see that the folder reload.copies can be written"), "{told}");
    }
    assert_eq!((process.generation(), process.listed()), (3, vec![2]));
    assert!(process.reload.cell().history().iter().any(|change| change.reason.is_some()));
}

#[test]
fn nobody_else_can_read_the_folder() {
    let place = Site::new();
    place.start([None, None]).offer(push(Datum::Cluster, LEVEL));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.settings.copies), 0o700);
    assert_eq!((mode(&place.file("cluster")), mode(&place.file("generation"))), (0o600, 0o600));
    let names = fs::read_dir(&place.settings.copies).unwrap().count();
    assert_eq!(names, 2, "nothing is left of the writing");
}

#[test]
fn only_the_one_that_serves_writes() {
    let place = Site::new();
    let old = place.start([list("1", "v1"), None]);
    let next = Arc::new(Copies::open(&place.settings));
    let first = vec![next.choose(Datum::Blacklist, list("1", "v1")).unwrap()];
    let prepare = Box::new(|_: &_| Ok(()));
    let new = Reload::start_with(first, Generation(2), prepare, Some(Arc::clone(&next))).unwrap();
    // The new one takes nothing before its turn.
    let early = new.offer(push(Datum::Blacklist, "5"), Terms::default());
    assert_eq!(early, Err(Refused::HandingOver));
    old.offer(push(Datum::Blacklist, "7"));
    assert!(!next.is_untouched(Datum::Blacklist));
    let (last, digests) = old.reload.close();
    assert_eq!((last, &digests), (Generation(2), &old.reload.cell().load().digests));
    let again = vec![next.choose(Datum::Blacklist, list("1", "v1")).unwrap()];
    new.follow(last, again).unwrap();
    new.reopen();
    let served = new.cell().load();
    assert_eq!(
        (served.generation, served.digests.blacklist.as_str()),
        (Generation(3), digests.of(Datum::Blacklist))
    );
    assert!(served.blacklist.contains(UserId(7)));
    assert_eq!(next.last_generation(), Some(Generation(3)));

    // It has published, and dies: the old one goes on from there.
    new.offer(push(Datum::Blacklist, "8"), Terms::default()).unwrap();
    assert!(!old.copies.is_untouched(Datum::Blacklist));
    let again = vec![old.copies.choose(Datum::Blacklist, list("1", "v1")).unwrap()];
    old.reload.follow(Generation(5), again).unwrap();
    assert_eq!((old.generation(), old.listed()), (6, vec![8]));
}

#[test]
fn a_copy_of_a_list_is_a_list_again() {
    let place = Site::new();
    let first = place.start([None, None]);
    let text = format!("0\n1\n10\n{}\n{}\n", u64::from(u32::MAX), crate::seckill::ID_MAX);
    first.offer(push(Datum::Blacklist, &text));
    let copy = fs::read_to_string(place.file("blacklist")).unwrap();
    assert_eq!(copy.split_once('\n').unwrap().1, text);
    assert_eq!(place.start([None, None]).listed(), first.listed());
}

#[test]
fn what_cannot_be_prepared_for_is_not_kept() {
    let place = Site::new();
    let copies = Arc::new(Copies::open(&place.settings));
    let answer = Arc::new(Mutex::new(Err("the store is full".to_owned())));
    let prepare = Box::new({
        let answer = Arc::clone(&answer);
        move |_: &_| answer.lock().unwrap().clone()
    });
    let reload = Reload::start_with(Vec::new(), Generation(1), prepare, Some(Arc::clone(&copies))).unwrap();
    reload.follow(Generation(0), Vec::new()).unwrap();
    reload.reopen();
    let offer = || reload.offer(push(Datum::Activities, r#"{"events":[]}"#), Terms::default());
    assert!(matches!(offer(), Err(Refused::Unprepared { .. })));
    assert!(copies.status().is_empty());
    *answer.lock().unwrap() = Ok(());
    offer().unwrap();
    assert_eq!(copies.status().len(), 1);
}
