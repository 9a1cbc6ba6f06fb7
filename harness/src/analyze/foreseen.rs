//! Failed attempts that a fault of the plan answers for, by what the server promises of it.
//!
//! Redis away: an attempt to buy, or to read an order, may be refused with 503, soon. MySQL away: reading an order may.
//! That holds until a second after its end, by when the server has to have recovered. The server killed: what meets its
//! absence gets no answer, and for a second more its store may not be ready. A service that is only slow answers for
//! nothing. Everything else that fails is unforeseen; nothing of this makes an attempt a good one, it only tells the
//! failures apart.

use super::select;
use crate::{
    observe::{Attempt, Background, Cause, EventRecord},
    plan::{Action, Fault, FaultAction, LoadPlan, Op, Service, Victim},
};

/// The server works again within so long after what it needs has come back.
const RECOVERY_NS: u64 = 1_000_000_000;
/// Nobody waits longer to be refused: twice what the server gives Redis to answer, for a busy machine.
const REFUSAL_NS: u64 = 1_000_000_000;
/// Service unavailable.
const AWAY: u16 = 503;

/// What a fault may cost, in which time.
#[derive(Debug, Clone, Copy)]
struct Excuse {
    from_ns: u64,
    /// What was broken is whole again.
    mended_ns: u64,
    victim: Victim,
}

/// The failed attempts of some of a run's.
#[derive(Debug, Clone, Default)]
pub struct Foreseen {
    excuses: Vec<Excuse>,
    /// Failed attempts that no fault answers for.
    unforeseen: u64,
    /// Attempts that ran out of time and that a fault answers for.
    timeouts: u64,
}

impl Foreseen {
    #[must_use]
    pub fn new(background: &Background) -> Self {
        let excuse = |event: &EventRecord| {
            let planned = background.plan.events.iter().find(|planned| planned.id == event.id)?;
            let Action::Fault(FaultAction { of: victim, fault, .. }) = &planned.action else { return None };
            let costs = match victim {
                Victim::Service(Service::Redis | Service::Mysql) => !matches!(fault, Fault::Slow { .. }),
                Victim::Service(Service::Etcd) => false,
                Victim::Server => *fault == Fault::Kill,
            };
            let (from_ns, mended_ns) = (event.started_ns, event.acked_ns);
            costs.then_some(Excuse { from_ns, mended_ns, victim: *victim })
        };
        Self { excuses: background.events.iter().filter_map(excuse).collect(), ..Self::default() }
    }

    /// Takes one more attempt.
    pub fn add(&mut self, attempt: &Attempt, load: &LoadPlan) {
        if attempt.ok() || !select::counts(attempt, load.warmup_ns) {
            return;
        }
        let stream = load.streams.get(usize::from(attempt.stream));
        let op =
            stream.and_then(|stream| stream.requests.get(usize::from(attempt.request))).map(|one| &one.op);
        let is_foreseen = self.excuses.iter().any(|excuse| excuse.is_for(attempt, op));
        self.unforeseen += u64::from(!is_foreseen);
        self.timeouts += u64::from(is_foreseen && attempt.cause == Cause::Timeout);
    }

    pub fn merge(&mut self, other: &Self) {
        self.unforeseen += other.unforeseen;
        self.timeouts += other.timeouts;
    }

    /// Failed attempts that no fault answers for.
    #[must_use]
    pub fn unforeseen(&self) -> u64 {
        self.unforeseen
    }

    /// Attempts that ran out of time and that a fault answers for.
    #[must_use]
    pub fn timeouts(&self) -> u64 {
        self.timeouts
    }
}

impl Excuse {
    fn is_for(&self, attempt: &Attempt, op: Option<&Op>) -> bool {
        if attempt.ended_ns < self.from_ns || attempt.sent_ns > self.mended_ns + RECOVERY_NS {
            return false;
        }
        let is_refused = attempt.status == AWAY && attempt.ended_ns - attempt.sent_ns <= REFUSAL_NS;
        let needs_redis = matches!(op, Some(Op::Buy | Op::Order));
        match self.victim {
            Victim::Server if meets_nobody(attempt.cause) => attempt.sent_ns <= self.mended_ns,
            Victim::Server => is_refused && needs_redis && attempt.ended_ns >= self.mended_ns,
            Victim::Service(Service::Redis) => is_refused && needs_redis,
            Victim::Service(Service::Mysql) => is_refused && matches!(op, Some(Op::Order)),
            Victim::Service(Service::Etcd) => false,
        }
    }
}

/// An attempt ends like this when there is no server, or none any more.
fn meets_nobody(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::Refused | Cause::Reset | Cause::Eof | Cause::Timeout | Cause::ShortBody | Cause::Network
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analyze::{
            analyze,
            fixture::{BUY, LIST, Log, NEW, upgrade},
        },
        plan::EventPlan,
    };

    /// What is unforeseen of one failed attempt, sent at a time, beside a fault from 100 to 200 ms.
    fn check(of: Victim, fault: Fault, sent_ms: u64, took_ms: u64, request: u16, status: u16, expected: u64) {
        let mut log = Log::new();
        let record = EventRecord { kind: "fault".to_owned(), ..upgrade(1, 100, 200) };
        log.observations.plan.events.push(EventPlan {
            id: record.id.clone(),
            at_ns: record.at_ns,
            action: Action::Fault(FaultAction { of, fault, for_ms: 100 }),
        });
        log.observations.events.push(record);
        let cause = if status == 0 { Cause::Reset } else { Cause::BadStatus };
        log.push(NEW, sent_ms, sent_ms + took_ms, cause);
        (log.last().request, log.last().status) = (request, status);
        let analysis = analyze(&log.finish());
        assert_eq!((analysis.unforeseen, analysis.requests.all.failed), (expected, 1));
    }

    #[test]
    fn a_fault_answers_for_what_the_server_says_of_it_and_for_nothing_else() {
        let [redis, mysql, etcd] = [Service::Redis, Service::Mysql, Service::Etcd].map(Victim::Service);
        let slow = Fault::Slow { latency_ms: 20, bandwidth: None };
        for (of, fault, sent_ms, request, status, expected) in [
            (redis, Fault::Kill, 150, BUY, 503, 0),
            // Until it has recovered, and not before it broke.
            (redis, Fault::Pause, 1_150, BUY, 503, 0),
            (redis, Fault::Pause, 1_201, BUY, 503, 1),
            (redis, Fault::Partition, 98, BUY, 503, 1),
            // Listing goes on, and nothing is answered with anything else.
            (redis, Fault::Kill, 150, LIST, 503, 1),
            (redis, Fault::Kill, 150, BUY, 500, 1),
            (redis, Fault::Kill, 150, BUY, 0, 1),
            // Orders wait in the stream.
            (mysql, Fault::Kill, 150, BUY, 503, 1),
            (etcd, Fault::Kill, 150, BUY, 503, 1),
            (redis, slow, 150, BUY, 503, 1),
            (Victim::Server, Fault::Kill, 150, LIST, 0, 0),
            (Victim::Server, Fault::Pause, 150, LIST, 0, 1),
            // Whoever is there again gives right answers, but for a store that may not be ready.
            (Victim::Server, Fault::Kill, 150, LIST, 500, 1),
            (Victim::Server, Fault::Kill, 250, LIST, 0, 1),
            (Victim::Server, Fault::Kill, 250, LIST, 503, 1),
            (Victim::Server, Fault::Kill, 250, BUY, 503, 0),
            (Victim::Server, Fault::Kill, 1_201, BUY, 503, 1),
        ] {
            check(of, fault, sent_ms, 1, request, status, expected);
        }
        // Nobody has to wait for his refusal.
        check(redis, Fault::Pause, 150, 900, BUY, 503, 0);
        check(redis, Fault::Pause, 150, 1_001, BUY, 503, 1);
    }
}
