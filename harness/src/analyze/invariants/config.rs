//! The configuration generations that answers name: what one client has seen, the next one sees too.

use std::{collections::BTreeMap, fmt};

use super::Invariant;
use crate::{
    observe::{Attempt, Background},
    plan::{Client, TargetPlan},
};

/// Among which answers no generation may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Among {
    /// Those of one process.
    Process(u32),
    /// Those on one connection, whichever processes it met.
    Connection(u32),
    /// All but those to what was sent while an upgrade went on, when two processes may answer side by side.
    All,
}

/// What is known of one generation.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// When an answer with it was whole for the first time.
    first_ended_ns: u64,
    /// When a request whose answer named it was sent last, and that attempt.
    last_sent_ns: u64,
    last: u64,
}

/// The generations that some of a run's answers named.
#[derive(Debug, Clone, Default)]
pub(super) struct Configs {
    /// By stream: its connections carry one request after the other, and may meet several processes.
    kept_alive: Vec<bool>,
    /// By stream: whoever answers it has taken over from all before.
    in_turn: Vec<bool>,
    /// From the start to the acknowledgement of each upgrade.
    upgrades: Vec<(u64, u64)>,
    seen: BTreeMap<(Among, u32), Seen>,
    checked: u64,
}

impl Configs {
    pub(super) fn new(background: &Background) -> Self {
        let streams = &background.plan.load.streams;
        let all_move = hands_over_live(&background.plan.target);
        Self {
            kept_alive: streams.iter().map(|stream| stream.connection.keeps_alive()).collect(),
            // A connection of HTTP/2 stays with its process until its requests have ended, new ones among them.
            in_turn: streams.iter().map(|stream| all_move && stream.client != Client::Http2).collect(),
            upgrades: background
                .events
                .iter()
                .filter(|event| event.kind == "upgrade")
                .map(|event| (event.started_ns, event.acked_ns.max(event.ended_ns)))
                .collect(),
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, attempt: &Attempt) {
        let Attempt { id, stream, sent_ns, ended_ns, connection, process, config, .. } = *attempt;
        // Of a server that does not say which process answers, several may answer side by side.
        if process == 0 || config == 0 {
            return;
        }
        self.checked += 1;
        let seen = Seen { first_ended_ns: ended_ns, last_sent_ns: sent_ns, last: id };
        self.see((Among::Process(process), config), seen);
        let is_so = |of_streams: &[bool]| of_streams.get(usize::from(stream)).copied().unwrap_or_default();
        if is_so(&self.kept_alive) && connection != 0 {
            self.see((Among::Connection(connection), config), seen);
        }
        let is_side_by_side = |(from_ns, to_ns): &(u64, u64)| (*from_ns..=*to_ns).contains(&sent_ns);
        if is_so(&self.in_turn) && !self.upgrades.iter().any(is_side_by_side) {
            self.see((Among::All, config), seen);
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.checked += other.checked;
        for (generation, seen) in other.seen {
            self.see(generation, seen);
        }
    }

    fn see(&mut self, generation: (Among, u32), seen: Seen) {
        let entry = self.seen.entry(generation).or_insert(seen);
        entry.first_ended_ns = entry.first_ended_ns.min(seen.first_ended_ns);
        (entry.last_sent_ns, entry.last) =
            (entry.last_sent_ns, entry.last).max((seen.last_sent_ns, seen.last));
    }
}

/// Whether every connection has moved to the new process when an upgrade is acknowledged.
fn hands_over_live(target: &TargetPlan) -> bool {
    matches!(target, TargetPlan::Reference(reference) if reference.strategy == "handoff-live")
}

/// No attempt that was sent after another one had ended shows an older generation than that one did: on the same
/// connection, of the same process, and, where one process takes over from the other for good, at all but while it
/// does so.
///
/// Of each generation the first end and the last sending are enough: it came back exactly when a request for
/// it was sent after the first end of a later one. Failed attempts count as far as their answer named one.
pub(super) fn never_goes_back(Configs { seen, checked, .. }: &Configs) -> Invariant {
    const NAME: &str = "config-generation-never-goes-back";
    if *checked == 0 {
        return Invariant::not_checked(NAME, "no answer named both its process and its configuration");
    }
    let generations = seen.keys().filter(|(among, _)| matches!(among, Among::Process(_))).count();
    Invariant::from_violations(NAME, violations(seen), {
        format!("{checked} answers named {generations} generations, each only until the next was seen")
    })
}

/// One for each attempt whose answer came back to a generation, in the narrowest terms.
fn violations(seen: &BTreeMap<(Among, u32), Seen>) -> Vec<String> {
    let mut violations = BTreeMap::new();
    // The earliest end of any later generation among the same answers.
    let mut later: Option<(Among, u32, u64)> = None;
    for (&(among, config), generation) in seen.iter().rev() {
        let after = later.filter(|(of, ..)| *of == among);
        if let Some((_, newer, ended_ns)) = after
            && generation.last_sent_ns > ended_ns
        {
            let attempt = generation.last;
            let violation = format!(
                "attempt {attempt} was answered with generation {config}{among} after generation {newer} had \
                 been seen"
            );
            violations.insert(attempt, violation);
        }
        let ended_ns = generation.first_ended_ns;
        later = match after {
            Some(earliest @ (_, _, at_ns)) if at_ns <= ended_ns => Some(earliest),
            _ => Some((among, config, ended_ns)),
        };
    }
    violations.into_values().collect()
}

impl fmt::Display for Among {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(process) => write!(f, " of process {process}"),
            Self::Connection(connection) => write!(f, " on connection {connection}"),
            Self::All => Ok(()),
        }
    }
}
