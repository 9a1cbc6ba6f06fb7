//! Sends one change to the admin side of every node at once, and tells what each of them made of it.
//!
//! Deliberately absent: any attempt to make all nodes change or none. Nodes that have taken a change keep it
//! when others have not; whoever asked is told which, and sends it again.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};

use crate::{secrets::AdminToken, state::Node, tasks::Tasks, telemetry::chain};

/// How long one node may take for all of it. A node that is being upgraded may need some of it.
const NODE_TIMEOUT: Duration = Duration::from_secs(8);

/// Between two tries at a node whose process is just being replaced.
const HANDOVER_PAUSE: Duration = Duration::from_millis(50);

/// An answer is a few hundred bytes long; what a trial would change may be more.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What every node is sent.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Path and query.
    pub path: String,
    /// Shared by all nodes.
    pub token: AdminToken,
    pub content_type: Option<HeaderValue>,
    pub body: Bytes,
}

/// What one node made of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeAnswer {
    pub node: String,
    /// Of its admin side.
    pub address: String,
    /// Of its answer; null when there was none.
    pub status: Option<u16>,
    /// That it serves, as far as it said so.
    pub generation: Option<u64>,
    /// Of what it serves of this kind, as far as it said so.
    pub digest: Option<String>,
    /// Why it has not taken it; null when it has.
    pub error: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("be asked: it cannot be connected to")]
    Connect(#[source] std::io::Error),
    #[error("be asked: its address makes no request")]
    Address(#[source] http::Error),
    #[error("answer: the connection broke")]
    Broken(#[source] hyper::Error),
    #[error("answer in a form that is understood")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("answer within {0:?}")]
    Late(Duration),
}

/// Sends `letter` to all `nodes` at once. It goes on when nobody waits for the outcome any more, so that no
/// node is left out because of that.
pub async fn to_all(nodes: &[Node], letter: Letter) -> Vec<NodeAnswer> {
    let tasks = Tasks::default();
    let asked: Vec<_> = nodes
        .iter()
        .map(|node| {
            let (address, letter) = (node.admin.clone(), letter.clone());
            tasks.spawn(async move { told(ask(&address, &letter).await) })
        })
        .collect();
    let mut answers = Vec::new();
    for (node, asked) in nodes.iter().zip(asked) {
        let mut answer = asked.await.expect("asking a node must not panic");
        (answer.node, answer.address) = (node.name.clone(), node.admin.clone());
        answers.push(answer);
    }
    answers
}

type Asked = Result<(StatusCode, Bytes), Error>;

fn told(asked: Asked) -> NodeAnswer {
    let mut answer = NodeAnswer {
        node: String::new(),
        address: String::new(),
        status: None,
        generation: None,
        digest: None,
        error: None,
    };
    match asked {
        Ok((status, body)) => {
            let json: Value = serde_json::from_slice(&body).unwrap_or_default();
            answer.status = Some(status.as_u16());
            answer.generation = json["generation"].as_u64();
            answer.digest = json["digest"].as_str().map(str::to_owned);
            if status != StatusCode::OK {
                let detail = json["detail"].as_str().or(status.canonical_reason()).unwrap_or("no reason");
                answer.error = Some(detail.to_owned());
            }
        }
        Err(error) => answer.error = Some(format!("failed to {}", chain(&error))),
    }
    answer
}

/// Asks until the answer is another than "ask my successor", or the time is over.
async fn ask(address: &str, letter: &Letter) -> Asked {
    let deadline = Instant::now() + NODE_TIMEOUT;
    loop {
        let asked = timeout_at(deadline, ask_once(address, letter)).await;
        let (status, body) = asked.unwrap_or(Err(Error::Late(NODE_TIMEOUT)))?;
        if status != StatusCode::SERVICE_UNAVAILABLE || Instant::now() + HANDOVER_PAUSE >= deadline {
            return Ok((status, body));
        }
        sleep(HANDOVER_PAUSE).await;
    }
}

async fn ask_once(address: &str, letter: &Letter) -> Asked {
    let mut request = Request::builder()
        .method(Method::PUT)
        .uri(&letter.path)
        .header(header::HOST, address)
        .header(header::AUTHORIZATION, format!("Bearer {}", letter.token.expose()));
    if let Some(content_type) = &letter.content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    let request = request.body(Full::new(letter.body.clone())).map_err(Error::Address)?;
    let stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Error::Broken)?;
    let asking = async move {
        let response = sender.send_request(request).await.map_err(Error::Broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((status, body.map_err(Error::Answer)?.to_bytes()))
    };
    // The connection ends by itself when the one who asks has let go of it; its error is his, too.
    let (_ended, answer) = tokio::join!(connection, asking);
    answer
}
