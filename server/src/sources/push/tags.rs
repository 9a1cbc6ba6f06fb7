//! Entity tags, as `If-Match` and `If-None-Match` list them (RFC 9110, sections 8.8.3 and 13.1).

use http::{HeaderMap, HeaderName};

use crate::state::Generation;

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// `*`: anything at all.
    Any,
    Listed(Vec<Tag>),
}

/// An entity tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    pub weak: bool,
    /// What stands between the quotes.
    pub opaque: Vec<u8>,
}

impl Tags {
    /// Reads the header called `name`; `None`: it is not there.
    ///
    /// # Errors
    /// It is not a list of entity tags; says what is expected.
    pub fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, &'static str> {
        let mut tags = Vec::new();
        let mut any = 0_usize;
        for value in headers.get_all(name) {
            let mut rest = next_element(value.as_bytes());
            while !rest.is_empty() {
                if let Some(after) = rest.strip_prefix(b"*") {
                    any += 1;
                    rest = after;
                } else {
                    let (tag, after) =
                        Tag::split(rest).ok_or("write a generation between quotes, such as \"7\"")?;
                    tags.push(tag);
                    rest = after;
                }
                rest = rest.trim_ascii_start();
                if !rest.is_empty() && !rest.starts_with(b",") {
                    return Err("separate entity tags by commas");
                }
                rest = next_element(rest);
            }
        }
        match (headers.contains_key(name), any, tags.is_empty()) {
            (false, ..) => Ok(None),
            (true, 1, true) => Ok(Some(Self::Any)),
            (true, 0, false) => Ok(Some(Self::Listed(tags))),
            (true, 0, true) => Err("it is empty; write an entity tag, such as \"7\""),
            (true, ..) => Err("an asterisk stands alone"),
        }
    }

    /// Whether one of them is `opaque`; weak ones count too (section 8.8.3.2).
    #[must_use]
    pub fn matches_weakly(&self, opaque: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(|tag| tag.opaque == opaque.as_bytes()),
        }
    }
}

impl Tag {
    /// The tag at the beginning of `text`, and what follows it.
    fn split(text: &[u8]) -> Option<(Self, &[u8])> {
        let (weak, quoted) = match text.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, text),
        };
        let inside = quoted.strip_prefix(b"\"")?;
        let end = inside.iter().position(|&byte| byte == b'"')?;
        let (opaque, rest) = inside.split_at(end);
        let is_fit = opaque.iter().all(|&byte| byte == 0x21 || (0x23..=0x7e).contains(&byte) || byte >= 0x80);
        is_fit.then(|| (Self { weak, opaque: opaque.to_vec() }, &rest[1..]))
    }

    /// The generation that it stands for, if it is strong and does.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        let number: u64 = std::str::from_utf8(&self.opaque).ok()?.parse().ok()?;
        // One generation has one spelling.
        (!self.weak && number.to_string().as_bytes() == self.opaque).then_some(Generation(number))
    }
}

/// Without the commas and spaces at its beginning: a list may have empty elements (section 5.6.1).
fn next_element(mut text: &[u8]) -> &[u8] {
    while let [b',' | b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use http::header::IF_MATCH;

    use super::*;

    fn read(values: &[&str]) -> Result<Option<Tags>, &'static str> {
        let headers = values.iter().map(|value| (IF_MATCH, value.parse().unwrap())).collect();
        Tags::read(&headers, &IF_MATCH)
    }

    #[test]
    fn lists_of_tags() {
        let check = |values: &[&str], expected: &[&str]| {
            let Ok(Some(Tags::Listed(tags))) = read(values) else { panic!("{values:?}") };
            let spelt = tags.iter().map(|tag| {
                let opaque = String::from_utf8_lossy(&tag.opaque);
                format!("{}{opaque}", if tag.weak { "W/" } else { "" })
            });
            assert_eq!(spelt.collect::<Vec<_>>(), expected, "{values:?}");
        };
        check(&["\"7\""], &["7"]);
        check(&["W/\"7\" ,\"a,b\""], &["W/7", "a,b"]);
        check(&["\"1\",, ,\"2\",", "\"3\""], &["1", "2", "3"]);
        check(&[",\"1\""], &["1"]);
        check(&["\"\""], &[""]);
        assert_eq!(read(&["*"]), Ok(Some(Tags::Any)));
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn what_is_no_list_is_told() {
        let wrong =
            ["7", "\"7", "'7'", "w/\"7\"", "\"7\" \"8\"", "*, \"7\"", "\"7\", *", "*,*", "", ",", "\"7 8\""];
        for wrong in wrong {
            assert!(read(&[wrong]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_generation_has_one_spelling() {
        let check = |text: &str, expected: Option<u64>| {
            let (tag, rest) = Tag::split(text.as_bytes()).unwrap();
            assert_eq!((tag.generation(), rest), (expected.map(Generation), &b""[..]), "{text}");
        };
        check("\"7\"", Some(7));
        for other in ["W/\"7\"", "\"07\"", "\"+7\"", "\"7a\"", "\"\"", "\"18446744073709551616\""] {
            check(other, None);
        }
    }
}
