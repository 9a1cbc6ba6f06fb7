//! What a client would like, by the `prefer` header (RFC 7240).
//!
//! Of its preferences only `wait` is known here. Whatever is not understood is ignored, as the RFC asks for.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::reply::Reply;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The longest wait that is granted, in seconds: less than proxies usually give a request.
const WAIT_S_MAX: u64 = 30;

/// How long a client would wait for an answer that tells something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    seconds: u64,
}

impl Wait {
    /// The wait that is asked for, 1 to 30 whole seconds. Of several the first counts.
    pub(super) fn asked(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        let mut preferences = values.flat_map(|value| value.split(','));
        let seconds = preferences.find_map(|preference| {
            // Parameters come after a semicolon; this preference has none.
            let (name, value) = preference.split(';').next()?.split_once('=')?;
            name.trim().eq_ignore_ascii_case("wait").then(|| unquoted(value.trim()))
        })?;
        // `parse` would take a sign.
        let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = seconds.parse().ok().filter(|seconds| is_number && (1..=WAIT_S_MAX).contains(seconds));
        seconds.map(|seconds| Self { seconds })
    }

    pub(super) fn duration(self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Says in an answer that the preference was honoured.
    pub(super) fn applied(self, reply: Reply) -> Reply {
        let value = HeaderValue::try_from(format!("wait={}", self.seconds));
        reply.with(PREFERENCE_APPLIED, value.expect("a number must be fit for a header"))
    }
}

/// A value may be a token or, with the same meaning, a quoted string.
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_ignored() {
        let check = |values: &[&str], expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(PREFER, HeaderValue::from_str(value).unwrap());
            }
            let seconds = Wait::asked(&headers).map(|wait| wait.duration().as_secs());
            assert_eq!(seconds, expected, "{values:?}");
        };
        check(&[], None);
        check(&["wait=1"], Some(1));
        check(&["WAIT = 30"], Some(30));
        check(&["wait=\"10\""], Some(10));
        check(&["respond-async, wait=5;foo=bar"], Some(5));
        check(&["return=minimal", "wait=7"], Some(7));
        check(&["wait=2, wait=3"], Some(2));
        for wrong in ["wait", "wait=", "wait=0", "wait=31", "wait=1.5", "wait=-1", "wait=+1", "wait=1s"] {
            check(&[wrong], None);
        }
        // The first one counts, also when it is wrong.
        check(&["wait=0, wait=3"], None);
    }
}
