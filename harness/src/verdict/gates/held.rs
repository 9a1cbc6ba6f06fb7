//! Limits of what a chain of upgrades leaves behind.

use super::{Comparison, counted, to_f64};
use crate::{analyze::held::Figures, plan::Gate};

/// Any other gate is none of this room's, and has nothing to measure here.
pub(super) fn compare(gate: Gate, held: Option<&Figures>) -> Comparison {
    let (limit, actual, reason) = match gate {
        Gate::ProcessesLeftMax(limit) => {
            let left = held.map(Figures::processes_left);
            (to_f64(limit), left.map(to_f64), left.map(|left| processes(left, limit)))
        }
        Gate::DescriptorsLeftMax(limit) => {
            let left = held.map(Figures::descriptors_left);
            (to_f64(limit), left.map(to_f64), held.map(|held| descriptors(held, limit)))
        }
        Gate::MemoryGrowthKbMax(limit) => {
            let growth = held.and_then(|held| held.growth);
            let reason = growth.map(|growth| {
                format!(
                    "The memory of the process that serves grew by {:.1} KB an upgrade, at most {:.1} with 95 % \
                     confidence, over {} processes; the limit is {limit} KB.",
                    growth.median_kb,
                    growth.upper_kb,
                    growth.processes,
                )
            });
            (limit, growth.map(|growth| growth.upper_kb), reason)
        }
        _ => (0.0, None, None),
    };
    let reason = reason.unwrap_or_else(|| {
        "What the server holds was not read before and after the load, or in too few upgrades.".to_owned()
    });
    Comparison { limit, actual, kept: actual.is_some_and(|actual| actual <= limit), reason }
}

fn processes(left: u64, limit: u64) -> String {
    let noun = if left == 1 { "process was" } else { "processes were" };
    format!("{left} {noun} left beside the one that serves; the limit is {limit}.")
}

fn descriptors(held: &Figures, limit: u64) -> String {
    let (before, after) = (held.before.descriptors, held.after.descriptors);
    let left = counted(held.descriptors_left(), "descriptor");
    format!("{left} more than the {before} of before the load were left, {after}; the limit is {limit}.")
}
