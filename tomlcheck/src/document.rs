//! The parsed document: a tree in which every value knows its place, with overrides laid on top.

use std::{
    cell::RefCell,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{Fault, Faults, Section};

/// A file's name, its values with their places, and the faults found in it so far.
#[derive(Debug)]
pub struct Document {
    file: PathBuf,
    root: Node,
    pub(crate) faults: RefCell<Faults>,
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    File {
        line: usize,
        column: usize,
    },
    /// An override, in the words of whoever gave it.
    Override(String),
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Node>),
    /// In the order of the file.
    Table(Vec<Member>),
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

impl Document {
    /// Parses `source`; `file` is only a name for the faults.
    ///
    /// # Errors
    /// All syntax errors from which the parser can recover far enough to find the next.
    pub fn parse(file: &Path, source: &str) -> Result<Self, Faults> {
        let reader = Reader::new(source);
        let (root, errors) = DeTable::parse_recoverable(source);
        let mut faults = Faults::default();
        let mut fault = |span: Range<usize>, what: String| {
            let (line, column) = reader.position(span.start);
            let file = file.to_path_buf();
            faults.push(Fault { file, line, column, key: String::new(), what, hint: None });
        };
        for error in errors {
            fault(error.span().unwrap_or_default(), error.message().trim_end().replace('\n', "; "));
        }
        let members = reader.table(root.get_ref(), &mut fault);
        if !faults.is_empty() {
            return Err(faults);
        }
        let root = Node { place: Place::File { line: 1, column: 1 }, value: Value::Table(members) };
        Ok(Self { file: file.to_path_buf(), root, faults: RefCell::default() })
    }

    /// Lays one value over the document, as if the file had said so: `path` is dotted, elements of an
    /// array are chosen by index from 0 or by their `name`; missing tables on the way are made.
    ///
    /// `value` is read as TOML, or taken as a plain string if it is not TOML (`reuseport`, `40s`).
    /// A fault of this value, now or in a later check, blames `blame` (for example `--set load.rate=x`).
    pub fn set(&mut self, path: &str, value: &str, blame: &str) {
        let mut unused = |_: Range<usize>, _: String| {};
        let value = match DeValue::parse(value) {
            Ok(parsed) => Reader::new(value).node(&parsed, &mut unused).value,
            Err(_) => Value::String(value.to_owned()),
        };
        self.lay(path, value, blame);
    }

    /// Like [`Document::set`], with a value that is a string whatever it looks like.
    pub fn set_string(&mut self, path: &str, value: &str, blame: &str) {
        self.lay(path, Value::String(value.to_owned()), blame);
    }

    fn lay(&mut self, path: &str, value: Value, blame: &str) {
        let place = Place::Override(blame.to_owned());
        let mut node = Node { place: place.clone(), value };
        node.move_to(&place);
        if let Err((what, hint)) = put(&mut self.root, path, node) {
            let fault = self.fault(&place, path.to_owned(), what, Some(hint));
            self.faults.get_mut().push(fault);
        }
    }

    /// The table of the whole document.
    #[must_use]
    pub fn root(&self) -> Section<'_> {
        Section::new(self, String::new(), &self.root)
    }

    /// Ends the check.
    ///
    /// # Errors
    /// Every fault that was recorded since the document was parsed.
    pub fn finish(self) -> Result<(), Faults> {
        let faults = self.faults.into_inner();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    pub(crate) fn record(&self, place: &Place, key: String, what: String, hint: Option<String>) {
        self.faults.borrow_mut().push(self.fault(place, key, what, hint));
    }

    fn fault(&self, place: &Place, key: String, what: String, hint: Option<String>) -> Fault {
        match place {
            Place::File { line, column } => {
                Fault { file: self.file.clone(), line: *line, column: *column, key, what, hint }
            }
            Place::Override(blame) => {
                Fault { file: PathBuf::from(blame), line: 0, column: 0, key, what, hint }
            }
        }
    }
}

impl Node {
    /// Gives the value and all inside it another place.
    fn move_to(&mut self, place: &Place) {
        self.place = place.clone();
        match &mut self.value {
            Value::Array(nodes) => nodes.iter_mut().for_each(|node| node.move_to(place)),
            Value::Table(members) => {
                for member in members {
                    member.place = place.clone();
                    member.node.move_to(place);
                }
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {}
        }
    }

    fn name(&self) -> Option<&str> {
        let Value::Table(members) = &self.value else { return None };
        members.iter().find(|member| member.name == "name").and_then(|member| match &member.node.value {
            Value::String(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

/// Puts `value` at `path` below `node`; the error is what is wrong and how to mend it.
fn put(node: &mut Node, path: &str, value: Node) -> Result<(), (String, String)> {
    let (step, rest) = match path.split_once('.') {
        Some((step, rest)) => (step, Some(rest)),
        None => (path, None),
    };
    if step.is_empty() {
        return Err(("the path has an empty step".to_owned(), "write it like load.rate".to_owned()));
    }
    let place = value.place.clone();
    let next = match &mut node.value {
        Value::Table(members) => {
            let index = members.iter().position(|member| member.name == step).unwrap_or_else(|| {
                let node = Node { place: place.clone(), value: Value::Table(Vec::new()) };
                members.push(Member { name: step.to_owned(), place: place.clone(), node });
                members.len() - 1
            });
            let member = &mut members[index];
            if rest.is_none() {
                member.place = place;
            }
            &mut member.node
        }
        Value::Array(nodes) => {
            let named = nodes.iter().position(|node| node.name() == Some(step));
            let index = named.or_else(|| step.parse().ok()).filter(|index| *index < nodes.len());
            let Some(index) = index else {
                let names: Vec<String> = (0..nodes.len())
                    .map(|index| nodes[index].name().map_or_else(|| index.to_string(), str::to_owned))
                    .collect();
                return Err((
                    format!("there is no element `{step}`"),
                    format!("there are: {}", names.join(", ")),
                ));
            };
            &mut nodes[index]
        }
        _ => return Err((format!("`{step}` is below a plain value"), "shorten the path".to_owned())),
    };
    match rest {
        Some(rest) => put(next, rest, value),
        None => {
            *next = value;
            Ok(())
        }
    }
}

/// Turns the parser's tree with byte offsets into ours with lines and columns.
struct Reader<'s> {
    source: &'s str,
    line_starts: Vec<usize>,
}

impl<'s> Reader<'s> {
    fn new(source: &'s str) -> Self {
        let after_newlines = source.match_indices('\n').map(|(offset, _)| offset + 1);
        Self { source, line_starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// Line and column, both from 1; columns count characters.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let before = self.source.get(self.line_starts[line - 1]..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let (line, column) = self.position(span.start);
        Place::File { line, column }
    }

    fn table(&self, table: &DeTable<'_>, fault: &mut dyn FnMut(Range<usize>, String)) -> Vec<Member> {
        let mut members: Vec<_> = table.iter().collect();
        members.sort_by_key(|(name, _)| name.span().start);
        members
            .into_iter()
            .map(|(name, value)| Member {
                name: name.get_ref().clone().into_owned(),
                place: self.place(&name.span()),
                node: self.node(value, fault),
            })
            .collect()
    }

    fn node(&self, value: &Spanned<DeValue<'_>>, fault: &mut dyn FnMut(Range<usize>, String)) -> Node {
        let parsed = match value.get_ref() {
            DeValue::String(text) => Value::String(text.clone().into_owned()),
            DeValue::Boolean(boolean) => Value::Boolean(*boolean),
            DeValue::Datetime(datetime) => Value::Datetime(datetime.to_string()),
            DeValue::Array(elements) => {
                Value::Array(elements.iter().map(|element| self.node(element, fault)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, fault)),
            DeValue::Integer(digits) => {
                Value::Integer(i64::from_str_radix(digits.as_str(), digits.radix()).unwrap_or_else(|_| {
                    fault(value.span(), format!("the integer {} does not fit 64 bits", digits.as_str()));
                    0
                }))
            }
            DeValue::Float(digits) => Value::Float(digits.as_str().parse().unwrap_or_else(|_| {
                fault(value.span(), format!("{} is not a number", digits.as_str()));
                0.0
            })),
        };
        Node { place: self.place(&value.span()), value: parsed }
    }
}
