//! What this process has counted and used up, for the process after it, and what it goes on from itself.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

use super::{App, Side};
use crate::{
    carried::{Answers, Carried, Counts},
    clock,
    lifecycle::Programs,
    telemetry::{Metrics, RequestLabels, UpgradeLabels},
};

/// How long who asks for counters waits for those of the process before. They come with its last connections.
const SETTLED_MAX: Duration = Duration::from_secs(1);

/// Every status of HTTP.
const STATUSES: std::ops::Range<u16> = 100..600;

/// Whether the counters of the process before are in those of this one.
#[derive(Debug)]
pub(super) struct Settled(watch::Sender<bool>);

impl Default for Settled {
    fn default() -> Self {
        Self(watch::Sender::new(true))
    }
}

impl App {
    /// All of it, as it is now. Takes a while when there are many users: not for the threads that answer.
    #[must_use]
    pub fn carry(&self) -> Carried {
        let (metrics, store) = (&self.parts.metrics, self.parts.store.counters());
        let upgrades =
            |outcome| metrics.upgrades.get(&UpgradeLabels { outcome }).map_or(0, |counter| counter.get());
        let now = clock::now();
        Carried {
            counts: Counts {
                connections_accepted: metrics.connections_accepted.get(),
                connections_adopted: metrics.connections_adopted.get(),
                connections_handed_over: metrics.connections_handed_over.get(),
                connections_cut: metrics.connections_cut.get(),
                streams_opened: self.streams.opened.get(),
                streams_refused: self.streams.refused.get(),
                streams_slow: metrics.streams_slow.get(),
                streams_cut: metrics.streams_cut.get(),
                upgrades_ok: upgrades("ok"),
                upgrades_failed: upgrades("failed"),
                upgrades_refused: upgrades("refused"),
                orders_placed: store.placed.get(),
                orders_replayed: store.replayed.get(),
                orders_refused: store.refused.get(),
                orders_unavailable: store.unavailable.get(),
                store_commits: store.commits.get(),
                orders_written: store.written.get(),
            },
            answers: answers(metrics),
            routes: self.limits.routes_used(now),
            away: self.parts.store.away(),
            users: self.limits.users().used(now),
        }
    }

    /// Goes on from what another process has counted and used up. For other threads, like [`App::carry`].
    pub fn absorb(&self, carried: &Carried) {
        let (metrics, store, counts) = (&self.parts.metrics, self.parts.store.counters(), &carried.counts);
        for (counter, count) in [
            (&metrics.connections_accepted, counts.connections_accepted),
            (&metrics.connections_adopted, counts.connections_adopted),
            (&metrics.connections_handed_over, counts.connections_handed_over),
            (&metrics.connections_cut, counts.connections_cut),
            (&self.streams.opened, counts.streams_opened),
            (&self.streams.refused, counts.streams_refused),
            (&metrics.streams_slow, counts.streams_slow),
            (&metrics.streams_cut, counts.streams_cut),
            (&store.placed, counts.orders_placed),
            (&store.replayed, counts.orders_replayed),
            (&store.refused, counts.orders_refused),
            (&store.unavailable, counts.orders_unavailable),
            (&store.commits, counts.store_commits),
            (&store.written, counts.orders_written),
        ] {
            counter.inc_by(count);
        }
        for (outcome, count) in [
            ("ok", counts.upgrades_ok),
            ("failed", counts.upgrades_failed),
            ("refused", counts.upgrades_refused),
        ] {
            if count > 0 {
                metrics.upgrades.get_or_create(&UpgradeLabels { outcome }).inc_by(count);
            }
        }
        for Answers { admin, status, count } in carried.answers.iter().copied() {
            let side = if admin { Side::Admin } else { Side::Public }.word();
            metrics.requests.get_or_create(&RequestLabels { side, status }).inc_by(count);
        }
        let now = clock::now();
        self.limits.add_routes(&carried.routes, now);
        self.limits.users().add(&carried.users, now);
        self.parts.store.was_away(carried.away);
    }

    /// What this process runs, and what ran before.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.parts.programs
    }

    /// Whether all that the process before has counted is in the counters, but for what it still has in flight.
    /// Until then who asks for them waits, a little.
    pub fn settle(&self, settled: bool) {
        self.settled.0.send_replace(settled);
    }

    /// Waits until the counters are whole, so that they never fall from one answer to the next.
    pub(super) async fn whole_counters(&self) {
        // The sender is ours, so that only the time can be over.
        _ = timeout(SETTLED_MAX, self.settled.0.subscribe().wait_for(|settled| *settled)).await;
    }
}

fn answers(metrics: &Metrics) -> Vec<Answers> {
    let of = |side: Side| {
        STATUSES.filter_map(move |status| {
            let labels = RequestLabels { side: side.word(), status };
            let count = metrics.requests.get(&labels)?.get();
            Some(Answers { admin: side == Side::Admin, status, count })
        })
    };
    of(Side::Public).chain(of(Side::Admin)).collect()
}
