//! Users who may not buy: one id per line, blank lines and lines that start with `#` do not count.
//!
//! Nothing is skipped: a list with one line that cannot be read is refused as a whole.

mod delta;

use std::fmt;

pub use self::delta::Delta;
use crate::seckill::{ID_MAX, UserId};

/// Faulty lines that are told by number.
const LINES_TOLD_MAX: usize = 10;

/// Users who may not buy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blacklist {
    /// Ascending, each once.
    ids: Vec<u64>,
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
    /// Reads the text of a list.
    ///
    /// # Errors
    /// Some line is not an id.
    pub fn parse(text: &[u8]) -> Result<Self, BlacklistFaults> {
        let mut ids = Vec::new();
        let mut faults = BlacklistFaults::none(Form::List);
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if is_skipped(line) {
                continue;
            }
            match parse_id(line) {
                Some(id) => ids.push(id),
                None => faults.add(index + 1),
            }
        }
        if faults.count > 0 {
            return Err(faults);
        }
        // The lists that we were shown are sorted already, which makes this one pass.
        ids.sort_unstable();
        ids.dedup();
        Ok(Self { ids })
    }

    /// The list with `delta` made in it.
    #[must_use]
    pub fn with(&self, delta: &Delta) -> Self {
        let (added, removed): (Vec<_>, Vec<_>) = delta.words().partition(|&(_, adds)| adds);
        let is_in = |words: &[(UserId, bool)], id| words.binary_search_by_key(&id, |word| word.0.0).is_ok();
        let mut ids = self.ids.clone();
        ids.retain(|&id| !is_in(&removed, id) && !is_in(&added, id));
        ids.extend(added.iter().map(|word| word.0.0));
        ids.sort_unstable();
        Self { ids }
    }

    /// Whether `user` is on the list.
    #[must_use]
    pub fn contains(&self, user: UserId) -> bool {
        self.ids.binary_search(&user.0).is_ok()
    }

    /// Equal for equal lists, however they are spelt: the sum of all ids, each scrambled (`SplitMix64`), so that
    /// it does not depend on their order.
    #[must_use]
    pub fn digest(&self) -> String {
        let sum = |seed: u64| self.ids.iter().fold(0_u64, |sum, id| sum.wrapping_add(scramble(id ^ seed)));
        format!("{:016x}{:016x}", sum(0), sum(0x5851_f42d_4c95_7f2d))
    }

    /// How many users are on the list.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nobody is on the list.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

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

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
fn scramble(id: u64) -> u64 {
    let id = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    id ^ (id >> 31)
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
mod tests {
    use super::*;

    #[test]
    fn ids_blank_lines_and_comments() {
        let list = Blacklist::parse(b"# scalpers\n7\n\n 3 \r\n7\n9223372036854775807").unwrap();
        assert_eq!(list.len(), 3);
        for id in [3, 7, ID_MAX] {
            assert!(list.contains(UserId(id)), "{id}");
        }
        for id in [0, 4, 8] {
            assert!(!list.contains(UserId(id)), "{id}");
        }
        assert!(Blacklist::parse(b"").unwrap().is_empty());
    }

    #[test]
    fn one_bad_line_refuses_the_list() {
        for bad in ["x", "-1", "+1", "1 2", "1.0", "9223372036854775808", "\u{661}", "7 # scalper"] {
            assert!(Blacklist::parse(format!("1\n{bad}\n2\n").as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_first_ten_bad_lines_are_told() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Blacklist::parse(text.as_bytes()).unwrap_err().to_string(), expected);
        };
        let told = "of its lines are not one user id each (decimal digits, at most 9223372036854775807)";
        check("1\nx\n2\ny\n", &format!("2 {told}: 2, 4"));
        check(&"x\n".repeat(12), &format!("12 {told}: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and more"));
    }
}
