//! Scripted answers, and what the next question and the look make of them.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::{self, JoinHandle},
};

use super::*;
use crate::state::Mechanism;

/// A server that gives these answers, one after the other; each is the head's lines and the body. The connection is
/// ended where an answer is empty or says so. Returns the questions, each with the number of its connection.
struct Scripted {
    address: SocketAddr,
    asked: JoinHandle<Vec<(usize, String)>>,
}

impl Scripted {
    fn start(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = thread::spawn(move || {
            let mut asked = Vec::new();
            let mut answers = answers.iter().peekable();
            let mut connection = 0;
            while answers.peek().is_some() {
                connection += 1;
                let mut stream = BufReader::new(listener.accept().unwrap().0);
                while let Some(head) = question(&mut stream) {
                    asked.push((connection, head));
                    let answer = answers.next().unwrap();
                    stream.get_mut().write_all(answer.as_bytes()).unwrap();
                    let closes = answer.is_empty() || answer.contains("connection: close");
                    if closes || answers.peek().is_none() {
                        break;
                    }
                }
            }
            asked
        });
        Self { address, asked }
    }
}

/// What makes an answer the same: the lines that tell of a condition.
fn question(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut conditions = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_lowercase();
        if line.is_empty() {
            return Some(conditions.join(" "));
        }
        if line.starts_with("if-") || line.starts_with("get ") {
            conditions.push(line);
        }
    }
}

/// Looks as often as there are words expected, each time with what is known from before.
async fn check(
    answers: &'static [&'static str],
    expected_looks: &[&str],
    expected_questions: &[(usize, &str)],
) {
    let server = Scripted::start(answers);
    let mut address = Address::new(&format!("http://{}/list", server.address), 10);
    let mut known = None;
    let mut looks = Vec::new();
    for _ in expected_looks {
        let origin = Origin::new(Mechanism::Timer, "there");
        looks.push(match address.look(Datum::Blacklist, origin, known.as_ref()).await {
            Look::Found { candidate, version } => {
                known = Some(version);
                candidate.content.map_or_else(|reason| reason, |_| format!("{} bytes", candidate.bytes))
            }
            other => other.word(),
        });
    }
    drop(address);
    assert_eq!(looks, expected_looks);
    let asked = server.asked.join().unwrap();
    let asked: Vec<(usize, &str)> = asked.iter().map(|(connection, head)| (*connection, &**head)).collect();
    assert_eq!(asked, expected_questions);
}

const PLAIN: &str = "get /list http/1.1";
const NEW: &str = "HTTP/1.1 200 OK\r\netag: \"a\"\r\ncontent-length: 2\r\n\r\n1\n";
const SAME: &str = "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n";

#[tokio::test]
async fn a_tag_saves_the_body_on_a_connection_that_is_kept() {
    let asked = "get /list http/1.1 if-none-match: \"a\"";
    check(
        &[NEW, SAME, SAME],
        &["2 bytes", "nothing new", "nothing new"],
        &[(1, PLAIN), (1, asked), (1, asked)],
    )
    .await;
}

#[tokio::test]
async fn a_date_does_unless_the_change_may_be_of_the_same_second() {
    const OLD: &str = "HTTP/1.1 200 OK\r\ndate: Mon, 02 Mar 2026 10:00:02 GMT\r\n\
        last-modified: Mon, 02 Mar 2026 10:00:00 GMT\r\ncontent-length: 2\r\n\r\n1\n";
    const FRESH: &str = "HTTP/1.1 200 OK\r\ndate: Mon, 02 Mar 2026 10:00:00 GMT\r\n\
        last-modified: Mon, 02 Mar 2026 10:00:00 GMT\r\ncontent-length: 2\r\n\r\n1\n";
    let asked = "get /list http/1.1 if-modified-since: mon, 02 mar 2026 10:00:00 gmt";
    check(&[OLD, SAME], &["2 bytes", "nothing new"], &[(1, PLAIN), (1, asked)]).await;
    check(&[FRESH, FRESH], &["2 bytes", "nothing new"], &[(1, PLAIN), (1, PLAIN)]).await;
}

#[tokio::test]
async fn who_hangs_up_in_between_is_asked_again_at_once() {
    check(
        &[NEW, "", SAME],
        &["2 bytes", "nothing new"],
        &[
            (1, PLAIN),
            (1, "get /list http/1.1 if-none-match: \"a\""),
            (2, "get /list http/1.1 if-none-match: \"a\""),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_used_is_told_once_with_its_reason() {
    const GONE: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    const BROKEN: &str = "HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n";
    const MOVED: &str = "HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n";
    const LONG: &str = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n1234567890\n";
    check(&[GONE], &["nothing"], &[(1, PLAIN)]).await;
    let broken = "it cannot be read: it answered 503 Service Unavailable";
    check(&[BROKEN, BROKEN, NEW], &[broken, "nothing new", "2 bytes"], &[(1, PLAIN), (2, PLAIN), (3, PLAIN)])
        .await;
    check(&[MOVED], &["it cannot be read: it answered 302 Found"], &[(1, PLAIN)]).await;
    let long =
        "it cannot be read: it sent more than 10 bytes; raise reload.push_bytes_max, or serve it from a file";
    check(&[LONG], &[long], &[(1, PLAIN)]).await;
}

#[tokio::test]
async fn an_address_where_nobody_listens() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut address = Address::new(&format!("http://{address}/list"), 10);
    let origin = Origin::new(Mechanism::Timer, "there");
    let look = address.look(Datum::Blacklist, origin, None).await;
    let Look::Found { candidate, .. } = look else { panic!("{look:?}") };
    let reason = candidate.content.unwrap_err();
    assert!(reason.starts_with("it cannot be read: nobody listens there: "), "{reason}");
}

/// Each answer ends its connection, which is seen only when the next question is to be asked.
#[tokio::test]
async fn whoever_ends_each_connection_is_asked_on_a_new_one() {
    check(
        &[
            "HTTP/1.1 200 OK\r\netag: \"a\"\r\nconnection: close\r\ncontent-length: 2\r\n\r\n1\n",
            "HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nconnection: close\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\netag: \"b\"\r\nconnection: close\r\ncontent-length: 2\r\n\r\n2\n",
        ],
        &["2 bytes", "nothing new", "nothing new", "2 bytes"],
        &[
            (1, "get /list http/1.1"),
            (2, "get /list http/1.1 if-none-match: \"a\""),
            (3, "get /list http/1.1 if-none-match: \"a\""),
            (4, "get /list http/1.1 if-none-match: \"a\""),
        ],
    )
    .await;
}
