//! What is to change in a list: lines of `+ID` and `-ID`, blank lines and lines that start with `#` do not count.
//!
//! The last word on an id wins. To add who is on the list, or to take off who is not, changes nothing and is no
//! fault: whoever sends a delta twice has the same list as whoever sends it once.

use std::collections::BTreeMap;

use super::{BlacklistFaults, Form, is_skipped, parse_id};
use crate::seckill::UserId;

/// Users to add to a list and to take off it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Ascending by id, each once; `true`: add.
    words: Vec<(u64, bool)>,
}

impl Delta {
    /// Reads the text of a delta.
    ///
    /// # Errors
    /// Some line is neither `+ID` nor `-ID`.
    pub fn parse(text: &[u8]) -> Result<Self, BlacklistFaults> {
        let mut words = BTreeMap::new();
        let mut faults = BlacklistFaults::none(Form::Delta);
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if is_skipped(line) {
                continue;
            }
            match parse_word(line) {
                Some((id, adds)) => drop(words.insert(id, adds)),
                None => faults.add(index + 1),
            }
        }
        let words = words.into_iter().collect();
        if faults.count > 0 { Err(faults) } else { Ok(Self { words }) }
    }

    /// Every user it speaks of, ascending, and whether he is to be on the list.
    pub fn words(&self) -> impl ExactSizeIterator<Item = (UserId, bool)> + '_ {
        self.words.iter().map(|&(id, adds)| (UserId(id), adds))
    }

    /// How many users it speaks of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

fn parse_word(line: &[u8]) -> Option<(u64, bool)> {
    let (&sign, id) = line.split_first()?;
    let adds = match sign {
        b'+' => true,
        b'-' => false,
        _ => return None,
    };
    Some((parse_id(id)?, adds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{seckill::ID_MAX, state::Blacklist};

    fn delta(text: &str) -> Delta {
        Delta::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_last_word_on_an_id_wins() {
        let delta = delta("# night shift\n+7\n\n-3\r\n  +3  \n-7\n+9223372036854775807");
        let words: Vec<_> = delta.words().map(|(user, adds)| (user.0, adds)).collect();
        assert_eq!(words, [(3, true), (7, false), (ID_MAX, true)]);
        assert_eq!(self::delta("-3\n+3"), self::delta("+3"));
    }

    #[test]
    fn an_empty_text_changes_nothing() {
        for text in ["", "\n", "# nobody\r\n\r\n"] {
            assert!(delta(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn one_bad_line_refuses_the_delta() {
        for bad in ["7", "+", "-", "++7", "+-7", "+ 7", "+7 -8", "+9223372036854775808", "*7", "+\u{661}"] {
            assert!(Delta::parse(format!("+1\n{bad}\n-2\n").as_bytes()).is_err(), "{bad:?}");
        }
        let told = Delta::parse(b"+1\n2\n-x\n").unwrap_err().to_string();
        let expected =
            "2 of its lines are not one +ID or -ID each (decimal digits, at most 9223372036854775807): 2, 3";
        assert_eq!(told, expected);
    }

    #[test]
    fn a_list_with_a_delta() {
        let check = |list: &str, text: &str, expected: &str| {
            let list = Blacklist::parse(list.as_bytes()).unwrap().with(&delta(text));
            let expected = Blacklist::parse(expected.as_bytes()).unwrap();
            assert_eq!((list.len(), list.digest()), (expected.len(), expected.digest()), "{text:?}");
            assert_eq!(list, expected);
        };
        check("1\n5", "+3\n-5", "1\n3");
        check("1\n5", "+1\n-2", "1\n5");
        check("", "+0\n+9223372036854775807", "0\n9223372036854775807");
        check("1", "-1", "");
    }
}
