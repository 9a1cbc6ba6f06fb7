//! Answers of every framing, whole, cut short and wrong, in pieces of every size.

use super::{Answer, Ending, Malformed, Progress, Question};
use crate::drive::load::workload::HeaderNames;

fn names() -> HeaderNames {
    HeaderNames {
        process: Some("x-seckill-process".to_owned()),
        config: Some("X-Config-Generation".to_owned()),
    }
}

/// Feeds an answer in pieces of `size` bytes and says how far the reader got.
fn feed(bytes: &[u8], size: usize, bodyless: bool) -> (Answer, Result<Progress, Malformed>) {
    let names = names();
    let mut answer = Answer::default();
    let mut progress = Ok(Progress::More);
    let mut fed = 0;
    for piece in bytes.chunks(size) {
        fed += piece.len();
        progress = answer.feed(piece, Question { names: &names, bodyless, location: true, digest: true });
        if progress != Ok(Progress::More) {
            break;
        }
    }
    if let Ok(Progress::Whole { surplus }) = &mut progress {
        *surplus += bytes.len() - fed;
    }
    (answer, progress)
}

/// The outcome must not depend on how the bytes are cut.
fn check(bytes: &str, expected: &str) {
    for size in 1..=bytes.len() {
        let (answer, progress) = feed(bytes.as_bytes(), size, false);
        let seen = match progress {
            Ok(Progress::More) => format!("{:?}", answer.end()),
            Ok(Progress::Whole { surplus }) => {
                let Answer { status, process, config, keep_alive, location, .. } = answer;
                format!("{status} p{process} c{config} alive={keep_alive} {location:?} +{surplus}")
            }
            Err(Malformed) => "Malformed".to_owned(),
        };
        assert_eq!(seen, expected, "in pieces of {size}: {bytes:?}");
    }
}

#[test]
fn framings() {
    check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "200 p0 c0 alive=true None +0");
    check("HTTP/1.1 204 No Content\r\n\r\n", "204 p0 c0 alive=true None +0");
    check("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", "304 p0 c0 alive=true None +0");
    check(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\na: b\r\n\r\n",
        "200 p0 c0 alive=true None +0",
    );
    check(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "200 p0 c0 alive=true None +0",
    );
}

#[test]
fn headers_are_read() {
    check(
        "HTTP/1.1 201 Created\r\nlocation: /orders/7\r\nX-Seckill-Process: 3\r\nx-config-generation: 12\r\ncontent-length: 2\r\n\r\n{}",
        "201 p3 c12 alive=true Some(\"/orders/7\") +0",
    );
    check(
        "HTTP/1.1 200 OK\r\nx-seckill-process: many\r\ncontent-length: 0\r\n\r\n",
        "200 p0 c0 alive=true None +0",
    );
}

#[test]
fn the_last_answer_of_a_connection() {
    check(
        "HTTP/1.1 200 OK\r\nConnection: foo, Close\r\ncontent-length: 0\r\n\r\n",
        "200 p0 c0 alive=false None +0",
    );
    check("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", "200 p0 c0 alive=false None +0");
    check(
        "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n",
        "200 p0 c0 alive=true None +0",
    );
    check("HTTP/1.1 200 OK\r\n\r\nuntil the end", "Whole");
}

#[test]
fn cut_short() {
    check("", "Nothing");
    check("HTTP/1.1 200 OK\r\nconte", "Head");
    check("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello", "ShortBody");
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", "ShortBody");
}

#[test]
fn not_http() {
    check("SSH-2.0-OpenSSH\r\n", "Malformed");
    check("HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n", "Malformed");
    check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", "Malformed");
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloX", "Malformed");
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n", "Malformed");
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n11111111111111111\r\n", "Malformed");
}

#[test]
fn bytes_after_the_end_are_reported() {
    check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhello", "200 p0 c0 alive=true None +3");
    check(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1",
        "200 p0 c0 alive=true None +8",
    );
}

#[test]
fn an_answer_to_head_has_no_body() {
    let (answer, progress) = feed(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", 7, true);
    assert_eq!((answer.status, progress), (200, Ok(Progress::Whole { surplus: 0 })));
}

#[test]
fn an_endless_head_is_refused() {
    let mut bytes = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    bytes.resize(70_000, b'a');
    let (answer, progress) = feed(&bytes, 4096, false);
    assert_eq!(progress, Err(Malformed));
    assert_eq!(answer.end(), Ending::Head);
}

/// Framing, pieces and bytes behind the answer make no difference to the digest of a body.
#[test]
fn bodies_are_hashed() {
    let hex = |digest: [u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (bytes, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", hello),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello, you", hello),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\na: b\r\n\r\n",
            hello,
        ),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello", hello),
        ("HTTP/1.1 204 No Content\r\n\r\n", nothing),
    ] {
        for size in 1..=bytes.len() {
            let (mut answer, _) = feed(bytes.as_bytes(), size, false);
            assert_eq!(answer.digest().map(hex).as_deref(), Some(expected), "{bytes:?} by {size}");
        }
    }
}
