//! An address that is asked by `GET`, and what saves it work when nothing has changed: `ETag` or `Last-Modified`, on
//! a connection that is kept.
//!
//! Only `http` is spoken. A redirect is not followed: what is served must come from where the settings say.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::{Look, Version};
use crate::{
    reload::Candidate,
    state::{Datum, Origin},
    telemetry::chain,
};

/// For the whole of a question and its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a version begins that is an `ETag`, and one that is a date.
const BY_TAG: &str = "etag ";
const BY_DATE: &str = "modified ";

/// An address, and the connection to it.
#[derive(Debug)]
pub(super) struct Address {
    url: String,
    bytes_max: usize,
    line: Option<Line>,
}

/// A connection. Nothing runs between two questions.
#[derive(Debug)]
struct Line {
    requests: SendRequest<Empty<Bytes>>,
    connection: Box<Connection<TokioIo<TcpStream>, Empty<Bytes>>>,
}

/// Why there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("it is no address")]
    Url(#[source] http::Error),
    #[error("nobody listens there")]
    Connect(#[source] std::io::Error),
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    #[error("it sent more than {0} bytes; raise reload.push_bytes_max, or serve it from a file")]
    TooLong(usize),
    #[error("it was cut short")]
    Cut(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("it took longer than {} s", PATIENCE.as_secs())]
    Late,
}

/// An answer that can be used.
enum Answer {
    Gone,
    Same,
    Text { text: Bytes, version: Version },
}

impl Address {
    pub(super) fn new(url: &str, bytes_max: usize) -> Self {
        Self { url: url.to_owned(), bytes_max, line: None }
    }

    /// Asks, at most for [`PATIENCE`].
    pub(super) async fn look(&mut self, datum: Datum, origin: Origin, known: Option<&Version>) -> Look {
        match timeout(PATIENCE, self.ask(known)).await.unwrap_or(Err(Error::Late)) {
            Ok(Answer::Gone) => Look::Absent,
            Ok(Answer::Same) => Look::Same,
            Ok(Answer::Text { version, .. }) if known == Some(&version) => Look::Same,
            Ok(Answer::Text { text, version }) => {
                let parsing =
                    tokio::task::spawn_blocking(move || Box::new(Candidate::parse(datum, origin, &text)));
                match parsing.await {
                    Ok(candidate) => Look::Found { candidate, version },
                    Err(_) => Look::unsettled("the look was cut short"),
                }
            }
            Err(error) => {
                self.line = None;
                Look::failed(datum, origin, format!("it cannot be read: {}", chain(&error)), known)
            }
        }
    }

    async fn ask(&mut self, known: Option<&Version>) -> Result<Answer, Error> {
        let uri: Uri = self.url.parse().map_err(|error: http::uri::InvalidUri| Error::Url(error.into()))?;
        // What is broken off in the middle is not asked on.
        if let Some(line) = self.line.take().filter(|line| !line.requests.is_closed()) {
            match self.ask_on(line, &uri, known).await {
                // Who is asked rarely hangs up in between; that says nothing of a new connection.
                Err(Error::Broken(_)) => {}
                answer => return answer,
            }
        }
        let line = connect(&uri).await?;
        self.ask_on(line, &uri, known).await
    }

    async fn ask_on(&mut self, line: Line, uri: &Uri, known: Option<&Version>) -> Result<Answer, Error> {
        let Line { mut requests, mut connection } = line;
        let request = request(uri, known).map_err(Error::Url)?;
        let bytes_max = self.bytes_max;
        let mut talk = Box::pin(async {
            requests.ready().await.map_err(Error::Broken)?;
            let answer = requests.send_request(request).await.map_err(Error::Broken)?;
            read(answer, bytes_max).await
        });
        let answered = tokio::select! {
            answer = &mut talk => Some(answer),
            _ = &mut connection => None,
        };
        let Some(answer) = answered else {
            // Only when it is gone, who waits for something from it is told so, and knows what that means.
            drop(connection);
            return talk.await;
        };
        drop(talk);
        if answer.is_ok() && !requests.is_closed() {
            self.line = Some(Line { requests, connection });
        }
        answer
    }
}

async fn connect(uri: &Uri) -> Result<Line, Error> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await.map_err(Error::Connect)?;
    let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Error::Broken)?;
    Ok(Line { requests, connection: Box::new(connection) })
}

fn request(uri: &Uri, known: Option<&Version>) -> Result<Request<Empty<Bytes>>, http::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::get(path).header(header::HOST, host);
    if let Some(Version(known)) = known {
        if let Some(tag) = known.strip_prefix(BY_TAG) {
            request = request.header(header::IF_NONE_MATCH, tag);
        } else if let Some(date) = known.strip_prefix(BY_DATE) {
            request = request.header(header::IF_MODIFIED_SINCE, date);
        }
    }
    request.body(Empty::new())
}

async fn read(answer: Response<Incoming>, bytes_max: usize) -> Result<Answer, Error> {
    let (head, body) = answer.into_parts();
    match head.status {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED => return Ok(Answer::Same),
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Answer::Gone),
        status => return Err(Error::Status(status)),
    }
    let body = Limited::new(body, bytes_max).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { Error::TooLong(bytes_max) } else { Error::Cut(error) }
    })?;
    let text = body.to_bytes();
    let version = version(&head.headers, &text);
    Ok(Answer::Text { text, version })
}

/// The address's own word for what it sent, or what it sent if it has none.
fn version(headers: &HeaderMap, text: &[u8]) -> Version {
    let word = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    match (word(header::ETAG), word(header::LAST_MODIFIED)) {
        (Some(tag), _) => Version(format!("{BY_TAG}{tag}")),
        // Of two changes in the second of the answer the date tells only one (RFC 9110, section 8.8.2.2).
        (None, Some(date)) if word(header::DATE).is_some_and(|now| now != date) => {
            Version(format!("{BY_DATE}{date}"))
        }
        (None, _) => Version::of_text(text),
    }
}

#[cfg(test)]
mod tests;
