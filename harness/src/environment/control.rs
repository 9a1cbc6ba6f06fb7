//! The reference server's admin side and its identity, asked over a fresh connection each time: a pooled
//! one would tie the question to the process that accepted it.

use std::{net::SocketAddr, time::Duration};

use reqwest::{Client, ClientBuilder, Response, redirect::Policy};
use serde_json::{Value, json};

use super::Error;
use crate::tls;

/// An answer about identity or readiness takes microseconds; longer means that nobody serves.
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// The reference server's header with the configuration generation of an answer.
pub(super) const CONFIG_HEADER: &str = "x-config-generation";

/// Where the server is asked, and with which right.
#[derive(Debug, Clone)]
pub struct Control {
    pub(super) api: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) token: String,
}

/// Which process answered.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Identity {
    /// Process generation.
    pub process: u32,
    /// Release label.
    pub version: String,
}

/// What the server said to a request for an upgrade.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// The upgrade report, or the problem in its place.
    pub body: Value,
}

impl Control {
    /// Whether the server says that it is ready.
    pub async fn ready(&self) -> bool {
        match self.get("/health/ready").await {
            Ok(response) => response.status().is_success(),
            Err(_) => false,
        }
    }

    /// Which process serves the public side.
    ///
    /// # Errors
    /// When nobody answers, or the answer does not name its process.
    pub async fn identity(&self) -> Result<Identity, String> {
        let response = self.get("/version").await.map_err(|error| chain(&error))?;
        let header = |name: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.ok_or_else(|| format!("the answer to GET /version has no {name}"))
        };
        let process = header("x-seckill-process")?;
        let process =
            process.parse().map_err(|_| format!("x-seckill-process is {process:?}, not a number"))?;
        Ok(Identity { process, version: header("x-seckill-version")?.to_owned() })
    }

    /// Asks for an upgrade to `binary` and waits for the outcome.
    ///
    /// # Errors
    /// When no answer came within `limit`.
    pub async fn upgrade(&self, binary: &str, limit: Duration) -> Result<Answer, reqwest::Error> {
        let response = client()?
            .post(format!("http://{}/upgrade", self.admin))
            .bearer_auth(&self.token)
            .timeout(limit)
            .json(&json!({ "binary": binary }))
            .send()
            .await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, body })
    }

    /// How the server stands, as it says itself.
    ///
    /// # Errors
    /// When nobody answers, or the answer is no success.
    pub(super) async fn status(&self) -> Result<Value, reqwest::Error> {
        let request = client()?.get(format!("http://{}/status", self.admin));
        request.bearer_auth(&self.token).timeout(ASK_LIMIT).send().await?.error_for_status()?.json().await
    }

    /// The generation that is served, and what became of the latest changes, oldest first.
    ///
    /// # Errors
    /// When nobody answers within `limit`, or the answer is no success.
    pub async fn history(&self, client: &Client, limit: Duration) -> Result<(u64, Value), reqwest::Error> {
        let request = client.get(format!("http://{}/config/history", self.admin)).timeout(limit);
        let answer = request.bearer_auth(&self.token).send().await?.error_for_status()?;
        let generation =
            answer.headers().get(CONFIG_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok((generation.unwrap_or(0), answer.json().await?))
    }

    /// Sends a document to the admin side; the status and the text of the answer.
    ///
    /// # Errors
    /// When no whole answer came within `limit`.
    pub async fn put(
        &self,
        client: &Client,
        path: &str,
        if_match: Option<&str>,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<(u16, String), reqwest::Error> {
        let request = client.put(format!("http://{}{path}", self.admin)).bearer_auth(&self.token);
        let request = match if_match {
            Some(tag) => request.header("if-match", tag),
            None => request,
        };
        let answer = request.timeout(limit).body(body).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Asks for an orderly stop.
    ///
    /// # Errors
    /// When nobody answers or the answer is no success.
    pub async fn drain(&self) -> Result<(), Error> {
        let request = client().map_err(Error::Control)?.post(format!("http://{}/drain", self.admin));
        let response = request.bearer_auth(&self.token).timeout(ASK_LIMIT).send().await;
        response.and_then(Response::error_for_status).map(drop).map_err(Error::Control)
    }

    async fn get(&self, path: &str) -> Result<Response, reqwest::Error> {
        client()?.get(format!("http://{}{path}", self.api)).timeout(ASK_LIMIT).send().await
    }
}

/// An error with its causes, for a message.
#[must_use]
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A client of its own for each question; no proxy may stand between us and loopback, and no
/// redirection may lead elsewhere.
pub(crate) fn client() -> Result<Client, reqwest::Error> {
    client_builder().build()
}

/// The same, before TLS is settled.
pub(super) fn client_builder() -> ClientBuilder {
    tls::provide();
    Client::builder().no_proxy().redirect(Policy::none()).pool_max_idle_per_host(0)
}
