//! The configuration generations that answers name: what one client has seen, the next one sees too.

use std::collections::BTreeMap;

use super::Invariant;
use crate::observe::Attempt;

/// What is known of one generation of one process.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// When an answer with it was whole for the first time.
    first_ended_ns: u64,
    /// When a request whose answer named it was sent last, and that attempt.
    last_sent_ns: u64,
    last: u64,
}

/// The generations that some of a run's answers named, by process.
#[derive(Debug, Clone, Default)]
pub(super) struct Configs {
    seen: BTreeMap<(u32, u32), Seen>,
    checked: u64,
}

impl Configs {
    pub(super) fn add(&mut self, attempt: &Attempt) {
        let Attempt { id, sent_ns, ended_ns, process, config, .. } = *attempt;
        // Of a server that does not say which process answers, several may answer side by side.
        if process != 0 && config != 0 {
            self.checked += 1;
            self.see((process, config), Seen { first_ended_ns: ended_ns, last_sent_ns: sent_ns, last: id });
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.checked += other.checked;
        for (generation, seen) in other.seen {
            self.see(generation, seen);
        }
    }

    fn see(&mut self, generation: (u32, u32), seen: Seen) {
        let entry = self.seen.entry(generation).or_insert(seen);
        entry.first_ended_ns = entry.first_ended_ns.min(seen.first_ended_ns);
        (entry.last_sent_ns, entry.last) =
            (entry.last_sent_ns, entry.last).max((seen.last_sent_ns, seen.last));
    }
}

/// No attempt that was sent after another one had ended shows an older generation of the same process than
/// that one did.
///
/// Of each generation the first end and the last sending are enough: it came back exactly when a request for
/// it was sent after the first end of a later one. Failed attempts count as far as their answer named one.
pub(super) fn never_goes_back(Configs { seen, checked }: &Configs) -> Invariant {
    const NAME: &str = "config-generation-never-goes-back";
    if *checked == 0 {
        return Invariant::not_checked(NAME, "no answer named both its process and its configuration");
    }
    let generations = seen.len();
    Invariant::from_violations(NAME, violations(seen), {
        format!("{checked} answers named {generations} generations, each only until the next was seen")
    })
}

/// One for each generation that came back.
fn violations(seen: &BTreeMap<(u32, u32), Seen>) -> Vec<String> {
    let mut violations = Vec::new();
    // The earliest end of any later generation of the same process.
    let mut later: Option<(u32, u32, u64)> = None;
    for (&(process, config), generation) in seen.iter().rev() {
        let after = later.filter(|(of, ..)| *of == process);
        if let Some((_, newer, ended_ns)) = after
            && generation.last_sent_ns > ended_ns
        {
            let attempt = generation.last;
            violations.push(format!(
                "attempt {attempt} was answered with generation {config} of process {process} after \
                 generation {newer} had been seen"
            ));
        }
        let ended_ns = generation.first_ended_ns;
        later = match after {
            Some(earliest @ (_, _, at_ns)) if at_ns <= ended_ns => Some(earliest),
            _ => Some((process, config, ended_ns)),
        };
    }
    violations
}
