//! The paths that a piece of Rust names: `use` trees taken apart, and paths in expressions and types.

use std::collections::BTreeMap;

use crate::tokens::Token;

/// One path of at least two segments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NamedPath<'a> {
    pub(crate) segments: Vec<&'a str>,
    pub(crate) line: usize,
    /// The modules inside the file around it.
    pub(crate) inside: Vec<&'a str>,
    /// The name that it has from here on, if a `use` imports it.
    import: Option<&'a str>,
}

/// All paths in the order of the text. What was imported under a name is written out where the name begins
/// another path: after `use std::time;`, `time::Instant` is `std::time::Instant`.
pub(crate) fn named_paths<'a>(tokens: &[Token<'a>]) -> Vec<NamedPath<'a>> {
    let mut walk = Walk { tokens, at: 0, importing: false, inside: Vec::new(), found: Vec::new() };
    walk.file();
    let mut found = walk.found;
    let imports: BTreeMap<_, _> =
        found.iter().filter_map(|path| Some((path.import?, path.segments.clone()))).collect();
    for path in found.iter_mut().filter(|path| path.import.is_none()) {
        if let Some(full) = path.segments.first().and_then(|first| imports.get(first)) {
            path.segments.splice(..1, full.iter().copied());
        }
    }
    found
}

struct Walk<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    importing: bool,
    /// Modules with a body that are open here, and the depth of braces inside each.
    inside: Vec<(&'a str, usize)>,
    found: Vec<NamedPath<'a>>,
}

impl<'a> Walk<'_, 'a> {
    fn file(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.peek(0) {
            match token.text {
                "{" => {
                    depth += 1;
                    if self.at >= 2 && self.tokens[self.at - 2].text == "mod" {
                        self.inside.push((self.tokens[self.at - 1].text, depth));
                    }
                }
                "}" => {
                    self.inside.retain(|(_, own)| *own < depth);
                    depth = depth.saturating_sub(1);
                }
                "use" => {
                    self.at += 1;
                    self.importing = true;
                    self.tree(&[]);
                    self.importing = false;
                    continue;
                }
                _ if token.is_word() && self.is("::", 1) && self.begins() => {
                    self.tree(&[]);
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// Whether the word here begins a path: `b` does neither in `a::b::c` nor in `<T as A>::b::c`.
    fn begins(&self) -> bool {
        match self.tokens[..self.at] {
            [.., dash, angle, mark] if mark.text == "::" && angle.text == ">" => dash.text == "-",
            [.., before, mark] if mark.text == "::" => !before.is_word(),
            _ => true,
        }
    }

    /// A path, or a tree of them behind `prefix`.
    fn tree(&mut self, prefix: &[&'a str]) {
        let mut segments = prefix.to_vec();
        let line = self.peek(0).map_or(0, |token| token.line);
        while let Some(token) = self.peek(0) {
            match token.text {
                "::" => self.at += 1,
                "{" if self.importing => return self.branches(&segments),
                "*" if self.importing => {
                    self.at += 1;
                    segments.push("*");
                    break;
                }
                word if token.is_word() => {
                    self.at += 1;
                    segments.push(word);
                    if !self.is("::", 0) {
                        break;
                    }
                }
                _ => break,
            }
        }
        let import = self.importing.then(|| self.import(&mut segments)).flatten();
        if segments.len() > 1 {
            let inside = self.inside.iter().map(|(name, _)| *name).collect();
            self.found.push(NamedPath { segments, line, inside, import });
        }
    }

    /// `{a, b::c, ..}`
    fn branches(&mut self, prefix: &[&'a str]) {
        self.at += 1;
        while self.peek(0).is_some() && !self.is("}", 0) {
            self.tree(prefix);
            while self.peek(0).is_some() && !self.is(",", 0) && !self.is("}", 0) {
                self.at += 1;
            }
            self.at += usize::from(self.is(",", 0));
        }
        self.at += 1;
    }

    /// The name under which the path is known after this `use`; takes the `self` of `a::{self}` away.
    fn import(&mut self, segments: &mut Vec<&'a str>) -> Option<&'a str> {
        if segments.len() > 1 && segments.last() == Some(&"self") {
            segments.pop();
        }
        if self.is("as", 0) {
            self.at += 2;
            return Some(self.tokens.get(self.at - 1)?.text);
        }
        segments.last().copied()
    }

    fn peek(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).copied()
    }

    fn is(&self, text: &str, ahead: usize) -> bool {
        self.peek(ahead).is_some_and(|token| token.text == text)
    }
}

#[cfg(test)]
mod tests {
    use super::named_paths;
    use crate::tokens::tokens;

    #[test]
    fn paths_are_found_wherever_they_stand() {
        let cases: [(&str, &[&str]); 9] = [
            ("use crate::a;", &["crate::a"]),
            (
                "use crate::{a::{self, B}, c as d, e::*};",
                &["crate::a", "crate::a::B", "crate::c", "crate::e::*"],
            ),
            ("use super::super::a::B;", &["super::super::a::B"]),
            ("use {crate::a, std::fs};", &["crate::a", "std::fs"]),
            (
                "fn f(a: crate::a::B) -> ::std::io::Result<c::D> {}",
                &["crate::a::B", "std::io::Result", "c::D"],
            ),
            ("<A as crate::b::C>::d::e; Vec::<crate::f::G>::new();", &["crate::b::C", "crate::f::G"]),
            ("use std::time; fn f() { time::Instant::now() }", &["std::time", "std::time::Instant::now"]),
            ("use a::b as c; c::d!{x::y}", &["a::b", "a::b::d", "x::y"]),
            ("let x = y; if x { z }", &[]),
        ];
        for (text, expected) in cases {
            let tokens = tokens(text);
            let found: Vec<_> = named_paths(&tokens).iter().map(|path| path.segments.join("::")).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn modules_inside_the_file_are_known() {
        let tokens = tokens("mod a { mod b { fn c() { super::d(); } } fn e() { self::f(); } }\nsuper::g();");
        let found: Vec<_> =
            named_paths(&tokens).into_iter().map(|path| (path.inside.join("/"), path.line)).collect();
        assert_eq!(found, [("a/b".into(), 1), ("a".into(), 1), (String::new(), 2)]);
    }
}
