//! No absolute path of somebody's machine: it works for one, and tells the rest how that one works.

use crate::{tree::Tree, violation::Violation};

/// Folders at the root of a machine under which people keep their own files.
const ROOTS: [&str; 4] = ["root", "home", "Users", "work"];

pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (file, text) in tree.files() {
        for (line, text) in (1..).zip(text.lines()) {
            found.extend(machine_paths(text).map(|path| {
                Violation::new(file, line, format!("`{path}` is a path of one machine: make it relative"))
            }));
        }
    }
    found
}

/// A root with something below it, and nothing before it that makes it part of a longer path or of a URL.
fn machine_paths(text: &str) -> impl Iterator<Item = &str> {
    let in_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    text.match_indices('/').filter_map(move |(start, _)| {
        let path = &text[start..];
        let end = path.find(|c: char| !in_name(c) && c != '/').unwrap_or(path.len());
        let mut names = path[1..end].split('/');
        let is_root = names.next().is_some_and(|name| ROOTS.contains(&name));
        let goes_on = names.next().is_some_and(|name| !name.is_empty());
        let begins =
            !text[..start].ends_with(|c| in_name(c) || matches!(c, '/' | '}' | ')' | '$' | '~' | '*' | '>'));
        (begins && is_root && goes_on).then_some(&path[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::{ROOTS, check};
    use crate::{tree::Tree, violation::listing};

    #[test]
    fn paths_of_a_machine_are_found_in_any_file() {
        for root in ROOTS {
            let path = format!("/{root}/ann/a.txt");
            for line in
                [path.clone(), format!("see `{path}`"), format!("A={path}:b"), format!("(\"{path}\")")]
            {
                let text = format!("first\n{line}");
                let tree = Tree::from([("a/b.md", text.as_str())]);
                let expected = format!("a/b.md:2: `{path}` is a path of one machine: make it relative");
                assert_eq!(listing(check(&tree)), [expected], "{line}");
            }
        }
    }

    #[test]
    fn other_paths_are_left_alone() {
        for root in ROOTS {
            for line in [
                format!("/{root}"),
                format!("/{root}/"),
                format!("a/{root}/b"),
                format!("https://example.org/{root}/b"),
                format!("$HOME/{root}/b"),
                format!("${{top}}/{root}/b"),
                format!("/tmp/{root}/b"),
                format!("/{root}-x/b"),
                format!("/{root}/<name>/"),
            ] {
                let tree = Tree::from([("a/b.md", line.as_str())]);
                assert_eq!(listing(check(&tree)), [""; 0], "{line}");
            }
        }
    }
}
