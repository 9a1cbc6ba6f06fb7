//! How many stocks and limits two processes used up at once: whether a run has shown what it was made for.
//!
//! A row of swaps proves nothing of two processes that sell the same unless both do, when it matters. So the last
//! pieces are looked at: of what sold out, and of what a user may have. Two processes sold them at once when an
//! older one acknowledged one of them after a newer one had.

use std::collections::{BTreeMap, BTreeSet};

use super::invariants::kills;
use crate::{
    observe::{Background, Buy, BuyOutcome, OrderId},
    plan::{Gate, TargetPlan},
};

/// So many of the last orders are the last pieces: few enough to be near the end of a sale, and more than one process
/// sells before the other has its turn, which on a busy machine is dozens.
pub const LAST_PIECES: usize = 100;

/// What was used up, and what of it by two processes at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contended {
    pub sold_out: u64,
    pub goods: u64,
    /// Limits of one user and good.
    pub used_up: u64,
    pub limits: u64,
}

/// `None` when no gate asked for it, or nobody can tell: without the store, or when the server was killed, since its
/// processes have the same numbers afterwards.
pub(super) fn measure(background: &Background) -> Option<Contended> {
    let TargetPlan::Reference(reference) = &background.plan.target else { return None };
    let is_asked = background.plan.gates.iter().any(Gate::is_of_contention);
    if !is_asked || !background.environment.store_read || kills(background).next().is_some() {
        return None;
    }
    // A key that was sent again is acknowledged again, by any process.
    let mut seen = BTreeSet::new();
    let mut sold: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
    let mut bought: BTreeMap<(u32, u32, u32), Vec<u32>> = BTreeMap::new();
    for (order, buy) in acknowledged(background) {
        if seen.insert(order) {
            sold.entry((buy.event, buy.goods)).or_default().push(buy.process);
            bought.entry((buy.user, buy.event, buy.goods)).or_default().push(buy.process);
        }
    }
    let gone = background.stock.iter().filter(|row| row.left <= 0);
    let sold_out: Vec<_> = gone.filter_map(|row| sold.get(&(row.event, row.goods))).collect();
    let limit = reference.limit_per_user as usize;
    let used_up: Vec<_> = bought.values().filter(|processes| processes.len() >= limit).collect();
    let contended = |of: &[&Vec<u32>]| of.iter().filter(|processes| are_contended(processes)).count() as u64;
    Some(Contended {
        sold_out: sold_out.len() as u64,
        goods: contended(&sold_out),
        used_up: used_up.len() as u64,
        limits: contended(&used_up),
    })
}

/// Orders and who acknowledged them, in the order of the answers.
fn acknowledged(background: &Background) -> Vec<(&OrderId, &Buy)> {
    let told = background.buys.iter().filter(|buy| buy.process > 0);
    let mut buys: Vec<_> = told
        .filter_map(|buy| match &buy.outcome {
            BuyOutcome::Acknowledged { order } => Some((order, buy)),
            _ => None,
        })
        .collect();
    buys.sort_unstable_by_key(|(order, buy)| (buy.ended_ns, buy.attempt, *order));
    buys
}

/// Whether an older process was among the last after a newer one.
fn are_contended(processes: &[u32]) -> bool {
    !processes[processes.len().saturating_sub(LAST_PIECES)..].is_sorted()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::fixture::{Log, MS};

    /// Ten pieces of a good of which a user may have so many, sold by these processes, one after the other.
    fn sold_by(processes: [u32; 10], limit: u32, gates: &[Gate]) -> Option<Contended> {
        let mut log = Log::new();
        for (at, process) in (1_u64..).zip(processes) {
            log.bought(&format!("o{at}"), &format!("k{at}"));
            let buy = log.observations.buys.last_mut().unwrap();
            (buy.ended_ns, buy.process) = (at * MS, process);
        }
        // Whatever the order of the log.
        log.observations.buys.reverse();
        let TargetPlan::Reference(reference) = &mut log.observations.plan.target else { return None };
        reference.limit_per_user = limit;
        log.observations.plan.gates = gates.to_vec();
        measure(&log.finish().background)
    }

    #[test]
    fn the_last_pieces_are_contended_when_an_older_process_sells_after_a_newer_one() {
        let gate = [Gate::GoodsContendedMin(1)];
        let in_turn = sold_by([1, 1, 1, 1, 2, 2, 2, 2, 3, 3], 10, &gate);
        assert_eq!(in_turn, Some(Contended { sold_out: 1, goods: 0, used_up: 1, limits: 0 }));
        let at_once = sold_by([1, 1, 1, 1, 2, 1, 2, 2, 2, 2], 10, &gate);
        assert_eq!(at_once, Some(Contended { sold_out: 1, goods: 1, used_up: 1, limits: 1 }));
        let below_the_limit = sold_by([1, 1, 1, 1, 2, 1, 2, 2, 2, 2], 11, &gate);
        assert_eq!(below_the_limit, Some(Contended { sold_out: 1, goods: 1, used_up: 0, limits: 0 }));
        assert_eq!(sold_by([1, 1, 1, 1, 2, 1, 2, 2, 2, 2], 10, &[]), None);
    }

    #[test]
    fn what_was_sold_long_before_the_end_and_what_is_answered_again_is_not_contended() {
        let since = |before: &[u32]| [before, [3; LAST_PIECES - 2].as_slice()].concat();
        assert!(are_contended(&since(&[2, 1])));
        assert!(!are_contended(&since(&[2, 1, 3])));
        assert!(!are_contended(&[]));
        let mut log = Log::new();
        for number in 1..=10 {
            log.bought(&format!("o{number}"), &format!("k{number}"));
            log.observations.buys.last_mut().unwrap().process = 2;
        }
        log.buy("k1", BuyOutcome::Acknowledged { order: "o1".into() });
        let again = log.observations.buys.last_mut().unwrap();
        (again.ended_ns, again.process) = (2 * MS, 1);
        log.observations.plan.gates = vec![Gate::LimitsContendedMin(1)];
        let contended = measure(&log.finish().background).unwrap();
        assert_eq!((contended.sold_out, contended.goods), (1, 0));
    }
}
