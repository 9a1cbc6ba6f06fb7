//! The file of a blacklist -> a packed list, while requests are answered.
//!
//! It is read piece by piece with `pread`: a memory map would kill the process with SIGBUS when somebody truncates
//! the file. A long one is read by one thread that gives way to requests, so that the other processors and their
//! caches are left to them, and so does what frees the memory that it took. A short one, that nobody would notice,
//! is read on the thread that asks.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use crate::{
    background, clock,
    reload::{Candidate, Content},
    state::{Blacklist, BlacklistFaults, Datum, Lines, Origin},
};

/// What is read at once: small enough for the processor's cache.
const PIECE_BYTES: usize = 64 * 1024;
/// Size of a file that is worth a thread of its own.
const LONG_BYTES: u64 = 1024 * 1024;

/// Makes a candidate of all of a file.
///
/// # Errors
/// It cannot be read; `UnexpectedEof` when it does not end where its size says, so that somebody is writing it.
pub(super) fn load(file: &File, origin: &Origin) -> io::Result<Candidate> {
    let begun = clock::now();
    let bytes = file.metadata()?.len();
    let content = match read(file, bytes)? {
        Ok(list) => Ok(Content::Blacklist(Arc::new(list))),
        Err(faults) => Err(faults.to_string()),
    };
    if file.read_at(&mut [0], bytes)? > 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Candidate::new(Datum::Blacklist, origin.clone(), bytes, begun, content))
}

fn read(file: &File, bytes: u64) -> io::Result<Result<Blacklist, BlacklistFaults>> {
    let read = || read_in_pieces(file, bytes, PIECE_BYTES);
    if bytes < LONG_BYTES { read() } else { background::wait_for("blacklist", read)? }
}

fn read_in_pieces(
    file: &File,
    bytes: u64,
    piece_bytes: usize,
) -> io::Result<Result<Blacklist, BlacklistFaults>> {
    let mut lines = Lines::of_bytes(bytes);
    let mut buffer = vec![0; piece_bytes];
    let mut at = 0;
    while at < bytes {
        let count = usize::try_from(bytes - at).map_or(piece_bytes, |left| left.min(piece_bytes));
        let piece = &mut buffer[..count];
        file.read_exact_at(piece, at)?;
        lines.read(piece);
        at += count as u64;
    }
    Ok(lines.finish())
}

#[cfg(test)]
mod tests;
