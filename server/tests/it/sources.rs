//! Files and addresses that change while the server serves.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::server::{BINARY, Server, eventually};

/// Lines of `[upgrade]`, and a section behind it.
const TIMER: &str = "[reload.blacklist]\nby = \"timer\"\nevery_ms = 20";

fn status(server: &Server) -> Value {
    server.admin_request("GET /status").json()
}

/// Waits until `count` users are on the list.
fn until_blacklisted(server: &Server, count: u64) {
    eventually(&format!("a list of {count}"), || {
        (status(server)["snapshot"]["blacklisted"] == count).then_some(())
    });
}

/// The changes of the blacklist since the start: bytes if published, the reason if refused.
fn changes(server: &Server) -> Vec<String> {
    let status = status(server);
    let history = status["snapshot"]["history"].as_array().unwrap();
    let of_the_list =
        history.iter().filter(|change| change["datum"] == "blacklist" && change["mechanism"] != "start");
    let told = |change: &Value| match change["reason"].as_str() {
        None => change["bytes"].to_string(),
        Some(reason) => reason.split_once(": ").map_or(reason, |(_, reason)| reason).to_owned(),
    };
    of_the_list.map(told).collect()
}

fn source(server: &Server, datum: &str) -> Value {
    let status = status(server);
    status["sources"].as_array().unwrap().iter().find(|source| source["datum"] == datum).unwrap().clone()
}

/// Changes something else and waits until it is served: whoever could be deceived by what was written before has
/// had his time.
fn let_time_pass(server: &Server, round: u32) {
    let activities = fs::read_to_string(server.path("activities.json")).unwrap();
    let name = format!("\"name\":\"round {round}\",\"starts_at\"");
    let start = activities.find("\"name\":\"").unwrap();
    let end = activities.find("\"starts_at\"").unwrap() + "\"starts_at\"".len();
    let next = format!("{}{name}{}", &activities[..start], &activities[end..]);
    rename_over(&server.path("activities.json"), &next);
    eventually("the other change", || {
        let list = crate::client::Client::connect(server.public).get("/event/list").body;
        list.contains(&format!("round {round}")).then_some(())
    });
}

fn rename_over(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

fn ids(count: u64) -> String {
    (1..=count).map(|id| format!("{id}\n")).collect()
}

#[test]
fn a_list_is_served_however_it_is_rewritten() {
    let server = Server::start("handoff-live");
    let path = server.path("blacklist.txt");
    fs::write(&path, ids(2)).unwrap();
    until_blacklisted(&server, 2);
    rename_over(&path, &ids(3));
    until_blacklisted(&server, 3);
    fs::remove_file(&path).unwrap();
    fs::write(&path, ids(4)).unwrap();
    until_blacklisted(&server, 4);
    // Through another way to the same file.
    let inside = server.path(".");
    fs::write(inside.join("blacklist.txt"), ids(5)).unwrap();
    until_blacklisted(&server, 5);
    assert_eq!(changes(&server), ["4", "6", "8", "10"]);
    assert_eq!(source(&server, "blacklist")["state"], "watching");
    assert_eq!(source(&server, "cluster")["state"], "absent");
}

#[test]
fn nothing_of_a_list_is_served_before_its_writer_has_closed_it() {
    let server = Server::start("handoff-live");
    let mut file = File::create(server.path("blacklist.txt")).unwrap();
    for (round, piece) in (0..).zip(["1\n2\n", "3\n", "4\n5", "5\n"]) {
        file.write_all(piece.as_bytes()).unwrap();
        let_time_pass(&server, round);
    }
    assert_eq!(changes(&server), [""; 0]);
    drop(file);
    until_blacklisted(&server, 5);
    // Somebody who never closes it, and has nothing more to write.
    let mut open = File::create(server.path("blacklist.txt")).unwrap();
    open.write_all(ids(7).as_bytes()).unwrap();
    until_blacklisted(&server, 7);
    assert_eq!(changes(&server), ["11", "14"]);
}

#[test]
fn a_list_that_is_deleted_stays_and_one_that_comes_back_is_served() {
    let server = Server::start("handoff-live");
    fs::remove_file(server.path("blacklist.txt")).unwrap();
    eventually("the loss", || (changes(&server).len() == 1).then_some(()));
    assert_eq!(changes(&server), ["it is not there any more; what was there is served on"]);
    assert_eq!(source(&server, "blacklist")["state"], "absent");
    assert_eq!(status(&server)["snapshot"]["blacklisted"], 1);
    // The same content again is no change, and another is.
    fs::write(server.path("blacklist.txt"), "666\n").unwrap();
    eventually("the list", || (source(&server, "blacklist")["state"] == "watching").then_some(()));
    fs::write(server.path("blacklist.txt"), ids(2)).unwrap();
    until_blacklisted(&server, 2);
    assert_eq!(changes(&server).len(), 2);
}

/// As the node agent of Kubernetes changes a configuration map.
#[test]
fn a_link_on_the_way_is_switched() {
    let server = Server::start_with("handoff-live", "[reload.blacklist]\nfrom = \"map/list\"");
    let at = |name: &str| -> PathBuf { server.path("map").join(name) };
    let lay_out = |version: &str, count: u64| {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("list"), ids(count)).unwrap();
    };
    fs::create_dir(server.path("map")).unwrap();
    lay_out("..1", 2);
    symlink("..1", at("..data")).unwrap();
    symlink("..data/list", at("list")).unwrap();
    until_blacklisted(&server, 2);
    for round in 2..6_u64 {
        lay_out(&format!("..{round}"), round + 1);
        symlink(format!("..{round}"), at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        fs::remove_dir_all(at(&format!("..{}", round - 1))).unwrap();
        until_blacklisted(&server, round + 1);
    }
    assert_eq!(changes(&server), ["4", "6", "8", "10", "12"]);
}

#[test]
fn a_folder_that_appears_later_and_one_that_is_replaced() {
    let server = Server::start_with("handoff-live", "[reload.blacklist]\nfrom = \"later/deep/list\"");
    assert_eq!(source(&server, "blacklist")["state"], "absent");
    fs::create_dir_all(server.path("later/deep")).unwrap();
    fs::write(server.path("later/deep/list"), ids(2)).unwrap();
    until_blacklisted(&server, 2);
    for round in 3..6_u64 {
        fs::create_dir_all(server.path("new/deep")).unwrap();
        fs::write(server.path("new/deep/list"), ids(round)).unwrap();
        fs::rename(server.path("later"), server.path(&format!("old{round}"))).unwrap();
        fs::rename(server.path("new"), server.path("later")).unwrap();
        until_blacklisted(&server, round);
    }
    // The folder that is there now is the one that is watched.
    fs::write(server.path("old5/deep/list"), ids(20)).unwrap();
    fs::write(server.path("later/deep/list"), ids(10)).unwrap();
    until_blacklisted(&server, 10);
}

#[test]
fn the_last_of_many_rewrites_is_served_and_none_by_halves() {
    for extra in ["", TIMER] {
        let server = Server::start_with("handoff-live", extra);
        let path = server.path("blacklist.txt");
        for count in 1..=1000_u64 {
            let text = ids(100 + count);
            if count % 2 == 0 { rename_over(&path, &text) } else { fs::write(&path, text).unwrap() }
        }
        until_blacklisted(&server, 1100);
        let whole: Vec<String> = (1..=1000_u64).map(|count| ids(100 + count).len().to_string()).collect();
        for bytes in changes(&server) {
            assert!(whole.contains(&bytes), "{extra}: {bytes} bytes are no list that there was");
        }
    }
}

#[test]
fn a_malformed_list_is_refused_once() {
    let server = Server::start("handoff-live");
    fs::write(server.path("blacklist.txt"), "1\ntwo\n").unwrap();
    eventually("the refusal", || (!changes(&server).is_empty()).then_some(()));
    // Somebody looks at it, and lists its folder.
    for round in 0..3 {
        fs::read(server.path("blacklist.txt")).unwrap();
        let_time_pass(&server, round);
    }
    let told = changes(&server);
    assert!(told.len() == 1 && told[0].contains("line"), "{told:?}");
    assert_eq!(status(&server)["snapshot"]["blacklisted"], 1);
    assert!(source(&server, "blacklist")["found"].as_str().unwrap().starts_with("refused: "), "{told:?}");
    fs::write(server.path("blacklist.txt"), ids(3)).unwrap();
    until_blacklisted(&server, 3);
}

#[test]
fn a_timer_finds_what_has_changed() {
    let server = Server::start_with("handoff-live", TIMER);
    fs::write(server.path("blacklist.txt"), ids(2)).unwrap();
    until_blacklisted(&server, 2);
    rename_over(&server.path("blacklist.txt"), &ids(3));
    until_blacklisted(&server, 3);
    fs::write(server.path("blacklist.txt"), "x\n").unwrap();
    eventually("the refusal", || (changes(&server).len() == 3).then_some(()));
    fs::remove_file(server.path("blacklist.txt")).unwrap();
    eventually("the loss", || (changes(&server).len() == 4).then_some(()));
    fs::write(server.path("blacklist.txt"), ids(4)).unwrap();
    until_blacklisted(&server, 4);
    assert_eq!(
        (changes(&server).len(), source(&server, "blacklist")["state"].clone()),
        (5, "polling".into())
    );
}

/// Only a debug build does wrong when it is asked to.
#[cfg(debug_assertions)]
#[test]
fn without_events_the_timer_does_it_until_there_are_some_again() {
    let server = Server::start_broken("handoff-live", "[reload.blacklist]\nevery_ms = 10", "no-events:40");
    fs::write(server.path("blacklist.txt"), ids(2)).unwrap();
    until_blacklisted(&server, 2);
    let told = changes(&server);
    let all_are_told = |word: &str| told.iter().filter(|told| told.contains(word)).count();
    assert_eq!((told.len(), all_are_told("it is looked at every 10 ms")), (2, 1), "{told:?}");
    assert!(server.log().contains("fs.inotify.max_user_instances"), "{}", server.log());
    eventually("events", || (source(&server, "blacklist")["state"] == "watching").then_some(()));
    fs::write(server.path("blacklist.txt"), ids(3)).unwrap();
    until_blacklisted(&server, 3);
    let history = status(&server)["snapshot"]["history"].clone();
    assert_eq!(history.as_array().unwrap().last().unwrap()["mechanism"], "file");
}

/// The kernel's own limit, in a user namespace of the server's own.
#[test]
fn without_a_watch_left_the_timer_does_it_and_says_so() {
    let script = "echo 0 >/proc/sys/user/max_inotify_watches && exec \"$0\" \"$@\"";
    let limited = ["unshare", "--user", "--map-root-user", "sh", "-c", script];
    let tried = Command::new(limited[0]).args(&limited[1..]).arg("true").stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        // Past the test harness, which would show nothing of a test that does not fail.
        let told = "NOT RUN: without_a_watch_left: no user namespace is to be had here\n";
        _ = std::io::stderr().write_all(told.as_bytes());
        return;
    }
    let server = Server::start_under(&limited, "[reload.blacklist]\nevery_ms = 10");
    fs::write(server.path("blacklist.txt"), ids(2)).unwrap();
    until_blacklisted(&server, 2);
    let (told, reason) = (changes(&server), "there is no inotify watch left for ");
    assert!(told.len() == 2 && told[0].contains(reason), "{told:?}");
    assert!(told[0].contains("raise fs.inotify.max_user_watches; until then it is looked at every 10 ms"));
    let state = source(&server, "blacklist")["state"].as_str().unwrap().to_owned();
    assert!(state.starts_with("fallback: ") && state.contains(reason), "{state}");
    rename_over(&server.path("blacklist.txt"), &ids(3));
    until_blacklisted(&server, 3);
}

/// In place, in pieces, emptied and added to, renamed over, deleted and created, by the switch of a link, in a folder
/// that takes the place of another.
#[test]
fn every_way_of_writing_is_served_and_no_request_suffers() {
    let server = Server::start_with("handoff-live", "[reload.blacklist]\nfrom = \"deep/map/list\"");
    let lay_out = |folder: &str, count: u64| {
        fs::create_dir_all(server.path(folder)).unwrap();
        fs::write(server.path(folder).join("list"), ids(count)).unwrap();
    };
    let list = server.path("deep/map/list");
    lay_out("deep/v0", 1);
    symlink("v0", server.path("deep/map")).unwrap();
    until_blacklisted(&server, 1);
    let in_pieces = |mut file: File, count: u64| {
        let text = ids(count);
        let (head, tail) = text.split_at(text.len() / 2);
        file.write_all(head.as_bytes()).unwrap();
        file.write_all(tail.as_bytes()).unwrap();
    };
    let ways: [&dyn Fn(u64); 7] = [
        &|count| fs::write(&list, ids(count)).unwrap(),
        &|count| in_pieces(File::create(&list).unwrap(), count),
        &|count| {
            let file = File::options().append(true).open(&list).unwrap();
            file.set_len(0).unwrap();
            in_pieces(file, count);
        },
        &|count| rename_over(&list, &ids(count)),
        &|count| {
            fs::remove_file(&list).unwrap();
            fs::write(&list, ids(count)).unwrap();
        },
        &|count| {
            lay_out(&format!("deep/v{count}"), count);
            symlink(format!("v{count}"), server.path("deep/new")).unwrap();
            fs::rename(server.path("deep/new"), server.path("deep/map")).unwrap();
        },
        &|count| {
            lay_out("other/map", count);
            fs::rename(server.path("deep"), server.path(&format!("old{count}"))).unwrap();
            fs::rename(server.path("other"), server.path("deep")).unwrap();
        },
    ];
    let is_over = AtomicBool::new(false);
    let answered = thread::scope(|scope| {
        let load = |_| {
            scope.spawn(|| {
                let mut client = crate::client::Client::connect(server.public);
                let mut answered = 0_u64;
                // Bounded, so that a check that fails ends the test, whose scope waits for this.
                let started = Instant::now();
                while !is_over.load(Ordering::Relaxed) && started.elapsed() < Duration::from_mins(2) {
                    assert_eq!(client.get("/event/list").status, 200);
                    answered += 1;
                }
                answered
            })
        };
        let load: Vec<_> = (0..2).map(load).collect();
        for (count, way) in (2..).zip(ways) {
            way(count);
            until_blacklisted(&server, count);
        }
        is_over.store(true, Ordering::Relaxed);
        load.into_iter().map(|load| load.join().unwrap()).min().unwrap()
    });
    assert!(answered > 0);
    let whole: Vec<String> = (1..=8).map(|count| ids(count).len().to_string()).collect();
    assert_eq!(changes(&server), whole);
}

#[test]
fn a_change_just_before_an_upgrade_is_served_after_it() {
    let server = Server::start("handoff-live");
    for count in 2..8_u64 {
        rename_over(&server.path("blacklist.txt"), &ids(count));
        assert_eq!(server.upgrade_to(Path::new(BINARY)).status, 200);
        until_blacklisted(&server, count);
    }
}

/// Answers with the list and its tag, on as many connections as come.
fn list_server(list: &Arc<Mutex<(u64, String)>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let list = Arc::clone(list);
    // It ends with the test's process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let list = Arc::clone(&list);
            thread::spawn(move || {
                let mut stream = BufReader::new(stream.unwrap());
                let mut tag = String::new();
                let mut line = String::new();
                while stream.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                    if let Some(known) = line.to_lowercase().strip_prefix("if-none-match:") {
                        known.trim().clone_into(&mut tag);
                    }
                    if line.trim().is_empty() {
                        let (number, text) = list.lock().unwrap().clone();
                        let now = format!("\"{number}\"");
                        let (status, body) =
                            if now == tag { ("304 Not Modified", "") } else { ("200 OK", &*text) };
                        let length = body.len();
                        let head =
                            format!("HTTP/1.1 {status}\r\netag: {now}\r\ncontent-length: {length}\r\n\r\n");
                        let head =
                            if body.is_empty() { head.replace("content-length: 0\r\n", "") } else { head };
                        if stream.get_mut().write_all(format!("{head}{body}").as_bytes()).is_err() {
                            break;
                        }
                        tag.clear();
                    }
                    line.clear();
                }
            });
        }
    });
    address
}

#[test]
fn an_address_is_asked_every_so_often() {
    let list = Arc::new(Mutex::new((1, ids(2))));
    let address = list_server(&list);
    let section =
        format!("[reload.blacklist]\nby = \"timer\"\nfrom = \"http://{address}/list\"\nevery_ms = 10");
    let server = Server::start_with("handoff-live", &section);
    until_blacklisted(&server, 2);
    for number in 3..6_u64 {
        *list.lock().unwrap() = (number, ids(number));
        until_blacklisted(&server, number);
    }
    *list.lock().unwrap() = (6, "x\n".to_owned());
    eventually("the refusal", || (changes(&server).len() == 4).then_some(()));
    // And again by whoever takes over.
    *list.lock().unwrap() = (7, ids(7));
    server.upgrade();
    until_blacklisted(&server, 7);
    assert_eq!(source(&server, "blacklist")["state"], "polling");
}
