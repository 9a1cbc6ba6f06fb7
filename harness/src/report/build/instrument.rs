//! What the instrument says of itself: the control target, and the machine.

use super::{bounds, by_word, quantiles};
use crate::{
    analyze::{self, Analysis, held::Figures},
    observe::{Background, Holding},
    report::{
        Control, Held, Machine, Rest,
        round::{ms, ms_up, us},
    },
};

pub(super) fn control(background: &Background, analysis: &Analysis) -> Control {
    let control = analysis.control.as_ref();
    let measured = control.filter(|control| control.attempts > 0);
    Control {
        rate: control.map(|_| background.plan.load.control_rate),
        attempts: control.map(|control| control.attempts),
        lost: control.map(analyze::control::Control::lost),
        lost_by_class: control.map(|control| by_word(&control.lost_by_class)).unwrap_or_default(),
        lateness_us: quantiles(control.and_then(|control| control.lateness), us),
        latency_ms: quantiles(control.and_then(|control| control.latency), ms),
        hard_ms: bounds(measured.map(|control| control.hard).unwrap_or_default(), measured.is_some()),
        brownout_ms: measured.map(|control| ms_up(control.brownout_ns)),
        min_detectable_ms: control.and_then(|control| control.min_detectable_ns).map(ms_up),
    }
}

pub(super) fn machine(machine: Option<&analyze::machine::Machine>) -> Machine {
    let whole_ms = |value: Option<u64>| value.map(|whole| ms(whole.saturating_mul(1_000_000)));
    let from_us = |value: Option<u64>| value.map(|whole| ms(whole.saturating_mul(1_000)));
    Machine {
        busy_ms: whole_ms(machine.and_then(|machine| machine.busy_ms)),
        idle_ms: whole_ms(machine.and_then(|machine| machine.idle_ms)),
        steal_ms: whole_ms(machine.and_then(|machine| machine.steal_ms)),
        iowait_ms: whole_ms(machine.and_then(|machine| machine.iowait_ms)),
        pressure_ms: from_us(machine.and_then(|machine| machine.pressure_us)),
        runnable_max: machine.and_then(|machine| machine.runnable_max),
        own_cpu_ms: from_us(machine.map(|machine| machine.own_cpu_us)),
        sender_delay_ms: from_us(machine.and_then(|machine| machine.sender_delay_us)),
        sender_switches_voluntary: machine.and_then(|machine| machine.sender_switches_voluntary),
        sender_switches_involuntary: machine.and_then(|machine| machine.sender_switches_involuntary),
    }
}

pub(super) fn held(held: Option<&Figures>) -> Held {
    let rest = |pick: fn(&Holding) -> u64| Rest {
        before: held.map(|held| pick(&held.before)),
        after: held.map(|held| pick(&held.after)),
    };
    let growth = held.and_then(|held| held.growth);
    Held {
        processes: rest(|holding| holding.processes),
        descriptors: rest(|holding| holding.descriptors),
        threads: rest(|holding| holding.threads),
        memory_kb: rest(|holding| holding.memory_kb),
        memory_growth_kb: growth.map(|growth| tenths_up(growth.median_kb)),
        memory_growth_upper_kb: growth.map(|growth| tenths_up(growth.upper_kb)),
    }
}

/// Rounded up to tenths, which promises less.
fn tenths_up(value: f64) -> f64 {
    (value * 10.0).ceil() / 10.0
}
