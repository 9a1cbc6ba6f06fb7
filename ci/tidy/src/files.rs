//! What holds for every file by itself: module docs, length, no `mod.rs`, nothing left open.

use crate::{source::Source, tree::Tree, violation::Violation};

/// Lines of a file without its tests.
const CODE_LINES_MAX: usize = 400;
/// Lines of a file in all, and of a file of tests.
const LINES_MAX: usize = 600;

/// What marks a place as unfinished; put together here, so that this file passes its own check.
const OPEN_WORDS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
const OPEN_MACROS: [&str; 2] = [concat!("todo", "!"), concat!("unimplemented", "!")];

pub(crate) fn check(tree: &Tree, sources: &[Source<'_>]) -> Vec<Violation> {
    let mut found: Vec<_> = sources.iter().flat_map(rust_file).collect();
    for (file, text) in tree.files().filter(|(file, _)| is_code(file)) {
        for (line, text) in (1..).zip(text.lines()) {
            let words = OPEN_WORDS.iter().filter(|word| has_word(text, word));
            let macros = OPEN_MACROS.iter().filter(|name| text.contains(**name));
            let open = words.chain(macros).map(|mark| {
                Violation::new(file, line, format!("`{mark}` is left open: finish it, or write an issue"))
            });
            found.extend(open);
        }
    }
    found
}

fn rust_file(source: &Source<'_>) -> Vec<Violation> {
    let mut texts = Vec::new();
    if !source.text.starts_with("//!") {
        texts.push("begin the file with `//!`: purpose, invariants, what is absent on purpose".to_owned());
    }
    if source.file.rsplit('/').next() == Some("mod.rs") {
        texts.push("no mod.rs: `foo.rs` is the door, `foo/` the room".to_owned());
    }
    let (all, code) = source.line_counts();
    if code > CODE_LINES_MAX {
        texts.push(format!("{code} lines without its tests; at most {CODE_LINES_MAX}"));
    }
    if all > LINES_MAX {
        texts.push(format!("{all} lines; at most {LINES_MAX}"));
    }
    texts.into_iter().map(|text| Violation::new(source.file, 0, text)).collect()
}

/// Files that a program reads; the scripts of ci/ have no extension.
fn is_code(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    match name.rsplit_once('.') {
        Some((_, extension)) => matches!(extension, "rs" | "toml" | "sh" | "py" | "sql" | "json"),
        None => file.starts_with("ci/") || file.starts_with(".ci/"),
    }
}

fn has_word(text: &str, word: &str) -> bool {
    let inside_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(inside_word) && !text[at + word.len()..].starts_with(inside_word)
    })
}

#[cfg(test)]
mod tests {
    use super::{CODE_LINES_MAX, LINES_MAX, OPEN_MACROS, OPEN_WORDS, check};
    use crate::{source::Source, tree::Tree, violation::listing};

    fn found(file: &str, text: &str) -> Vec<String> {
        let tree = Tree::from([(file, text)]);
        listing(check(&tree, &Source::all(&tree)))
    }

    #[test]
    fn a_file_without_module_docs_is_found() {
        assert_eq!(found("a/src/b.rs", "//! What it is.\nfn c() {}"), [""; 0]);
        for text in ["", "use a;\n//! Late.", "// Plain.", "\n//! After a blank line."] {
            let expected =
                "a/src/b.rs: begin the file with `//!`: purpose, invariants, what is absent on purpose";
            assert_eq!(found("a/src/b.rs", text), [expected], "{text:?}");
        }
    }

    #[test]
    fn a_mod_rs_is_found() {
        let expected = "a/src/b/mod.rs: no mod.rs: `foo.rs` is the door, `foo/` the room";
        assert_eq!(found("a/src/b/mod.rs", "//! B."), [expected]);
    }

    #[test]
    fn long_files_are_found() {
        let file = |code: usize, tests: usize| {
            let tests = if tests == 0 {
                String::new()
            } else {
                format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(tests - 3))
            };
            format!("//! A.\n{}{tests}", "\n".repeat(code - 1))
        };
        let cases: [(&str, usize, usize, &[&str]); 6] = [
            ("a/src/b.rs", CODE_LINES_MAX, 0, &[]),
            ("a/src/b.rs", CODE_LINES_MAX, LINES_MAX - CODE_LINES_MAX, &[]),
            ("a/src/b.rs", CODE_LINES_MAX + 1, 10, &["a/src/b.rs: 401 lines without its tests; at most 400"]),
            (
                "a/src/b.rs",
                CODE_LINES_MAX,
                LINES_MAX - CODE_LINES_MAX + 1,
                &["a/src/b.rs: 601 lines; at most 600"],
            ),
            ("a/tests/it/b.rs", LINES_MAX, 0, &[]),
            ("a/tests/it/b.rs", LINES_MAX + 1, 0, &["a/tests/it/b.rs: 601 lines; at most 600"]),
        ];
        for (path, code, tests, expected) in cases {
            assert_eq!(found(path, &file(code, tests)), expected, "{path} with {code} and {tests}");
        }
    }

    #[test]
    fn what_is_left_open_is_found() {
        for mark in OPEN_WORDS.into_iter().chain(OPEN_MACROS) {
            let expected =
                |file: &str| [format!("{file}:2: `{mark}` is left open: finish it, or write an issue")];
            let text = format!("//! A.\n# {mark}(b)");
            for file in ["a/src/b.rs", "Cargo.toml", "ci/test", "ci/clients.py"] {
                assert_eq!(found(file, &text), expected(file));
            }
            assert_eq!(found("README.md", &text), [""; 0]);
        }
        for word in OPEN_WORDS {
            assert_eq!(found("ci/test", &format!("A{word} {word}B {word}_C")), [""; 0]);
        }
    }
}
