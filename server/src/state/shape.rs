//! Why a text is no document, for whoever wrote it: where, what belongs there, and where a right one is to be seen.
//!
//! `serde` names types of this program, and only a line and a column.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Deserializer, Error, error::Category};

/// Reads a document; what is wrong with its shape ends with `remedy`.
pub(super) fn read<T: DeserializeOwned>(text: &[u8], remedy: &str) -> Result<T, String> {
    serde_json::from_slice(text).map_err(|error| {
        let fault = fault::<T>(text, &error);
        format!("{fault}; {remedy}")
    })
}

fn fault<T: DeserializeOwned>(text: &[u8], error: &Error) -> String {
    let position = format!(" at line {} column {}", error.line(), error.column());
    let said = error.to_string();
    let said = said.strip_suffix(&position).unwrap_or(&said);
    match error.classify() {
        Category::Eof if text.trim_ascii().is_empty() => "the text is empty".to_owned(),
        Category::Eof => format!("{}{position}", said.replace("EOF while parsing", "the text ends within")),
        // Where one of several words belongs, serde_json takes another kind of value for no value at all.
        Category::Syntax | Category::Io if serde_json::from_slice::<IgnoredAny>(text).is_err() => {
            format!("this is no JSON: {said}{position}")
        }
        Category::Syntax | Category::Io => {
            format!("{}another kind of value belongs here{position}", place::<T>(text))
        }
        Category::Data => format!("{}{}{position}", place::<T>(text), in_plain_words(said)),
    }
}

/// Such as `events[0].id: `; nothing when the whole document is meant.
fn place<T: DeserializeOwned>(text: &[u8]) -> String {
    let error = serde_path_to_error::deserialize::<_, T>(&mut Deserializer::from_slice(text)).err();
    match error.map(|error| error.path().to_string()) {
        Some(place) if place != "." => format!("{place}: "),
        Some(_) | None => String::new(),
    }
}

fn in_plain_words(said: &str) -> String {
    let said = said.replace("unknown variant", "unknown word");
    let found = ["invalid type: ", "invalid value: "].iter().find_map(|prefix| said.strip_prefix(prefix));
    let Some((found, wanted)) = found.and_then(|rest| rest.split_once(", expected ")) else { return said };
    let wanted = match wanted {
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" => format!("a whole number from 0 to {}", u64::MAX),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        other => other.to_owned(),
    };
    let found = match found {
        "sequence" => "a list",
        "map" => "an object",
        value => ["integer ", "floating point ", "boolean ", "string "]
            .iter()
            .find_map(|kind| value.strip_prefix(kind))
            .unwrap_or(value),
    };
    format!("{} is not {wanted}", found.trim_matches('`'))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape is of interest")]
    struct Document {
        small: u16,
        large: u64,
        switch: bool,
        list: Vec<u32>,
        word: Option<Word>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        Yes,
    }

    #[test]
    fn every_fault_of_shape_names_its_place_and_no_type_of_this_program() {
        let check = |text: &str, expected: &str| {
            let told = read::<Document>(text.as_bytes(), "see there").err().unwrap();
            let told = told.strip_suffix("; see there").unwrap();
            let told = told.split_once(" column ").map_or(told, |(told, _)| told);
            assert_eq!(told, expected, "{text}");
        };
        check("", "the text is empty");
        check(" \n", "the text is empty");
        check("{", "the text ends within an object at line 1");
        check("{\"small\":", "the text ends within a value at line 1");
        check("{\"small\" 1}", "this is no JSON: expected `:` at line 1");
        check("{\"small\":1,}", "this is no JSON: trailing comma at line 1");
        check("yes", "this is no JSON: expected value at line 1");
        check("{\"small\":70000}", "small: 70000 is not a whole number from 0 to 65535 at line 1");
        check("{\n\"large\":-1}", "large: -1 is not a whole number from 0 to 18446744073709551615 at line 2");
        check("{\"large\":1.5}", "large: 1.5 is not a whole number from 0 to 18446744073709551615 at line 1");
        check("{\"switch\":\"on\"}", "switch: \"on\" is not true or false at line 1");
        check("{\"switch\":{}}", "switch: an object is not true or false at line 1");
        check("{\"list\":[1,null]}", "list[1]: null is not a whole number from 0 to 4294967295 at line 1");
        check("{\"list\":3}", "list: 3 is not a list at line 1");
        check("{\"word\":\"no\"}", "word: unknown word `no`, expected `yes` at line 1");
        check("{\"word\":7}", "word: another kind of value belongs here at line 1");
        check("{\"large\":1}", "missing field `small` at line 1");
    }
}
