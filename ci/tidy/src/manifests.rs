//! `harness` does not depend on `server`, not even through another crate of the workspace or for its tests:
//! it knows the path of a binary and HTTP.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::{tree::Tree, violation::Violation};

const FROM: &str = "harness";
const TO: &str = "server";
const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut needs = BTreeMap::new();
    for (file, text) in tree.files().filter(|(file, _)| file.rsplit('/').next() == Some("Cargo.toml")) {
        match text.parse::<Table>() {
            Ok(manifest) => {
                if let Some(name) = manifest.get("package").and_then(|package| package.get("name")?.as_str())
                {
                    needs.insert(name.to_owned(), (file, dependencies(&manifest)));
                }
            }
            Err(error) => found.push(Violation::new(file, 0, error.message())),
        }
    }
    for name in [FROM, TO].into_iter().filter(|name| !needs.contains_key(*name)) {
        let text = format!("the workspace has no package `{name}`, so what depends on it cannot be checked");
        found.push(Violation::new("Cargo.toml", 0, text));
    }
    let mut seen = BTreeSet::new();
    let mut open = vec![vec![FROM]];
    while let Some(chain) = open.pop() {
        let Some((file, names)) = chain.last().and_then(|last| needs.get(*last)) else { continue };
        for name in names {
            let chain: Vec<_> = chain.iter().copied().chain([name.as_str()]).collect();
            if name == TO {
                let text = format!("`{FROM}` must not depend on `{TO}`: {}", chain.join(" -> "));
                found.push(Violation::new(file, 0, text));
            } else if seen.insert(name.as_str()) {
                open.push(chain);
            }
        }
    }
    found
}

/// Names of the packages in all tables of dependencies, those of single platforms included.
fn dependencies(manifest: &Table) -> Vec<String> {
    let platforms = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let owners = [manifest].into_iter().chain(platforms.filter_map(Value::as_table));
    let tables = owners.flat_map(|owner| KINDS.iter().filter_map(|kind| owner.get(*kind)?.as_table()));
    let package = |(key, value): (&String, &Value)| {
        let renamed = value.get("package").and_then(Value::as_str);
        renamed.unwrap_or(key).to_owned()
    };
    tables.flat_map(|table| table.iter().map(package)).collect()
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{tree::Tree, violation::listing};

    fn found(harness: &str, common: &str) -> Vec<String> {
        let harness = format!("[package]\nname = \"harness\"\n{harness}");
        let common = format!("[package]\nname = \"common\"\n{common}");
        let server = "[package]\nname = \"server\"\n";
        let tree = Tree::from([
            ("common/Cargo.toml", common.as_str()),
            ("harness/Cargo.toml", harness.as_str()),
            ("server/Cargo.toml", server),
        ]);
        listing(check(&tree))
    }

    #[test]
    fn harness_must_not_depend_on_server() {
        let direct = "harness/Cargo.toml: `harness` must not depend on `server`: harness -> server";
        for dependency in [
            "[dependencies]\nserver.workspace = true",
            "[dependencies.server]\npath = \"../server\"",
            "[dev-dependencies]\nserver = \"1\"",
            "[build-dependencies]\nother = { package = \"server\", path = \"../server\" }",
            "[target.'cfg(unix)'.dependencies]\nserver = \"1\"",
        ] {
            assert_eq!(found(dependency, ""), [direct], "{dependency}");
        }
        let uses_common = "[dependencies]\ncommon.workspace = true\nclap = \"4\"";
        assert_eq!(found(uses_common, ""), [""; 0]);
        let through = "common/Cargo.toml: `harness` must not depend on `server`: harness -> common -> server";
        assert_eq!(found(uses_common, "[dependencies]\nserver = \"1\"\nharness = \"1\""), [through]);
    }

    #[test]
    fn a_missing_or_broken_manifest_is_found() {
        let tree =
            Tree::from([("harness/Cargo.toml", "[package]\nname = \"harness\""), ("server/Cargo.toml", "[")]);
        let found = listing(check(&tree));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("Cargo.toml: the workspace has no package `server`"), "{found:?}");
        assert!(found[1].starts_with("server/Cargo.toml: "), "{found:?}");
    }
}
