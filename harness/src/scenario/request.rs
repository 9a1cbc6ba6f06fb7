//! What a stream sends: the reference server's operations by name, or any requests in full.

use tomlcheck::Section;

use crate::plan::{Op, RequestPlan, TargetPlan};

/// The reference server's operations, by their word in a mix and in reports, with the weights of a mix
/// that is left out: a shop's traffic in a sale, in which most look, some buy, a few ask for their order, and
/// nobody waits.
const OPERATIONS: [(&str, Op, u32); 5] = [
    ("list", Op::List, 6),
    ("info", Op::Info, 2),
    ("buy", Op::Buy, 2),
    ("order", Op::Order, 1),
    ("long", Op::Long, 0),
];

/// Weights are relative, so there is no need for large ones.
const WEIGHT_MAX: u32 = 10_000;

/// Headers that the harness writes itself, or that would change how a connection is used.
const OWN_HEADERS: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];

pub(super) const METHODS: &[(&str, &str)] = &[
    ("GET", "GET"),
    ("HEAD", "HEAD"),
    ("POST", "POST"),
    ("PUT", "PUT"),
    ("PATCH", "PATCH"),
    ("DELETE", "DELETE"),
    ("OPTIONS", "OPTIONS"),
];

/// The requests of one stream, never none: without `mix` and `request` the reference server gets the
/// usual mix and any other server `GET /`.
pub(super) fn read(stream: &Section<'_>, target: Option<&TargetPlan>) -> Vec<RequestPlan> {
    let is_foreign = target.is_some_and(|target| target.foreign().is_some());
    let mut requests = Vec::new();
    if let Some(mix) = stream.section("mix") {
        if is_foreign {
            stream.fault_at(
                "mix",
                "only the reference server has these operations",
                "write the requests as [[load.stream.request]]",
            );
        } else {
            requests.extend(read_mix(mix));
        }
    }
    requests.extend(stream.sections("request").into_iter().map(read_request));
    if requests.is_empty() {
        requests = if is_foreign { vec![root_page()] } else { usual_mix() };
    }
    requests
}

/// Whether this is a token of HTTP (RFC 9110, 5.6.2), as names of headers have to be.
pub(super) fn is_token(text: &str) -> bool {
    let is_token_char = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_char)
}

fn read_mix(mix: Section<'_>) -> Vec<RequestPlan> {
    if mix.keys().next().is_none() {
        mix.fault("a mix of nothing cannot be sent", "write mix = { list = 6, buy = 2 }, or leave it out");
    }
    let request = |(name, op, _): (&str, Op, u32)| {
        let weight = mix.integer(name, 1..=WEIGHT_MAX)?.value;
        Some(RequestPlan { name: name.to_owned(), weight, op })
    };
    let requests = OPERATIONS.into_iter().filter_map(request).collect();
    mix.finish();
    requests
}

fn usual_mix() -> Vec<RequestPlan> {
    OPERATIONS
        .into_iter()
        .filter(|(.., weight)| *weight > 0)
        .map(|(name, op, weight)| RequestPlan { name: name.to_owned(), weight, op })
        .collect()
}

fn root_page() -> RequestPlan {
    let op = Op::Http {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        headers: Vec::new(),
        body: String::new(),
        accept: Vec::new(),
        sha256: None,
    };
    RequestPlan { name: "GET /".to_owned(), weight: 1, op }
}

fn read_request(section: Section<'_>) -> RequestPlan {
    let method = section.choice("method", METHODS).unwrap_or("GET");
    let path = section.parse("path", "a path", "write it like \"/search?q=1\"", checked_path);
    let path = path.unwrap_or_else(|| "/".to_owned());
    let request = RequestPlan {
        name: format!("{method} {path}"),
        weight: section.integer("weight", 1..=WEIGHT_MAX).map_or(1, |entry| entry.value),
        op: Op::Http {
            method: method.to_owned(),
            path,
            headers: section.section("headers").map(|section| read_headers(&section)).unwrap_or_default(),
            body: section.string("body").map(|entry| entry.value).unwrap_or_default(),
            accept: section.integers("accept", 200..=599).map(|entry| entry.value).unwrap_or_default(),
            sha256: section.parse("sha256", "a SHA-256", "write 64 hexadecimal digits", checked_digest),
        },
    };
    if method == "HEAD" && section.has("sha256") {
        section.fault_at("sha256", "an answer to HEAD has no body", "remove it, or write method = \"GET\"");
    }
    section.finish();
    request
}

pub(super) fn checked_path(path: &str) -> Result<String, &'static str> {
    if !path.starts_with('/') {
        Err("it does not begin with /")
    } else if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("it has a blank or another character that must be percent-encoded")
    } else if path.contains('#') {
        Err("a fragment is never sent")
    } else {
        Ok(path.to_owned())
    }
}

fn checked_digest(hex: &str) -> Result<String, &'static str> {
    if hex.len() != 64 {
        Err("it has not 64 digits")
    } else if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Err("it has other characters")
    } else {
        Ok(hex.to_ascii_lowercase())
    }
}

pub(super) fn read_headers(section: &Section<'_>) -> Vec<(String, String)> {
    let header = |name: &str| {
        let value = section.parse(name, "a header's value", "use printable ASCII", |value| {
            let is_plain = value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
            if is_plain { Ok(value.to_owned()) } else { Err("it has other characters") }
        });
        if !is_token(name) {
            section.fault_at(name, "this cannot be the name of a header", "use letters, digits and `-`");
        } else if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            section.fault_at(name, "the harness writes this header itself", "remove it");
        }
        Some((name.to_owned(), value?))
    };
    section.keys().filter_map(header).collect()
}
