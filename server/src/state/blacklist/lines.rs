//! The lines of a list, as they come: a text in pieces -> a list, or the numbers of the faulty lines.
//!
//! A text may be cut anywhere, in the middle of an id too: between two pieces only the state of the line is kept,
//! never its bytes, so that no line is too long for the memory. What most lines look like, digits and a line
//! feed, is read eight digits at a time; everything else byte by byte.

use super::{Blacklist, BlacklistFaults, Form, ids::Ids};
use crate::seckill::ID_MAX;

/// The longest run of digits that fits 64 bits whatever it is.
const DIGITS_SURE: u32 = 19;

/// Reads a text piece by piece.
#[derive(Debug)]
pub struct Lines {
    ids: Ids,
    faults: BlacklistFaults,
    /// Line feeds so far.
    ended: usize,
    state: State,
}

/// What of the present line has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Blank,
    Digits(u64),
    /// An id and blanks behind it.
    Ended(u64),
    Comment,
    Faulty,
}

impl Lines {
    /// Nothing read yet of a text of about `bytes`.
    #[must_use]
    pub fn of_bytes(bytes: u64) -> Self {
        Self {
            ids: Ids::of_bytes(bytes),
            faults: BlacklistFaults::none(Form::List),
            ended: 0,
            state: State::Blank,
        }
    }

    /// Reads the next piece.
    pub fn read(&mut self, piece: &[u8]) {
        let mut rest = piece;
        loop {
            if self.state == State::Blank {
                rest = self.read_plain(rest);
            }
            let Some((&byte, behind)) = rest.split_first() else { return };
            rest = behind;
            self.state = match (self.state, byte) {
                (State::Faulty | State::Comment, byte) if byte != b'\n' => {
                    // Nothing counts any more to the end of the line.
                    let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
                    rest = &rest[end..];
                    self.state
                }
                (_, b'\n') => {
                    self.end_line();
                    self.ended += 1;
                    State::Blank
                }
                (State::Blank, b'#') => State::Comment,
                (State::Digits(id) | State::Ended(id), byte) if byte.is_ascii_whitespace() => {
                    State::Ended(id)
                }
                (State::Blank, byte) if byte.is_ascii_whitespace() => State::Blank,
                (State::Blank, byte @ b'0'..=b'9') => State::Digits(u64::from(byte - b'0')),
                (State::Digits(id), byte @ b'0'..=b'9') => id
                    .checked_mul(10)
                    .and_then(|id| id.checked_add(u64::from(byte - b'0')))
                    .filter(|&id| id <= ID_MAX)
                    .map_or(State::Faulty, State::Digits),
                _ => State::Faulty,
            };
        }
    }

    /// Reads lines as long as they are nothing but the digits of an id; what it leaves begins a line.
    fn read_plain<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        let mut rest = piece;
        while let Some((id, behind)) = plain_line(rest) {
            self.ids.put(id);
            self.ended += 1;
            rest = behind;
        }
        rest
    }

    fn end_line(&mut self) {
        match self.state {
            State::Digits(id) | State::Ended(id) => self.ids.put(id),
            State::Faulty => self.faults.add(self.ended + 1),
            State::Blank | State::Comment => {}
        }
    }

    /// Ends the last line, which needs no line feed.
    ///
    /// # Errors
    /// Some line is not an id.
    pub fn finish(mut self) -> Result<Blacklist, BlacklistFaults> {
        self.end_line();
        if self.faults.count > 0 { Err(self.faults) } else { Ok(Blacklist::of(self.ids.finish())) }
    }
}

/// An id at the beginning of `text` with a line feed behind it, and what comes then.
#[inline]
fn plain_line(text: &[u8]) -> Option<(u64, &[u8])> {
    let (mut id, mut digits) = (0_u64, 0);
    let mut rest = text;
    loop {
        let (eight, behind) = rest.split_first_chunk::<8>()?;
        let eight = u64::from_le_bytes(*eight) ^ (u64::MAX / 255 * u64::from(b'0'));
        // The highest bit of each byte that is no digit.
        let others = (eight | (eight & (u64::MAX / 255 * 0x7f)).wrapping_add(u64::MAX / 255 * 0x76))
            & (u64::MAX / 255 * 0x80);
        if others == 0 {
            if digits == 16 {
                return None;
            }
            id = id * 100_000_000 + value_of_eight(eight);
            digits += 8;
            rest = behind;
            continue;
        }
        let count = others.trailing_zeros() / 8;
        digits += count;
        if count > 0 {
            id =
                id.wrapping_mul(TENS[count as usize]).wrapping_add(value_of_eight(eight << (64 - 8 * count)));
        }
        let (end, behind) = rest[count as usize..].split_first()?;
        let is_plain = *end == b'\n' && (1..=DIGITS_SURE).contains(&digits) && id <= ID_MAX;
        return is_plain.then_some((id, behind));
    }
}

const TENS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// The number that eight digits are, the first one in the lowest byte.
///
/// Johnny Lee, "Fast numeric string to int" (2016).
#[inline]
fn value_of_eight(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff
}
