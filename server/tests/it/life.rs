//! Start, stop and signals.

use std::time::Duration;

use rustix::process::Signal;

use crate::{
    client::Client,
    server::{Server, eventually},
};

#[test]
fn a_signal_ends_it_in_order() {
    let mut server = Server::start("handoff-live");
    let mut stuck = server.stuck();
    let mut waiting = Client::connect(server.public);
    waiting.send("GET /event/info?id=1 HTTP/1.1\r\nhost: test\r\nprefer: wait=2\r\n\r\n");
    let mut idle = Client::connect(server.public);
    idle.get("/event/list");
    server.signal(Signal::TERM);
    assert!(idle.is_ended());
    assert!(std::net::TcpStream::connect(server.public).is_err());
    stuck.send("56789");
    let answer = stuck.answer().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (401, Some("close")));
    let answer = waiting.answer().unwrap();
    assert_eq!((answer.status, answer.header("preference-applied")), (200, Some("wait=2")));
    let status = server.end();
    assert!(status.success(), "{status}");
    assert!(!server.path(".pid").exists());
    assert!(!server.path(".seckill.sock").exists());
}

#[test]
fn a_second_signal_cuts_what_is_in_flight() {
    let mut server = Server::start("handoff-live");
    let mut stuck = server.stuck();
    server.signal(Signal::INT);
    eventually("the drain", || server.log().contains("draining").then_some(()));
    server.signal(Signal::INT);
    assert!(server.end().success());
    assert!(stuck.is_ended());
}

#[test]
fn a_drain_over_the_admin_side_ends_it() {
    let mut server = Server::start("handoff-live");
    assert_eq!(server.admin_request("POST /drain").status, 202);
    assert!(server.end().success());
}

#[test]
fn the_address_in_use_is_named() {
    let server = Server::start("handoff-live");
    let settings = std::fs::read_to_string(server.path("seckill.toml")).unwrap();
    let settings = settings.replace("[upgrade]", "[upgrade]\nsocket = \"./other.sock\"");
    std::fs::write(server.path("seckill.toml"), settings).unwrap();
    server.start_beside();
    let expected = format!("cannot listen at {}", server.public);
    eventually("the error", || server.log().contains(&expected).then_some(()));
    assert_eq!(Client::connect(server.public).get("/event/list").process(), 1);
}

#[test]
fn http2_with_prior_knowledge_is_answered_and_leaves_by_goaway() {
    let server = Server::start("handoff-live");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(server.public).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut requests, connection) =
            hyper::client::conn::http2::handshake::<_, _, http_body_util::Empty<bytes::Bytes>>(executor, io)
                .await
                .unwrap();
        let ended = tokio::task::LocalSet::new();
        let ended = ended.run_until(async move {
            let ended = tokio::task::spawn_local(connection);
            let request = http::Request::get(format!("http://{}/event/list", server.public))
                .body(http_body_util::Empty::new())
                .unwrap();
            let answer = requests.send_request(request).await.unwrap();
            assert_eq!(answer.headers()["x-seckill-process"], "1");
            let upgrade = tokio::task::spawn_blocking(move || server.upgrade()).await.unwrap();
            assert_eq!(upgrade["outcome"], "ok");
            tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap().unwrap()
        });
        assert!(ended.await.is_ok(), "the connection must end without an error");
    });
}
