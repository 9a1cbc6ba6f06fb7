//! The limit of the time that connections take to move.

use super::Comparison;

/// The server's own figure: no wait of the instrument is in it, so none excuses it.
pub(super) fn compare(actual: Option<f64>, limit: f64) -> Comparison {
    let reason = actual.map_or_else(
        || "No upgrade that ended well told how long its connections took to move.".to_owned(),
        |actual| {
            format!(
                "Half of the upgrades moved their connections within {actual:.3} ms; the limit is {limit} ms."
            )
        },
    );
    Comparison { limit, actual, kept: actual.is_some_and(|actual| actual <= limit), reason }
}
