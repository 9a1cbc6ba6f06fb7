//! What the load asks for: the bytes of every request, and which answers are right.
//!
//! Users, sale events and acknowledged orders take turns, so the same plan asks the same things. Every
//! idempotency key is used once. Deliberately absent: sockets and time.

use std::{collections::VecDeque, io::Write as _};

use super::{
    Error,
    connection::{Failure, SERVED},
    response::Question,
    schedule::Due,
};
use crate::{
    observe::{Cause, Phase},
    plan::{LoadPlan, Op, RequestPlan},
};

/// Acknowledged orders that are kept to be read again; older ones are forgotten.
const ORDERS_KEPT_MAX: usize = 4096;
/// Leaves room for an attempt's number in the 128 characters of a key.
const RUN_ID_BYTES_MAX: usize = 100;

/// Many servers log it, so whoever reads such a log should know who came.
const AGENT: &str = "user-agent: seckill-harness\r\n";

/// Has the reference server hold its answer for up to a second: long enough that an upgrade finds requests in
/// flight, short enough that they end within its drain time.
const WAIT: &str = "prefer: wait=1\r\n";

/// What the load needs to know beside the plan.
#[derive(Debug, Clone, Default)]
pub struct Workload {
    /// Begins every idempotency key: 1 to 100 visible ASCII characters.
    pub run_id: String,
    /// Bearer token of user N at index N - 1; needed by `buy` and `order`.
    pub tokens: Vec<String>,
    /// The target's sale events have the ids 1 to this, each with one good of the same id.
    pub sale_events: u32,
    /// Some of the users are blacklisted at times: to refuse to sell is a right answer then. Whether it was given
    /// to the right ones is judged afterwards.
    pub some_listed: bool,
    pub headers: HeaderNames,
}

/// The answer's headers that tell who answered; `None` where a target has no such header.
#[derive(Debug, Clone, Default)]
pub struct HeaderNames {
    pub process: Option<String>,
    pub config: Option<String>,
}

impl HeaderNames {
    /// The names that the reference server uses.
    #[must_use]
    pub fn reference() -> Self {
        Self { process: Some("x-seckill-process".to_owned()), config: Some("x-config-generation".to_owned()) }
    }
}

/// What a buying attempt asks for.
#[derive(Debug, Clone)]
pub(super) struct Purchase {
    pub(super) user: u32,
    pub(super) event: u32,
    pub(super) goods: u32,
    pub(super) key: String,
}

/// Writes the requests of a plan.
#[derive(Debug)]
pub(super) struct Requests {
    workload: Workload,
    host: String,
    /// By stream and request.
    templates: Vec<Vec<Template>>,
    infos: u32,
    purchases: u64,
    order_turn: usize,
    /// User and order id.
    acknowledged: VecDeque<(u32, String)>,
}

#[derive(Debug)]
enum Template {
    Fixed { bytes: Vec<u8>, accept: Vec<u16>, bodyless: bool, digest: Option<[u8; 32]> },
    Info { wait: &'static str },
    Buy { some_listed: bool },
    Order,
}

impl Template {
    fn accepts(&self, status: u16) -> bool {
        match self {
            Self::Fixed { accept, .. } if accept.is_empty() => (200..400).contains(&status),
            Self::Fixed { accept, .. } => accept.contains(&status),
            Self::Info { .. } | Self::Order => status == 200,
            // Limit reached and sold out are the business of a flash sale, and said in order.
            Self::Buy { some_listed: true } if status == 403 => true,
            Self::Buy { .. } => matches!(status, 201 | 409 | 410),
        }
    }
}

impl Requests {
    /// # Errors
    /// When the plan asks for what the workload does not have, or something would break out of its place
    /// in a request.
    pub(super) fn new(load: &LoadPlan, host: &str, workload: Workload) -> Result<Self, Error> {
        let id = &workload.run_id;
        if id.is_empty() || id.len() > RUN_ID_BYTES_MAX || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::RunId(id.clone()));
        }
        for text in workload.tokens.iter().map(String::as_str).chain([host]) {
            one_line(text)?;
        }
        let template = |request: &RequestPlan| template(request, host, &workload);
        let templates = load
            .streams
            .iter()
            .map(|stream| stream.requests.iter().map(template).collect())
            .collect::<Result<_, _>>()?;
        Ok(Self {
            workload,
            host: host.to_owned(),
            templates,
            infos: 0,
            purchases: 0,
            order_turn: 0,
            acknowledged: VecDeque::new(),
        })
    }

    /// Appends the request of an attempt to what is in `out`; what it buys if it does.
    pub(super) fn write(&mut self, due: &Due, out: &mut Vec<u8>) -> Option<Purchase> {
        match &self.templates[usize::from(due.stream)][usize::from(due.request)] {
            Template::Fixed { bytes, .. } => out.extend_from_slice(bytes),
            &Template::Info { wait } => self.write_info(wait, out),
            Template::Order => self.write_order(out),
            Template::Buy { .. } => return Some(self.write_buy(due.id, out)),
        }
        None
    }

    /// What the reader of an answer must know of the request.
    pub(super) fn question(&self, stream: u16, request: u16) -> Question<'_> {
        let template = &self.templates[usize::from(stream)][usize::from(request)];
        Question {
            names: &self.workload.headers,
            bodyless: matches!(template, Template::Fixed { bodyless: true, .. }),
            location: matches!(template, Template::Buy { .. }),
            digest: matches!(template, Template::Fixed { digest: Some(_), .. }),
        }
    }

    /// What a whole answer is worth, from its status, the order that it names and its body's digest, if one was
    /// asked for.
    pub(super) fn judge(
        &self,
        stream: u16,
        request: u16,
        status: u16,
        order: Option<&str>,
        digest: Option<[u8; 32]>,
    ) -> Failure {
        let wrong = |cause| Failure { phase: Phase::Validate, cause };
        match &self.templates[usize::from(stream)][usize::from(request)] {
            template if !template.accepts(status) => wrong(Cause::BadStatus),
            // An order that cannot be told from others.
            Template::Buy { .. } if status == 201 && order.is_none() => wrong(Cause::Parse),
            Template::Fixed { digest: wanted, .. } if *wanted != digest => wrong(Cause::WrongDigest),
            _ => SERVED,
        }
    }

    /// Remembers an order, so that it is read again.
    pub(super) fn acknowledge(&mut self, user: u32, order: &str) {
        if self.acknowledged.len() == ORDERS_KEPT_MAX {
            self.acknowledged.pop_front();
        }
        self.acknowledged.push_back((user, order.to_owned()));
    }

    fn write_info(&mut self, wait: &str, out: &mut Vec<u8>) {
        let event = self.infos % self.workload.sale_events + 1;
        self.infos = self.infos.wrapping_add(1);
        append(
            out,
            format_args!("GET /event/info?id={event} HTTP/1.1\r\nhost: {}\r\n{AGENT}{wait}\r\n", self.host),
        );
    }

    fn write_order(&mut self, out: &mut Vec<u8>) {
        self.order_turn = self.order_turn.wrapping_add(1);
        let turn = self.order_turn % self.acknowledged.len().max(1);
        let Some((user, order)) = self.acknowledged.get(turn) else {
            return self.write_info("", out);
        };
        append(
            out,
            format_args!(
                "GET /orders/{order} HTTP/1.1\r\nhost: {}\r\n{AGENT}authorization: Bearer {}\r\n\r\n",
                self.host,
                token(&self.workload, *user),
            ),
        );
    }

    fn write_buy(&mut self, attempt: u64, out: &mut Vec<u8>) -> Purchase {
        let users = self.workload.tokens.len() as u64;
        let (round, turn) = (self.purchases / users, self.purchases % users);
        self.purchases += 1;
        // Each round shifts the events by one, so that every user comes to buy of every event.
        let event = (turn + round) % u64::from(self.workload.sale_events) + 1;
        let purchase = Purchase {
            user: narrow(turn + 1),
            event: narrow(event),
            goods: narrow(event),
            key: format!("{}-{attempt}", self.workload.run_id),
        };
        let body = format!("{{\"event\":{event},\"goods\":{event}}}");
        append(
            out,
            format_args!(
                "POST /orders HTTP/1.1\r\nhost: {}\r\n{AGENT}authorization: Bearer {}\r\n\
                 idempotency-key: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                self.host,
                token(&self.workload, purchase.user),
                purchase.key,
                body.len(),
            ),
        );
        purchase
    }
}

/// The id of an order from the `location` of its answer, `/orders/<id>`.
pub(super) fn order_id(location: &str) -> Option<&str> {
    let id = location.rsplit_once("/orders/")?.1;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (!id.is_empty() && id.bytes().all(plain)).then_some(id)
}

fn template(request: &RequestPlan, host: &str, workload: &Workload) -> Result<Template, Error> {
    let wants = |what: &'static str| Error::Workload { request: request.name.clone(), what };
    match &request.op {
        Op::List => {
            let bytes = format!("GET /event/list HTTP/1.1\r\nhost: {host}\r\n{AGENT}\r\n").into_bytes();
            Ok(Template::Fixed { bytes, accept: vec![200], bodyless: false, digest: None })
        }
        Op::Info | Op::Long | Op::Buy | Op::Order if workload.sale_events == 0 => Err(wants("a sale event")),
        Op::Buy | Op::Order if workload.tokens.is_empty() => Err(wants("users with tokens")),
        Op::Info => Ok(Template::Info { wait: "" }),
        Op::Long => Ok(Template::Info { wait: WAIT }),
        Op::Buy => Ok(Template::Buy { some_listed: workload.some_listed }),
        Op::Order => Ok(Template::Order),
        Op::Http { method, path, headers, body, accept, sha256 } => {
            let bytes = http_bytes(host, method, path, headers, body)?;
            let digest = sha256.as_deref().map(|hex| digest(hex).ok_or(Error::Digest(hex.to_owned())));
            Ok(Template::Fixed {
                bytes,
                accept: accept.clone(),
                bodyless: method == "HEAD",
                digest: digest.transpose()?,
            })
        }
    }
}

fn http_bytes(
    host: &str,
    method: &str,
    path: &str,
    headers: &[(String, String)],
    body: &str,
) -> Result<Vec<u8>, Error> {
    let given = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    let mut out = Vec::new();
    append(&mut out, format_args!("{} {} HTTP/1.1\r\n", one_line(method)?, one_line(path)?));
    if !given("host") {
        append(&mut out, format_args!("host: {host}\r\n"));
    }
    if !given("user-agent") {
        append(&mut out, format_args!("{AGENT}"));
    }
    for (name, value) in headers {
        append(&mut out, format_args!("{}: {}\r\n", one_line(name)?, one_line(value)?));
    }
    // RFC 9110 section 8.6: a method that gives a body a meaning announces an empty one too.
    if (!body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH")) && !given("content-length") {
        append(&mut out, format_args!("content-length: {}\r\n", body.len()));
    }
    append(&mut out, format_args!("\r\n{body}"));
    Ok(out)
}

/// The bytes of a SHA-256 in hex.
fn digest(hex: &str) -> Option<[u8; 32]> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let bytes = hex.as_bytes().chunks(2).map(|pair| match *pair {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    });
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector must take every byte");
}

/// Refuses what would end its line in the request's head.
fn one_line(text: &str) -> Result<&str, Error> {
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Error::ControlCharacter(text.escape_debug().to_string()));
    }
    Ok(text)
}

fn token(workload: &Workload, user: u32) -> &str {
    &workload.tokens[user as usize - 1]
}

/// Numbers of users and events, which are 32 bits wide by their type.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).expect("users and events must be numbered with 32 bits")
}

#[cfg(test)]
mod tests;
