//! What is not the same about two values, field by field, and about the plans and surroundings of runs.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::Sample;

/// A field with different values. Several values of a set of runs are separated by commas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    /// Dotted path.
    pub field: String,
    /// In A, as JSON; `null` when A does not have the field.
    pub a: Option<String>,
    /// In B, likewise.
    pub b: Option<String>,
}

/// The first field in alphabetical order that two values do not have in common.
#[must_use]
pub fn first_difference(a: &Value, b: &Value) -> Option<Difference> {
    let [a, b] = [a, b].map(|value| {
        let mut fields = BTreeMap::new();
        flatten(value, "", &mut fields);
        fields
    });
    let fields: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    fields.into_iter().find(|field| a.get(*field) != b.get(*field)).map(|field| Difference {
        field: field.clone(),
        a: a.get(field).cloned(),
        b: b.get(field).cloned(),
    })
}

/// What must be the same in every run of both sides, and is not.
pub(super) fn of_work(a: &[Sample], b: &[Sample]) -> Vec<Difference> {
    between(a, b, |sample| &sample.work, |a, b| a != b || a.is_some_and(|values| values.len() > 1))
}

/// What may be different, and is.
pub(super) fn of_surroundings(a: &[Sample], b: &[Sample]) -> Vec<Difference> {
    between(a, b, |sample| &sample.surroundings, |a, b| a != b)
}

type Values = BTreeSet<String>;

fn between(
    a: &[Sample],
    b: &[Sample],
    pick: fn(&Sample) -> &BTreeMap<String, String>,
    differs: fn(Option<&Values>, Option<&Values>) -> bool,
) -> Vec<Difference> {
    let [a, b] = [a, b].map(|samples| {
        let mut fields: BTreeMap<&String, Values> = BTreeMap::new();
        for (field, value) in samples.iter().flat_map(pick) {
            fields.entry(field).or_default().insert(value.clone());
        }
        fields
    });
    let fields: BTreeSet<&String> = a.keys().chain(b.keys()).copied().collect();
    let shown = |values: &Values| values.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    fields
        .into_iter()
        .filter(|field| differs(a.get(field), b.get(field)))
        .map(|field| Difference {
            field: field.clone(),
            a: a.get(field).map(shown),
            b: b.get(field).map(shown),
        })
        .collect()
}

/// Every scalar under its dotted path; an empty list or object is a value too.
pub(super) fn flatten(value: &Value, path: &str, fields: &mut BTreeMap<String, String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                flatten(value, &below(name), fields);
            }
        }
        Value::Array(values) if !values.is_empty() => {
            for (index, value) in values.iter().enumerate() {
                flatten(value, &below(&index.to_string()), fields);
            }
        }
        scalar => {
            fields.insert(path.to_owned(), scalar.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Difference, first_difference};

    #[test]
    fn the_first_field_is_named_with_both_values() {
        let check = |a, b, expected: Option<(&str, Option<&str>, Option<&str>)>| {
            let expected = expected.map(|(field, a, b)| Difference {
                field: field.to_owned(),
                a: a.map(str::to_owned),
                b: b.map(str::to_owned),
            });
            assert_eq!(first_difference(&a, &b), expected);
        };
        check(json!({"a": 1, "b": [1, {"c": null}]}), json!({"b": [1, {"c": null}], "a": 1}), None);
        check(
            json!({"a": 1, "b": [1, {"c": 2}]}),
            json!({"a": 1, "b": [1, {"c": "2"}]}),
            Some(("b.1.c", Some("2"), Some("\"2\""))),
        );
        check(json!({"a": [], "b": 1}), json!({"b": 1}), Some(("a", Some("[]"), None)));
        check(json!({"a": 1.0}), json!({"a": 1}), Some(("a", Some("1.0"), Some("1"))));
    }
}
