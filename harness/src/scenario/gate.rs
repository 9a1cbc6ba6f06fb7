//! `[gate]`: the limits that the run is held to.

use tomlcheck::Section;

use crate::plan::{Action, Arrival, Gate, LoadPlan};

use super::event::Schedule;

/// Strict by default: the claim under test is that nothing is lost. Attempts.
const FAILED_MAX: u64 = 0;

/// A lost request is lost however late it was sent, so this may be generous to a busy machine of 2 cores;
/// but it must stay well below `load.slow` (250 ms), or the generator's delay is taken for a brownout.
/// A scenario that judges latency should set a limit of its own. Microseconds.
const LATENESS_P99_US_MAX: u64 = 50_000;

/// What was not sent cannot have failed, so nothing may be left out. Attempts.
const UNSENT_MAX: u64 = 0;

/// A generator that stands still for so long has not seen what the target did meanwhile; lateness hides it,
/// since one pause is far below 1 % of a long run's attempts. Milliseconds.
const BLIND_MS_MAX: f64 = 1_000.0;

/// A day, the longest run there is. Milliseconds.
const MS_MAX: f64 = 86_400_000.0;

/// A gigabyte. Kilobytes.
const KB_MAX: f64 = 1_048_576.0;

/// No count of ours is larger.
const COUNT_MAX: u64 = 1_000_000_000;

/// Which numbers a gate takes, and how it is made of one.
enum Limit {
    Count(fn(u64) -> Gate),
    Ms(fn(f64) -> Gate),
    Kb(fn(f64) -> Gate),
    Fraction(fn(f64) -> Gate),
}

/// Every gate by its key: the names that `plan::Gate` has in `plan.json`.
const GATES: [(&str, Limit); 20] = [
    ("failed_max", Limit::Count(Gate::FailedMax)),
    ("unforeseen_max", Limit::Count(Gate::UnforeseenMax)),
    ("availability_min", Limit::Fraction(Gate::AvailabilityMin)),
    ("hard_downtime_ms_max", Limit::Ms(Gate::HardDowntimeMsMax)),
    ("brownout_ms_max", Limit::Ms(Gate::BrownoutMsMax)),
    ("latency_p99_ms_max", Limit::Ms(Gate::LatencyP99MsMax)),
    ("upgrades_min", Limit::Count(Gate::UpgradesMin)),
    ("events_failed_max", Limit::Count(Gate::EventsFailedMax)),
    ("closed_by_server_max", Limit::Count(Gate::ClosedByServerMax)),
    ("stale_ms_max", Limit::Ms(Gate::StaleMsMax)),
    ("recovery_ms_max", Limit::Ms(Gate::RecoveryMsMax)),
    ("transfer_p50_ms_max", Limit::Ms(Gate::TransferP50MsMax)),
    ("processes_left_max", Limit::Count(Gate::ProcessesLeftMax)),
    ("descriptors_left_max", Limit::Count(Gate::DescriptorsLeftMax)),
    ("memory_growth_kb_max", Limit::Kb(Gate::MemoryGrowthKbMax)),
    ("goods_contended_min", Limit::Count(Gate::GoodsContendedMin)),
    ("limits_contended_min", Limit::Count(Gate::LimitsContendedMin)),
    ("lateness_p99_us_max", Limit::Count(Gate::LatenessP99UsMax)),
    ("unsent_max", Limit::Count(Gate::UnsentMax)),
    ("blind_ms_max", Limit::Ms(Gate::BlindMsMax)),
];

/// The limits of `[gate.propagation_p99_ms_max]`, by mechanism.
const PROPAGATION: [(&str, Limit); 4] = [
    ("push", Limit::Ms(Gate::PushP99MsMax)),
    ("file", Limit::Ms(Gate::FileP99MsMax)),
    ("etcd", Limit::Ms(Gate::EtcdP99MsMax)),
    ("timer", Limit::Ms(Gate::TimerP99MsMax)),
];

/// The gates in the order of the file, then those that hold without being asked for. Only a schedule can be
/// run late, so closed loops alone get no limit of lateness.
pub(super) fn read(root: &Section<'_>, load: Option<&LoadPlan>, events: Option<&[Schedule]>) -> Vec<Gate> {
    let mut gates = Vec::new();
    if let Some(section) = root.section("gate") {
        let place = |key: &str| section.keys().position(|found| found == key);
        for (key, limit) in &GATES {
            if let (Some(gate), Some(place)) = (read_gate(&section, key, limit), place(key)) {
                gates.push((place, gate));
            }
        }
        if let Some(limits) = section.section("propagation_p99_ms_max") {
            let place = place("propagation_p99_ms_max").unwrap_or_default();
            let read = |(key, limit): &(&str, Limit)| Some((place, read_gate(&limits, key, limit)?));
            gates.extend(PROPAGATION.iter().filter_map(read));
            limits.finish();
        }
        if let Some(events) = events {
            check_upgrades(&section, events);
        }
        section.finish();
    }
    gates.sort_by_key(|(place, _)| *place);
    let mut gates: Vec<Gate> = gates.into_iter().map(|(_, gate)| gate).collect();
    let scheduled =
        load.is_none_or(|load| load.streams.iter().any(|stream| stream.arrival != Arrival::Closed));
    let lateness = scheduled.then_some(Gate::LatenessP99UsMax(LATENESS_P99_US_MAX));
    let [failed, unsent, blind] =
        [Gate::FailedMax(FAILED_MAX), Gate::UnsentMax(UNSENT_MAX), Gate::BlindMsMax(BLIND_MS_MAX)].map(Some);
    for always in [failed, lateness, unsent, blind].into_iter().flatten() {
        let is_same = |gate: &Gate| {
            std::mem::discriminant(gate) == std::mem::discriminant(&always)
                // Who foresees failures does not forbid them all.
                || matches!((gate, always), (Gate::UnforeseenMax(_), Gate::FailedMax(_)))
        };
        if !gates.iter().any(is_same) {
            gates.push(always);
        }
    }
    gates
}

fn read_gate(section: &Section<'_>, key: &str, limit: &Limit) -> Option<Gate> {
    match limit {
        Limit::Count(gate) => section.integer(key, 0..=COUNT_MAX).map(|entry| gate(entry.value)),
        Limit::Ms(gate) => section.float(key, 0.0..=MS_MAX).map(|entry| gate(entry.value)),
        Limit::Kb(gate) => section.float(key, 0.0..=KB_MAX).map(|entry| gate(entry.value)),
        Limit::Fraction(gate) => section.float(key, 0.0..=1.0).map(|entry| gate(entry.value)),
    }
}

/// A gate that no run can pass is a typing error, not a strict limit.
fn check_upgrades(section: &Section<'_>, events: &[Schedule]) {
    let is_upgrade = |event: &&Schedule| matches!(event.action, Action::Upgrade { expect_ok: true, .. });
    let planned: u64 = events.iter().filter(is_upgrade).map(|event| event.count).sum();
    if let Some(limit) = section.integer("upgrades_min", 0..=COUNT_MAX)
        && limit.value > planned
    {
        let what = format!("{} upgrades cannot succeed when {planned} are planned", limit.value);
        limit.fault(what, "lower it, or add an [[event]] with action = \"upgrade\"");
    }
}
