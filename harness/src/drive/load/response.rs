//! One answer, read as its bytes come in: head, then a body of known length, in chunks, or until the end.
//!
//! Strict where a lenient reader would hide a fault: a body counts only when its announced end was seen,
//! and bytes after that end are reported. Deliberately absent: the body's content, which is counted, hashed
//! where its digest is known, and dropped.

mod chunks;

use std::mem::MaybeUninit;

use sha2::{Digest as _, Sha256};

use super::workload::HeaderNames;
use chunks::Chunks;

/// A head longer than this is taken for something else than HTTP.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 96;

/// What has been understood of an answer so far.
#[derive(Debug, Default)]
pub(super) struct Answer {
    stage: Stage,
    /// The beginning of a head that is not whole yet.
    partial: Vec<u8>,
    pub(super) status: u16,
    pub(super) process: u32,
    pub(super) config: u32,
    /// The server will serve another request on this connection.
    pub(super) keep_alive: bool,
    /// The `location` header, when it was asked for.
    pub(super) location: Option<String>,
    /// Of the body so far, when it was asked for.
    digest: Option<Box<Sha256>>,
}

/// What the reader must know of the question to read its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) names: &'a HeaderNames,
    /// `HEAD`: the answer announces a body and has none.
    pub(super) bodyless: bool,
    /// Keep the `location` header.
    pub(super) location: bool,
    /// Hash the body.
    pub(super) digest: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    /// The whole answer is there, and so many bytes after it that nobody asked for.
    Whole {
        surplus: usize,
    },
}

/// How the end of the stream leaves an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Not a byte of the answer had come.
    Nothing,
    /// In the middle of the head.
    Head,
    /// Before the announced end of the body.
    ShortBody,
    /// The end of the stream was the announced end.
    Whole,
}

/// These bytes are not HTTP.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Head,
    Sized(u64),
    Chunked(Chunks),
    UntilEnd,
}

impl Answer {
    /// Takes the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8], question: Question<'_>) -> Result<Progress, Malformed> {
        if !matches!(self.stage, Stage::Head) {
            return self.feed_body(bytes);
        }
        if self.partial.is_empty() {
            let Some(head) = self.parse_head(bytes, question)? else {
                self.partial.extend_from_slice(bytes);
                return self.more_head();
            };
            return self.feed_body(&bytes[head..]);
        }
        let mut all = std::mem::take(&mut self.partial);
        all.extend_from_slice(bytes);
        match self.parse_head(&all, question)? {
            Some(head) => self.feed_body(&all[head..]),
            None => {
                self.partial = all;
                self.more_head()
            }
        }
    }

    /// What it means that nothing more will come.
    pub(super) fn end(&self) -> Ending {
        match self.stage {
            Stage::Head if self.partial.is_empty() => Ending::Nothing,
            Stage::Head => Ending::Head,
            Stage::Sized(_) | Stage::Chunked(_) => Ending::ShortBody,
            Stage::UntilEnd => Ending::Whole,
        }
    }

    /// A byte of it has come.
    pub(super) fn begun(&self) -> bool {
        self.end() != Ending::Nothing
    }

    /// SHA-256 of the body, when it was asked for.
    pub(super) fn digest(&mut self) -> Option<[u8; 32]> {
        self.digest.take().map(|digest| digest.finalize().into())
    }

    fn more_head(&self) -> Result<Progress, Malformed> {
        if self.partial.len() > HEAD_BYTES_MAX { Err(Malformed) } else { Ok(Progress::More) }
    }

    fn feed_body(&mut self, bytes: &[u8]) -> Result<Progress, Malformed> {
        let digest = &mut self.digest;
        let mut hash = |bytes: &[u8]| {
            if let Some(digest) = digest {
                digest.update(bytes);
            }
        };
        match &mut self.stage {
            Stage::Sized(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                hash(&bytes[..taken]);
                if *left > 0 {
                    return Ok(Progress::More);
                }
                Ok(Progress::Whole { surplus: bytes.len() - taken })
            }
            Stage::Chunked(chunks) => Ok(match chunks.feed(bytes, hash)? {
                Some(taken) => Progress::Whole { surplus: bytes.len() - taken },
                None => Progress::More,
            }),
            Stage::UntilEnd => {
                hash(bytes);
                Ok(Progress::More)
            }
            Stage::Head => Ok(Progress::More),
        }
    }

    /// Reads a head at the beginning of the bytes, past any interim answers (1xx); its length when it is
    /// whole. Sets the stage of the body.
    fn parse_head(&mut self, bytes: &[u8], question: Question<'_>) -> Result<Option<usize>, Malformed> {
        let mut start = 0;
        loop {
            let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
            let mut head = httparse::Response::new(&mut []);
            let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
                &mut head,
                &bytes[start..],
                &mut headers,
            );
            let length = match parsed {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) => return Ok(None),
                Err(_) => return Err(Malformed),
            };
            start += length;
            self.status = head.code.unwrap_or_default();
            if (100..200).contains(&self.status) && self.status != 101 {
                continue;
            }
            let framing = self.read_headers(&head, question)?;
            self.stage = self.body_stage(framing, question.bodyless);
            self.digest = question.digest.then(Box::default);
            return Ok(Some(start));
        }
    }

    fn read_headers(
        &mut self,
        head: &httparse::Response<'_, '_>,
        question: Question<'_>,
    ) -> Result<Framing, Malformed> {
        self.keep_alive = head.version == Some(1);
        let mut framing = Framing::default();
        for header in head.headers.iter() {
            let (name, value) = (header.name, header.value);
            if name.eq_ignore_ascii_case("content-length") {
                let length = number(value).ok_or(Malformed)?;
                if framing.length.is_some_and(|other| other != length) {
                    return Err(Malformed);
                }
                framing.length = Some(length);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                framing.chunked |= has_token(value, "chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                if has_token(value, "close") {
                    self.keep_alive = false;
                } else if head.version == Some(0) && has_token(value, "keep-alive") {
                    self.keep_alive = true;
                }
            } else if is(question.names.process.as_deref(), name) {
                self.process = generation(value);
            } else if is(question.names.config.as_deref(), name) {
                self.config = generation(value);
            } else if question.location && name.eq_ignore_ascii_case("location") {
                self.location = std::str::from_utf8(value).ok().map(str::to_owned);
            }
        }
        Ok(framing)
    }

    /// RFC 9112 section 6.3: how the body's end is told.
    fn body_stage(&mut self, framing: Framing, bodyless: bool) -> Stage {
        if bodyless || matches!(self.status, 101 | 204 | 304) {
            return Stage::Sized(0);
        }
        if framing.chunked {
            return Stage::Chunked(Chunks::default());
        }
        match framing.length {
            Some(length) => Stage::Sized(length),
            None => {
                self.keep_alive = false;
                Stage::UntilEnd
            }
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
}

fn is(wanted: Option<&str>, name: &str) -> bool {
    wanted.is_some_and(|wanted| wanted.eq_ignore_ascii_case(name))
}

fn has_token(value: &[u8], token: &str) -> bool {
    value.split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Digits only: `u64::from_str` would take a sign.
fn number(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A generation; 0, which is none, for what is not a number.
pub(super) fn generation(value: &[u8]) -> u32 {
    number(value).and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
