//! The published reports fit the published schemas: who reads one by the other finds what is promised.

use std::{fs, path::Path};

use serde_json::{Value, json};

/// They have no schema.
const OTHERS: [&str; 3] = ["calibration.json", "catalogue.json", "false-alarms.json"];

#[test]
fn every_published_report_fits_its_schema() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reports");
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let [of_runs, of_benches] =
        ["report", "bench"].map(|name| read(&folder.join(format!("schema/{name}.schema.json"))));
    let files = fs::read_dir(folder.join("published")).unwrap().map(|file| file.unwrap().path());
    let mut faults = Vec::new();
    for path in files.filter(|path| path.extension().is_some_and(|end| end == "json")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if OTHERS.contains(&name.as_str()) {
            continue;
        }
        let schema = if name.starts_with("bench-") { &of_benches } else { &of_runs };
        check(schema, schema, &read(&path), &name, &mut faults);
    }
    faults.sort_unstable();
    assert!(faults.is_empty(), "measure these anew:\n{}", faults.join("\n"));
}

#[test]
fn what_does_not_fit_a_schema_is_told_with_its_place() {
    let schema = json!({
        "type": "object", "required": ["a"],
        "properties": {
            "a": { "type": "array", "items": { "$ref": "#/$defs/Count" } },
            "b": { "anyOf": [{ "$ref": "#/$defs/Word" }, { "type": "null" }] },
            "c": { "type": "object", "additionalProperties": { "type": "string" } },
        },
        "$defs": {
            "Count": { "type": "integer", "minimum": 0, "format": "uint8", "description": "so many" },
            "Word": { "type": "string", "enum": ["x"] },
        },
    });
    let found = |value: Value| {
        let mut faults = Vec::new();
        check(&schema, &schema, &value, "it", &mut faults);
        faults
    };
    assert_eq!(found(json!({ "a": [0, 1], "b": null, "c": { "any": "thing" } })), [""; 0]);
    assert_eq!(found(json!({ "a": [], "b": "x" })), [""; 0]);
    assert_eq!(found(json!({ "b": "y" })), ["it lacks a", "it.b is none of what it may be"]);
    assert_eq!(
        found(json!({ "a": [0, -1, 0.5], "d": 1 })),
        ["it.a[1] is less than 0", "it.a[2] is no integer", "it.d is in no schema"]
    );
    assert_eq!(found(json!({ "a": 3, "c": { "any": 7 } })), ["it.a is no array", "it.c.any is no string"]);
}

/// The words of JSON Schema that ours use; another one is a fault, or something would pass unseen. A member that no word
/// speaks of is one too, where the standard allows it.
fn check(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let words = schema.as_object().unwrap();
    let mut fault = |what: String| faults.push(format!("{at} {what}"));
    let fits = |one: &Value| {
        let mut faults = Vec::new();
        check(root, one, value, at, &mut faults);
        faults.is_empty()
    };
    let list = |word: &Value| word.as_array().unwrap().clone();
    for (word, wanted) in words {
        match word.as_str() {
            "$schema"
            | "title"
            | "description"
            | "format"
            | "$defs"
            | "properties"
            | "patternProperties"
            | "additionalProperties"
            | "items"
            | "$ref" => {}
            "type" => {
                let types = if wanted.is_array() { list(wanted) } else { vec![wanted.clone()] };
                if !types.iter().any(|name| is_of(value, name.as_str().unwrap())) {
                    let names: Vec<&str> = types.iter().filter_map(Value::as_str).collect();
                    fault(format!("is no {}", names.join(" or ")));
                }
            }
            "required" => {
                let names = list(wanted);
                let lacks = |name: &&str| value.is_object() && value.get(name).is_none();
                names
                    .iter()
                    .filter_map(Value::as_str)
                    .filter(lacks)
                    .for_each(|name| fault(format!("lacks {name}")));
            }
            "minimum" if value.as_f64() < wanted.as_f64() && value.is_number() => {
                fault(format!("is less than {wanted}"));
            }
            "maximum" if value.as_f64() > wanted.as_f64() && value.is_number() => {
                fault(format!("is more than {wanted}"));
            }
            "minimum" | "maximum" => {}
            "enum" if !list(wanted).contains(value) => fault("is none of what it may be".to_owned()),
            "const" if wanted != value => fault(format!("is not {wanted}")),
            "anyOf" | "oneOf" if !list(wanted).iter().any(fits) => {
                fault("is none of what it may be".to_owned());
            }
            "enum" | "const" | "anyOf" | "oneOf" => {}
            unknown => fault(format!("has a schema with {unknown}, which this test does not know")),
        }
    }
    if let Some(name) = words.get("$ref").and_then(Value::as_str) {
        let definition = &root["$defs"][name.strip_prefix("#/$defs/").unwrap()];
        check(root, definition, value, at, faults);
    }
    if let (Some(items), Some(entries)) = (words.get("items"), value.as_array()) {
        for (index, entry) in entries.iter().enumerate() {
            check(root, items, entry, &format!("{at}[{index}]"), faults);
        }
    }
    check_members(root, schema, value, at, faults);
}

fn check_members(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let words = ["properties", "patternProperties", "additionalProperties"];
    let [named, numbered, other] = words.map(|word| schema.get(word));
    if named.or(numbered).or(other).is_none() {
        return;
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
        let numbered = numbered.filter(|_| is_number).and_then(|patterns| patterns.get(r"^\d+$"));
        let other = other.filter(|rest| rest.is_object());
        match named.and_then(|named| named.get(name)).or(numbered).or(other) {
            Some(schema) => check(root, schema, member, &at, faults),
            None => faults.push(format!("{at} is in no schema")),
        }
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        _ => false,
    }
}
