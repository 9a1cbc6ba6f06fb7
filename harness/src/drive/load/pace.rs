//! Slow peers: a body that goes out in pieces, an answer that is read in pieces.
//!
//! How many bytes may pass follows from the time alone; [`Paces`] knows when to look again. The last piece
//! passes when the pace's time is over, whatever happened before. Deliberately absent: sockets.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::pool::Mark;
use crate::plan::Pace;

/// Pieces of a body or an answer: many enough to be spread, few enough to cost little.
const PIECES: u64 = 32;
/// Pieces are no closer than this, below which nothing of ours is precise.
const PIECE_NS_MIN: u64 = 1_000_000;

/// When the next piece of which attempt may pass.
#[derive(Debug, Default)]
pub(super) struct Paces(BinaryHeap<Reverse<(u64, u64, u64)>>);

/// An attempt whose next piece may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) mark: Mark,
    pub(super) attempt: u64,
}

impl Paces {
    /// When [`Paces::take`] has something; `None` when no attempt is slow.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.0.peek().map(|Reverse((at_ns, ..))| *at_ns)
    }

    pub(super) fn add(&mut self, at_ns: u64, piece: Piece) {
        self.0.push(Reverse((at_ns, piece.mark.bits(), piece.attempt)));
    }

    /// Takes out a piece whose time has come.
    pub(super) fn take(&mut self, now_ns: u64) -> Option<Piece> {
        self.next_ns().filter(|at_ns| *at_ns <= now_ns)?;
        let Reverse((_, bits, attempt)) = self.0.pop()?;
        Some(Piece { mark: Mark::from_bits(bits), attempt })
    }
}

/// From one piece to the next; `None` for a stream without a pace.
pub(super) fn interval_ns(pace: Pace) -> Option<u64> {
    let slowest = [pace.upload_ns, pace.download_ns].into_iter().filter(|ns| *ns > 0).min()?;
    Some((slowest / PIECES).max(PIECE_NS_MIN))
}

/// A request whose body goes out slowly.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upload {
    pub(super) begun_ns: u64,
    pub(super) over_ns: u64,
    /// Bytes that go out at once.
    pub(super) head: usize,
    pub(super) body: usize,
}

impl Upload {
    /// How many bytes of the request may have gone out by then.
    pub(super) fn allowed(&self, now_ns: u64) -> usize {
        let elapsed_ns = now_ns.saturating_sub(self.begun_ns);
        let body = share(self.body as u64, elapsed_ns, self.over_ns);
        self.head + usize::try_from(body).unwrap_or(usize::MAX)
    }
}

/// An answer that is read slowly: a piece with each turn, everything when the time is over. How long the
/// answer will be need not be known, because each piece is a share of what is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Download {
    over_ns: u64,
    interval_ns: u64,
    /// When its first byte was read.
    begun_ns: Option<u64>,
    turn: bool,
}

impl Download {
    pub(super) fn new(pace: Pace) -> Option<Self> {
        let over_ns = Some(pace.download_ns).filter(|ns| *ns > 0)?;
        Some(Self { over_ns, interval_ns: interval_ns(pace)?, begun_ns: None, turn: true })
    }

    /// The time of another piece has come.
    pub(super) fn next_turn(&mut self) {
        self.turn = true;
    }

    /// How many of the bytes that are there may be read now.
    pub(super) fn allowed(&mut self, now_ns: u64, there: usize) -> usize {
        let Some(begun_ns) = self.begun_ns else { return 1 };
        let left_ns = self.over_ns.saturating_sub(now_ns.saturating_sub(begun_ns));
        if left_ns == 0 {
            return usize::MAX;
        }
        if !std::mem::take(&mut self.turn) {
            return 0;
        }
        // Where nothing is there, asking for a byte tells whether the server is.
        let pieces = usize::try_from(left_ns.div_ceil(self.interval_ns)).unwrap_or(usize::MAX);
        if there == 0 { 1 } else { there / pieces.saturating_add(1) }
    }

    /// The answer has begun.
    pub(super) fn begin(&mut self, now_ns: u64) {
        self.begun_ns.get_or_insert(now_ns);
        self.turn = false;
    }
}

/// The part of `all` that belongs to the elapsed part of the time.
fn share(all: u64, elapsed_ns: u64, over_ns: u64) -> u64 {
    let part = u128::from(all) * u128::from(elapsed_ns.min(over_ns)) / u128::from(over_ns.max(1));
    u64::try_from(part).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Download, Upload, interval_ns};
    use crate::plan::Pace;

    const MS: u64 = 1_000_000;

    #[test]
    fn pieces_are_spread_but_never_too_close() {
        let check = |upload_ms, download_ms, expected_us: Option<u64>| {
            let pace = Pace { upload_ns: upload_ms * MS, download_ns: download_ms * MS };
            assert_eq!(interval_ns(pace).map(|ns| ns / 1_000), expected_us);
        };
        check(0, 0, None);
        check(320, 0, Some(10_000));
        check(0, 16, Some(1_000));
        check(640, 320, Some(10_000));
    }

    #[test]
    fn a_body_goes_out_evenly_and_wholly_at_the_end() {
        let upload = Upload { begun_ns: 10 * MS, over_ns: 100 * MS, head: 50, body: 200 };
        for (at_ms, expected) in [(0, 50), (10, 50), (35, 100), (60, 150), (109, 248), (110, 250), (900, 250)]
        {
            assert_eq!(upload.allowed(at_ms * MS), expected, "at {at_ms} ms");
        }
    }

    /// However much is there, something is left until the time is over.
    #[test]
    fn an_answer_is_never_whole_before_its_time() {
        for whole in [1_usize, 2, 5, 100, 1_000_000] {
            let mut download = Download::new(Pace { upload_ns: 0, download_ns: 320 * MS }).unwrap();
            let mut there = whole;
            assert_eq!(download.allowed(5 * MS, there), 1);
            download.begin(5 * MS);
            there -= 1;
            for at_ms in 6..325 {
                if there == 0 {
                    continue;
                }
                assert_eq!(download.allowed(at_ms * MS, there), 0, "it is not its turn");
                download.next_turn();
                there -= download.allowed(at_ms * MS, there);
                assert!(there > 0, "{whole} were read after {at_ms} ms");
            }
            assert_eq!(download.allowed(325 * MS, there), usize::MAX);
        }
    }
}
