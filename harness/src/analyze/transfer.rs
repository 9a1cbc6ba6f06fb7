//! How long connections take to move, as the server tells it of each upgrade.

use crate::observe::{EventOutcome, EventRecord};

/// Of upgrades that ended well, the time within which half of them had moved their connections, milliseconds;
/// `None` when none told it.
pub(super) fn p50_ms(events: &[EventRecord]) -> Option<f64> {
    let upgrades = events.iter().filter(|event| event.kind == "upgrade" && event.outcome == EventOutcome::Ok);
    let mut told: Vec<f64> =
        upgrades.filter_map(|event| event.detail.get("phases_ms")?.get("transfer")?.as_f64()).collect();
    told.sort_by(f64::total_cmp);
    told.get(told.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::analyze::fixture::upgrade;

    #[test]
    fn half_of_the_upgrades_that_ended_well_moved_within_it() {
        let lasted = |times: &[f64]| -> Vec<EventRecord> {
            let swap = |(&lasted, number): (&f64, u64)| {
                let mut swap = upgrade(number, number * 10, number * 10 + 5);
                swap.detail["phases_ms"]["transfer"] = json!(lasted);
                swap
            };
            times.iter().zip(1..).map(swap).collect()
        };
        assert_eq!(p50_ms(&lasted(&[])), None);
        assert_eq!(p50_ms(&lasted(&[7.5])), Some(7.5));
        assert_eq!(p50_ms(&lasted(&[9.0, 1.0])), Some(1.0));
        assert_eq!(p50_ms(&lasted(&[900.0, 1.0, 3.0])), Some(3.0));
        // One that failed, one that tells nothing, and what is no upgrade.
        let mut events = lasted(&[1.0, 2.0, 3.0, 4.0]);
        events[0].outcome = EventOutcome::Failed;
        events[1].detail = json!({});
        events[2].kind = "exec".to_owned();
        assert_eq!(p50_ms(&events), Some(4.0));
    }
}
