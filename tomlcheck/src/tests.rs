//! What a reader sees when a file is wrong.

use std::path::Path;

use crate::{Document, Faults, Section};

/// Parses, reads with `read`, and gives the faults as they are printed.
#[track_caller]
fn faults_of(source: &str, read: impl FnOnce(&Section<'_>)) -> String {
    checked(Document::parse(Path::new("f.toml"), source), read)
}

fn checked(document: Result<Document, Faults>, read: impl FnOnce(&Section<'_>)) -> String {
    let finish = |document: Document| {
        let root = document.root();
        read(&root);
        root.finish();
        document.finish()
    };
    match document.and_then(finish) {
        Ok(()) => String::new(),
        Err(faults) => faults.to_string(),
    }
}

fn lines(lines: &[&str]) -> String {
    lines.join("\n")
}

#[test]
fn a_right_file_gives_its_values() {
    let source =
        "name = \"x\"\nn = 3\nrate = 2\nreal = 2.5\non = true\nwords = [\"a\", \"b\"]\ncodes = [200, 204]\n";
    let faults = faults_of(source, |root| {
        assert_eq!(root.string("name").unwrap().value, "x");
        assert_eq!(root.integer("n", 1..=9u32).unwrap().value, 3);
        assert!((root.float("rate", 0.0..=9.0).unwrap().value - 2.0).abs() < 1e-9);
        assert!((root.float("real", 0.0..=9.0).unwrap().value - 2.5).abs() < 1e-9);
        assert!(root.boolean("on").unwrap().value);
        assert_eq!(root.strings("words").unwrap().value, ["a", "b"]);
        assert_eq!(root.integers("codes", 100..=599u16).unwrap().value, [200, 204]);
        assert!(root.string("absent").is_none());
        assert!(root.sections("absent-tables").is_empty());
        assert_eq!(root.keys().collect::<Vec<_>>(), ["name", "n", "rate", "real", "on", "words", "codes"]);
    });
    assert_eq!(faults, "");
}

#[test]
fn numbers_are_read_in_every_notation_of_toml() {
    let source = "a = 1_000\nb = 0xff\nc = +5\nd = -7\ne = 1_0.5e1\nf = 0o17\ng = 0b11\n";
    let faults = faults_of(source, |root| {
        for (key, expected) in [("a", 1000), ("b", 255), ("c", 5), ("d", -7), ("f", 15), ("g", 3)] {
            assert_eq!(root.integer(key, i64::MIN..=i64::MAX).unwrap().value, expected, "{key}");
        }
        assert!((root.float("e", 0.0..=1e3).unwrap().value - 105.0).abs() < 1e-9);
    });
    assert_eq!(faults, "");
    let faults = faults_of("x = nan\n", |root| assert!(root.float("x", 0.0..=1e3).is_none()));
    assert_eq!(faults, "f.toml:1:5: x: NaN is out of range\n  hint: write a number from 0 to 1000");
}

#[test]
fn unknown_keys_get_a_suggestion_or_the_known_ones() {
    let faults = faults_of("[api]\nbnid = \"x\"\nzzzzzz = 1\n[quux]\n", |root| {
        let api = root.section("api").unwrap();
        drop(api.string("bind"));
        drop(api.string("blacklist"));
        api.finish();
        drop(root.section("admin"));
    });
    let expected = lines(&[
        "f.toml:2:1: api.bnid: unknown key",
        "  hint: did you mean `bind`?",
        "f.toml:3:1: api.zzzzzz: unknown key",
        "  hint: known here: bind, blacklist",
        "f.toml:4:2: quux: unknown key",
        "  hint: known here: api, admin",
    ]);
    assert_eq!(faults, expected);
}

#[test]
fn faults_come_in_the_order_of_lines_whatever_the_order_of_questions() {
    let source = "a = 1\nb = \"x\"\nc = 99\nd = \"bad\"\n[e]\nf = 1\n";
    let faults = faults_of(source, |root| {
        let e = root.section("e").unwrap();
        e.require("g", "write g = 1");
        assert!(e.boolean("f").is_none());
        e.finish();
        assert!(root.parse("d", "a number", "write 4", str::parse::<u8>).is_none());
        assert!(root.integer("c", 1..=9u8).is_none());
        assert!(root.integer("b", 1..=9u8).is_none());
        assert!(root.string("a").is_none());
    });
    let expected = lines(&[
        "f.toml:1:5: a: expected a string, found the integer 1",
        "f.toml:2:5: b: expected an integer, found the string \"x\"",
        "f.toml:3:5: c: 99 is out of range",
        "  hint: write a number from 1 to 9",
        "f.toml:4:5: d: expected a number, found \"bad\": invalid digit found in string",
        "  hint: write 4",
        "f.toml:5:1: e.g: missing key",
        "  hint: write g = 1",
        "f.toml:6:5: e.f: expected true or false, found the integer 1",
    ]);
    assert_eq!(faults, expected);
}

#[test]
fn all_syntax_errors_are_reported_with_their_lines() {
    let faults = faults_of("a = \nb = 1\nb = 2\nc = [1,\n", |_| ());
    let at = |line: &str| faults.lines().any(|fault| fault.starts_with(line));
    assert!(at("f.toml:1:"), "{faults}");
    assert!(at("f.toml:3:1: duplicate key"), "{faults}");
    assert!(faults.lines().count() >= 3, "{faults}");
    let huge = faults_of("\nn = 99999999999999999999\n", |_| ());
    assert_eq!(huge, "f.toml:2:5: the integer 99999999999999999999 does not fit 64 bits");
}

#[test]
fn choices_list_the_words_and_suggest_the_nearest() {
    const WORDS: &[(&str, u8)] = &[("reference", 1), ("external", 2)];
    let faults = faults_of("a = \"refrence\"\nb = \"zzz\"\nc = 1\nd = \"external\"\n", |root| {
        for key in ["a", "b", "c"] {
            assert_eq!(root.choice(key, WORDS), None);
        }
        assert_eq!(root.choice("d", WORDS), Some(2));
    });
    let expected = lines(&[
        "f.toml:1:5: a: unknown word \"refrence\"",
        "  hint: did you mean \"reference\"? (one of \"reference\", \"external\")",
        "f.toml:2:5: b: unknown word \"zzz\"",
        "  hint: one of \"reference\", \"external\"",
        "f.toml:3:5: c: expected a word, found the integer 1",
        "  hint: one of \"reference\", \"external\"",
    ]);
    assert_eq!(faults, expected);
}

#[test]
fn arrays_of_tables_blame_the_element() {
    let source = "[[event]]\nat = 1\n\n[[event]]\nat = \"x\"\n\n[[event]]\n[load]\nevent = 3\n";
    let faults = faults_of(source, |root| {
        for event in root.sections("event") {
            event.require("at", "write at = 1");
            drop(event.integer("at", 0..=9u8));
            event.finish();
        }
        let load = root.section("load").unwrap();
        assert!(load.sections("event").is_empty());
        load.finish();
    });
    let expected = lines(&[
        "f.toml:5:6: event.1.at: expected an integer, found the string \"x\"",
        "f.toml:7:1: event.2.at: missing key",
        "  hint: write at = 1",
        "f.toml:9:9: load.event: expected an array of tables, found the integer 3",
        "  hint: write [[load.event]]",
    ]);
    assert_eq!(faults, expected);
}

#[test]
fn dotted_keys_and_inline_tables_are_tables() {
    let faults = faults_of("a.b.c = 1\nd = { e = 2, f = 3 }\ng = [1, \"x\", 3]\n", |root| {
        let a = root.section("a").unwrap();
        let b = a.section("b").unwrap();
        assert!(b.string("c").is_none());
        b.require("h", "write h");
        b.finish();
        a.finish();
        let d = root.section("d").unwrap();
        let e = d.integer("e", 0..=9u8).unwrap();
        e.fault("is not liked", "write 7");
        d.finish();
        assert!(root.integers("g", 1..=9u8).is_none());
    });
    let expected = lines(&[
        "f.toml:1:3: a.b.h: missing key",
        "  hint: write h",
        "f.toml:1:9: a.b.c: expected a string, found the integer 1",
        "f.toml:2:11: d.e: is not liked",
        "  hint: write 7",
        "f.toml:2:14: d.f: unknown key",
        "  hint: known here: e",
        "f.toml:3:9: g.1: expected an integer, found the string \"x\"",
    ]);
    assert_eq!(faults, expected);
}

#[test]
fn columns_count_characters_and_crlf_is_one_line_end() {
    let faults = faults_of("# größer 秒杀\r\n\"名\" = { \"é\" = 1 }\r\nz = 1\r\n", |root| {
        let section = root.section("名").unwrap();
        assert!(section.string("é").is_none());
        section.finish();
    });
    let expected = lines(&[
        "f.toml:2:15: 名.é: expected a string, found the integer 1",
        "f.toml:3:1: z: unknown key",
        "  hint: known here: 名",
    ]);
    assert_eq!(faults, expected);
}

#[test]
fn overrides_are_checked_and_blamed_as_such() {
    let source = "[load]\nrate = 1\n[[load.stream]]\nname = \"busy\"\nrate = 5\n";
    let mut document = Document::parse(Path::new("f.toml"), source).unwrap();
    for assignment in [
        "load.rate=9",
        "load.stream.busy.rate=x",
        "load.stream.0.kind=new",
        "a.b=40s",
        "load.stream.none.rate=1",
    ] {
        let (path, value) = assignment.split_once('=').unwrap();
        document.set(path, value, &format!("--set {assignment}"));
    }
    document.set_string("a.c", "1", "--c 1");
    let faults = checked(Ok(document), |root| {
        let load = root.section("load").unwrap();
        assert_eq!(load.integer("rate", 1..=9u8).unwrap().value, 9);
        let stream = &load.sections("stream")[0];
        assert_eq!(stream.string("kind").unwrap().value, "new");
        assert!(stream.integer("rate", 1..=9u8).is_none());
        load.finish();
        assert_eq!(root.section("a").unwrap().string("b").unwrap().value, "40s");
        assert_eq!(root.section("a").unwrap().string("c").unwrap().value, "1");
    });
    let expected = lines(&[
        "--set load.stream.busy.rate=x: load.stream.0.rate: expected an integer, found the string \"x\"",
        "--set load.stream.none.rate=1: load.stream.none.rate: there is no element `none`",
        "  hint: there are: busy",
    ]);
    assert_eq!(faults, expected);
}
