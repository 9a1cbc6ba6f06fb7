//! One request to the admin side of the server that runs.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;

use crate::{
    config::{Bind, Config},
    exchange::{self, Answer, Terms},
    secrets::{self, AdminToken},
};

/// How long a server on this machine may take for anything but its real work.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the server said nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("load the admin token; run this in the server's working directory")]
    Secret(#[source] secrets::Error),
    #[error("reach the server at {address}; is it running?")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("hear the server's answer; ask it with `seckill status` what became of it")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("hear the server's answer within {0:?}; ask it with `seckill status` what became of it")]
    Silent(Duration),
}

/// What the server is asked.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) method: Method,
    /// Path and query.
    pub(super) path: String,
    pub(super) content_type: &'static str,
    pub(super) if_match: Option<String>,
    pub(super) body: Bytes,
    /// How long the server may work on the answer.
    pub(super) work: Duration,
    /// Whether it is asked again while it says that a new process takes over.
    pub(super) insists: bool,
}

impl Question {
    /// About what takes no time to answer.
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, "application/json", Bytes::new(), Duration::ZERO)
    }

    pub(super) fn new(
        method: Method,
        path: impl Into<String>,
        content_type: &'static str,
        body: Bytes,
        work: Duration,
    ) -> Self {
        Self { method, path: path.into(), content_type, if_match: None, body, work, insists: false }
    }
}

/// Asks the server of `config`.
///
/// # Errors
/// See [`Error`].
pub(super) fn ask(config: &Config, question: &Question) -> Result<Answer, Error> {
    let token = AdminToken::read(&config.admin.token_file).map_err(Error::Secret)?;
    let ways = config.admin.bind.first().map(Bind::reachable).unwrap_or_default();
    let mut unreached = None;
    for way in ways {
        match ask_at(way.to_string(), &token, question) {
            Err(error @ Error::Connect { .. }) => unreached = unreached.or(Some(error)),
            asked => return asked,
        }
    }
    Err(unreached.expect("a checked configuration must have an address for the admin side"))
}

fn ask_at(address: String, token: &AdminToken, question: &Question) -> Result<Answer, Error> {
    let mut request = Request::builder()
        .method(question.method.clone())
        .uri(&question.path)
        .header(header::HOST, exchange::host_of(&address))
        .header(header::AUTHORIZATION, format!("Bearer {}", token.expose()))
        .header(header::CONTENT_TYPE, question.content_type);
    if let Some(tag) = &question.if_match {
        request = request.header(header::IF_MATCH, tag);
    }
    let request =
        request.body(Full::new(question.body.clone())).expect("a request of checked parts must be valid");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Connect { address: address.clone(), source })?;
    let terms = Terms {
        patience: PATIENCE + question.work,
        insists: question.insists,
        // The server is one's own, and its documents may be as long as it takes them.
        answer_bytes_max: usize::MAX,
    };
    runtime.block_on(exchange::ask(&address, &request, terms)).map_err(|error| match error {
        exchange::Error::Connect(source) => Error::Connect { address, source },
        exchange::Error::Broken(source) => Error::Broken(source.into()),
        exchange::Error::Answer(source) => Error::Broken(source),
        exchange::Error::Late(patience) => Error::Silent(patience),
    })
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Status, title and detail of a problem; of many faults each after the first has a line of its own.
    pub(super) fn problem(&self) -> String {
        let json = self.json();
        let (Some(title), Some(detail)) = (json["title"].as_str(), json["detail"].as_str()) else {
            return format!("the server says {} and what it adds is not understood", self.status);
        };
        let told = format!("the server says {} {title}: {detail}", self.status.as_u16());
        told.replace('\n', "\n  ")
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn a_problem_is_told_in_one_line() {
        let answer = |body: &'static str| Answer {
            status: StatusCode::UNAUTHORIZED,
            body: Bytes::from_static(body.as_bytes()),
        };
        let problem = answer(r#"{"title":"Unauthorized","detail":"no"}"#).problem();
        assert_eq!(problem, "the server says 401 Unauthorized: no");
        let other = answer("<html>").problem();
        assert_eq!(other, "the server says 401 Unauthorized and what it adds is not understood");
    }
}
