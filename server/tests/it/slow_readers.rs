//! Clients that take less than they are sent: what neither they nor the kernel's buffers have taken when the process
//! changes.

use std::{fs, thread};

use crate::{
    client::Client,
    server::{Server, eventually},
};

const LIST: &str = "GET /event/list HTTP/1.1\r\nhost: test\r\n\r\n";

/// Pairs of requests that are sent before anything is read: the long list, and an order that tells by its goods which
/// one it is.
const PAIRS: usize = 100;

/// Pairs that are sent after the old process has stopped to read requests.
const LATER: usize = 10;

/// Half of a list is more than a unix socket takes, and all lists are more than one of TCP takes.
const GOODS: usize = 2000;
const NAME_BYTES: usize = 200;

fn server() -> Server {
    // Nothing here is about the end of the drain time.
    Server::start_with_goods(GOODS, NAME_BYTES, "strategy = \"handoff-live\"\ndrain_ms = 100000")
}

/// The most bytes that the kernel keeps of what a server sends over TCP.
fn kept_by_the_kernel() -> usize {
    let limits = fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap();
    limits.split_whitespace().last().unwrap().parse().unwrap()
}

/// Requests for the list with orders between them, one for each of the goods; `user` has bought nothing yet.
fn pairs(server: &Server, user: u64, goods: std::ops::Range<usize>) -> String {
    let pair = |goods: usize| {
        let order = server.purchase(user, &format!("key-{user}-{goods}"), 1, goods as u64);
        format!("{LIST}{order}")
    };
    goods.map(pair).collect()
}

/// Reads the answers to those pairs; the process that answered each.
fn read(client: &mut Client, list: &str, goods: std::ops::Range<usize>, meanwhile: &mut Client) -> Vec<u32> {
    let mut processes = Vec::new();
    for goods in goods {
        let (listed, ordered) = (client.answer().unwrap(), client.answer().unwrap());
        assert!(listed.status == 200 && listed.body == list, "{} before {goods}", listed.status);
        assert_eq!((ordered.status, ordered.header("idempotent-replayed")), (201, None), "{goods}");
        assert_eq!(ordered.json()["goods"], goods, "they come in the order in which they were asked for");
        assert!([&listed, &ordered].iter().all(|answer| answer.header("connection").is_none()));
        processes.extend([listed.process(), ordered.process()]);
        // So slowly that others are served in between.
        assert_eq!(meanwhile.get("/version").status, 200);
    }
    processes
}

/// D7: most of the answers are still in the server when the upgrade begins.
#[test]
fn answers_that_wait_for_their_reader_come_whole_and_in_order_from_both_processes() {
    let server = server();
    let list = Client::connect(server.public).get("/event/list").body;
    assert!(list.len() * PAIRS > 2 * kept_by_the_kernel(), "all would be in the buffers: {}", list.len());
    let ways = [Client::connect_unix(&server.path("public.sock")), Client::connect_narrow(server.public)];
    for (old, slow) in (1..).zip(ways) {
        let mut slow = slow.unwrap();
        let mut idle = Client::connect(server.public);
        assert_eq!(idle.get("/version").process(), old);
        let user = u64::from(old);
        slow.send(&pairs(&server, user, 1..PAIRS + 1));
        // Its first answers have begun to come, so it is in the old process.
        assert_eq!(slow.head_only().unwrap().process(), old);
        let processes = thread::scope(|scope| {
            let upgrade = scope.spawn(|| server.upgrade());
            eventually("the idle connection in the new process", || {
                (idle.get("/version").process() == old + 1).then_some(())
            });
            slow.send(&pairs(&server, user, PAIRS + 1..PAIRS + LATER + 1));
            assert!(!upgrade.is_finished(), "answers that nobody has read hold the old process");
            // The rest of the answer whose head was read, and that of its pair.
            assert!(slow.part(list.len()).unwrap() == list);
            assert_eq!(slow.answer().unwrap().json()["goods"], 1);
            let processes = read(&mut slow, &list, 2..PAIRS + LATER + 1, &mut idle);
            let report = upgrade.join().unwrap();
            let counts = &report["connections"];
            assert_eq!((&counts["cut"], &counts["closed"]), (&0.into(), &0.into()), "{report}");
            processes
        });
        assert!(processes.is_sorted(), "no process answers after its successor: {processes:?}");
        assert!(processes.iter().all(|process| [old, old + 1].contains(process)), "{processes:?}");
        assert_eq!(processes.last(), Some(&(old + 1)));
        assert_eq!(slow.get("/version").process(), old + 1, "nothing is left over on the connection");
    }
}

/// D7: one answer, of which the client has read the first part, the kernel holds the second and the server the rest.
#[test]
fn a_long_answer_that_is_half_read_is_whole_in_the_end() {
    let server = server();
    let list = Client::connect(server.public).get("/event/list").body;
    let mut idle = Client::connect(server.public);
    let mut slow = Client::connect_unix(&server.path("public.sock")).unwrap();
    slow.send(&format!("{LIST}{LIST}"));
    let head = slow.head_only().unwrap();
    assert_eq!((head.process(), head.header("content-length")), (1, Some(list.len().to_string().as_str())));
    let begin = slow.part(list.len() / 4).unwrap();
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade());
        eventually("the idle connection in the new process", || {
            (idle.get("/version").process() == 2).then_some(())
        });
        assert!(!upgrade.is_finished(), "an answer that is not read holds the old process");
        let rest = slow.part(list.len() - begin.len()).unwrap();
        assert!(begin + &rest == list);
        let next = slow.answer().unwrap();
        assert!(next.status == 200 && next.body == list);
        assert_eq!(upgrade.join().unwrap()["connections"]["cut"], 0);
    });
    assert_eq!(slow.get("/version").process(), 2);
}
