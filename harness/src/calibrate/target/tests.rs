//! The target does what its script says, seen from a plain client.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{Kills, Script, Step, StepKind, Target, Truth, Victims, Way};
use crate::clock::RunClock;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
const MS: u64 = 1_000_000;

fn clock() -> RunClock {
    RunClock::starting_in(Duration::ZERO)
}

/// Sends so many requests on one connection; what came back until so many answers were there, or until the
/// end of the stream.
fn ask(address: SocketAddr, requests: usize, answers: usize) -> Result<String, ErrorKind> {
    let mut stream = TcpStream::connect(address).map_err(|error| error.kind())?;
    stream.write_all(&REQUEST.repeat(requests)).map_err(|error| error.kind())?;
    let (mut text, mut buffer) = (String::new(), [0; 1024]);
    while text.matches("HTTP/1.1 ").count() < answers || !text.ends_with('\n') {
        match stream.read(&mut buffer).map_err(|error| error.kind())? {
            0 => break,
            read => text += &String::from_utf8_lossy(&buffer[..read]),
        }
    }
    Ok(text)
}

fn kill(way: Way, victims: Victims, answers: usize) -> (Result<String, ErrorKind>, Truth) {
    let kills = Some(Kills { way, victims, every: 1, count: 1 });
    let target = Target::start(Script { steps: Vec::new(), kills }, clock()).unwrap();
    let answer = ask(target.address, 2, answers);
    (answer, target.stop().unwrap())
}

#[test]
fn it_answers_and_counts() {
    let target = Target::start(Script::default(), clock()).unwrap();
    let text = ask(target.address, 3, 3).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3);
    let truth = target.stop().unwrap();
    assert_eq!((truth.requests, truth.answered, truth.killed), (3, 3, 0));
}

#[test]
fn it_kills_the_chosen_request() {
    let (answer, truth) = kill(Way::BadStatus, Victims::Reused, 2);
    let text = answer.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("HTTP/1.1 503"), "{text}");
    assert_eq!((truth.requests, truth.answered, truth.killed), (2, 1, 1));
    let (answer, truth) = kill(Way::Reset, Victims::Fresh, 1);
    assert_eq!((answer, truth.killed), (Err(ErrorKind::ConnectionReset), 1));
    let (answer, truth) = kill(Way::Surplus, Victims::Fresh, 3);
    assert_eq!((answer.unwrap().matches("HTTP/1.1 200 OK").count(), truth.answered), (3, 1));
}

/// Silent from the beginning, and then away for good: each step is seen by a client, and timed.
#[test]
fn it_follows_its_script() {
    let step = |kind, at_ns, for_ns| Step { kind, at_ns, for_ns };
    let steps = vec![step(StepKind::Stall, 0, 20 * MS), step(StepKind::Away, 20 * MS, 3_600_000 * MS)];
    let clock = clock();
    let target = Target::start(Script { steps, kills: None }, clock).unwrap();
    let address = target.address;
    // Held back until the end of the stall, at which the connection is reset, or refused when it comes late.
    let answer = ask(address, 1, 1);
    assert!(clock.now_ns() >= 20 * MS, "{answer:?}");
    assert!(
        answer.is_ok() || matches!(answer, Err(ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused))
    );
    while ask(address, 1, 1) != Err(ErrorKind::ConnectionRefused) {}
    let truth = target.stop().unwrap();
    let stall = truth.stalls[0];
    assert!(
        stall.ended_ns >= 20 * MS && stall.begun_ns < stall.ended_ns && stall.answered_ns >= stall.ended_ns
    );
    assert!(truth.outages[0].down.from_ns >= stall.answered_ns);
}
