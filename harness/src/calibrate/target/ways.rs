//! How a request is denied its answer: the bytes, and what becomes of the connection.

use crate::plan;

/// What a healthy target answers.
const BODY: &str = "What is true and what is measured must agree.\n";
/// As long, and wrong.
const OTHER_BODY: &str = "What is true and what is measured may differ.\n";

/// A way to fail one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::calibrate) enum Way {
    /// A reset instead of an answer.
    Reset,
    /// The end of the stream instead of an answer.
    Eof,
    /// Nothing at all.
    Silence,
    /// The head announces more than comes before the end of the stream.
    ShortBody,
    /// The stream ends within the head.
    TruncatedHead,
    /// Bytes that are no HTTP.
    Garbage,
    /// A whole answer with the status 503.
    BadStatus,
    /// A whole answer, and another one that nobody asked for.
    Surplus,
    /// A whole answer with another body of the same length.
    WrongDigest,
    /// The stream ends between two chunks of the body.
    EofInChunks,
    /// A reset in the middle of the body.
    ResetInBody,
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Keep,
    /// Closed in order.
    Close,
    Reset,
}

impl Way {
    /// The bytes that are sent, and what comes then.
    pub(super) fn act(self) -> (Vec<u8>, Then) {
        let length = BODY.len();
        let half = &BODY[..length / 2];
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        let (text, then) = match self {
            Self::Reset => (String::new(), Then::Reset),
            Self::Eof => (String::new(), Then::Close),
            Self::Silence => (String::new(), Then::Keep),
            Self::ShortBody => (format!("{head}{half}"), Then::Close),
            Self::TruncatedHead => ("HTTP/1.1 200 OK\r\ncontent-le".to_owned(), Then::Close),
            Self::Garbage => ("\u{1}\u{2} no HTTP at all\r\n\r\n".to_owned(), Then::Keep),
            Self::BadStatus => {
                ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_owned(), Then::Keep)
            }
            Self::Surplus => (format!("{head}{BODY}{head}{BODY}"), Then::Keep),
            Self::WrongDigest => (format!("{head}{OTHER_BODY}"), Then::Keep),
            Self::EofInChunks => {
                let chunk = format!("{:x}\r\n{half}\r\n", half.len());
                (format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}"), Then::Close)
            }
            Self::ResetInBody => (format!("{head}{half}"), Then::Reset),
        };
        (text.into_bytes(), then)
    }
}

/// The answer of a target that means well.
pub(super) fn whole_answer() -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len()).into_bytes()
}

/// SHA-256 of that answer's body, in hex.
pub(in crate::calibrate) fn digest() -> String {
    plan::sha256(BODY.as_bytes())
}
