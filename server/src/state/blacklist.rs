//! Users who may not buy: one id per line, blank lines and lines that start with `#` do not count.
//!
//! Nothing is skipped: a list with one line that cannot be read is refused as a whole. Ten million users are to be
//! held, replaced and asked for while requests are answered, so a list is packed (`packed`), and the few changes
//! that were sent since are beside it (`overlay`). Text becomes a list piece by piece: [`Lines`] -> [`Blacklist`].
//!
//! Deliberately absent: files and threads (`crate::sources`).

mod bits;
mod delta;
mod ids;
mod lines;
mod overlay;
mod packed;
mod shelves;
mod sums;

use std::{fmt, sync::Arc};

pub use self::{delta::Delta, lines::Lines};
use self::{overlay::Overlay, packed::Packed, sums::Sums};
use crate::seckill::{ID_MAX, UserId};

/// Faulty lines that are told by number.
const LINES_TOLD_MAX: usize = 10;

/// So many ids are worth memory of their own.
const MANY_IDS: usize = 1 << 20;
/// More than 32 MiB at once the allocator of the C library takes from the system and gives back when they are
/// freed; of less it keeps some, which after a few reloads was as much as a whole list. What is reserved and not
/// written to takes no memory.
const MAPPED_BYTES: usize = (32 << 20) + 1;

/// Users who may not buy. A copy shares what is large.
#[derive(Debug, Clone, Default)]
pub struct Blacklist {
    packed: Arc<Packed>,
    overlay: Overlay,
    /// Of the ids that are on the list, wherever they are kept.
    sums: Sums,
    len: usize,
}

/// The lines that are not what a list or a delta consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlacklistFaults {
    form: Form,
    /// Numbers of the first faulty lines, from 1.
    lines: Vec<usize>,
    /// All of them, told or not.
    count: usize,
}

/// What a text consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    List,
    Delta,
}

impl Blacklist {
    /// Reads the text of a list, all on this thread.
    ///
    /// # Errors
    /// Some line is not an id.
    pub fn parse(text: &[u8]) -> Result<Self, BlacklistFaults> {
        let mut lines = Lines::of_bytes(text.len() as u64);
        lines.read(text);
        lines.finish()
    }

    fn of((packed, sums): (Packed, Sums)) -> Self {
        Self { len: packed.len(), sums, packed: Arc::new(packed), overlay: Overlay::default() }
    }

    /// The list with `delta` made in it. Takes microseconds for a small one, unless the changes that have gathered
    /// are so many that the list is packed anew.
    #[must_use]
    pub fn with(&self, delta: &Delta) -> Self {
        let mut list = self.clone();
        list.overlay = self.overlay.with(delta, |id| self.packed.contains(id));
        for (UserId(id), adds) in delta.words() {
            match (self.contains(UserId(id)), adds) {
                (false, true) => {
                    list.sums.add(id);
                    list.len += 1;
                }
                (true, false) => {
                    list.sums.take(id);
                    list.len -= 1;
                }
                (true, true) | (false, false) => {}
            }
        }
        if list.overlay.is_large() { list.packed_anew() } else { list }
    }

    /// Whether `user` is on the list.
    #[must_use]
    pub fn contains(&self, user: UserId) -> bool {
        self.overlay.word_on(user.0).unwrap_or_else(|| self.packed.contains(user.0))
    }

    /// Equal for equal lists, however they are spelt.
    #[must_use]
    pub fn digest(&self) -> String {
        self.sums.to_string()
    }

    /// How many users are on the list.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody is on the list.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All users of the list, ascending.
    pub fn iter(&self) -> impl Iterator<Item = UserId> + '_ {
        self.overlay.merged(self.packed.iter()).map(UserId)
    }

    /// What the list takes on the heap, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.packed.heap_bytes() + self.overlay.heap_bytes()
    }

    fn packed_anew(&self) -> Self {
        let mut packer = packed::Packer::for_ids(self.len);
        self.iter().for_each(|user| packer.push(user.0));
        let list = Self::of(packer.finish());
        debug_assert_eq!(list.sums, self.sums, "sums must follow every change");
        list
    }
}

impl PartialEq for Blacklist {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.sums == other.sums && self.iter().eq(other.iter())
    }
}

impl Eq for Blacklist {}

impl BlacklistFaults {
    fn none(form: Form) -> Self {
        Self { form, lines: Vec::new(), count: 0 }
    }

    fn add(&mut self, line: usize) {
        self.count += 1;
        if self.lines.len() < LINES_TOLD_MAX {
            self.lines.push(line);
        }
    }
}

impl fmt::Display for BlacklistFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.lines.iter().map(ToString::to_string).collect();
        let more = if self.count > self.lines.len() { " and more" } else { "" };
        let form = match self.form {
            Form::List => "user id",
            Form::Delta => "+ID or -ID",
        };
        write!(
            f,
            "{} of its lines are not one {form} each (decimal digits, at most {ID_MAX}): {}{more}",
            self.count,
            lines.join(", ")
        )
    }
}

impl std::error::Error for BlacklistFaults {}

/// Room for about `count` numbers, to begin with.
fn room_for(count: usize) -> Vec<u64> {
    Vec::with_capacity(if count < MANY_IDS { 0 } else { mapped::<u64>(count) })
}

/// `count` zeros or more.
fn zeroed<T: Copy + Default>(count: usize) -> Vec<T> {
    vec![T::default(); if count < MANY_IDS { count } else { mapped::<T>(count) }]
}

fn mapped<T>(count: usize) -> usize {
    count.max(MAPPED_BYTES.div_ceil(size_of::<T>()))
}

/// Whether a line, without the blanks around it, does not count.
fn is_skipped(line: &[u8]) -> bool {
    line.is_empty() || line.starts_with(b"#")
}

fn parse_id(line: &[u8]) -> Option<u64> {
    // `parse` alone would take a plus sign.
    if !line.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(line).ok()?.parse().ok().filter(|&id| id <= ID_MAX)
}

#[cfg(test)]
mod tests;
