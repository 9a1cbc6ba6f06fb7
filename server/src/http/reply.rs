//! Answers: JSON bodies, and problems as RFC 9457 has them.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{body::Body, stream::Ticker};
use crate::state::Generation;

/// Seconds after which a client that was turned away may try again.
const RETRY_AFTER_S: &str = "1";

/// Beginning of the names of our own problems; the last word says which.
const PROBLEM_NAMES: &str = "urn:seckill:problem:";

/// An answer but for what every answer carries.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
    /// In place of a body that is there already.
    stream: Option<Ticker>,
    /// The few answers with more to say have one or two.
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What is served when that is another one than the request has seen.
    pub(super) generation: Option<Generation>,
}

/// Why a request was not granted.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    /// The word of a problem of ours; `None`: the status says it all.
    name: Option<&'static str>,
    title: &'static str,
    detail: Cow<'static, str>,
    more: Map<String, Value>,
}

impl Reply {
    /// A body that is JSON already.
    pub(super) fn json(status: StatusCode, body: Bytes) -> Self {
        Self {
            status,
            content_type: "application/json",
            body,
            stream: None,
            headers: Vec::new(),
            generation: None,
        }
    }

    /// A text.
    pub(super) fn text(content_type: &'static str, body: String) -> Self {
        Self { content_type, ..Self::json(StatusCode::OK, body.into()) }
    }

    /// What has no end yet.
    pub(super) fn stream(content_type: &'static str, stream: Ticker) -> Self {
        Self { stream: Some(stream), ..Self::text(content_type, String::new()) }
    }

    /// A value to be written as JSON.
    pub(super) fn of(status: StatusCode, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("an answer must be writable as JSON");
        Self::json(status, body.into())
    }

    #[must_use]
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// By a request that has changed what is served.
    #[must_use]
    pub(super) fn serving(mut self, generation: Generation) -> Self {
        self.generation = Some(generation);
        self
    }

    /// With the validator of what it holds; without what it holds, if that is known already.
    pub(super) fn validated(mut self, opaque: &str, known: bool) -> Self {
        let tag = HeaderValue::try_from(format!("\"{opaque}\""));
        if known {
            self.status = StatusCode::NOT_MODIFIED;
        }
        self.with(header::ETAG, tag.expect("a number or a digest must be fit for a header"))
    }

    /// With the invitation to come back.
    #[must_use]
    pub(super) fn retry_later(self) -> Self {
        self.with(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S))
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The length is told even when the body is left away.
    pub(super) fn into_response(self, head_only: bool) -> Response<Body> {
        let length = self.stream.is_none().then(|| HeaderValue::from(self.body.len()));
        let known = self.status == StatusCode::NOT_MODIFIED;
        let body = match self.stream {
            _ if head_only || known => Bytes::new().into(),
            Some(stream) => Body::Stream(stream),
            None => self.body.into(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.reserve(8);
        if !known {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
            headers.extend(length.map(|length| (header::CONTENT_LENGTH, length)));
        }
        headers.extend(self.headers);
        response
    }
}

impl Problem {
    /// A problem that its status describes.
    pub(super) fn plain(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { status, name: None, title, detail: detail.into(), more: Map::new() }
    }

    /// A problem of ours, called `urn:seckill:problem:<name>`.
    pub(super) fn ours(
        status: StatusCode,
        name: &'static str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, name: Some(name), title, detail: detail.into(), more: Map::new() }
    }

    /// With the members of `object` beside the usual ones, which they cannot replace.
    #[must_use]
    pub(super) fn with_members(mut self, object: Map<String, Value>) -> Self {
        self.more = object;
        self
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        let mut members = problem.more;
        let name = match problem.name {
            Some(name) => Value::from(format!("{PROBLEM_NAMES}{name}")),
            None => Value::from("about:blank"),
        };
        for (member, value) in [
            ("type", name),
            ("title", problem.title.into()),
            ("status", problem.status.as_u16().into()),
            ("detail", problem.detail.into()),
        ] {
            members.insert(member.to_owned(), value);
        }
        let body = Value::Object(members).to_string().into();
        Self { content_type: "application/problem+json", ..Self::json(problem.status, body) }
    }
}

/// 401 with the challenge that belongs to it.
pub(super) fn unauthorized(detail: impl Into<Cow<'static, str>>) -> Reply {
    Reply::from(Problem::plain(StatusCode::UNAUTHORIZED, detail))
        .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"seckill\""))
}

/// The token of `authorization: Bearer TOKEN`; the scheme's case does not matter.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}
