//! A cursor over one table that collects faults instead of returning the first.

use std::{cell::RefCell, fmt::Display, ops::RangeInclusive};

use crate::{
    Document,
    document::{Member, Node, Place, Value},
    nearest,
};

/// One table of a document. Each question about a key that is there but wrong records a fault and answers
/// `None`, like a question about a key that is not there; the caller goes on with its default.
#[derive(Debug)]
pub struct Section<'d> {
    document: &'d Document,
    path: String,
    place: &'d Place,
    members: &'d [Member],
    asked: RefCell<Vec<String>>,
}

/// A value of the right type that can still be blamed, for checks that only the caller knows.
#[derive(Debug)]
pub struct Entry<'d, T> {
    pub value: T,
    document: &'d Document,
    key: String,
    place: &'d Place,
}

impl<T> Entry<'_, T> {
    /// Records a fault at this value.
    pub fn fault(&self, what: impl Into<String>, hint: impl Into<String>) {
        self.document.record(self.place, self.key.clone(), what.into(), Some(hint.into()));
    }
}

impl<'d> Section<'d> {
    pub(crate) fn new(document: &'d Document, path: String, node: &'d Node) -> Self {
        let members = match &node.value {
            Value::Table(members) => members.as_slice(),
            _ => &[],
        };
        Self { document, path, place: &node.place, members, asked: RefCell::default() }
    }

    /// Dotted path of this table; empty for the whole document.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// All keys that are there, in the order of the file.
    pub fn keys(&self) -> impl Iterator<Item = &'d str> + use<'d> {
        self.members.iter().map(|member| member.name.as_str())
    }

    /// Whether the key is there, right or wrong.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The table below `key`.
    pub fn section(&self, key: &str) -> Option<Section<'d>> {
        let node = self.find(key)?;
        if !matches!(node.value, Value::Table(_)) {
            return self.mismatch(key, node, "a table", Some(format!("write [{}]", self.dotted(key))));
        }
        Some(Section::new(self.document, self.dotted(key), node))
    }

    /// The table below `key`, which has to be there.
    pub fn required_section(&self, key: &str, hint: impl Into<String>) -> Option<Section<'d>> {
        self.require(key, hint);
        self.section(key)
    }

    /// The tables of the array below `key`; none when there is no such key.
    pub fn sections(&self, key: &str) -> Vec<Section<'d>> {
        let Some(node) = self.find(key) else { return Vec::new() };
        let hint = format!("write [[{}]]", self.dotted(key));
        let Value::Array(nodes) = &node.value else {
            return self.mismatch(key, node, "an array of tables", Some(hint)).unwrap_or_default();
        };
        let mut sections = Vec::new();
        for (index, element) in nodes.iter().enumerate() {
            let path = format!("{key}.{index}");
            if matches!(element.value, Value::Table(_)) {
                sections.push(Section::new(self.document, self.dotted(&path), element));
            } else {
                self.mismatch::<()>(&path, element, "a table", Some(hint.clone()));
            }
        }
        sections
    }

    /// A string that is not empty.
    pub fn string(&self, key: &str) -> Option<Entry<'d, String>> {
        let node = self.find(key)?;
        match &node.value {
            Value::String(text) if text.is_empty() => {
                self.record(
                    key,
                    &node.place,
                    "must not be empty",
                    Some("fill it in or leave it out".to_owned()),
                );
                None
            }
            Value::String(text) => Some(self.entry(key, node, text.clone())),
            _ => self.mismatch(key, node, "a string", None),
        }
    }

    /// An integer within `range`.
    pub fn integer<T>(&self, key: &str, range: RangeInclusive<T>) -> Option<Entry<'d, T>>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let node = self.find(key)?;
        let value = self.integer_of(key, node, &range)?;
        Some(self.entry(key, node, value))
    }

    /// An array of integers within `range`.
    pub fn integers<T>(&self, key: &str, range: RangeInclusive<T>) -> Option<Entry<'d, Vec<T>>>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        self.array(key, "an array of integers", |path, node| self.integer_of(path, node, &range))
    }

    /// A number within `range`, with or without a decimal point.
    pub fn float(&self, key: &str, range: RangeInclusive<f64>) -> Option<Entry<'d, f64>> {
        let node = self.find(key)?;
        let value = match node.value {
            Value::Float(value) => value,
            #[expect(clippy::cast_precision_loss, reason = "only beyond 2^53, where no setting of ours lies")]
            Value::Integer(value) => value as f64,
            _ => return self.mismatch(key, node, "a number", None),
        };
        if !range.contains(&value) {
            self.out_of_range(key, node, &value, range.start(), range.end());
            return None;
        }
        Some(self.entry(key, node, value))
    }

    /// A number within `range`, or `false` for none at all.
    pub fn float_or_false(&self, key: &str, range: RangeInclusive<f64>) -> Option<Entry<'d, Option<f64>>> {
        let node = self.find(key)?;
        match node.value {
            Value::Boolean(false) => Some(self.entry(key, node, None)),
            Value::Boolean(true) => self.mismatch(key, node, "a number or false", None),
            _ => self.float(key, range).map(|entry| self.entry(key, node, Some(entry.value))),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &str) -> Option<Entry<'d, bool>> {
        let node = self.find(key)?;
        match node.value {
            Value::Boolean(value) => Some(self.entry(key, node, value)),
            _ => self.mismatch(key, node, "true or false", None),
        }
    }

    /// An array of strings.
    pub fn strings(&self, key: &str) -> Option<Entry<'d, Vec<String>>> {
        self.array(key, "an array of strings", |path, node| match &node.value {
            Value::String(text) => Some(text.clone()),
            _ => self.mismatch(path, node, "a string", None),
        })
    }

    /// A string that `parse` turns into a value; `expecting` completes "expected ...".
    pub fn parse<T, E: Display>(
        &self,
        key: &str,
        expecting: &str,
        hint: impl Into<String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let node = self.find(key)?;
        self.parsed(key, node, expecting, hint.into(), parse)
    }

    /// The same, but an array of such strings is good too, if there is at least one.
    pub fn parse_one_or_more<T, E: Display>(
        &self,
        key: &str,
        expecting: &str,
        hint: impl Into<String>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let (node, hint) = (self.find(key)?, hint.into());
        let Value::Array(nodes) = &node.value else {
            return self.parsed(key, node, expecting, hint, parse).map(|value| vec![value]);
        };
        if nodes.is_empty() {
            self.record(key, &node.place, "must not be empty", Some(hint));
            return None;
        }
        let element = |path: &str, node: &Node| self.parsed(path, node, expecting, hint.clone(), &parse);
        self.array(key, expecting, element).map(|entry| entry.value)
    }

    fn parsed<T, E: Display>(
        &self,
        key: &str,
        node: &Node,
        expecting: &str,
        hint: String,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let Value::String(text) = &node.value else {
            return self.mismatch(key, node, expecting, Some(hint));
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                let what = format!("expected {expecting}, found {text:?}: {error}");
                self.record(key, &node.place, what, Some(hint));
                None
            }
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let node = self.find(key)?;
        let words = || choices.iter().map(|(word, _)| *word);
        let listed = words().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        let Value::String(text) = &node.value else {
            return self.mismatch(key, node, "a word", Some(format!("one of {listed}")));
        };
        let found = choices.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
        if found.is_none() {
            let hint = match nearest(text, words()) {
                Some(word) => format!("did you mean {word:?}? (one of {listed})"),
                None => format!("one of {listed}"),
            };
            self.record(key, &node.place, format!("unknown word {text:?}"), Some(hint));
        }
        found
    }

    /// Records a fault if the key is not there.
    pub fn require(&self, key: &str, hint: impl Into<String>) {
        if !self.has(key) {
            self.missing(key, hint);
        }
    }

    /// Records that the key is missing.
    pub fn missing(&self, key: &str, hint: impl Into<String>) {
        self.record(key, self.place, "missing key", Some(hint.into()));
    }

    /// Blames a key, or this table if the key is not there.
    pub fn fault_at(&self, key: &str, what: impl Into<String>, hint: impl Into<String>) {
        let place = self.find(key).map_or(self.place, |node| &node.place);
        self.record(key, place, what, Some(hint.into()));
    }

    /// Blames this table as a whole.
    pub fn fault(&self, what: impl Into<String>, hint: impl Into<String>) {
        self.document.record(self.place, self.path.clone(), what.into(), Some(hint.into()));
    }

    /// Records a fault for each key that nobody asked for.
    pub fn finish(self) {
        let asked = self.asked.borrow();
        for member in self.members.iter().filter(|member| !asked.contains(&member.name)) {
            let hint = match nearest(&member.name, asked.iter().map(String::as_str)) {
                Some(known) => format!("did you mean `{known}`?"),
                None if asked.is_empty() => "remove it".to_owned(),
                None => format!("known here: {}", asked.join(", ")),
            };
            self.record(&member.name, &member.place, "unknown key", Some(hint));
        }
    }

    fn find(&self, key: &str) -> Option<&'d Node> {
        let mut asked = self.asked.borrow_mut();
        if !asked.iter().any(|known| known == key) {
            asked.push(key.to_owned());
        }
        self.members.iter().find(|member| member.name == key).map(|member| &member.node)
    }

    fn dotted(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn entry<T>(&self, key: &str, node: &'d Node, value: T) -> Entry<'d, T> {
        Entry { value, document: self.document, key: self.dotted(key), place: &node.place }
    }

    fn array<T>(
        &self,
        key: &str,
        expecting: &str,
        element: impl Fn(&str, &Node) -> Option<T>,
    ) -> Option<Entry<'d, Vec<T>>> {
        let node = self.find(key)?;
        let Value::Array(nodes) = &node.value else {
            return self.mismatch(key, node, expecting, None);
        };
        // Every element is looked at before any is refused.
        let values: Vec<_> =
            nodes.iter().enumerate().map(|(index, node)| element(&format!("{key}.{index}"), node)).collect();
        let values = values.into_iter().collect::<Option<Vec<T>>>()?;
        Some(self.entry(key, node, values))
    }

    fn integer_of<T>(&self, key: &str, node: &Node, range: &RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let Value::Integer(found) = node.value else {
            return self.mismatch(key, node, "an integer", None);
        };
        let value = T::try_from(found).ok().filter(|value| range.contains(value));
        if value.is_none() {
            self.out_of_range(key, node, &found, range.start(), range.end());
        }
        value
    }

    fn out_of_range(
        &self,
        key: &str,
        node: &Node,
        found: &dyn Display,
        low: &dyn Display,
        high: &dyn Display,
    ) {
        let hint = format!("write a number from {low} to {high}");
        self.record(key, &node.place, format!("{found} is out of range"), Some(hint));
    }

    /// Records a value of the wrong type; always `None`, for the caller to return.
    fn mismatch<T>(&self, key: &str, node: &Node, expecting: &str, hint: Option<String>) -> Option<T> {
        let found = match &node.value {
            Value::String(text) => format!("the string {text:?}"),
            Value::Integer(value) => format!("the integer {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Boolean(value) => value.to_string(),
            Value::Datetime(value) => format!("the date {value}"),
            Value::Array(_) => "an array".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        };
        self.record(key, &node.place, format!("expected {expecting}, found {found}"), hint);
        None
    }

    fn record(&self, key: &str, place: &Place, what: impl Into<String>, hint: Option<String>) {
        self.document.record(place, self.dotted(key), what.into(), hint);
    }
}
