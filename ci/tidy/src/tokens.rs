//! Rust text as words and marks, each with its line; comments and literals are left out.
//!
//! This is as much of a lexer as the checks need: a path that stands in a comment or in a string is not an
//! import. Numbers are left out, too. Text that does not compile gives some tokens, never a panic.

/// A word, `::`, or a single mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    /// From 1.
    pub(crate) line: usize,
}

impl Token<'_> {
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// The tokens of a file.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (length, kind) = next(rest, first);
        let (taken, after) = rest.split_at(length);
        match kind {
            Kind::Token => found.push(Token { text: taken, line }),
            Kind::Nothing => {}
        }
        line += taken.matches('\n').count();
        rest = after;
    }
    found
}

#[derive(Clone, Copy)]
enum Kind {
    Token,
    Nothing,
}

/// How many bytes the next piece of the text has, and whether anybody wants it.
fn next(rest: &str, first: char) -> (usize, Kind) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Kind::Nothing);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), Kind::Nothing);
    }
    if first == '"' {
        return (quoted(rest, '"'), Kind::Nothing);
    }
    if first == '\'' {
        return (character_or_lifetime(rest), Kind::Nothing);
    }
    if let Some(length) = prefixed_literal(rest) {
        return (length, Kind::Nothing);
    }
    if first.is_alphanumeric() || first == '_' {
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        return (length, if first.is_numeric() { Kind::Nothing } else { Kind::Token });
    }
    if rest.starts_with("::") {
        return (2, Kind::Token);
    }
    (first.len_utf8(), if first.is_whitespace() { Kind::Nothing } else { Kind::Token })
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = text.get(at..).unwrap_or_default();
        match (rest.starts_with("/*"), rest.starts_with("*/")) {
            (true, _) => (depth, at) = (depth + 1, at + 2),
            (_, true) => (depth, at) = (depth - 1, at + 2),
            _ => at += rest.chars().next().map_or(1, char::len_utf8),
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// From one quotation mark to the next that has no backslash before it.
fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == mark => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

fn character_or_lifetime(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => quoted(text, '\''),
        (_, Some((at, '\''))) => at + 1,
        _ => 1 + text[1..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len() - 1),
    }
}

/// `b"…"`, `c"…"`, `b'…'`, `r"…"`, `r#"…"#` and their mixtures.
fn prefixed_literal(text: &str) -> Option<usize> {
    for (prefix, raw) in [("br", true), ("cr", true), ("r", true), ("b", false), ("c", false)] {
        let Some(literal) = text.strip_prefix(prefix) else { continue };
        if !raw && literal.starts_with('"') {
            return Some(prefix.len() + quoted(literal, '"'));
        }
        if prefix == "b" && literal.starts_with('\'') {
            return Some(prefix.len() + quoted(literal, '\''));
        }
        let fences = literal.len() - literal.trim_start_matches('#').len();
        if raw && literal[fences..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(fences));
            let inside = fences + 1;
            let length = literal[inside..].find(&end).map_or(literal.len(), |at| inside + at + end.len());
            return Some(prefix.len() + length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::tokens;

    #[test]
    fn comments_and_literals_are_left_out() {
        let cases: [(&str, &[&str]); 9] = [
            ("use crate::a; // crate::b", &["use", "crate", "::", "a", ";"]),
            ("/* a /* b */ c */ d", &["d"]),
            (r#"f("crate::a \" b", 'x', '\'', '"')"#, &["f", "(", ",", ",", ",", ")"]),
            ("r#\"a \" crate::b\"# c", &["c"]),
            ("br\"a\\\" b\"d\" c\"e\" b'\\'' f", &["f"]),
            ("fn f<'a>(x: &'a str) {}", &["fn", "f", "<", ">", "(", "x", ":", "&", "str", ")", "{", "}"]),
            ("a[0x1f..2_000]", &["a", "[", ".", ".", "]"]),
            ("r#type", &["r", "#", "type"]),
            ("'é' é \"unfinished", &["é"]),
        ];
        for (text, expected) in cases {
            let found: Vec<_> = tokens(text).iter().map(|token| token.text).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn lines_are_counted_through_comments_and_strings() {
        let found = tokens("a /*\n\n*/ b \"\n\" c\n// d\ne");
        let lines: Vec<_> = found.iter().map(|token| (token.text, token.line)).collect();
        assert_eq!(lines, [("a", 1), ("b", 3), ("c", 4), ("e", 6)]);
    }
}
