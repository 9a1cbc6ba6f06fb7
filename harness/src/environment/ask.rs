//! One request to the target beside the load, and what its answer says of the configuration.

use std::time::Duration;

use reqwest::{Method, Response, header::HeaderMap};
use serde_json::Value;

use super::{Environment, control::client};
use crate::plan::{HttpAction, Side};

/// How much of an answer is kept. No acknowledgement is longer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The reference server's header with the configuration generation of an answer.
const CONFIG_HEADER: &str = "x-config-generation";

/// An answer to a request beside the load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// The configuration generation that the answer names: the member `generation` of a JSON body, which tells
    /// what was made, else the header, which tells what answered.
    pub generation: Option<u64>,
    /// The beginning of the body.
    pub text: String,
}

impl Environment {
    /// Asks the target, over a connection of its own.
    ///
    /// # Errors
    /// When no whole answer came in time.
    pub async fn ask(&self, action: &HttpAction) -> Result<Reply, reqwest::Error> {
        let HttpAction { side, method, path, headers, body, timeout_ms, .. } = action;
        let (host, token, config_header) = match (self, side) {
            (Self::Reference(reference), Side::Admin) => {
                let control = reference.control();
                (control.admin.to_string(), Some(control.token.as_str()), Some(CONFIG_HEADER))
            }
            (Self::Reference(_), Side::Public) => (self.host(), None, Some(CONFIG_HEADER)),
            (Self::External(external), _) => (self.host(), None, external.config_header.as_deref()),
        };
        let method = Method::from_bytes(method.as_bytes()).expect("a plan must have checked its methods");
        let mut request = client()?
            .request(method, format!("http://{host}{path}"))
            .timeout(Duration::from_millis(*timeout_ms))
            .body(body.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let of_header = config_header.and_then(|name| generation(response.headers(), name));
        let text = beginning(response).await?;
        let of_body =
            serde_json::from_str::<Value>(&text).ok().and_then(|body| body.get("generation")?.as_u64());
        Ok(Reply { status, generation: of_body.or(of_header), text })
    }
}

fn generation(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

async fn beginning(mut response: Response) -> Result<String, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = ANSWER_BYTES_MAX - bytes.len();
        bytes.extend_from_slice(&chunk[..room.min(chunk.len())]);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
