//! Limits of what two processes must have used up at once for a run to show anything.

use super::{Comparison, to_f64};
use crate::{
    analyze::contended::{Contended, LAST_PIECES},
    plan::Gate,
};

/// Any other gate is none of this room's, and has nothing to measure here.
pub(super) fn compare(gate: Gate, contended: Option<Contended>) -> Comparison {
    let (limit, actual, of, what) = match gate {
        Gate::GoodsContendedMin(limit) => (
            limit,
            contended.map(|seen| seen.goods),
            contended.map(|seen| seen.sold_out),
            "goods that sold out",
        ),
        Gate::LimitsContendedMin(limit) => (
            limit,
            contended.map(|seen| seen.limits),
            contended.map(|seen| seen.used_up),
            "limits of users that were used up",
        ),
        _ => (0, None, None, ""),
    };
    let reason = match (actual, of) {
        (Some(actual), Some(of)) => format!(
            "Of {of} {what}, {actual} had their last {LAST_PIECES} pieces sold by two processes at once; the least is \
             {limit}."
        ),
        _ => "Which processes sold the last pieces was not seen.".to_owned(),
    };
    let kept = actual.is_some_and(|actual| actual >= limit);
    Comparison { limit: to_f64(limit), actual: actual.map(to_f64), kept, reason }
}
