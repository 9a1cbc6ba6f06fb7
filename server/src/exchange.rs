//! One question to the admin side of a server, on a connection of its own.
//!
//! Whoever insists is asked again while an answer says that a new process takes over. Deliberately absent: any
//! other repetition, and what the answer means.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::{Instant, sleep, timeout_at},
};

/// Between two questions while a new process takes over.
const HANDOVER_PAUSE: Duration = Duration::from_millis(50);

/// Beginning of an address that is no host.
const UNIX: &str = "unix:";

/// What a server said.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Answer {
    /// Null when it is no JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// How a question is asked.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How long all of it may take.
    pub patience: Duration,
    /// Whether 503 is no answer yet, as long as there is time.
    pub insists: bool,
    /// Longest body of an answer.
    pub answer_bytes_max: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("be asked: it cannot be connected to")]
    Connect(#[source] io::Error),
    #[error("answer: the connection broke")]
    Broken(#[source] hyper::Error),
    #[error("answer in a form that is understood")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("answer within {0:?}")]
    Late(Duration),
}

/// Sends `request` to `address`, by `terms`: `HOST:PORT`, `unix:PATH` or `unix:@NAME`.
///
/// # Errors
/// See [`Error`].
pub async fn ask(address: &str, request: &Request<Full<Bytes>>, terms: Terms) -> Result<Answer, Error> {
    let deadline = Instant::now() + terms.patience;
    loop {
        let asked = timeout_at(deadline, ask_once(address, request.clone(), terms.answer_bytes_max)).await;
        let answer = asked.unwrap_or(Err(Error::Late(terms.patience)))?;
        let is_moving = terms.insists && answer.status == StatusCode::SERVICE_UNAVAILABLE;
        if !is_moving || Instant::now() + HANDOVER_PAUSE >= deadline {
            return Ok(answer);
        }
        sleep(HANDOVER_PAUSE).await;
    }
}

/// What the `host` header says of `address`: a unix socket has no host.
#[must_use]
pub fn host_of(address: &str) -> &str {
    if address.starts_with(UNIX) { "localhost" } else { address }
}

async fn ask_once(
    address: &str,
    request: Request<Full<Bytes>>,
    answer_bytes_max: usize,
) -> Result<Answer, Error> {
    match address.strip_prefix(UNIX) {
        Some(place) => {
            // A name begins with a zero where a path has none.
            let name = place.strip_prefix('@').map_or(place.to_owned(), |name| format!("\0{name}"));
            let stream = UnixStream::connect(name).await.map_err(Error::Connect)?;
            ask_on(stream, request, answer_bytes_max).await
        }
        None => {
            let stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
            ask_on(stream, request, answer_bytes_max).await
        }
    }
}

async fn ask_on(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
    answer_bytes_max: usize,
) -> Result<Answer, Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Error::Broken)?;
    let asking = async move {
        let response = sender.send_request(request).await.map_err(Error::Broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), answer_bytes_max).collect().await;
        Ok(Answer { status, body: body.map_err(Error::Answer)?.to_bytes() })
    };
    // The connection ends by itself when the one who asks has let go of it; its error is his, too.
    let (_ended, answer) = tokio::join!(connection, asking);
    answer
}
