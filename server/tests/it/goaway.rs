//! HTTP/2 with many streams in flight and new ones all the time while the process changes, frame by frame: which
//! stream has which end, and what a client may send again (RFC 9113, 6.8 and 8.7).

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use crate::{client::Client, server::Server};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// Of `SETTINGS` and `PING`.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The code of a stream that was refused before anything was done for it.
const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
/// The last id of the first of two GOAWAY: none is excluded yet.
const ANY: u32 = 0x7fff_ffff;

const WAITING: usize = 64;
/// The first stream after those that wait; a client's have odd numbers.
const AFTER_WAITING: u32 = 129;
/// Streams that are begun at once at each step of the farewell.
const BURST: usize = 20;
/// So many are open at most before a burst: the server allows 200.
const OPEN_MAX: usize = 128;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// The next frame; `None`: the server has nothing more to say.
fn read(connection: &mut TcpStream) -> Option<Frame> {
    let mut head = [0; 9];
    if connection.read(&mut head[..1]).unwrap() == 0 {
        return None;
    }
    connection.read_exact(&mut head[1..]).unwrap();
    let [_, high, low, kind, flags, ..] = head;
    let mut payload = vec![0; usize::from(high) << 8 | usize::from(low)];
    connection.read_exact(&mut payload).unwrap();
    let stream = u32::from_be_bytes(head[5..].try_into().unwrap()) & ANY;
    Some(Frame { kind, flags, stream, payload })
}

fn written(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A request with a head alone: `GET`, `http`, and the others as literals that nobody remembers (RFC 7541, 6.2.2).
fn request(stream: u32, path: &str, prefer: Option<&str>) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let mut block = [[0x82, 0x86, 0x04].as_slice(), &text(path), &[0x01], &text("test")].concat();
    if let Some(prefer) = prefer {
        block.extend([[0].as_slice(), &text("prefer"), &text(prefer)].concat());
    }
    written(HEADERS, END_STREAM | END_HEADERS, stream, &block)
}

/// A connection, the streams that were begun on it, and what came of each.
struct Connection {
    socket: TcpStream,
    frames: Receiver<Frame>,
    begun: BTreeSet<u32>,
    /// With the status 200, to its end.
    answered: BTreeSet<u32>,
    good: BTreeSet<u32>,
    reset: BTreeMap<u32, Vec<u8>>,
    /// The last id of each GOAWAY.
    farewells: Vec<u32>,
}

impl Connection {
    fn open(server: &Server) -> Self {
        let mut socket = TcpStream::connect(server.public).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let preface =
            [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &written(SETTINGS, 0, 0, &[])].concat();
        let wide = written(WINDOW_UPDATE, 0, 0, &0x3fff_0000_u32.to_be_bytes());
        socket.write_all(&[preface, wide].concat()).unwrap();
        let (sender, frames) = channel();
        let mut reading = socket.try_clone().unwrap();
        // It ends with the connection, which is closed at the latest when the server is killed.
        drop(thread::spawn(move || {
            while let Some(frame) = read(&mut reading) {
                if sender.send(frame).is_err() {
                    return;
                }
            }
        }));
        let [begun, answered, good] = [const { BTreeSet::new() }; 3];
        let (reset, farewells) = (BTreeMap::new(), Vec::new());
        Self { socket, frames, begun, answered, good, reset, farewells }
    }

    fn send(&mut self, frame: &[u8]) {
        self.socket.write_all(frame).unwrap();
    }

    fn begin(&mut self, streams: usize, path: &str, prefer: Option<&str>) {
        for _ in 0..streams {
            let stream = self.begun.last().map_or(1, |last| last + 2);
            self.begun.insert(stream);
            self.send(&request(stream, path, prefer));
        }
    }

    fn take(&mut self, Frame { kind, flags, stream, payload }: Frame) {
        match (kind, flags) {
            (SETTINGS, 0) => self.send(&written(SETTINGS, ACK, 0, &[])),
            (PING, 0) => {
                // Whatever is begun before this answer was begun before the server is sure that the client knows.
                if !self.farewells.is_empty() {
                    self.begin(BURST, "/event/list", None);
                }
                self.send(&written(PING, ACK, 0, &payload));
            }
            (GOAWAY, _) => {
                assert_eq!(payload[4..8], [0; 4], "no error");
                self.farewells.push(u32::from_be_bytes(payload[..4].try_into().unwrap()));
            }
            (RST_STREAM, _) => drop(self.reset.insert(stream, payload)),
            (HEADERS | DATA, _) => {
                // The status 200 as an entry of the static table.
                if kind == HEADERS && payload.first() == Some(&0x88) {
                    self.good.insert(stream);
                }
                if flags & END_STREAM != 0 {
                    assert!(self.answered.insert(stream), "stream {stream} has one end");
                }
            }
            _ => {}
        }
    }

    /// Begins a stream about every millisecond until there were so many GOAWAY.
    fn until_farewell(&mut self, number: usize) {
        for _ in 0..30_000 {
            if self.farewells.len() >= number {
                return;
            }
            match self.frames.recv_timeout(Duration::from_millis(1)) {
                Ok(frame) => self.take(frame),
                Err(RecvTimeoutError::Timeout) => {
                    let open = self.begun.len() - self.answered.len();
                    self.begin(usize::from(open < OPEN_MAX), "/event/list", None);
                }
                Err(RecvTimeoutError::Disconnected) => panic!("the connection ended without GOAWAY {number}"),
            }
        }
        panic!("no GOAWAY {number}");
    }

    fn until_end(&mut self) {
        while let Ok(frame) = self.frames.recv_timeout(Duration::from_secs(60)) {
            self.take(frame);
        }
    }
}

#[test]
fn of_many_streams_in_flight_and_begun_while_the_process_changes_each_is_answered_or_may_be_sent_again() {
    let server = Server::start_with("handoff-live", "drain_ms = 60000");
    let mut connection = Connection::open(&server);
    connection.begin(WAITING, "/event/info?id=1", Some("wait=30"));
    // Its sale ends their wait, in the process in which they are in flight.
    let purchase = server.purchase(5, "a", 1, 1);
    let (most, rest) = purchase.split_at(purchase.len() - 5);
    let mut buyer = Client::connect(server.public);
    buyer.send(most);
    // It is read once something is handled that came after it.
    assert_eq!(Client::connect(server.public).get("/event/list").process(), 1);
    let report = thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade());
        connection.until_farewell(1);
        assert_eq!(connection.farewells, [ANY], "no stream is excluded before the client can know");
        assert_eq!(connection.answered.range(..AFTER_WAITING).count(), 0, "all are in flight");
        connection.until_farewell(2);
        // A client that has not seen it yet.
        connection.begin(BURST, "/event/list", None);
        buyer.send(rest);
        let sold = buyer.answer().unwrap();
        assert_eq!((sold.status, sold.process()), (201, 1));
        connection.until_end();
        upgrade.join().unwrap()
    });
    assert_eq!(report["connections"]["cut"], 0, "{report}");

    let Connection { begun, answered, good, reset, farewells, .. } = connection;
    let [_, last] = farewells[..] else { panic!("two farewells, not {farewells:?}") };
    let begun_in_between = begun.range(AFTER_WAITING..=last).count();
    assert!(begun_in_between >= BURST, "{begun_in_between} were begun during the farewell");
    let (kept, excluded): (BTreeSet<u32>, BTreeSet<u32>) = begun.iter().partition(|stream| **stream <= last);
    assert_eq!(answered, kept, "those up to the last id are answered, and no others");
    assert_eq!(good, kept);
    assert!(excluded.len() >= BURST, "{excluded:?}");
    let refused = |stream: &u32, code: &Vec<u8>| excluded.contains(stream) && code[..] == REFUSED_STREAM;
    assert!(reset.iter().all(|(stream, code)| refused(stream, code)), "{reset:?}");
    let mut again = Client::connect(server.public);
    for _ in excluded {
        let answer = again.get("/event/list");
        assert_eq!((answer.status, answer.process()), (200, 2));
    }
}
