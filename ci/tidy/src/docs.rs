//! What the documents say is there: links, paths, symbols, and the tests behind the invariants.
//!
//! - A link in any `.md` file that is no URL leads to a file or folder of the repository.
//! - In ARCHITECTURE.md, what stands in backticks and looks like a path of the repository is one, whole
//!   (`server/src/http.rs`) or by its end (`lifecycle/transfer.rs`); what looks like an item of ours
//!   (`lifecycle::Phase`) is declared somewhere.
//! - In ARCHITECTURE.md, each numbered line under the heading "Invariants" ends with what holds it:
//!   "(held by `name_of_a_test`, `ci/script`)". At least one of them is there, and each one exists.
//! - README.md has the main command within its first lines, and the command of the tests.

mod architecture;
mod links;

use crate::{source::Source, tree::Tree, violation::Violation};

const README: &str = "README.md";
const MAIN_COMMAND: &str = "cargo run -p harness -- scenario upgrade";
const MAIN_COMMAND_LINE_MAX: usize = 40;
const TEST_COMMAND: &str = "cargo test";
/// The documents at the root that a visitor looks for.
const ROOT_DOCUMENTS: [&str; 5] =
    [README, architecture::FILE, "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];

pub(crate) fn check(tree: &Tree, sources: &[Source<'_>]) -> Vec<Violation> {
    let missing = ROOT_DOCUMENTS.iter().filter(|file| tree.text(file).is_none());
    let mut found: Vec<_> = missing.map(|file| Violation::new(file, 0, "is missing")).collect();
    found.extend(links::check(tree));
    found.extend(tree.text(README).into_iter().flat_map(readme));
    found.extend(architecture::check(tree, sources));
    found
}

fn readme(text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    if !text.lines().take(MAIN_COMMAND_LINE_MAX).any(|line| line.contains(MAIN_COMMAND)) {
        let text = format!("`{MAIN_COMMAND}` is not within the first {MAIN_COMMAND_LINE_MAX} lines");
        found.push(Violation::new(README, 0, text));
    }
    if !text.contains(TEST_COMMAND) {
        found.push(Violation::new(
            README,
            0,
            format!("the command of the tests, `{TEST_COMMAND}`, is missing"),
        ));
    }
    found
}

/// What stands between backticks in a line. Three of them open a block of code: nothing stands between those.
fn in_backticks(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{MAIN_COMMAND, MAIN_COMMAND_LINE_MAX, check};
    use crate::{tree::Tree, violation::listing};

    fn found(readme: &str) -> Vec<String> {
        let tree = Tree::from([
            ("ARCHITECTURE.md", "## Invariants\n1. A (held by `ci/test`).\n"),
            ("CHANGELOG.md", ""),
            ("LICENSE-APACHE", ""),
            ("LICENSE-MIT", ""),
            ("README.md", readme),
            ("ci/test", ""),
        ]);
        listing(check(&tree, &[]))
    }

    #[test]
    fn the_readme_has_its_two_commands() {
        let command =
            |line: usize| format!("{}{MAIN_COMMAND}\ncargo test --workspace\n", "\n".repeat(line - 1));
        assert_eq!(found(&command(MAIN_COMMAND_LINE_MAX)), [""; 0]);
        let late = "README.md: `cargo run -p harness -- scenario upgrade` is not within the first 40 lines";
        assert_eq!(found(&command(MAIN_COMMAND_LINE_MAX + 1)), [late]);
        let no_tests = "README.md: the command of the tests, `cargo test`, is missing";
        assert_eq!(found(""), [late, no_tests]);
    }

    #[test]
    fn missing_documents_are_found() {
        let all = ["ARCHITECTURE.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "README.md"];
        let expected: Vec<_> = all.iter().map(|file| format!("{file}: is missing")).collect();
        assert_eq!(listing(check(&Tree::default(), &[])), expected);
    }
}
