//! The Rust files of the tree, read once: what of a file is code, and what is there only for tests.
//!
//! An item is for tests when it has `#[cfg(test)]`; a file is when its module is such an item, or when it
//! belongs to a crate's `tests/` or `examples/`.

use std::{collections::BTreeSet, ops::Range};

use crate::{
    tokens::{Token, tokens},
    tree::Tree,
};

/// One Rust file.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    /// All of its tokens.
    pub(crate) tokens: Vec<Token<'a>>,
    /// Items under `#[cfg(test)]`, as indices into `tokens`, attribute included.
    tests: Vec<Range<usize>>,
    /// The whole file is for tests.
    pub(crate) is_test: bool,
}

impl<'a> Source<'a> {
    /// All Rust files of the tree.
    pub(crate) fn all(tree: &'a Tree) -> Vec<Self> {
        let mut sources: Vec<_> = tree
            .files()
            .filter(|(file, _)| file.ends_with(".rs"))
            .map(|(file, text)| {
                let tokens = tokens(text);
                let tests = test_items(&tokens);
                let is_test = file.split('/').any(|folder| matches!(folder, "tests" | "examples"));
                Self { file, text, tokens, tests, is_test }
            })
            .collect();
        let modules: BTreeSet<_> = sources.iter().flat_map(Source::test_modules).collect();
        for source in &mut sources {
            let module = source.file.trim_end_matches(".rs");
            let mut above = module.match_indices('/').map(|(at, _)| &module[..at]).chain([module]);
            source.is_test |= above.any(|module| modules.contains(module));
        }
        sources
    }

    /// The tokens that are not for tests.
    pub(crate) fn code(&self) -> Vec<Token<'a>> {
        if self.is_test {
            return Vec::new();
        }
        let in_test = |at: &usize| self.tests.iter().any(|test| test.contains(at));
        (0..self.tokens.len()).filter(|at| !in_test(at)).map(|at| self.tokens[at]).collect()
    }

    /// Lines of the file, and how many of them are not for tests.
    pub(crate) fn line_counts(&self) -> (usize, usize) {
        let all = self.text.lines().count();
        let line = |at: usize| self.tokens[at].line;
        let tests: usize = self.tests.iter().map(|test| line(test.end - 1) + 1 - line(test.start)).sum();
        (all, if self.is_test { 0 } else { all.saturating_sub(tests) })
    }

    /// Names of the functions that carry `#[test]` or an attribute like `#[tokio::test(..)]`.
    pub(crate) fn test_names(&self) -> Vec<&'a str> {
        let texts: Vec<_> = self.tokens.iter().map(|token| token.text).collect();
        let mut names = Vec::new();
        for at in 0..texts.len() {
            if !texts[at..].starts_with(&["#", "["]) {
                continue;
            }
            let end = close(&self.tokens, at + 1);
            let name = texts[at + 2..end].iter().take_while(|text| **text != "(").last();
            if name == Some(&"test") {
                let keyword = texts[end..].iter().position(|text| *text == "fn");
                names.extend(keyword.and_then(|keyword| texts.get(end + keyword + 1).copied()));
            }
        }
        names
    }

    /// Files without their `.rs`, that this one declares by `#[cfg(test)] mod name;`.
    fn test_modules(&self) -> Vec<String> {
        let stem = self.file.trim_end_matches(".rs");
        let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
        let room = if matches!(name, "lib" | "main") { folder } else { stem };
        let declared = |test: &Range<usize>| match &self.tokens[test.clone()] {
            [.., keyword, name, end] if keyword.text == "mod" && end.text == ";" => {
                Some(format!("{room}/{}", name.text))
            }
            _ => None,
        };
        self.tests.iter().filter_map(declared).collect()
    }
}

/// The items under `#[cfg(test)]`.
fn test_items(tokens: &[Token<'_>]) -> Vec<Range<usize>> {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut items: Vec<Range<usize>> = Vec::new();
    for start in 0..tokens.len() {
        let texts = tokens[start..].iter().map(|token| token.text);
        let nested = items.last().is_some_and(|item| item.contains(&start));
        if !nested && texts.take(ATTRIBUTE.len()).eq(ATTRIBUTE) {
            items.push(start..item_end(tokens, start + ATTRIBUTE.len()));
        }
    }
    items
}

/// Behind the item that begins at `at`: its `;`, or the end of its braces.
fn item_end(tokens: &[Token<'_>], mut at: usize) -> usize {
    let text = |at: usize| tokens.get(at).map(|token| token.text);
    while text(at) == Some("#") {
        at = close(tokens, at + 1) + 1;
    }
    let braces_end_it = text(at) != Some("use");
    while let Some(mark) = text(at) {
        match mark {
            ";" => return at + 1,
            "{" if braces_end_it => return (close(tokens, at) + 1).min(tokens.len()),
            "{" | "(" | "[" => at = close(tokens, at) + 1,
            _ => at += 1,
        }
    }
    tokens.len()
}

/// Where the bracket that opens at `open` closes; the end of the file if it never does.
fn close(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::Source;
    use crate::tree::Tree;

    #[test]
    fn code_is_what_is_left_without_the_items_for_tests() {
        let text = "use a::{b};\n#[cfg(test)]\nuse c::{d};\n#[cfg(test)]\n#[derive(Debug)]\nstruct E { f: u8 }\n\
                    fn g() {}\n#[cfg(test)]\nfn h(i: [u8; 3]) { { j } }\n#[cfg(test)]\nmod tests {\n fn k() {}\n}\n";
        let tree = Tree::from([("x/src/a.rs", text)]);
        let source = &Source::all(&tree)[0];
        let code: Vec<_> = source.code().iter().map(|token| token.text).collect();
        assert_eq!(code.join(" "), "use a :: { b } ; fn g ( ) { }");
        assert_eq!(source.line_counts(), (13, 2));
    }

    #[test]
    fn files_of_test_modules_are_for_tests() {
        let tree = Tree::from([
            ("x/src/lib.rs", "#[cfg(test)]\nmod top;\nmod room;"),
            ("x/src/room.rs", "#[cfg(test)]\nmod fixture;\nmod other;"),
            ("x/src/room/fixture.rs", ""),
            ("x/src/room/fixture/deep.rs", ""),
            ("x/src/room/other.rs", ""),
            ("x/src/top.rs", ""),
            ("x/tests/it/main.rs", ""),
        ]);
        let sources = Source::all(&tree);
        let tests: Vec<_> =
            sources.iter().filter(|source| source.is_test).map(|source| source.file).collect();
        let expected =
            ["x/src/room/fixture.rs", "x/src/room/fixture/deep.rs", "x/src/top.rs", "x/tests/it/main.rs"];
        assert_eq!(tests, expected);
    }

    #[test]
    fn tests_are_known_by_their_attribute() {
        let text = "#[test] fn a() {} #[tokio::test(flavor = \"x\")] #[ignore] async fn b() {} fn c() {} \
                    #[cfg(test)] fn d() {}";
        let tree = Tree::from([("x/src/a.rs", text)]);
        let sources = Source::all(&tree);
        assert_eq!(sources[0].test_names(), ["a", "b"]);
    }
}
