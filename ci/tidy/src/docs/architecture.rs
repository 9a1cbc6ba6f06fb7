//! ARCHITECTURE.md against the tree.

use std::collections::BTreeSet;

use super::in_backticks;
use crate::{source::Source, tree::Tree, violation::Violation};

pub(super) const FILE: &str = "ARCHITECTURE.md";
/// The heading of the invariants, at any level.
const INVARIANTS: &str = "Invariants";
const HELD_BY: &str = "held by ";

pub(super) fn check(tree: &Tree, sources: &[Source<'_>]) -> Vec<Violation> {
    let Some(text) = tree.text(FILE) else { return Vec::new() };
    let names = Names::of(tree, sources);
    let mut in_code = false;
    let mut found = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        in_code ^= text.trim_start().starts_with("```");
        if !in_code {
            let faults = in_backticks(text).filter_map(|text| names.fault(text));
            found.extend(faults.map(|fault| Violation::new(FILE, line, fault)));
        }
    }
    let invariants = invariants(text);
    if invariants.is_empty() {
        let text = format!("has no numbered line under a heading \"{INVARIANTS}\"");
        found.push(Violation::new(FILE, 0, text));
    }
    for (line, invariant) in invariants {
        found.extend(names.holders_fault(&invariant).map(|fault| Violation::new(FILE, line, fault)));
    }
    found
}

/// The numbered items under the heading, each with its first line and the lines that go on below it.
fn invariants(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let (mut under_heading, mut open) = (false, false);
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with('#') {
            under_heading = line.contains(INVARIANTS);
            open = false;
        } else if under_heading && is_numbered(line) {
            found.push((number, line.to_owned()));
            open = true;
        } else if line.trim().is_empty() {
            open = false;
        } else if let (true, Some((_, invariant))) = (open, found.last_mut()) {
            invariant.push(' ');
            invariant.push_str(line.trim());
        }
    }
    found
}

fn is_numbered(line: &str) -> bool {
    let line = line.trim_start();
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    digits > 0 && line[digits..].starts_with(". ")
}

/// What a document may name.
struct Names<'a> {
    tree: &'a Tree,
    /// Folders and files at the root.
    top: BTreeSet<&'a str>,
    /// Crates and modules.
    modules: BTreeSet<&'a str>,
    /// Everything that is declared, fields and variants included.
    words: BTreeSet<&'a str>,
    tests: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    fn of(tree: &'a Tree, sources: &'a [Source<'a>]) -> Self {
        let top: BTreeSet<_> = tree.files().filter_map(|(file, _)| Some(file.split_once('/')?.0)).collect();
        let stems = sources.iter().filter_map(|source| source.file.rsplit('/').next()?.strip_suffix(".rs"));
        let modules =
            stems.filter(|stem| !matches!(*stem, "main" | "lib")).chain(top.iter().copied()).collect();
        let words = sources.iter().flat_map(|source| &source.tokens).filter(|token| token.is_word());
        Self {
            tree,
            top,
            modules,
            words: words.map(|token| token.text).collect(),
            tests: sources.iter().flat_map(Source::test_names).collect(),
        }
    }

    /// What is wrong with something in backticks, if it looks like a path or an item of ours.
    fn fault(&self, text: &str) -> Option<String> {
        if text.contains(|c: char| !c.is_alphanumeric() && !"_-./:".contains(c)) {
            return None;
        }
        if let Some((first, rest)) = text.split_once("::") {
            let last = rest.rsplit("::").next()?;
            let ours = first == "crate" || self.modules.contains(first);
            return (ours && !self.words.contains(last) && !self.modules.contains(last))
                .then(|| format!("`{text}`: nothing in the code is called `{last}`"));
        }
        let (first, _) = text.split_once('/')?;
        let is_file = [".rs", ".toml", ".md", ".json", ".py"].iter().any(|end| text.ends_with(end));
        if !(is_file || self.top.contains(first)) || self.tree.has(text) || self.ignored(text) {
            return None;
        }
        let end = format!("/{text}");
        let is_end = self.tree.files().any(|(file, _)| file.ends_with(&end));
        (!is_end).then(|| format!("`{text}` is no path of the repository"))
    }

    /// Folders that git leaves out, such as where the results of a run go.
    fn ignored(&self, path: &str) -> bool {
        let lines = self.tree.text(".gitignore").unwrap_or_default().lines();
        lines.filter(|line| !line.is_empty()).any(|line| path.starts_with(line))
    }

    /// What is wrong with what an invariant says that holds it.
    fn holders_fault(&self, invariant: &str) -> Option<String> {
        let Some((_, holders)) = invariant.rsplit_once(HELD_BY) else {
            return Some(format!(
                "the invariant does not say what holds it: \"({HELD_BY}`name_of_a_test`)\""
            ));
        };
        let holders: Vec<_> = in_backticks(holders).collect();
        let holds = |holder: &&str| {
            let name = holder.rsplit("::").next().unwrap_or(holder);
            self.tests.contains(name) || (holder.starts_with("ci/") && self.tree.has(holder))
        };
        match holders.iter().find(|holder| !holds(holder)) {
            Some(holder) => Some(format!("no test and no script of ci/ is called `{holder}`")),
            None if holders.is_empty() => Some(format!("nothing in backticks follows \"{HELD_BY}\"")),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{source::Source, tree::Tree, violation::listing};

    fn found(text: &str) -> Vec<String> {
        let tree = Tree::from([
            (".gitignore", "target/\n\nreports/runs/\n"),
            ("ARCHITECTURE.md", text),
            ("ci/smoke", ""),
            ("reports/README.md", ""),
            ("server/src/life.rs", "pub enum Phase { Ready }\n#[test]\nfn it_lives() {}\nfn no_test() {}"),
            ("server/src/life/part.rs", ""),
        ]);
        listing(check(&tree, &Source::all(&tree)))
    }

    #[test]
    fn names_that_are_not_there_are_found() {
        let cases: [(&str, &[&str]); 7] = [
            ("`server/src/life.rs` `server/` `life/part.rs` `reports/runs/x` `ci/smoke`", &[]),
            ("`life::Phase` `crate::life::Phase::Ready` `server::life` `std::fs::Nothing` `tokio::x`", &[]),
            ("`text/plain` `a/b` `GET /status` `/health/live` `reports/runs/<id>` `x` `1/2`", &[]),
            ("`server/src/gone.rs`", &["`server/src/gone.rs` is no path of the repository"]),
            ("`life/gone.rs`", &["`life/gone.rs` is no path of the repository"]),
            ("`life::Gone`", &["`life::Gone`: nothing in the code is called `Gone`"]),
            (
                "`ci/gone` and `crate::Gone`",
                &[
                    "`ci/gone` is no path of the repository",
                    "`crate::Gone`: nothing in the code is called `Gone`",
                ],
            ),
        ];
        for (line, expected) in cases {
            let text = format!("```\n`ci/in-code`\n```\n{line}\n# Invariants\n1. A (held by `ci/smoke`).");
            let expected: Vec<_> = expected.iter().map(|text| format!("ARCHITECTURE.md:4: {text}")).collect();
            assert_eq!(found(&text), expected, "{line}");
        }
    }

    #[test]
    fn invariants_that_nothing_holds_are_found() {
        let cases: [(&str, &[&str]); 8] = [
            ("1. A (held by `it_lives`).", &[]),
            (
                "1. A\n   goes on (held by\n   `life::it_lives`, `ci/smoke`).\n\n2. B (held by `ci/smoke`).",
                &[],
            ),
            ("1. A.", &["3: the invariant does not say what holds it: \"(held by `name_of_a_test`)\""]),
            ("1. A (held by hope).", &["3: nothing in backticks follows \"held by \""]),
            ("1. A (held by `no_test`).", &["3: no test and no script of ci/ is called `no_test`"]),
            ("1. A (held by `it_lives`, `gone`).", &["3: no test and no script of ci/ is called `gone`"]),
            (
                "1. A (held by `it_lives`).\n12. B (held by `gone`).",
                &["4: no test and no script of ci/ is called `gone`"],
            ),
            ("- A.\n\n## Next\n1. B.", &[" has no numbered line under a heading \"Invariants\""]),
        ];
        for (lines, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|text| format!("ARCHITECTURE.md:{text}")).collect();
            assert_eq!(found(&format!("\n## 3. Invariants\n{lines}\n")), expected, "{lines}");
        }
    }
}
