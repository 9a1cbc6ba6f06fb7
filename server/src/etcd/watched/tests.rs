//! An etcd that ends a watch without a word, as a script: no real one does so when it is asked to.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::tasks::Tasks;

/// A field of a message that has a length (wire type 2), which is all that is needed beside numbers.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

/// `etcdserverpb.RangeResponse` at a revision: header (1) and one key (2).
fn range(revision: u8, key: &str, value: &str) -> Vec<u8> {
    let pair = [field(1, key.as_bytes()), field(5, value.as_bytes())].concat();
    [field(1, &[3 << 3, revision]), field(2, &pair)].concat()
}

/// `etcdserverpb.WatchResponse` with created (3).
const CREATED: &[u8] = &[3 << 3, 1];

/// A message, and the end of the stream, in order.
async fn answer(
    request: Request<Incoming>,
    revision: u8,
) -> Result<Response<impl http_body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let message = match request.uri().path() {
        "/etcdserverpb.KV/Range" => range(revision, "/key", &format!("value {revision}")),
        "/etcdserverpb.Watch/Watch" => CREATED.to_vec(),
        other => panic!("{other} is not in the script"),
    };
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = Full::new(Bytes::from([&[0], &length[..], &message].concat()));
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}

#[tokio::test]
async fn a_watch_that_ends_without_a_word_begins_anew() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = EtcdSettings::at(vec![listener.local_addr().unwrap().to_string()]);
    let etcd = async {
        for revision in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(move |request| answer(request, revision));
            // Until the client hangs up.
            _ = http2::Builder::new(Tasks::default()).serve_connection(TokioIo::new(stream), service).await;
        }
    };
    let story = async {
        let mut watched = Watched::new(&settings, Scope::Key("/key".to_owned()));
        for revision in 1..=3 {
            assert!(matches!(watched.next().await, News::Keys));
            assert_eq!(watched.keys().get("/key"), Some(format!("value {revision}").as_bytes()));
        }
    };
    tokio::select! {
        () = etcd => unreachable!("there is always another connection"),
        () = story => {}
    }
}
