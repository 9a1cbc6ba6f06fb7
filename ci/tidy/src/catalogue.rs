//! The fault catalogue, `ci/catalogue.toml`, is whole, and what it names is there.
//!
//! Every row from A1 to F5 stands in it exactly once. A row has a trigger, and either what holds, what the one who
//! asked is told, and proofs, or the reason why there can be none. A proof is a test by its name, a scenario by its
//! name, or a script of `ci/`.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::{source::Source, tree::Tree, violation::Violation};

const FILE: &str = "ci/catalogue.toml";

/// How many rows each part has.
const PARTS: [(char, u32); 6] = [('A', 18), ('B', 6), ('C', 10), ('D', 15), ('E', 13), ('F', 5)];
const INVARIANTS: [&str; 6] = ["I1", "I2", "I3", "I4", "I5", "I6"];

pub(crate) fn check(tree: &Tree, sources: &[Source<'_>]) -> Vec<Violation> {
    let fault = |text: String| Violation::new(FILE, 0, text);
    let Some(text) = tree.text(FILE) else { return vec![fault("is missing".to_owned())] };
    let table = match text.parse::<Table>() {
        Ok(table) => table,
        Err(error) => return vec![fault(error.message().to_owned())],
    };
    let rows = table.get("row").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let ids: Vec<&str> = rows.iter().map(|row| word(row, "id")).collect();
    let wanted: Vec<String> =
        PARTS.iter().flat_map(|(part, rows)| (1..=*rows).map(move |row| format!("{part}{row}"))).collect();
    let mut found = Vec::new();
    if ids != wanted {
        let missing: Vec<_> = wanted.iter().filter(|id| !ids.contains(&id.as_str())).cloned().collect();
        let text = format!(
            "has to have every row from A1 to F5 once and in order; missing: [{}]",
            missing.join(", ")
        );
        found.push(fault(text));
    }
    let tests: BTreeSet<&str> = sources.iter().flat_map(Source::test_names).collect();
    let exists = |proof: &str| {
        tests.contains(proof) || proof.starts_with("ci/") && tree.has(proof) || is_scenario(tree, proof)
    };
    for row in rows {
        found.extend(
            faults(row, &exists).into_iter().map(|text| fault(format!("{}: {text}", word(row, "id")))),
        );
    }
    found
}

/// What is wrong with a row.
fn faults(row: &Value, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    if word(row, "trigger").is_empty() {
        found.push("has no trigger".to_owned());
    }
    let (proofs, invariants) = (words(row, "proof"), words(row, "invariants"));
    found.extend(
        proofs.iter().filter(|proof| !exists(proof)).map(|proof| {
            format!("there is no test, no scenario and no script of ci/ that is called `{proof}`")
        }),
    );
    found.extend(
        invariants
            .iter()
            .filter(|name| !INVARIANTS.contains(name))
            .map(|name| format!("no invariant is called {name}")),
    );
    let impossible = !word(row, "impossible").is_empty();
    match (impossible, proofs.is_empty()) {
        (true, false) => found.push("is proven and impossible at once".to_owned()),
        (false, true) => {
            found.push("has neither a proof nor a reason why there is none (`impossible`)".to_owned());
        }
        (false, false) if invariants.is_empty() || word(row, "answer").is_empty() => {
            found.push("does not say what holds, and what the one who asked is told".to_owned());
        }
        _ => {}
    }
    found
}

/// The scenario `a/b` lies in `scenarios/a/b.toml`, the main one of a folder has the folder's name.
fn is_scenario(tree: &Tree, name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    [format!("scenarios/{name}.toml"), format!("scenarios/{name}/{last}.toml")]
        .iter()
        .any(|file| tree.text(file).is_some())
}

fn word<'a>(row: &'a Value, key: &str) -> &'a str {
    row.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn words<'a>(row: &'a Value, key: &str) -> Vec<&'a str> {
    row.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::{FILE, PARTS, check};
    use crate::{source::Source, tree::Tree, violation::listing};

    /// A whole catalogue, but for one row.
    fn catalogue(id: &str, other: &str) -> String {
        let rows = PARTS.iter().flat_map(|(part, rows)| (1..=*rows).map(move |row| format!("{part}{row}")));
        rows.map(|row| {
            if row == id {
                other.to_owned()
            } else {
                format!("[[row]]\nid = \"{row}\"\ntrigger = \"x\"\nimpossible = \"y\"\n")
            }
        })
        .collect()
    }

    fn found(other: &str) -> Vec<String> {
        let text = catalogue("B2", other);
        let tree = Tree::from([
            (FILE, text.as_str()),
            ("ci/kernel", ""),
            ("scenarios/upgrade/upgrade.toml", ""),
            ("scenarios/fault/new.toml", ""),
            ("server/src/life.rs", "#[test]\nfn it_lives() {}\nfn no_test() {}"),
        ]);
        listing(check(&tree, &Source::all(&tree)))
    }

    #[test]
    fn rows_without_proof_and_proofs_that_are_not_there_are_found() {
        let row = |rest: &str| format!("[[row]]\nid = \"B2\"\ntrigger = \"t\"\n{rest}\n");
        let proven = "invariants = [\"I1\"]\nanswer = \"200\"\nproof = [\"it_lives\", \"upgrade\", \"fault/new\", \"ci/kernel\"]";
        assert_eq!(found(&row(proven)), [""; 0]);
        assert_eq!(found(&row("impossible = \"no\"")), [""; 0]);
        let gone = |name: &str| {
            format!("{FILE}: B2: there is no test, no scenario and no script of ci/ that is called `{name}`")
        };
        for name in ["no_test", "fault", "ci/gone"] {
            let text = row(&format!("invariants = [\"I1\"]\nanswer = \"200\"\nproof = [\"{name}\"]"));
            assert_eq!(found(&text), [gone(name)]);
        }
        for (rest, expected) in [
            ("", "has neither a proof nor a reason why there is none (`impossible`)"),
            ("proof = [\"upgrade\"]", "does not say what holds, and what the one who asked is told"),
            ("proof = [\"upgrade\"]\nimpossible = \"no\"", "is proven and impossible at once"),
            ("invariants = [\"I7\"]\nimpossible = \"no\"", "no invariant is called I7"),
        ] {
            assert_eq!(found(&row(rest)), [format!("{FILE}: B2: {expected}")]);
        }
        assert_eq!(
            found(""),
            [format!("{FILE}: has to have every row from A1 to F5 once and in order; missing: [B2]")]
        );
        assert_eq!(listing(check(&Tree::default(), &[])), [format!("{FILE}: is missing")]);
    }
}
