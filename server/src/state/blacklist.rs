//! Users who may not buy: one id per line, blank lines and lines that start with `#` do not count.
//!
//! Nothing is skipped: a list with one line that cannot be read is refused as a whole. Ten million users are to be
//! held, replaced and asked for while requests are answered, so a list is packed (`packed`), and the few changes
//! that were sent since are beside it (`overlay`). Text becomes a list in steps that may run on several threads:
//! [`Lines`] -> [`Run`] -> [`Runs`] -> [`Half`] -> [`Part`] -> [`Blacklist`].
//!
//! Deliberately absent: files and threads (`crate::sources`).

mod bits;
mod delta;
mod lines;
mod overlay;
mod packed;
mod run;
mod sums;

use std::{fmt, sync::Arc};

pub use self::{
    delta::Delta,
    lines::{Lines, Run},
    run::{Half, Part, Runs},
};
use self::{overlay::Overlay, packed::Packed, sums::Sums};
use crate::seckill::{ID_MAX, UserId};

/// Faulty lines that are told by number.
const LINES_TOLD_MAX: usize = 10;

/// So many ids are worth memory of their own.
const MANY_IDS: usize = 1 << 20;
/// More than 32 MiB at once the allocator of the C library takes from the system and gives back when they are
/// freed; of less it keeps some, which after a few reloads was as much as a whole list. What is reserved and not
/// written to takes no memory.
const MAPPED_WORDS: usize = (32 << 20) / 8 + 1;

/// Users who may not buy. A copy shares what is large.
#[derive(Debug, Clone, Default)]
pub struct Blacklist {
    /// Ascending: every id of a part is greater than all of the part before.
    parts: Arc<[Packed]>,
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
        let runs = Runs::new(lines.finish(), Run::default())?;
        Ok(Self::of(runs.halves().map(Half::pack)))
    }

    /// The list of both halves of the [`Runs`] of its text.
    #[must_use]
    pub fn of(parts: [Part; 2]) -> Self {
        let [low, high] = parts;
        Self {
            sums: low.sums.and(high.sums),
            len: low.packed.len() + high.packed.len(),
            parts: Arc::new([low.packed, high.packed]),
            overlay: Overlay::default(),
        }
    }

    /// The list with `delta` made in it. Takes microseconds for a small one, unless the changes that have gathered
    /// are so many that the list is packed anew.
    #[must_use]
    pub fn with(&self, delta: &Delta) -> Self {
        let mut list = self.clone();
        list.overlay = self.overlay.with(delta, |id| self.is_packed(id));
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
        self.overlay.word_on(user.0).unwrap_or_else(|| self.is_packed(user.0))
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
        self.overlay.merged(self.parts.iter().flat_map(Packed::iter)).map(UserId)
    }

    /// What the list takes on the heap, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.parts.iter().map(Packed::heap_bytes).sum::<usize>() + self.overlay.heap_bytes()
    }

    fn is_packed(&self, id: u64) -> bool {
        // There are two, and the second one may be empty.
        let part = self.parts.iter().rfind(|part| part.first().is_some_and(|first| first <= id));
        part.is_some_and(|part| part.contains(id))
    }

    fn packed_anew(&self) -> Self {
        let mut packer = packed::Packer::for_ids(self.len);
        self.iter().for_each(|user| packer.push(user.0));
        let (packed, sums) = packer.finish();
        debug_assert_eq!(sums, self.sums, "sums must follow every change");
        Self { len: packed.len(), sums, parts: Arc::new([packed]), overlay: Overlay::default() }
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

    /// With those of the text behind, before which there are `lines_before` lines.
    fn and(mut self, behind: Self, lines_before: usize) -> Self {
        self.count += behind.count;
        self.lines.extend(behind.lines.into_iter().map(|line| line + lines_before));
        self.lines.truncate(LINES_TOLD_MAX);
        self
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

/// Room for about `count` numbers.
fn room_for(count: usize) -> Vec<u64> {
    Vec::with_capacity(if count < MANY_IDS { 0 } else { count.max(MAPPED_WORDS) })
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
