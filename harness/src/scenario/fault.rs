//! `action = "fault"`: a service, the way to it or the server breaks for a time, and is mended.

use tomlcheck::Section;

use crate::plan::{Action, Fault, FaultAction, Origin, Service, TargetPlan, Victim};

use super::duration::{POSITIVE, duration};

const VICTIMS: &[(&str, Victim)] = &[
    ("etcd", Victim::Service(Service::Etcd)),
    ("mysql", Victim::Service(Service::Mysql)),
    ("redis", Victim::Service(Service::Redis)),
    ("server", Victim::Server),
];

/// The faults by their words; [`SLOW`] stands for one that the other keys describe.
const FAULTS: &[(&str, Fault)] = &[
    ("kill", Fault::Kill),
    ("pause", Fault::Pause),
    ("partition", Fault::Partition),
    ("reset", Fault::Reset),
    ("slow", SLOW),
    ("compact", Fault::Compact),
];
const SLOW: Fault = Fault::Slow { latency_ms: 0, bandwidth: None };

/// Bytes per second: slower than any link, and faster than the loopback.
const BANDWIDTH: std::ops::RangeInclusive<u64> = 1..=1_000_000_000_000;
const NS_PER_MS: u64 = 1_000_000;

pub(super) fn read(section: &Section<'_>, target: Option<&TargetPlan>) -> Option<Action> {
    section.require(
        "fault",
        "write fault = \"kill\", \"pause\", \"partition\", \"reset\", \"slow\" or \"compact\"",
    );
    let fault = section.choice("fault", FAULTS);
    let usual = match target {
        // There is nothing else.
        Some(TargetPlan::Command(_)) => Victim::Server,
        _ => Victim::Service(Service::Etcd),
    };
    let of = section.choice("of", VICTIMS).unwrap_or(usual);
    let for_ns = duration(section, "for", &POSITIVE);
    let latency = duration(section, "latency", &POSITIVE);
    let bandwidth = section.integer("bandwidth", BANDWIDTH).map(|entry| entry.value);
    // Also of one whose word is not known, so that all that is wrong is told at once.
    check_victim(section, of, fault, target);
    let fault = match fault? {
        SLOW => Fault::Slow { latency_ms: latency.unwrap_or(0) / NS_PER_MS, bandwidth },
        other => other,
    };
    check_keys(section, fault);
    Some(Action::Fault(FaultAction { of, fault, for_ms: for_ns.unwrap_or(0) / NS_PER_MS }))
}

/// Each fault has its end with it, so that none is left behind; but one that has none.
fn check_keys(section: &Section<'_>, fault: Fault) {
    if fault == Fault::Compact {
        if section.has("for") {
            section.fault_at("for", "what is compacted stays so", "remove it");
        }
    } else {
        section.require("for", "write for = \"1s\": it is mended after this time");
    }
    let is_slow = matches!(fault, Fault::Slow { .. });
    for key in ["latency", "bandwidth"].into_iter().filter(|key| section.has(key) && !is_slow) {
        section.fault_at(key, "only a slow link has it", "write fault = \"slow\", or remove it");
    }
    if is_slow && !section.has("latency") && !section.has("bandwidth") {
        section
            .missing("latency", "write latency = \"20ms\", bandwidth = 100_000 (bytes per second), or both");
    }
}

fn check_victim(section: &Section<'_>, of: Victim, fault: Option<Fault>, target: Option<&TargetPlan>) {
    let services = match target {
        Some(TargetPlan::Reference(reference)) => &reference.services,
        Some(TargetPlan::Command(_)) => {
            if of != Victim::Server {
                let what = "the harness has started nothing but the target";
                section.fault_at("of", what, "write of = \"server\", or remove it");
            } else if !matches!(fault, None | Some(Fault::Kill | Fault::Pause)) {
                let what = "a program can only be killed, or stopped for a time";
                section.fault_at("fault", what, "write fault = \"kill\" or \"pause\"");
            }
            return;
        }
        Some(TargetPlan::External(_)) => {
            let what = "the harness did not start this target, so it cannot break it";
            section.fault_at("action", what, "write kind = \"command\" in [target], or action = \"exec\"");
            return;
        }
        None => return,
    };
    if fault == Some(Fault::Compact) && of != Victim::Service(Service::Etcd) {
        section.fault_at("fault", "only etcd can be compacted", "write of = \"etcd\"");
        return;
    }
    match of {
        Victim::Server if fault.is_some_and(Fault::is_of_link) => {
            let hint = "write fault = \"kill\" or \"pause\", or of = \"redis\"";
            section.fault_at("fault", "the load goes to the server directly, not through a link", hint);
        }
        Victim::Server => {}
        Victim::Service(service) if !services.needed.contains(&service) => {
            let what = format!("there is no {} that could be broken", service.word());
            let hint = match service {
                Service::Etcd => {
                    "write by = \"etcd\" for something in [target.reload], or store = \"redis-mysql\""
                }
                Service::Mysql | Service::Redis => "write store = \"redis-mysql\" in [services]",
            };
            section.fault_at("action", what, hint);
        }
        Victim::Service(service) => {
            let is_external = matches!(services.from, Origin::External { .. });
            if is_external && fault.is_some_and(|fault| !fault.is_of_link()) {
                let what = format!("{} is not ours, so it cannot be broken itself", service.word());
                let hint = "write fault = \"partition\", \"reset\" or \"slow\", or use --services processes";
                section.fault_at("fault", what, hint);
            }
        }
    }
}
