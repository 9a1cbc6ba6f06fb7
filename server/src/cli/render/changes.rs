//! What became of changes: a line for each, and why or whence below it.

use std::fmt::{self, Write as _};

use serde_json::Value;

use super::{COLUMNS, cut, word, wrap};

/// Digits of a digest that are told; enough to see whether two are the same.
pub(super) const DIGEST_CHARS: usize = 8;

/// What became of the latest changes, from the body of `GET /config/history`.
pub(in crate::cli) fn history(body: &Value) -> String {
    let changes = body.as_array().map_or(&[][..], Vec::as_slice);
    let mut text = String::new();
    write(&mut text, changes, "", 0).expect("writing into a string must succeed");
    if text.is_empty() { "nothing has changed since the start\n".to_owned() } else { text }
}

/// The changes as a table, its head after `label`, its lines after as many blanks as `indent` says.
pub(super) fn write(text: &mut String, changes: &[Value], label: &str, indent: usize) -> fmt::Result {
    if changes.is_empty() {
        return Ok(());
    }
    if !label.is_empty() {
        writeln!(text, "  {label}")?;
    }
    let indent = " ".repeat(indent);
    let head = ["when (UTC)", "what", "by", "size", "digest", "outcome"];
    write_row(text, &indent, head.map(str::to_owned))?;
    for change in changes {
        let is_published = change["outcome"] == "published";
        let outcome = if is_published {
            format!("generation {}", change["generation"])
        } else {
            word(&change["outcome"]).to_owned()
        };
        let row = [
            time(word(&change["at"])),
            word(&change["datum"]).to_owned(),
            word(&change["mechanism"]).to_owned(),
            size(change["bytes"].as_u64().unwrap_or(0)),
            digest(&change["digest"]),
            outcome,
        ];
        write_row(text, &indent, row)?;
        let more = match change["reason"].as_str() {
            Some(reason) => reason.to_owned(),
            None => {
                let took = change["took_ms"].as_f64().unwrap_or(0.0);
                format!("from {}, in {took:.1} ms", word(&change["place"]))
            }
        };
        for line in more.lines().flat_map(|line| wrap(line, COLUMNS - indent.len() - 2)) {
            writeln!(text, "{indent}  {line}")?;
        }
    }
    Ok(())
}

fn write_row(text: &mut String, indent: &str, row: [String; 6]) -> fmt::Result {
    let [when, what, by, size, digest, outcome] = row;
    writeln!(text, "{indent}{when:<21}{what:<12}{by:<7}{size:<9}{digest:<9}{outcome}")
}

/// To the second, without the zone, which the head of the table tells.
fn time(at: &str) -> String {
    cut(&at.replace('T', " "), "2026-11-23 02:35:12".len())
}

/// The beginning; `-`: there is none.
pub(super) fn digest(value: &Value) -> String {
    let digits = cut(word(value), DIGEST_CHARS);
    if digits.is_empty() { "-".to_owned() } else { digits }
}

/// In the unit that leaves one to three digits before the point.
pub(super) fn size(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", tenths(1_000)),
        _ => format!("{} MB", tenths(1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_fitting_unit() {
        for (bytes, expected) in
            [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (999_999, "999.9 kB"), (110_123_456, "110.1 MB")]
        {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn without_changes_that_is_said() {
        assert_eq!(history(&serde_json::json!([])), "nothing has changed since the start\n");
    }
}
