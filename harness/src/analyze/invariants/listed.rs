//! The blacklist, held against who could buy: whoever was on every list that can have been in force is refused,
//! whoever was on none of them is not.

use serde_json::Value;

use super::{Invariant, Propagation};
use crate::{
    observe::{Background, Buy, BuyOutcome, EventRecord},
    plan::{TargetPlan, listed},
};

/// How long after a list was first seen to be in force the one before it may be used: the processes of a swap, and
/// the requests that are under way in them, do not change at one instant.
const BOUND_NS: u64 = 250_000_000;

/// What the server answers to whoever is on the list.
const REFUSED: u16 = 403;

/// A list of users, with the time in which it can have been in force.
#[derive(Debug, Clone, Copy)]
struct List {
    /// First and last user of the load on it; `None`: none of them.
    users: Option<(u32, u32)>,
    from_ns: u64,
    to_ns: u64,
}

impl List {
    fn has(&self, user: u32) -> bool {
        self.users.is_some_and(|(first, last)| (first..=last).contains(&user))
    }
}

/// `None` when the plan lists none of the load's users.
pub(super) fn nobody_listed_buys(background: &Background, changes: &[Propagation]) -> Option<Invariant> {
    const NAME: &str = "blacklist-is-kept";
    let TargetPlan::Reference(reference) = &background.plan.target else { return None };
    let at_start = listed(reference.users, reference.listed, 0)?;
    let lists = lists(at_start, &background.events, changes);
    let (mut checked, mut refused) = (0_u64, 0_u64);
    let violations: Vec<String> = background
        .buys
        .iter()
        .filter_map(|buy| {
            let is_refused = match &buy.outcome {
                BuyOutcome::Acknowledged { .. } => false,
                BuyOutcome::Rejected { status: REFUSED } => true,
                BuyOutcome::Rejected { .. } | BuyOutcome::Unsent | BuyOutcome::Unknown => return None,
            };
            checked += 1;
            refused += u64::from(is_refused);
            violation(buy, is_refused, &lists)
        })
        .collect();
    if checked == 0 {
        return Some(Invariant::not_checked(NAME, "no buying request was accepted or refused"));
    }
    Some(Invariant::from_violations(NAME, violations, {
        format!("{checked} buying requests under {} lists, {refused} of them refused", lists.len())
    }))
}

fn violation(buy: &Buy, is_refused: bool, lists: &[List]) -> Option<String> {
    let mut in_force = lists
        .iter()
        .filter(|list| list.from_ns <= buy.ended_ns && buy.invoked_ns <= list.to_ns)
        .map(|list| list.has(buy.user))
        .peekable();
    in_force.peek()?;
    let Buy { attempt, user, .. } = buy;
    match is_refused {
        true if in_force.all(|has| !has) => {
            Some(format!("attempt {attempt} of user {user} was refused, who was on no list in force"))
        }
        false if in_force.all(|has| has) => {
            Some(format!("attempt {attempt} of user {user} was served, who was on every list in force"))
        }
        _ => None,
    }
}

/// Every list of the run. One can be in force from the moment at which somebody began to write it, and until a
/// later one has been seen.
fn lists(at_start: (u32, u32), events: &[EventRecord], changes: &[Propagation]) -> Vec<List> {
    let mut lists = vec![List { users: Some(at_start), from_ns: 0, to_ns: u64::MAX }];
    let mut of_lists: Vec<(usize, &EventRecord)> = events
        .iter()
        .enumerate()
        .filter(|(_, event)| event.kind == "reload" && event.detail["datum"] == "blacklist")
        .collect();
    of_lists.sort_by_key(|(_, event)| event.started_ns);
    for (index, event) in of_lists {
        let Some(all) = event.detail["lists"].as_array() else { continue };
        let from_ns = event.started_ns;
        let seen = changes.iter().find(|change| change.event == index).and_then(|change| {
            let first_ns = change.first_ns?;
            Some(change.made_ns.saturating_add(first_ns).saturating_add(BOUND_NS))
        });
        if let Some(seen_ns) = seen {
            for list in &mut lists {
                list.to_ns = list.to_ns.min(seen_ns);
            }
        }
        let new = lists.len();
        lists.extend(all.iter().map(|users| List { users: pair(users), from_ns, to_ns: u64::MAX }));
        // Of changes in a row only the last one stays.
        if let (Some(seen_ns), Some(last)) = (seen, lists.len().checked_sub(1)) {
            for list in &mut lists[new..last] {
                list.to_ns = seen_ns;
            }
        }
    }
    lists
}

fn pair(users: &Value) -> Option<(u32, u32)> {
    let end = |index: usize| u32::try_from(users.get(index)?.as_u64()?).ok();
    Some((end(0)?, end(1)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        analyze::{
            Analysis, analyze,
            fixture::{Log, MS, upgrade},
            invariants::InvariantOutcome,
        },
        observe::EventOutcome,
    };

    /// Ten users, of whom two are listed: 1 and 2 at the start, 3 and 4 by the change from 100 ms on, which is
    /// made at 110 ms and seen at 121 ms.
    fn log(outcome: EventOutcome) -> Log {
        let mut log = Log::new();
        let TargetPlan::Reference(reference) = &mut log.observations.plan.target else { panic!("ours") };
        reference.listed = 2;
        let mut event = upgrade(1, 100, 130);
        event.kind = "reload".to_owned();
        event.outcome = outcome;
        event.detail = json!({
            "datum": "blacklist", "by": "file", "made_ns": 110 * MS, "generation": 2, "lists": [[5, 6], [3, 4]],
        });
        log.event(event);
        for (sent_ms, config) in [(50, 1), (120, 2), (900, 2)] {
            log.good(sent_ms, sent_ms + 1).last().config = config;
        }
        log
    }

    fn buy(log: &mut Log, user: u32, at_ms: u64, outcome: BuyOutcome) {
        log.buy("k", outcome);
        let buy = log.observations.buys.last_mut().unwrap();
        (buy.user, buy.invoked_ns, buy.ended_ns) = (user, at_ms * MS, (at_ms + 1) * MS);
    }

    fn found(analysis: &Analysis) -> (InvariantOutcome, &str) {
        let is_it = |invariant: &&Invariant| invariant.name == "blacklist-is-kept";
        let invariant = analysis.invariants.iter().find(is_it).unwrap();
        (invariant.outcome, &invariant.detail)
    }

    #[test]
    fn each_buying_request_meets_a_list_that_can_have_been_in_force() {
        let served = || BuyOutcome::Acknowledged { order: "o".into() };
        let refused = || BuyOutcome::Rejected { status: 403 };
        let check = |event, user, at_ms, outcome, violation: Option<&str>| {
            let mut log = log(event);
            buy(&mut log, 9, 10, served());
            buy(&mut log, user, at_ms, outcome);
            let analysis = analyze(&log.finish());
            let expected = if violation.is_some() { InvariantOutcome::Fail } else { InvariantOutcome::Pass };
            let (outcome, detail) = found(&analysis);
            assert_eq!(outcome, expected, "user {user} at {at_ms}: {detail}");
            assert!(detail.contains(violation.unwrap_or_default()), "{detail}");
        };
        let ok = EventOutcome::Ok;
        check(ok, 1, 20, refused(), None);
        check(ok, 1, 20, served(), Some("of user 1 was served, who was on every list in force"));
        check(ok, 3, 20, refused(), Some("of user 3 was refused, who was on no list in force"));
        check(ok, 3, 20, served(), None);
        // While it spreads both answers are right, of the lists that only passed too.
        for user in [1, 3, 5] {
            check(ok, user, 200, served(), None);
            check(ok, user, 200, refused(), None);
        }
        // And later only the one.
        check(ok, 1, 800, served(), None);
        check(ok, 1, 800, refused(), Some("of user 1 was refused"));
        check(ok, 5, 800, refused(), Some("of user 5 was refused"));
        check(ok, 3, 800, refused(), None);
        check(ok, 3, 800, served(), Some("of user 3 was served"));
        // A change of which nobody knows whether it came forbids nothing.
        check(EventOutcome::Failed, 3, 800, served(), None);
        check(EventOutcome::Failed, 3, 800, refused(), None);
        check(EventOutcome::Failed, 9, 800, refused(), Some("of user 9 was refused"));
    }

    #[test]
    fn without_listed_users_there_is_nothing_to_check() {
        let mut log = log(EventOutcome::Ok);
        assert_eq!(found(&analyze(&log.finish())).0, InvariantOutcome::NotChecked);
        let TargetPlan::Reference(reference) = &mut log.observations.plan.target else { panic!("ours") };
        reference.listed = 0;
        let analysis = analyze(&log.finish());
        assert!(analysis.invariants.iter().all(|invariant| invariant.name != "blacklist-is-kept"));
    }
}
