//! IPv4, IPv6 and unix sockets on both sides, through every way of replacing the process.

use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt as _, PermissionsExt as _},
            net::UnixListener,
        },
    },
    process::{Command, Stdio},
};

use rustix::process::Signal;

use crate::{
    client::Client,
    server::{BINARY, Server, eventually, free_address},
};

const HEAD: &str = "GET /event/list HTTP/1.1\r\nhost: test\r\n\r\n";

/// Whether a server can listen at `address` on this machine; what is not tested for want of it is said aloud.
fn is_to_be_had(address: &str) -> bool {
    let is = TcpListener::bind((address, 0)).is_ok();
    if !is {
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        // Past the test harness, which would show nothing of a test that does not fail.
        _ = writeln!(std::io::stderr(), "NOT TESTED: {test}: {address} is not to be had here");
    }
    is
}

/// Every kind of listener at once that there is. The first public one, which is probed in an upgrade, is a unix socket.
fn everywhere(public: SocketAddr, admin: SocketAddr) -> String {
    let (one, two) = (public.port(), admin.port());
    let all = if is_to_be_had("::") { "[::]" } else { "0.0.0.0" };
    let of_ipv6 = if is_to_be_had("::1") { format!("\"[::1]:{two}\", ") } else { String::new() };
    format!(
        "[api]\nbind = [\"unix:./public.sock\", \"{all}:{one}\", \"unix:@seckill-{one}\"]\nsocket_mode = \"640\"\n\
         [admin]\nbind = [\"unix:admin.sock\", \"127.0.0.1:{two}\", {of_ipv6}\"unix:@seckill-{two}\"]\n"
    )
}

/// How many those are.
fn sockets() -> usize {
    if is_to_be_had("::1") { 7 } else { 6 }
}

/// A connection to each of them, with how it was made.
fn clients(server: &Server) -> Vec<(String, Client)> {
    let sides = [("public.sock", server.public.port()), ("admin.sock", server.admin.port())];
    let mut clients = Vec::new();
    for (file, port) in sides {
        clients.push((file.to_owned(), Client::connect_unix(&server.path(file)).unwrap()));
        let name = format!("seckill-{port}");
        clients.push((format!("@{name}"), Client::connect_abstract(&name).unwrap()));
        let of_ipv6 = is_to_be_had("::1").then(|| format!("[::1]:{port}"));
        for address in [format!("127.0.0.1:{port}")].into_iter().chain(of_ipv6) {
            let client = Client::connect(address.parse().unwrap());
            clients.push((address, client));
        }
    }
    clients
}

#[test]
fn connections_of_every_kind_of_listener_go_on() {
    let server = Server::start_listening("handoff-live", everywhere);
    let mut idle = clients(&server);
    for (way, client) in &mut idle {
        assert_eq!(client.get("/version").process(), 1, "{way}");
    }
    let mut half = clients(&server);
    for (_, client) in &mut half {
        client.send(&HEAD.replace("/event/list", "/version")[..20]);
    }
    let mut fresh = clients(&server);
    for process in 2..5 {
        let report = server.upgrade();
        assert_eq!(report["sockets"], sockets());
        assert_eq!((&report["connections"]["closed"], &report["connections"]["cut"]), (&0.into(), &0.into()));
        for (way, client) in &mut idle {
            let answer = client.get("/version");
            assert_eq!((answer.process(), answer.header("connection")), (process, None), "{way}");
        }
    }
    for (way, client) in &mut half {
        client.send(&HEAD.replace("/event/list", "/version")[20..]);
        assert_eq!(client.answer().unwrap().process(), 4, "{way}");
    }
    for (way, client) in &mut fresh {
        assert_eq!(client.get("/version").process(), 4, "{way}");
    }
}

#[test]
fn every_listener_is_shared_by_every_strategy_that_shares_them() {
    for strategy in ["handoff-live", "handoff", "inherit"] {
        let mut server = Server::start_listening(strategy, everywhere);
        let file = server.path("public.sock");
        let inode = fs::metadata(&file).unwrap().ino();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::metadata(server.path("admin.sock")).unwrap().permissions().mode() & 0o777, 0o600);
        for process in 2..4 {
            assert_eq!(server.upgrade()["sockets"], sockets(), "{strategy}");
            for (way, mut client) in clients(&server) {
                assert_eq!(client.get("/version").process(), process, "{strategy} {way}");
            }
        }
        assert_eq!(fs::metadata(&file).unwrap().ino(), inode, "the old process has left the file alone");
        server.signal(Signal::TERM);
        assert!(server.end().success());
        eventually("the end of the last process", || (!server.path(".pid").exists()).then_some(()));
        assert!(!file.exists() && !server.path("admin.sock").exists(), "the last one has removed it");
    }
}

#[test]
fn a_server_that_is_reached_by_unix_sockets_is_told_what_to_do_by_them() {
    let server = Server::start_listening("handoff-live", everywhere);
    let output = server.run(&["upgrade", "-c", "seckill.toml", "--binary", BINARY]);
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    server.until_process(2);
    let mut admin = Client::connect_unix(&server.path("admin.sock")).unwrap();
    let answer = server.ask(&mut admin, "PUT /config/cluster {}");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let history = server.admin_request("GET /config/history").body;
    let uid = rustix::process::getuid().as_raw();
    assert!(history.contains(&format!("uid {uid}")), "{history}");
}

#[test]
fn stop_start_binds_the_same_places_again() {
    let server = Server::start_listening("stop-start", everywhere);
    server.upgrade();
    for (way, mut client) in clients(&server) {
        assert_eq!(client.get("/version").process(), 2, "{way}");
    }
}

/// What a process that died has left behind is replaced; what somebody answers at, or is no socket, is not.
#[test]
fn a_socket_file_is_replaced_only_if_nobody_answers_at_it() {
    let sides = |api: &str, server: &Server| {
        format!("[api]\nbind = [\"{}\", \"{api}\"]\n[admin]\nbind = \"{}\"\n", server.public, server.admin)
    };
    let mut server = Server::start_listening("handoff-live", |public, admin| {
        format!("[api]\nbind = [\"{public}\", \"unix:stale.sock\"]\n[admin]\nbind = \"{admin}\"\n")
    });
    let stale = server.path("stale.sock");
    server.kill();
    assert!(stale.exists());
    server.start_again();
    assert_eq!(Client::connect_unix(&stale).unwrap().get("/version").status, 200);

    let busy = server.path("busy.sock");
    let stranger = UnixListener::bind(&busy).unwrap();
    fs::write(server.path("notes"), "mine").unwrap();
    for (file, reason) in [("busy.sock", "another process answers there"), ("notes", "which is no socket")] {
        server.configure(&sides(&format!("unix:{file}"), &server), "");
        let refused = server.upgrade_to(BINARY.as_ref());
        assert_eq!(refused.status, 502, "{}", refused.body);
        assert!(refused.body.contains(&format!("cannot listen at unix:{file}")), "{}", refused.body);
        assert!(refused.body.contains(reason), "{}", refused.body);
    }
    stranger.accept().unwrap();
    assert_eq!(fs::read_to_string(server.path("notes")).unwrap(), "mine");
    assert_eq!(Client::connect_unix(&stale).unwrap().get("/version").process(), 1, "the old one serves on");
}

#[test]
fn a_listener_is_added_and_one_is_dropped_by_an_upgrade() {
    for strategy in ["handoff-live", "handoff", "inherit"] {
        let spare = free_address();
        let both = |extra: &str, server: &Server| {
            format!("[api]\nbind = [\"{}\", {extra}]\n[admin]\nbind = \"{}\"\n", server.public, server.admin)
        };
        let upgrade = format!("strategy = \"{strategy}\"");
        let mut server = Server::start_listening(strategy, |public, admin| {
            format!("[api]\nbind = [\"{public}\", \"unix:old.sock\"]\n[admin]\nbind = \"{admin}\"\n")
        });
        let old = server.path("old.sock");
        let mut stays = Client::connect_unix(&old).unwrap();
        stays.get("/version");

        // Somebody else's port: refused, and nothing has changed.
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        server.configure(&both(&format!("\"{address}\""), &server), &upgrade);
        let refused = server.upgrade_to(BINARY.as_ref());
        assert_eq!(refused.status, 502, "{}", refused.body);
        assert!(refused.body.contains(&format!("cannot listen at {address}")), "{}", refused.body);
        assert_eq!(Client::connect_unix(&old).unwrap().get("/version").process(), 1);
        assert_eq!(stays.get("/version").process(), 1);

        server.configure(&both(&format!("\"{spare}\", \"unix:new.sock\""), &server), &upgrade);
        server.upgrade();
        assert_eq!(Client::connect(spare).get("/version").process(), 2, "{strategy}");
        assert_eq!(Client::connect_unix(&server.path("new.sock")).unwrap().get("/version").process(), 2);
        eventually("the end of the listener that was dropped", || (!old.exists()).then_some(()));
        if strategy == "handoff-live" {
            assert_eq!(stays.get("/version").process(), 2, "its connections stay");
        }
        server.configure(&both("\"unix:old.sock\"", &server), &upgrade);
        server.upgrade();
        eventually("the end of the port that was dropped", || Client::try_connect(spare).err());
        assert_eq!(Client::connect_unix(&old).unwrap().get("/version").process(), 3, "{strategy}");
        server.signal(Signal::TERM);
        assert!(server.end().success());
    }
}

#[test]
fn a_port_that_cannot_be_changed_in_place_is_refused_with_the_reason() {
    if !is_to_be_had("::") {
        return;
    }
    let has_v6 = is_to_be_had("::1");
    let server = Server::start_listening("handoff-live", |public, admin| {
        format!("[api]\nbind = [\"{public}\", \"[::]:{}\"]\n[admin]\nbind = \"{admin}\"\n", public.port())
    });
    let port = server.public.port();
    let ask = || {
        let v4 = Client::connect(server.public).get("/version").process();
        let v6 = has_v6.then(|| {
            let address: SocketAddr = format!("[::1]:{port}").parse().unwrap();
            Client::connect(address).get("/version").process()
        });
        (v4, v6)
    };
    let by_the_first = (1, has_v6.then_some(1));
    assert_eq!(ask(), by_the_first);
    // It would have to take IPv4 as well, which a socket that is bound cannot learn.
    server.configure(&format!("[api]\nbind = \"[::]:{port}\"\n[admin]\nbind = \"{}\"\n", server.admin), "");
    let refused = server.upgrade_to(BINARY.as_ref());
    assert_eq!(refused.status, 502);
    assert!(refused.body.contains("which cannot be changed into this one"), "{}", refused.body);
    assert_eq!(ask(), by_the_first);
}

#[test]
fn unix_sockets_of_a_service_manager_outlive_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let (public, admin) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let at = [public.local_addr().unwrap(), admin.local_addr().unwrap()];
    let path = folder.path().join("managed.sock");
    let managed = UnixListener::bind(&path).unwrap();
    let sides = format!(
        "[api]\nbind = [\"unix:{}\", \"{}\"]\n[admin]\nbind = \"{}\"\n",
        path.display(),
        at[0],
        at[1]
    );
    let sockets: Vec<OwnedFd> = vec![managed.into(), public.into(), admin.into()];
    let mut server = Server::start_activated_by(&sockets, &sides, at, &folder.path().join("notify"));
    assert_eq!(server.upgrade()["sockets"], 3);
    assert_eq!(Client::connect_unix(&path).unwrap().get("/version").process(), 2);
    server.signal(Signal::TERM);
    assert!(server.end().success());
    eventually("the end of the last process", || (!server.path(".pid").exists()).then_some(()));
    assert!(path.exists(), "who made it removes it");
    let mut between = Client::connect_unix(&path).unwrap();
    between.send(HEAD);
    drop(server);
    let _server = Server::start_activated_by(&sockets, &sides, at, &folder.path().join("notify"));
    assert_eq!(between.answer().unwrap().status, 200);
}

/// `[::]` is there wherever IPv6 is, and `::1` only where the loopback has it.
#[test]
fn a_machine_without_the_loopback_of_ipv6_is_probed_and_asked_by_that_of_ipv4() {
    let script = "echo 1 >/proc/sys/net/ipv6/conf/lo/disable_ipv6 && ip link set lo up && exec \"$0\" \"$@\"";
    let wrapper = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script];
    let tried = Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        // Past the test harness, which would show nothing of a test that does not fail.
        let told =
            "NOT RUN: a_machine_without_the_loopback_of_ipv6: no network of its own is to be had here\n";
        _ = std::io::stderr().write_all(told.as_bytes());
        return;
    }
    let alone = "[api]\nbind = \"[::]:8080\"\n[admin]\nbind = [\"[::]:8081\", \"unix:admin.sock\"]\n";
    let beside = "[api]\nbind = [\"[::]:8080\", \"127.0.0.1:8080\"]\n[admin]\nbind = \"unix:admin.sock\"\n";
    for sides in [alone, beside] {
        let server = Server::start_apart(&wrapper, sides);
        for process in 2..4 {
            let mut admin = Client::connect_unix(&server.path("admin.sock")).unwrap();
            let body = serde_json::json!({ "binary": BINARY });
            let answer = server.ask(&mut admin, &format!("POST /upgrade {body}"));
            assert_eq!(
                (answer.status, &answer.json()["new"]["process"]),
                (200, &process.into()),
                "{}",
                answer.body
            );
        }
        let pid = server.pid().to_string();
        let mut status = Command::new("nsenter");
        status.args([
            "--user",
            "--net",
            "--preserve-credentials",
            "-t",
            &pid,
            BINARY,
            "status",
            "-c",
            "seckill.toml",
        ]);
        let told = status.current_dir(server.path("")).output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    }
}
