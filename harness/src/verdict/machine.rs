//! What the machine did, as a sentence behind a reason.

use crate::analyze::machine::Machine;

/// Beyond this share of all processors' time something else had to wait for one.
const BUSY: f64 = 0.9;

/// The sentence with a space before it; empty when the kernel tells nothing.
pub(super) fn sentence(machine: Option<&Machine>) -> String {
    let Some(machine) = machine else { return String::new() };
    let mut facts = Vec::new();
    let mut hint = "";
    if let Some(shares) = Shares::of(machine) {
        facts.push(format!(
            "the processors were busy {:.0} % of the time (with the harness {:.0} %)",
            shares.busy * 100.0,
            shares.own * 100.0
        ));
        // The harness cannot tell who the others were; one of them may be the target.
        if shares.busy >= BUSY && shares.own < shares.busy / 2.0 {
            hint = " If it was the target that kept them busy, give it processors of its own.";
        }
    }
    let figure = |value: Option<u64>, text: fn(u64) -> String| value.filter(|&value| value > 0).map(text);
    facts.extend(figure(machine.steal_ms, |ms| format!("the hypervisor took {ms} ms")));
    facts.extend(figure(machine.iowait_ms, |ms| format!("{ms} ms were spent waiting for a disk")));
    facts.extend(figure(machine.runnable_max, |most| format!("up to {most} threads wanted to run")));
    facts.extend(machine.sender_delay_us.map(|us| {
        let taken = machine.sender_switches_involuntary.unwrap_or(0);
        let ms = us.div_ceil(1_000);
        format!("the sending thread waited {ms} ms for a processor and lost it {taken} times")
    }));
    if facts.is_empty() {
        return String::new();
    }
    let seconds = std::time::Duration::from_nanos(machine.span.length_ns()).as_secs_f64();
    format!(" In the {seconds:.1} s around it {}.{hint}", facts.join(", "))
}

/// Shares of the time of all processors, 0 to 1.
struct Shares {
    busy: f64,
    own: f64,
}

impl Shares {
    #[expect(clippy::cast_precision_loss, reason = "times stay below 2^53")]
    fn of(machine: &Machine) -> Option<Self> {
        let busy_ms = machine.busy_ms? + machine.steal_ms.unwrap_or(0);
        let all_ms = (busy_ms + machine.idle_ms?) as f64;
        (all_ms > 0.0)
            .then(|| Self { busy: busy_ms as f64 / all_ms, own: machine.own_cpu_us as f64 / 1e3 / all_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::sentence;
    use crate::analyze::{intervals::Interval, machine::Machine};

    const SILENT: Machine = Machine {
        span: Interval { from_ns: 0, to_ns: 1_500_000_000 },
        steal_ms: None,
        iowait_ms: None,
        busy_ms: None,
        idle_ms: None,
        runnable_max: None,
        pressure_us: None,
        sender_delay_us: None,
        sender_switches_voluntary: None,
        sender_switches_involuntary: None,
        own_cpu_us: 300_000,
    };

    #[test]
    fn what_is_known_is_said() {
        assert_eq!(sentence(None), "");
        assert_eq!(sentence(Some(&SILENT)), "");
        let idle = Machine { busy_ms: Some(300), idle_ms: Some(2_700), steal_ms: Some(0), ..SILENT };
        insta::assert_snapshot!(sentence(Some(&idle)), @" In the 1.5 s around it the processors were busy 10 % of the time (with the harness 10 %).");
        let busy = Machine {
            busy_ms: Some(2_850),
            idle_ms: Some(100),
            steal_ms: Some(50),
            iowait_ms: Some(7),
            runnable_max: Some(9),
            sender_delay_us: Some(120_400),
            sender_switches_involuntary: Some(35),
            ..SILENT
        };
        insta::assert_snapshot!(sentence(Some(&busy)), @" In the 1.5 s around it the processors were busy 97 % of the time (with the harness 10 %), the hypervisor took 50 ms, 7 ms were spent waiting for a disk, up to 9 threads wanted to run, the sending thread waited 121 ms for a processor and lost it 35 times. If it was the target that kept them busy, give it processors of its own.");
    }
}
