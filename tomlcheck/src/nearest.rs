//! "Did you mean": the known word that a mistyped one is closest to.

/// The candidate nearest to `word`, if any is near enough to be meant.
///
/// Near enough is a distance of at most a third of the longer word (one edit for words of up to five
/// letters, none for words of one). Of equally near candidates the first wins. When none is near, the
/// first that `word` is the beginning of is meant: `drain` for `drain_ms`.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let is_near = |(edits, candidate): &(usize, &str)| {
        let longer = word.chars().count().max(candidate.chars().count());
        *edits <= (longer / 3).max(1) && *edits < longer
    };
    let near = candidates.iter().map(|candidate| (distance(word, candidate), *candidate)).filter(is_near);
    let begun = || candidates.iter().find(|candidate| word.len() > 2 && candidate.starts_with(word)).copied();
    near.min_by_key(|(edits, _)| *edits).map(|(_, candidate)| candidate).or_else(begun)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (the optimal string
/// alignment distance), by letters without regard to case, with `_` and `-` alike.
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| -> Vec<char> {
        text.chars().flat_map(char::to_lowercase).map(|c| if c == '_' { '-' } else { c }).collect()
    };
    let (a, b) = (letters(a), letters(b));
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distances_are_those_of_optimal_string_alignment() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("bind", "bind", 0),
            ("bidn", "bind", 1),
            ("bnd", "bind", 1),
            ("bindd", "bind", 1),
            ("kitten", "sitting", 3),
            ("drain_ms", "drain-ms", 0),
            ("Größe", "größe", 0),
        ] {
            assert_eq!(distance(a, b), expected, "{a} -> {b}");
        }
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        let words = ["handoff", "handoff-live", "reuseport", "rate"];
        assert_eq!(nearest("handof", words), Some("handoff"));
        assert_eq!(nearest("reuse-port", words), Some("reuseport"));
        assert_eq!(nearest("raet", words), Some("rate"));
        assert_eq!(nearest("hand", words), Some("handoff"));
        assert_eq!(nearest("ra", words), None);
        assert_eq!(nearest("nothing", words), None);
        assert_eq!(nearest("x", []), None);
    }
}
