//! Lengths of time as people write them: `"250ms"`, `"40s"`, `"1m 30s"`.

use std::ops::RangeInclusive;

use jiff::SignedDuration;
use tomlcheck::Section;

const NS_PER_MS: u64 = 1_000_000;

/// Nothing in a scenario lasts longer than a day: beyond it a typing error is likelier.
pub(super) const LONGEST_NS: u64 = 24 * 60 * 60 * 1_000 * NS_PER_MS;

/// Any length of at least 1 ms, below which nothing of ours is precise.
pub(super) const POSITIVE: RangeInclusive<u64> = NS_PER_MS..=LONGEST_NS;

/// Any length, none included.
pub(super) const ANY: RangeInclusive<u64> = 0..=LONGEST_NS;

/// The duration at `key` in nanoseconds.
pub(super) fn duration(section: &Section<'_>, key: &str, range: &RangeInclusive<u64>) -> Option<u64> {
    let (low, high) = (show_ns(*range.start()), show_ns(*range.end()));
    let hint = format!("write a time from {low} to {high}, like \"250ms\", \"40s\" or \"1m30s\"");
    section.parse(key, "a duration", hint, |text| {
        let parsed: SignedDuration = text.parse().map_err(|_| "it has no number or no unit")?;
        let ns = u64::try_from(parsed.as_nanos()).map_err(|_| "it is negative")?;
        if range.contains(&ns) { Ok(ns) } else { Err("it is out of range") }
    })
}

/// A length of time as a scenario file writes it, for example `1m 30s`.
pub(crate) fn show_ns(ns: u64) -> String {
    let duration = SignedDuration::from_nanos(i64::try_from(ns).unwrap_or(i64::MAX));
    format!("{duration:#}")
}
