//! What query and headers of a push ask for.
//!
//! Nothing that could change the meaning of a push is ignored: a key or a value that is not understood
//! refuses it.

use http::{HeaderMap, HeaderName, header};

use super::tags::Tags;
use crate::state::{Datum, Generation};

/// The media type of a delta, for those who would rather say it there than in the query.
const DELTA_TYPE: &str = "application/vnd.seckill.blacklist-delta";

/// On which conditions, and in which form, a change is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    pub datum: Datum,
    pub form: Form,
    /// Check, and publish nothing.
    pub dry_run: bool,
    /// Only if what is served of this kind has this digest.
    pub expected_digest: Option<String>,
    /// Only if one of these is served.
    expected: Option<Vec<Generation>>,
}

/// What the body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Whole,
    /// Of the blacklist: a line for each id that is added or taken out.
    Delta,
}

/// Why a push is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("understand the query key {key:?}; this path takes {known}")]
    Key { key: String, known: &'static str },
    #[error("understand {key}={value:?}; write `{key}` alone, or `{key}=true` or `{key}=false`")]
    Value { key: &'static str, value: String },
    #[error("understand a query that says {0} more than once")]
    Twice(&'static str),
    #[error("understand an empty expected-digest; write the digest that GET /config tells")]
    NoDigest,
    #[error("understand the header {name}: {reason}")]
    Header { name: HeaderName, reason: &'static str },
    /// The body is written in a way that is not read.
    #[error("read a body that is {0}")]
    Unreadable(String),
}

impl Conditions {
    /// Reads query and headers of a request to change `datum`.
    ///
    /// # Errors
    /// Something in them is not understood.
    pub fn read(datum: Datum, query: Option<&str>, headers: &HeaderMap) -> Result<Self, Error> {
        let asked = Asked::read(datum, query.unwrap_or_default())?;
        readable(headers)?;
        let is_delta = asked.delta.unwrap_or(false) || delta_type(datum, asked.delta, headers)?;
        let form = if is_delta { Form::Delta } else { Form::Whole };
        let tags = Tags::read(headers, &header::IF_MATCH)
            .map_err(|reason| Error::Header { name: header::IF_MATCH, reason })?;
        let expected = match tags {
            None | Some(Tags::Any) => None,
            Some(Tags::Listed(tags)) => Some(tags.iter().filter_map(super::Tag::generation).collect()),
        };
        let dry_run = asked.dry_run.unwrap_or(false);
        Ok(Self { datum, form, dry_run, expected_digest: asked.expected_digest, expected })
    }

    /// Whether generation `served` may be replaced.
    #[must_use]
    pub fn expects(&self, served: Generation) -> bool {
        self.expected.as_ref().is_none_or(|expected| expected.contains(&served))
    }

    /// Which generation is to be replaced, now that `served` is served; none: any.
    pub(super) fn first_expected(&self, served: Generation) -> Option<Generation> {
        let expected = self.expected.as_ref()?;
        let latest = expected.iter().max().copied();
        // No generation is called 0, so that tags that are no generations match none.
        Some(if expected.contains(&served) { served } else { latest.unwrap_or(Generation(0)) })
    }
}

/// The keys of the query.
#[derive(Debug, Default)]
struct Asked {
    delta: Option<bool>,
    dry_run: Option<bool>,
    expected_digest: Option<String>,
}

impl Asked {
    fn read(datum: Datum, query: &str) -> Result<Self, Error> {
        let known = match datum {
            Datum::Blacklist => "delta, dry-run and expected-digest",
            Datum::Cluster | Datum::Activities | Datum::Nodes => "dry-run and expected-digest",
        };
        let mut asked = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value)));
            match key {
                "delta" if datum == Datum::Blacklist => {
                    once("delta", &mut asked.delta, switch("delta", value)?)?;
                }
                "dry-run" => once("dry-run", &mut asked.dry_run, switch("dry-run", value)?)?,
                "expected-digest" => {
                    let digest = value.filter(|digest| !digest.is_empty()).ok_or(Error::NoDigest)?;
                    once("expected-digest", &mut asked.expected_digest, digest.to_owned())?;
                }
                _ => return Err(Error::Key { key: key.to_owned(), known }),
            }
        }
        Ok(asked)
    }
}

fn switch(key: &'static str, value: Option<&str>) -> Result<bool, Error> {
    match value {
        None | Some("" | "true") => Ok(true),
        Some("false") => Ok(false),
        Some(value) => Err(Error::Value { key, value: value.to_owned() }),
    }
}

fn once<T>(key: &'static str, place: &mut Option<T>, value: T) -> Result<(), Error> {
    if place.replace(value).is_some() { Err(Error::Twice(key)) } else { Ok(()) }
}

/// A body that would have to be unpacked, or is a part only, is not taken for what it is not.
fn readable(headers: &HeaderMap) -> Result<(), Error> {
    for encoding in headers.get_all(header::CONTENT_ENCODING) {
        if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
            let encoding = String::from_utf8_lossy(encoding.as_bytes());
            return Err(Error::Unreadable(format!("encoded by {encoding}; send it as it is")));
        }
    }
    if headers.contains_key(header::CONTENT_RANGE) {
        let reason = "a document is replaced as a whole; of the blacklist a part is changed by a delta";
        return Err(Error::Header { name: header::CONTENT_RANGE, reason });
    }
    Ok(())
}

/// Whether the content type says delta. Any other says nothing: what a body is, the path says, and its parser
/// finds out what is none.
fn delta_type(datum: Datum, asked: Option<bool>, headers: &HeaderMap) -> Result<bool, Error> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(DELTA_TYPE) {
        return Ok(false);
    }
    match (datum, asked) {
        (Datum::Blacklist, None | Some(true)) => Ok(true),
        (Datum::Blacklist, Some(false)) => Err(Error::Header {
            name: header::CONTENT_TYPE,
            reason: "it says that this is a delta, and the query says that it is not",
        }),
        _ => Err(Error::Unreadable(format!("{DELTA_TYPE}; only the blacklist takes it"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        datum: Datum,
        query: &str,
        fields: &[(&'static str, &'static str)],
    ) -> Result<Conditions, String> {
        let headers = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Conditions::read(datum, Some(query), &headers.collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn forms_and_trials() {
        let check = |query: &str, content_type: &'static str, form: Form, dry_run: bool| {
            let read = read(Datum::Blacklist, query, &[("content-type", content_type)]).unwrap();
            assert_eq!((read.form, read.dry_run), (form, dry_run), "{query} {content_type}");
        };
        check("", "text/plain", Form::Whole, false);
        check("delta", "text/plain", Form::Delta, false);
        check("delta=true&dry-run", "application/json", Form::Delta, true);
        check("&delta=false&dry-run=&", "text/plain", Form::Whole, true);
        check("", "Application/Vnd.Seckill.Blacklist-Delta; charset=utf-8", Form::Delta, false);
    }

    #[test]
    fn what_is_not_understood_refuses() {
        let check = |query: &str, field: (&'static str, &'static str), expected: &str| {
            let told = read(Datum::Cluster, query, &[field]).unwrap_err();
            assert!(told.contains(expected), "{told}");
        };
        let plain = ("content-type", "application/json");
        check("dry_run", plain, "\"dry_run\"; this path takes dry-run and expected-digest");
        check("delta", plain, "understand the query key \"delta\"");
        check("dry-run=maybe", plain, "understand dry-run=\"maybe\"; write `dry-run` alone");
        check("dry-run&dry-run=false", plain, "says dry-run more than once");
        check("expected-digest", plain, "empty expected-digest");
        check("", ("if-match", "7"), "understand the header if-match: write a generation between quotes");
        check("", ("content-encoding", "gzip"), "encoded by gzip; send it as it is");
        check("", ("content-range", "bytes 0-1/2"), "content-range: a document is replaced as a whole");
        check("", ("content-type", DELTA_TYPE), "only the blacklist takes it");
        let told = read(Datum::Blacklist, "delta=false", &[("content-type", DELTA_TYPE)]).unwrap_err();
        assert!(told.contains("the query says that it is not"), "{told}");
    }

    #[test]
    fn which_generations_are_expected() {
        let check = |tags: &'static str, served: u64, expects: bool, first: Option<u64>| {
            let read = read(Datum::Cluster, "", &[("if-match", tags)]).unwrap();
            let found = (read.expects(Generation(served)), read.first_expected(Generation(served)));
            assert_eq!(found, (expects, first.map(Generation)), "{tags}");
        };
        check("*", 7, true, None);
        check("\"7\"", 7, true, Some(7));
        check("\"6\", \"7\", \"9\"", 7, true, Some(7));
        check("\"6\", \"9\"", 7, false, Some(9));
        check("W/\"7\", \"x\"", 7, false, Some(0));
    }
}
