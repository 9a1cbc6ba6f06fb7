//! How what a process has in memory gets to the one that takes over ([`crate::carried`]): one document in pieces,
//! over the socket between the two.
//!
//! What is guaranteed, for every strategy:
//!
//! - The document is made when the new process has proved itself, and nobody is told to serve before the new one has
//!   taken it. One of another version, or of which a byte has changed, ends the upgrade; the old process serves on.
//! - A user who has used up his limit when the document is made gets nothing more from either process than if there
//!   had been no upgrade. One who has something left may use it in both processes until the second document comes: his
//!   limit once more at most, and only with requests of those few milliseconds.
//! - That second document holds what the old process has let through and counted since. It comes when the old process
//!   accepts no more (`handoff-live`: when no request begins in it any more), and a third one before it ends; with them
//!   all of it is in the new one. Nothing is counted twice.
//! - Who asks the new process for counters before the second one is here waits for it, a second at most, so that none
//!   falls. What is still in flight in the old process is added when that is over.
//! - If the old process dies the new one has what was sent; if the new one dies what it has counted itself is lost.
//!
//! Requests never wait for any of it but for a lock of a sixteenth of the users while that is copied; a document has
//! 16 MiB at most.

use std::{sync::Arc, time::Instant};

use tokio::task::spawn_blocking;

use super::{
    channel::{self, Channel},
    message::Message,
};
#[cfg(debug_assertions)]
use crate::faults::{self, Fault};
use crate::{
    carried::{self, BYTES_MAX, Carried},
    http::App,
};

/// Bytes of a document in one packet.
const PIECE_BYTES: usize = 128 * 1024;

/// What was handed on last, and when.
#[derive(Debug)]
pub(super) struct HandedOn {
    at: Instant,
    carried: Carried,
}

/// The version of what this process hands on and takes.
pub(super) fn version() -> u32 {
    #[cfg(debug_assertions)]
    if let Some(version) = faults::number(Fault::StateVersion) {
        return u32::try_from(version).unwrap_or(u32::MAX);
    }
    carried::VERSION
}

/// The next document: everything, or what came after `before`.
pub(super) async fn document(app: &Arc<App>, before: Option<HandedOn>) -> (HandedOn, Vec<u8>) {
    let app = Arc::clone(app);
    let making = spawn_blocking(move || {
        let (at, carried) = (Instant::now(), app.carry());
        #[cfg_attr(not(debug_assertions), expect(unused_mut, reason = "only a fault changes it"))]
        let mut document = match before {
            None => carried::encode(&carried, version()),
            Some(before) => {
                let elapsed = at.saturating_duration_since(before.at).as_nanos();
                let elapsed_ns = u64::try_from(elapsed).unwrap_or(u64::MAX);
                carried::encode(&carried.since(&before.carried, elapsed_ns), version())
            }
        };
        #[cfg(debug_assertions)]
        if faults::strikes(Fault::CorruptState)
            && let Some(byte) = document.last_mut()
        {
            *byte ^= 1;
        }
        (HandedOn { at, carried }, document)
    });
    making.await.expect("nothing in it can panic")
}

/// Sends a document.
pub(super) async fn send(channel: &Channel, document: &[u8]) -> Result<(), channel::Error> {
    let mut pieces = document.chunks(PIECE_BYTES).peekable();
    while let Some(piece) = pieces.next() {
        let more = pieces.peek().is_some();
        channel.send(&Message::State { more }, piece, &[]).await?;
    }
    Ok(())
}

/// Has this process go on from a document.
///
/// # Errors
/// It is not understood; nothing has changed then.
pub(super) async fn absorb(app: &Arc<App>, document: Vec<u8>) -> Result<(), carried::Refused> {
    let app = Arc::clone(app);
    let absorbing = spawn_blocking(move || {
        let carried = carried::decode(&document, version())?;
        app.absorb(&carried);
        Ok(())
    });
    absorbing.await.expect("nothing in it can panic")
}

/// The pieces of a document that have arrived.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<u8>);

impl Pieces {
    /// Adds one; gives the document when it was the last. `Err`: it is longer than any can be.
    pub(super) fn add(&mut self, piece: &[u8], more: bool) -> Result<Option<Vec<u8>>, channel::Error> {
        if self.0.len() + piece.len() > BYTES_MAX {
            return Err(channel::Error::Protocol(format!("the state has more than {BYTES_MAX} bytes")));
        }
        self.0.extend_from_slice(piece);
        Ok((!more).then(|| std::mem::take(&mut self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_a_document_and_no_more_than_fits() {
        let mut pieces = Pieces::default();
        assert_eq!(pieces.add(b"one, ", true).unwrap(), None);
        assert_eq!(pieces.add(b"two", false).unwrap(), Some(b"one, two".to_vec()));
        assert_eq!(pieces.add(b"three", false).unwrap(), Some(b"three".to_vec()));
        for _ in 0..BYTES_MAX / PIECE_BYTES {
            assert_eq!(pieces.add(&[7; PIECE_BYTES], true).unwrap(), None);
        }
        assert!(matches!(pieces.add(b"8", true), Err(channel::Error::Protocol(_))));
    }
}
