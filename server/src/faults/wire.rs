//! Faults in the bytes of an answer: done where they leave, so that hyper believes that all is well.

use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicU8, Ordering},
    task::{Context, Poll, ready},
};

use hyper::rt::Write;

use super::{Fault, strikes};

/// The faults of the wire, at their index plus one.
const KINDS: [Fault; 4] = [Fault::Drop, Fault::AnswerTwice, Fault::TruncateBody, Fault::WrongBody];

/// What is to be done to the answer that one connection is about to write.
#[derive(Debug, Default)]
pub(crate) struct Answering(AtomicU8);

impl Answering {
    /// Chooses what happens to the next answer. Answers are small: each leaves in one write.
    pub(crate) fn choose(&self) {
        let struck = (1..).zip(KINDS).find(|(_, fault)| strikes(*fault)).map_or(0, |(number, _)| number);
        self.0.store(struck, Ordering::Relaxed);
    }

    /// What was chosen, once.
    pub(crate) fn take(&self) -> Option<Fault> {
        let number = self.0.swap(0, Ordering::Relaxed);
        KINDS.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// Writes an answer with its fault. What does not fit into the socket at once is left away: this is no place
/// for care.
pub(crate) fn write(
    fault: Fault,
    mut stream: Pin<&mut impl Write>,
    cx: &mut Context<'_>,
    answer: &[u8],
) -> Poll<io::Result<usize>> {
    let mut bytes = answer.to_vec();
    match fault {
        Fault::Drop => bytes.clear(),
        Fault::AnswerTwice => bytes.extend_from_slice(answer),
        Fault::TruncateBody => bytes.truncate(answer.len().saturating_sub(1)),
        Fault::WrongBody => bytes.last_mut().map_or((), |byte| *byte ^= 1),
        _ => {}
    }
    if !bytes.is_empty() {
        ready!(stream.as_mut().poll_write(cx, &bytes))?;
    }
    if matches!(fault, Fault::Drop | Fault::TruncateBody) {
        return Poll::Ready(Err(io::Error::other("broken on purpose")));
    }
    Poll::Ready(Ok(answer.len()))
}
