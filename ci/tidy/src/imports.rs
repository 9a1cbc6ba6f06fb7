//! Each room names only the rooms that its row in [`crate::rooms`] allows.
//!
//! Looks at every path that leaves a room, in a `use` or in the middle of a line, through `crate::` or a chain
//! of `super::`. Tests may look wherever they like. The table itself is held to the tree as well: a room
//! without a row and a row without a room are violations.

use std::collections::BTreeMap;

use crate::{
    paths::{NamedPath, named_paths},
    rooms::{House, Room, Uses},
    source::Source,
    violation::Violation,
};

pub(crate) fn check(house: &House, sources: &[Source<'_>]) -> Vec<Violation> {
    let mut found = rows(house, sources);
    for source in sources {
        let Some(modules) = house.place(source.file) else { continue };
        let Some(room) = house.room(modules[0]) else { continue };
        for path in named_paths(&source.code()) {
            let Some(target) = in_crate(&modules, &path) else { continue };
            found
                .extend(fault(house, room, &target).map(|text| Violation::new(source.file, path.line, text)));
        }
    }
    found
}

fn rows(house: &House, sources: &[Source<'_>]) -> Vec<Violation> {
    let files = sources.iter().filter(|source| !source.is_test).map(|source| source.file);
    let mut there = BTreeMap::new();
    for (file, modules) in files.filter_map(|file| Some((file, house.place(file)?))) {
        there.entry(modules[0]).or_insert(file);
    }
    let without_row = there.iter().filter(|(name, _)| house.room(name).is_none()).map(|(name, file)| {
        Violation::new(file, 0, format!("the room `{name}` has no row in ci/tidy/src/rooms.rs"))
    });
    let without_room = house.rooms.iter().filter(|room| !there.contains_key(room.name)).map(|room| {
        let text = format!("the row `{}` of `{}` has no room in the tree", room.name, house.folder);
        Violation::new("ci/tidy/src/rooms.rs", 0, text)
    });
    without_row.chain(without_room).collect()
}

/// Where the path leads, from the root of the crate; none if it begins with neither `crate` nor `super`.
fn in_crate<'a>(modules: &[&'a str], path: &NamedPath<'a>) -> Option<Vec<&'a str>> {
    let mut rest = path.segments.as_slice();
    if let ["crate", inside @ ..] = rest {
        return Some(inside.to_vec());
    }
    if let ["self", after @ ..] = rest {
        rest = after;
    }
    let mut target: Vec<_> = modules.iter().chain(&path.inside).copied().collect();
    let mut climbed = false;
    while let ["super", after @ ..] = rest {
        (rest, climbed) = (after, true);
        target.pop();
    }
    target.extend(rest);
    climbed.then_some(target)
}

fn fault(house: &House, room: &Room, target: &[&str]) -> Option<String> {
    let Uses::Only(allowed) = room.uses else { return None };
    let first = *target.first()?;
    if first == room.name || allowed.iter().any(|allowed| leads_into(target, allowed)) {
        return None;
    }
    let target = format!("crate::{}", target.join("::"));
    if house.room(first).is_none() {
        return Some(format!(
            "`{}` names `{target}`, which is in no room: name it where it stands",
            room.name
        ));
    }
    let may = if allowed.is_empty() { "no other room".to_owned() } else { allowed.join(", ") };
    Some(format!("`{}` names `{target}`; it may use {may} (ci/tidy/src/rooms.rs)", room.name))
}

/// Whether `path` is `prefix` or something in it.
pub(crate) fn leads_into(path: &[&str], prefix: &str) -> bool {
    let mut path = path.iter();
    prefix.split("::").all(|segment| path.next() == Some(&segment))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{
        rooms::{House, Room, Uses},
        source::Source,
        tree::Tree,
        violation::listing,
    };

    const HOUSE: House = House {
        folder: "shop",
        rooms: &[
            Room { name: "low", uses: Uses::Only(&[]), pure: true },
            Room { name: "high", uses: Uses::Only(&["low", "side::Item"]), pure: false },
            Room { name: "side", uses: Uses::Only(&["low"]), pure: false },
            Room { name: "all", uses: Uses::Everything, pure: false },
        ],
    };

    fn found(file: &str, text: &str) -> Vec<String> {
        let tree = Tree::from([
            ("shop/src/all.rs", "use crate::{high, low, side};"),
            ("shop/src/high.rs", "use crate::low::Thing;"),
            ("shop/src/lib.rs", "pub mod low; use crate::all::run;"),
            ("shop/src/low.rs", ""),
            ("shop/src/side.rs", ""),
            (file, text),
        ]);
        listing(check(&HOUSE, &Source::all(&tree)))
    }

    #[test]
    fn imports_against_the_table_are_found() {
        let cases = [
            (
                "shop/src/low.rs",
                "use crate::high::X;",
                "low.rs:1: `low` names `crate::high::X`; it may use no other room",
            ),
            (
                "shop/src/low.rs",
                "//! A.\nfn f(x: crate::side::Y) {}",
                "low.rs:2: `low` names `crate::side::Y`",
            ),
            ("shop/src/low/deep.rs", "use super::super::high;", "low/deep.rs:1: `low` names `crate::high`"),
            ("shop/src/low.rs", "use super::high;", "low.rs:1: `low` names `crate::high`"),
            (
                "shop/src/low.rs",
                "mod a { use super::super::all::b; }",
                "low.rs:1: `low` names `crate::all::b`",
            ),
            (
                "shop/src/high.rs",
                "use crate::{low,\n side::{Item, Other}};",
                "high.rs:2: `high` names `crate::side::Other`; it may use low, side::Item (ci",
            ),
            ("shop/src/high.rs", "use crate::side;", "high.rs:1: `high` names `crate::side`"),
            (
                "shop/src/high.rs",
                "use crate::Root;",
                "high.rs:1: `high` names `crate::Root`, which is in no room",
            ),
        ];
        for (file, text, expected) in cases {
            let found = found(file, text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with(&format!("shop/src/{expected}")), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_the_table_allows_is_left_alone() {
        for (file, text) in [
            ("shop/src/high.rs", "use crate::{high::X, low::{self, *}, side::Item};"),
            ("shop/src/high/deep.rs", "use super::X; use super::super::low::Y; use self::a::B; use std::fs;"),
            ("shop/src/low.rs", "// crate::high\nconst A: &str = \"crate::high::B\";"),
            ("shop/src/low.rs", "#[cfg(test)] mod tests { use crate::high::X; }"),
            ("shop/src/low/tests.rs", "use crate::high::X;"),
            ("shop/tests/it/main.rs", "use crate::anything::X;"),
        ] {
            // A file of tests is known by its declaration.
            let declared = "#[cfg(test)] mod tests;";
            let tree = Tree::from([
                ("shop/src/all.rs", ""),
                ("shop/src/high.rs", ""),
                ("shop/src/low.rs", declared),
                ("shop/src/side.rs", ""),
                (file, text),
            ]);
            assert_eq!(listing(check(&HOUSE, &Source::all(&tree))), [""; 0], "{text}");
        }
    }

    #[test]
    fn the_table_is_held_to_the_tree() {
        let tree = Tree::from([
            ("shop/src/all.rs", ""),
            ("shop/src/high.rs", ""),
            ("shop/src/low.rs", ""),
            ("shop/src/new/part.rs", ""),
        ]);
        let expected = [
            "ci/tidy/src/rooms.rs: the row `side` of `shop` has no room in the tree",
            "shop/src/new/part.rs: the room `new` has no row in ci/tidy/src/rooms.rs",
        ];
        assert_eq!(listing(check(&HOUSE, &Source::all(&tree))), expected);
    }
}
