//! Pure rooms name nothing that waits, reads a clock, or touches the world outside.
//!
//! `std::path` and the types of `std::io` are in order: a path and an error are values. Whatever else is
//! needed stands in [`crate::rooms::EXCEPTIONS`] with its reason, and leaves that list when it is needed no
//! longer. Importing a module that holds something impure (`use std::time;`) is judged where it is used.

use crate::{
    imports::leads_into,
    paths::named_paths,
    rooms::{Exception, House, IMPURE},
    source::Source,
    violation::Violation,
};

pub(crate) fn check(house: &House, exceptions: &[Exception], sources: &[Source<'_>]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut used = vec![false; exceptions.len()];
    for source in sources {
        let Some(room) = house.place(source.file).and_then(|modules| house.room(modules[0])) else {
            continue;
        };
        if !room.pure {
            continue;
        }
        for path in named_paths(&source.code()) {
            let Some(impure) = IMPURE.iter().find(|impure| leads_into(&path.segments, impure)) else {
                continue;
            };
            let excepted = exceptions.iter().position(|exception| {
                covers(exception.place, source.file) && leads_into(&path.segments, exception.path)
            });
            if let Some(excepted) = excepted {
                used[excepted] = true;
                continue;
            }
            let (room, path_text) = (room.name, path.segments.join("::"));
            let text = format!("`{room}` is pure and must not name `{impure}`, as `{path_text}` does");
            found.push(Violation::new(source.file, path.line, text));
        }
    }
    let ours = |exception: &Exception| {
        exception.place.strip_prefix(house.folder).is_some_and(|rest| rest.starts_with('/'))
    };
    found.extend(exceptions.iter().zip(used).filter(|(exception, used)| ours(exception) && !used).map(
        |(Exception { place, path, reason }, _)| {
            let text = format!("nobody needs the exception for `{path}` in {place} any more ({reason})");
            Violation::new("ci/tidy/src/rooms.rs", 0, text)
        },
    ));
    found
}

/// A place is a file, or a room with its door.
fn covers(place: &str, file: &str) -> bool {
    file.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{
        rooms::{Exception, House, Room, Uses},
        source::Source,
        tree::Tree,
        violation::listing,
    };

    const HOUSE: House = House {
        folder: "shop",
        rooms: &[
            Room { name: "rules", uses: Uses::Only(&[]), pure: true },
            Room { name: "world", uses: Uses::Only(&[]), pure: false },
        ],
    };

    #[test]
    fn impure_names_are_found() {
        let cases: [(&str, &[&str]); 8] = [
            ("use tokio::sync::watch;", &["`tokio`, as `tokio::sync::watch`"]),
            ("use std::{fs, io, path::Path};", &["`std::fs`, as `std::fs`"]),
            ("use std::time::{Duration, Instant};", &["`std::time::Instant`, as `std::time::Instant`"]),
            (
                "use std::time; fn f() { time::SystemTime::now(); }",
                &["`std::time::SystemTime`, as `std::time::SystemTime::now`"],
            ),
            (
                "fn f() -> std::net::IpAddr { std::process::abort() }",
                &["`std::net`, as `std::net::IpAddr`", "`std::process`, as `std::process::abort`"],
            ),
            ("use std::{io, path::PathBuf, time::Duration, sync::Arc};", &[]),
            ("#[cfg(test)] mod tests { use std::fs; }", &[]),
            ("/// As `std::fs` would.\nconst A: &str = \"tokio::spawn\";", &[]),
        ];
        for (text, expected) in cases {
            let tree = Tree::from([("shop/src/rules/a.rs", text), ("shop/src/world.rs", "use std::fs;")]);
            let found = listing(check(&HOUSE, &[], &Source::all(&tree)));
            let expected = expected
                .iter()
                .map(|end| format!("shop/src/rules/a.rs:1: `rules` is pure and must not name {end} does"));
            assert!(found.iter().cloned().eq(expected), "{text}: {found:?}");
        }
    }

    #[test]
    fn an_exception_covers_its_place_and_must_be_needed() {
        let exception = [Exception { place: "shop/src/rules", path: "std::fs", reason: "why" }];
        let cases: [(&str, &str, &[&str]); 4] = [
            ("shop/src/rules.rs", "use std::fs::File;", &[]),
            ("shop/src/rules/a.rs", "use std::fs::File;", &[]),
            (
                "shop/src/rules/a.rs",
                "",
                &[
                    "ci/tidy/src/rooms.rs: nobody needs the exception for `std::fs` in shop/src/rules any more (why)",
                ],
            ),
            (
                "shop/src/rules/a.rs",
                "use std::{fs, env};",
                &["shop/src/rules/a.rs:1: `rules` is pure and must not name `std::env`, as `std::env` does"],
            ),
        ];
        for (file, text, expected) in cases {
            let tree = Tree::from([(file, text)]);
            assert_eq!(listing(check(&HOUSE, &exception, &Source::all(&tree))), expected, "{text}");
        }
    }
}
