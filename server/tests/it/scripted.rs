//! Successors that follow a script, to die at each step of the handover: the old process must serve on.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use ::server::carried::VERSION;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept, bind, connect, listen,
    recvmsg, sendmsg, socket_with,
};
use serde_json::{Value, json};

use crate::{
    client::Client,
    server::{BINARY, Server, eventually},
};

/// The one that is spoken.
pub(crate) const PROTOCOL: u32 = 4;

/// A process that speaks the protocol by hand.
pub(crate) struct Scripted {
    socket: OwnedFd,
    /// Everything that was handed to it.
    descriptors: Vec<OwnedFd>,
}

impl Scripted {
    pub(crate) fn connect(server: &Server) -> Self {
        let socket = packets();
        connect(&socket, &SocketAddrUnix::new(server.path(".seckill.sock")).unwrap()).unwrap();
        Self { socket, descriptors: Vec::new() }
    }

    pub(crate) fn say(&self, message: &Value) {
        self.give(message, &[]);
    }

    fn give(&self, message: &Value, descriptors: &[OwnedFd]) {
        let mut text = message.to_string().into_bytes();
        text.push(0);
        let descriptors: Vec<_> = descriptors.iter().map(OwnedFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        }
        sendmsg(&self.socket, &[IoSlice::new(&text)], &mut ancillary, SendFlags::NOSIGNAL).unwrap();
    }

    pub(crate) fn hear(&mut self) -> Value {
        let mut packet = vec![0; 200_000];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut packet)];
        let got = recvmsg(self.socket.as_fd(), &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                self.descriptors.extend(rights);
            }
        }
        let end = packet.iter().position(|byte| *byte == 0).unwrap_or(got.bytes);
        serde_json::from_slice(&packet[..end]).unwrap_or(Value::Null)
    }

    /// A process that has been welcomed. While the swap before it is being wound up, it is told to wait.
    pub(crate) fn welcomed(server: &Server) -> Self {
        Self::welcomed_under(server, "handoff-live")
    }

    pub(crate) fn welcomed_under(server: &Server, strategy: &str) -> Self {
        eventually("a welcome", || {
            let mut scripted = Self::connect(server);
            (scripted.greet(PROTOCOL, strategy)["is"] == "welcome").then_some(scripted)
        })
    }

    pub(crate) fn greet(&mut self, protocol: u32, strategy: &str) -> Value {
        self.say(&json!({
            "is": "hello", "protocol": protocol, "pid": std::process::id(), "version": "scripted",
            "strategy": strategy, "state": VERSION, "ticket": null,
        }));
        self.hear()
    }

    /// Does what is asked for until it is told to serve.
    pub(crate) fn until_commit(&mut self) {
        self.say(&json!({ "is": "ready" }));
        self.until("connection");
        self.say(&json!({ "is": "adopted", "through": 0 }));
        answer_probes(self);
        self.takes_state();
        assert_eq!(self.until("commit")["is"], "commit");
    }

    /// Takes what the old process has in memory.
    pub(crate) fn takes_state(&mut self) {
        while self.until("state")["more"] == true {}
        self.say(&json!({ "is": "taken" }));
    }

    pub(crate) fn until(&mut self, word: &str) -> Value {
        loop {
            let message = self.hear();
            if message["is"] == word || message == Value::Null {
                return message;
            }
        }
    }
}

/// A socket of the kind that processes speak to each other by.
fn packets() -> OwnedFd {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

/// The old process must serve on with the connections it had, and take a real upgrade afterwards.
fn check_serves_on(server: &Server, idle: &mut Client, generation: u32) {
    let answer = eventually("an answer of the old process", || {
        let answer = idle.get("/event/list");
        (answer.process() == generation).then_some(answer)
    });
    assert_eq!(answer.status, 200);
    assert_eq!(Client::connect(server.public).get("/event/list").process(), generation);
}

#[test]
fn it_dies_at_any_step_before_it_serves() {
    let server = Server::start("handoff-live");
    let mut idle = Client::connect(server.public);
    idle.get("/event/list");

    drop(Scripted::connect(&server));
    check_serves_on(&server, &mut idle, 1);

    let silent = Scripted::welcomed(&server);
    assert_eq!(silent.descriptors.len(), 3, "control socket and two listeners");
    drop(silent);
    check_serves_on(&server, &mut idle, 1);

    let mut ready = Scripted::welcomed(&server);
    ready.say(&json!({ "is": "ready" }));
    assert_eq!(ready.until("connection")["id"], 0);
    drop(ready);
    check_serves_on(&server, &mut idle, 1);

    let mut adopts = Scripted::welcomed(&server);
    adopts.say(&json!({ "is": "ready" }));
    adopts.until("connection");
    adopts.say(&json!({ "is": "adopted", "through": 0 }));
    drop(adopts);
    check_serves_on(&server, &mut idle, 1);

    eventually("a real upgrade", || (server.upgrade_to(Path::new(BINARY)).status == 200).then_some(()));
    check_serves_on(&server, &mut idle, 2);
}

#[test]
fn it_dies_after_it_was_told_to_serve() {
    let server = Server::start("handoff-live");
    let mut idle: Vec<Client> = (0..10).map(|_| Client::connect(server.public)).collect();
    for client in &mut idle {
        client.get("/event/list");
    }
    for dies_while_moving in [false, true] {
        let mut successor = Scripted::welcomed(&server);
        successor.until_commit();
        if dies_while_moving {
            successor.say(&json!({ "is": "committed" }));
            successor.until("connection");
        }
        drop(successor);
        // What it had not acknowledged is served by the old process again.
        for client in &mut idle {
            check_serves_on(&server, client, 1);
        }
    }
    eventually("a real upgrade", || (server.upgrade_to(Path::new(BINARY)).status == 200).then_some(()));
    check_serves_on(&server, &mut idle[0], 2);
}

/// What changes between the commitment and the failure is published when the old process goes on.
#[test]
fn a_change_while_a_successor_takes_over_is_not_lost_when_it_dies() {
    let server = Server::start("handoff-live");
    let mut successor = Scripted::welcomed(&server);
    successor.until_commit();
    std::fs::write(server.path("blacklist.txt"), "1\n2\n3\n").unwrap();
    drop(successor);
    eventually("the change", || {
        let status = server.admin_request("GET /status").json();
        (status["snapshot"]["blacklisted"] == 3).then_some(())
    });
}

/// Answers the two requests that the old process asks on the probe's connection, by hand.
pub(crate) fn answer_probes(successor: &mut Scripted) {
    drop(answer_probe(successor, 2));
}

/// Answers so many of them; the connection stays open as long as what is returned.
pub(crate) fn answer_probe(successor: &mut Scripted, answers: u32) -> std::net::TcpStream {
    use std::io::{Read as _, Write as _};
    let socket = successor.descriptors.pop().expect("the probe must come with its socket");
    let mut socket = std::net::TcpStream::from(socket);
    socket.set_nonblocking(false).unwrap();
    for _ in 0..answers {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(socket.read(&mut byte).unwrap(), 1);
            head.extend(byte);
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\nx-seckill-process: 2\r\ncontent-length: 2\r\n\r\n{}").unwrap();
    }
    socket
}

#[test]
fn another_protocol_and_a_false_ticket_are_refused_with_the_reason() {
    let server = Server::start("handoff-live");
    let mut newer = Scripted::connect(&server);
    let answer = newer.greet(99, "handoff-live");
    assert_eq!(answer["is"], "refuse");
    assert!(answer["reason"].as_str().unwrap().contains("protocol 99"), "{answer}");
    assert_eq!(newer.descriptors.len(), 0);

    let mut late = Scripted::connect(&server);
    late.say(&json!({
        "is": "hello", "protocol": PROTOCOL, "pid": 1, "version": "late", "strategy": "handoff-live", "ticket": "old",
    }));
    assert_eq!(late.hear()["is"], "refuse");
    assert_eq!(late.descriptors.len(), 0);
}

/// A15: ready, by its own word, and yet its answers are no good.
#[test]
fn a_process_that_answers_with_errors_does_not_take_over() {
    use std::io::{Read as _, Write as _};
    let server = Server::start("handoff-live");
    let mut idle = Client::connect(server.public);
    idle.get("/event/list");
    let mut successor = Scripted::welcomed(&server);
    successor.say(&json!({ "is": "ready" }));
    successor.until("connection");
    successor.say(&json!({ "is": "adopted", "through": 0 }));
    let socket = successor.descriptors.pop().expect("the probe must come with its socket");
    let mut socket = std::net::TcpStream::from(socket);
    socket.set_nonblocking(false).unwrap();
    let mut head = [0; 16];
    socket.read_exact(&mut head).unwrap();
    socket.write_all(b"HTTP/1.1 500 Oh no\r\nx-seckill-process: 2\r\ncontent-length: 0\r\n\r\n").unwrap();
    let told = successor.until("refuse").to_string();
    assert!(told.contains("500"), "{told}");
    check_serves_on(&server, &mut idle, 1);
    eventually("a real upgrade", || (server.upgrade_to(Path::new(BINARY)).status == 200).then_some(()));
}

/// A18: who says it twice does not know what he says.
#[test]
fn a_process_that_is_ready_twice_does_not_take_over() {
    let server = Server::start("handoff-live");
    let mut idle = Client::connect(server.public);
    idle.get("/event/list");
    let mut successor = Scripted::welcomed(&server);
    successor.say(&json!({ "is": "ready" }));
    successor.say(&json!({ "is": "ready" }));
    let told = successor.until("refuse").to_string();
    assert!(told.contains("Ready"), "{told}");
    check_serves_on(&server, &mut idle, 1);
    eventually("a real upgrade", || (server.upgrade_to(Path::new(BINARY)).status == 200).then_some(()));
}

/// A13: an old process that sends less than it says, something else, or less than the new one needs.
#[test]
fn a_process_that_is_sent_too_few_sockets_or_others_says_which_and_leaves() {
    let server = Server::start("handoff-live");
    let mut idle = Client::connect(server.public);
    idle.get("/event/list");
    // What the real one has, sent by one that is not.
    let mut real = std::mem::take(&mut Scripted::welcomed(&server).descriptors);
    let (admin, public, control) = (real.pop().unwrap(), real.pop().unwrap(), real.pop().unwrap());
    let place = packets();
    bind(&place, &SocketAddrUnix::new(server.path("other.sock")).unwrap()).unwrap();
    listen(&place, 1).unwrap();
    let sides = format!("[api]\nbind = \"{}\"\n[admin]\nbind = \"{}\"\n", server.public, server.admin);
    server.configure(&sides, "socket = \"other.sock\"");
    let both = ["public", "admin"];
    for (announced, sockets, reason) in [
        (&both[..], vec![&control, &public], "3 descriptors announced, 2 arrived".to_owned()),
        (&both[..], vec![&control, &public, &packets()], "the inherited socket does not listen".to_owned()),
        (&both[..1], vec![&control, &public], format!("cannot listen at {}: ", server.admin)),
        (&both[..], vec![&control, &admin, &public], "came as one of the admin side".to_owned()),
    ] {
        let sockets: Vec<OwnedFd> = sockets.into_iter().map(|socket| socket.try_clone().unwrap()).collect();
        let output = std::thread::scope(|scope| {
            let new = scope.spawn(|| server.run(&["serve", "-c", "seckill.toml"]));
            let mut old = Scripted { socket: accept(&place).unwrap(), descriptors: Vec::new() };
            assert_eq!(old.hear()["is"], "hello");
            let welcome = json!({
                "is": "welcome", "strategy": "handoff-live", "process": 2, "config_generation": 1, "stderr": false,
                "listeners": announced,
            });
            old.give(&welcome, &sockets);
            new.join().unwrap()
        });
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&reason), "{said}");
        check_serves_on(&server, &mut idle, 1);
    }
}
