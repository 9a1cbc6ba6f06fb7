//! What must hold whatever the gates say: no good is oversold, no order lost, doubled or invented, no
//! process serves after it was replaced, no configuration comes back, nobody who is blacklisted buys.
//!
//! The checks take no longer than sorting the logs does. Each gives the smallest proof of a violation. A
//! check that has nothing to look at is `not-checked` and says why; it never passes. A buying attempt
//! without a whole answer may or may not have left an order: both are right, and both are counted.
//!
//! The method is that of Jepsen's `total-queue` checker (acknowledged entries must come out, what comes
//! out must have been put in, nothing twice): <https://github.com/jepsen-io/jepsen>.

mod config;
mod ledger;
mod listed;
mod orders;
mod process;

use super::propagation::Propagation;
use crate::observe::{Attempt, Background, BuyOutcome};

use config::Configs;
use ledger::Ledger;
pub use ledger::Orders;
use process::OldProcesses;
pub(super) use process::kills;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invariant {
    pub name: &'static str,
    pub outcome: InvariantOutcome,
    /// What was compared, the smallest proof of the violation, or why nothing could be checked.
    pub detail: String,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvariantOutcome {
    Pass,
    Fail,
    NotChecked,
}

impl Invariant {
    fn not_checked(name: &'static str, why: &str) -> Self {
        Self { name, outcome: InvariantOutcome::NotChecked, detail: why.to_owned() }
    }

    /// A failure when there is a violation, told by the first of them; else a pass with what was checked.
    fn from_violations(
        name: &'static str,
        violations: impl IntoIterator<Item = String>,
        checked: String,
    ) -> Self {
        // The smallest text, so that the order of the log does not show. There may be millions.
        let mut count = 0_u64;
        let first = violations.into_iter().inspect(|_| count += 1).min();
        match first {
            None => Self { name, outcome: InvariantOutcome::Pass, detail: checked },
            Some(first) if count == 1 => Self { name, outcome: InvariantOutcome::Fail, detail: first },
            Some(first) => {
                let detail = format!("{count} violations, for example: {first}");
                Self { name, outcome: InvariantOutcome::Fail, detail }
            }
        }
    }
}

/// What the checks need of the attempts.
#[derive(Debug, Clone)]
pub struct Suspects {
    configs: Configs,
    old_processes: OldProcesses,
}

impl Suspects {
    #[must_use]
    pub fn new(background: &Background) -> Self {
        Self { configs: Configs::new(background), old_processes: OldProcesses::new(background) }
    }

    pub fn add(&mut self, attempt: &Attempt) {
        self.configs.add(attempt);
        self.old_processes.add(attempt);
    }

    pub fn merge(&mut self, other: Self) {
        self.configs.merge(other.configs);
        self.old_processes.merge(other.old_processes);
    }
}

/// Runs every check, in the order of the report, and counts the buying attempts.
#[must_use]
pub fn check(
    background: &Background,
    suspects: &Suspects,
    changes: &[Propagation],
) -> (Vec<Invariant>, Orders) {
    let ledger = Ledger::new(background);
    let mut invariants = orders::check(&ledger);
    invariants.extend(listed::nobody_listed_buys(background, changes));
    invariants.push(config::never_goes_back(&suspects.configs));
    let connections = &background.connections;
    invariants.push(process::no_old_process_after_upgrade(&suspects.old_processes, connections));
    (invariants, ledger.count())
}

/// Whether the client was promised that no order came of a buying attempt: an answer of the 4xx kind.
/// After any other answer but 201 the order may exist.
fn is_refused(outcome: &BuyOutcome) -> bool {
    matches!(outcome, BuyOutcome::Rejected { status: 400..=499 })
}

#[cfg(test)]
mod tests;
