//! What an order asks for, as it comes in: the body and the idempotency key.

use std::fmt;

use serde::{Deserialize, Serialize, de::Error as _};
use sha2::{Digest as _, Sha256};

use super::{EventId, GoodsId};

/// Longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 128;

/// The body of `POST /orders`. A member that is not known is refused, because whoever sent it expects
/// something of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    pub event: EventId,
    pub goods: GoodsId,
}

/// What tells two requests under the same key apart.
pub type RequestDigest = [u8; 32];

/// The client's name for one purchase, by which it is recognised when it comes again:
/// 1 to 128 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(String);

/// The key is empty, too long or has characters that are not visible ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the idempotency key must have 1 to {KEY_BYTES_MAX} visible ASCII characters")]
pub struct InvalidKey;

impl OrderRequest {
    /// Reads the body.
    ///
    /// # Errors
    /// It is not the JSON object that is expected; the error says where and why.
    pub fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        // A derived reader would take a bare array for the members in their order.
        match body.trim_ascii_start().first() {
            Some(b'{') | None => serde_json::from_slice(body),
            Some(_) => Err(serde_json::Error::custom("expected an object with event and goods")),
        }
    }

    /// SHA-256 of what is asked for, so that the same order with other white space is the same request.
    #[must_use]
    pub fn digest(&self) -> RequestDigest {
        let canonical = serde_json::to_vec(self).expect("a struct of integers must be writable as JSON");
        Sha256::digest(canonical).into()
    }
}

impl IdempotencyKey {
    /// Takes the header's bytes.
    ///
    /// # Errors
    /// See [`InvalidKey`].
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let fits = (1..=KEY_BYTES_MAX).contains(&bytes.len());
        if !fits || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(InvalidKey);
        }
        std::str::from_utf8(bytes).map(|key| Self(key.to_owned())).map_err(|_| InvalidKey)
    }

    /// The key as the client wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_numbers_are_an_order() {
        let parsed = OrderRequest::parse(br#" {"goods": 2, "event":1} "#).unwrap();
        assert_eq!(parsed, OrderRequest { event: EventId(1), goods: GoodsId(2) });
        for bad in [
            "",
            "null",
            "[1,2]",
            r#"{"event":1}"#,
            r#"{"event":1,"goods":2,"amount":3}"#,
            r#"{"event":1,"event":1,"goods":2}"#,
            r#"{"event":-1,"goods":2}"#,
            r#"{"event":1.0,"goods":2}"#,
            r#"{"event":"1","goods":2}"#,
            r#"{"event":1,"goods":2} trailing"#,
        ] {
            assert!(OrderRequest::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_digest_is_of_the_meaning_not_of_the_spelling() {
        let digest = |body: &str| OrderRequest::parse(body.as_bytes()).unwrap().digest();
        assert_eq!(digest(r#"{"event":1,"goods":2}"#), digest("{ \"goods\" : 2,\n\"event\" : 1 }"));
        assert_ne!(digest(r#"{"event":1,"goods":2}"#), digest(r#"{"event":2,"goods":1}"#));
    }

    #[test]
    fn a_key_is_visible_ascii_of_bounded_length() {
        for good in ["a", "5d3e-77", "~!@#", &"k".repeat(128)] {
            assert_eq!(IdempotencyKey::parse(good.as_bytes()).unwrap().as_str(), good);
        }
        for bad in ["", "two words", "tab\t", "\u{e9}", "del\u{7f}", &"k".repeat(129)] {
            assert_eq!(IdempotencyKey::parse(bad.as_bytes()), Err(InvalidKey), "{bad:?}");
        }
    }
}
