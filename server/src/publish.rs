//! Sends one change to the admin side of every node at once, and tells what each of them made of it.
//!
//! Deliberately absent: any attempt to make all nodes change or none. Nodes that have taken a change keep it
//! when others have not; whoever asked is told which, and sends it again.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

use crate::{
    exchange::{self, Answer, Terms},
    secrets::AdminToken,
    state::Node,
    tasks::Tasks,
    telemetry::chain,
};

/// A node that is being upgraded may need some of the time. An answer is a few hundred bytes long; what a trial
/// would change may be more.
const TERMS: Terms = Terms { patience: Duration::from_secs(8), insists: true, answer_bytes_max: 4 << 20 };

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
    #[error("be asked: its address makes no request")]
    Address(#[source] http::Error),
    #[error(transparent)]
    Asked(#[from] exchange::Error),
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

fn told(asked: Result<Answer, Error>) -> NodeAnswer {
    let mut answer = NodeAnswer {
        node: String::new(),
        address: String::new(),
        status: None,
        generation: None,
        digest: None,
        error: None,
    };
    match asked {
        Ok(heard) => {
            let (status, json) = (heard.status, heard.json());
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

async fn ask(address: &str, letter: &Letter) -> Result<Answer, Error> {
    let mut request = Request::builder()
        .method(Method::PUT)
        .uri(&letter.path)
        .header(header::HOST, exchange::host_of(address))
        .header(header::AUTHORIZATION, format!("Bearer {}", letter.token.expose()));
    if let Some(content_type) = &letter.content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    let request = request.body(Full::new(letter.body.clone())).map_err(Error::Address)?;
    Ok(exchange::ask(address, &request, TERMS).await?)
}
