//! Links of all `.md` files to files of the repository.

use crate::{tree::Tree, violation::Violation};

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (file, text) in tree.files().filter(|(file, _)| file.ends_with(".md")) {
        let mut in_code = false;
        for (line, text) in (1..).zip(text.lines()) {
            in_code ^= text.trim_start().starts_with("```");
            if in_code {
                continue;
            }
            let broken =
                targets(text).filter(|target| !resolve(file, target).is_some_and(|path| tree.has(&path)));
            found.extend(broken.map(|target| {
                Violation::new(
                    file,
                    line,
                    format!("the link to `{target}` leads to nothing in the repository"),
                )
            }));
        }
    }
    found
}

/// What the links of a line point to inside the repository, without `#section` and title.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let inline = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let reference = line.strip_prefix('[').and_then(|rest| Some(rest.split_once("]: ")?.1.trim()));
    inline
        .chain(reference)
        .filter_map(|target| target.split([' ', '#']).next())
        .map(|target| target.trim_start_matches('<').trim_end_matches('>'))
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
}

/// The target from the root of the repository; none if it leads out of it.
fn resolve(file: &str, target: &str) -> Option<String> {
    let mut folders: Vec<_> = file.split('/').collect();
    folders.pop();
    if target.starts_with('/') {
        folders.clear();
    }
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(folders.pop()?),
            _ => folders.push(name),
        }
    }
    Some(folders.join("/"))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{tree::Tree, violation::listing};

    #[test]
    fn links_to_nothing_are_found() {
        let cases: [(&str, &[&str]); 8] = [
            ("[a](b.md) [c](../Cargo.toml) [d](/docs/b.md#e) ![f](img/g.png)", &[]),
            ("[a](.) [b](..) [c](img/) [d](#here) [e](https://example.org/x) [f](mailto:a@b.c)", &[]),
            ("[a](b.md \"title\") [b](<b.md>)", &[]),
            ("[a](c.md) [b](b.md)", &["c.md"]),
            ("[a](../b.md)", &["../b.md"]),
            ("[a](../../Cargo.toml)", &["../../Cargo.toml"]),
            ("[a]: b.md", &[]),
            ("[a]: gone.md", &["gone.md"]),
        ];
        for (line, broken) in cases {
            let text = format!("```\n[a](in-code.md)\n```\n{line}\n");
            let tree = Tree::from([
                ("Cargo.toml", ""),
                ("docs/a.md", text.as_str()),
                ("docs/b.md", ""),
                ("docs/img/g.png", ""),
            ]);
            let broken: Vec<_> = broken
                .iter()
                .map(|target| {
                    format!("docs/a.md:4: the link to `{target}` leads to nothing in the repository")
                })
                .collect();
            assert_eq!(listing(check(&tree)), broken, "{line}");
        }
    }
}
