//! The file of a blacklist -> a packed list, while requests are answered.
//!
//! It is read piece by piece with `pread`: a memory map would kill the process with SIGBUS when somebody truncates
//! the file. A long one is read by two threads, each from its side of a line's end, and packed by two, all of which
//! give way to requests, and so does what frees the memory that it took. A short one, that nobody would notice, is
//! read on the thread that asks.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _, panic, sync::Arc, thread};

use crate::{
    background, clock,
    reload::{Candidate, Content},
    state::{Blacklist, BlacklistFaults, Datum, Half, Lines, Origin, Run, Runs},
};

/// What is read at once: small enough for the processor's cache.
const PIECE_BYTES: usize = 256 * 1024;
/// Size of a file that threads of its own are worth.
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
    if bytes < LONG_BYTES {
        let runs = read_in_one(file, bytes, PIECE_BYTES)?;
        return Ok(runs.map(|runs| Blacklist::of(runs.halves().map(Half::pack))));
    }
    background::wait_for("blacklist-1", || {
        let runs = match read_in_two(file, bytes, PIECE_BYTES)? {
            Ok(runs) => runs,
            Err(faults) => return Ok(Err(faults)),
        };
        let [low, high] = runs.halves();
        both(|| low.pack(), || high.pack()).map(|parts| Ok(Blacklist::of(parts)))
    })?
}

fn read_in_one(file: &File, bytes: u64, piece_bytes: usize) -> io::Result<Result<Runs, BlacklistFaults>> {
    let run = read_range(file, 0..bytes, piece_bytes)?;
    Ok(Runs::new(run, Run::default()))
}

fn read_in_two(file: &File, bytes: u64, piece_bytes: usize) -> io::Result<Result<Runs, BlacklistFaults>> {
    let middle = line_end(file, bytes / 2..bytes, piece_bytes)?;
    let [first, second] =
        both(|| read_range(file, 0..middle, piece_bytes), || read_range(file, middle..bytes, piece_bytes))?;
    Ok(Runs::new(first?, second?))
}

/// Reads whole lines.
fn read_range(file: &File, range: Range<u64>, piece_bytes: usize) -> io::Result<Run> {
    let mut lines = Lines::of_bytes(range.end - range.start);
    pieces(file, range, piece_bytes, |_, piece| {
        lines.read(piece);
        true
    })?;
    Ok(lines.finish())
}

/// Where the first line that ends in `range` has ended; the end of `range` when none does.
fn line_end(file: &File, range: Range<u64>, piece_bytes: usize) -> io::Result<u64> {
    let mut end = range.end;
    pieces(file, range, piece_bytes, |at, piece| match piece.iter().position(|&byte| byte == b'\n') {
        Some(index) => {
            end = at + index as u64 + 1;
            false
        }
        None => true,
    })?;
    Ok(end)
}

/// Hands out the bytes of `range` with their places, as long as they are wanted.
fn pieces(
    file: &File,
    range: Range<u64>,
    piece_bytes: usize,
    mut is_more_wanted: impl FnMut(u64, &[u8]) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; piece_bytes];
    let mut at = range.start;
    while at < range.end {
        let count = usize::try_from(range.end - at).map_or(piece_bytes, |left| left.min(piece_bytes));
        let piece = &mut buffer[..count];
        file.read_exact_at(piece, at)?;
        if !is_more_wanted(at, piece) {
            break;
        }
        at += count as u64;
    }
    Ok(())
}

/// Does both at the same time.
fn both<T: Send>(one: impl FnOnce() -> T + Send, other: impl FnOnce() -> T + Send) -> io::Result<[T; 2]> {
    thread::scope(|scope| {
        let other = thread::Builder::new().name("blacklist-2".to_owned()).spawn_scoped(scope, other)?;
        let one = one();
        Ok([one, other.join().unwrap_or_else(|payload| panic::resume_unwind(payload))])
    })
}

#[cfg(test)]
mod tests;
