//! How the services of the store stand, and for how long they are away.

use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;

use super::Store;
use crate::{carried::Away, stores::absence::Absence};

/// How the services stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Services {
    pub redis: Service,
    pub mysql: Service,
    /// Orders in the stream that are not in MySQL, as far as known.
    pub orders_waiting: u64,
    /// Orders that this process has put into MySQL.
    pub orders_written: u64,
    /// Orders that could not be put there, because another one has their key.
    pub orders_conflicting: u64,
    /// Whether Redis logs what it does (`appendonly`); `None`: it is away.
    pub redis_has_log: Option<bool>,
}

/// How a service stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    pub up: bool,
    /// Why it is not.
    pub trouble: Option<String>,
    /// For how long; the processes before this one count. Absent while it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub away_ms: Option<u64>,
}

impl Store {
    pub(in crate::stores) fn services(&self) -> Services {
        let number = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        let has_log = self.links.take().map(|taken| taken.line.has_log);
        let Away { redis_ms, mysql_ms } = self.away();
        Services {
            redis: Service { up: has_log.is_some(), trouble: self.links.trouble(), away_ms: redis_ms },
            mysql: Service {
                up: *self.mysql.up().borrow(),
                trouble: self.mysql.trouble(),
                away_ms: mysql_ms,
            },
            orders_waiting: number(self.links.waiting()),
            orders_written: self.counters.written.get(),
            orders_conflicting: number(&self.conflicts),
            redis_has_log: has_log,
        }
    }

    pub(in crate::stores) fn away(&self) -> Away {
        let ms = |away: Duration| u64::try_from(away.as_millis()).unwrap_or(u64::MAX);
        Away {
            redis_ms: self.links.absence().lasts().map(ms),
            mysql_ms: self.mysql.absence().lasts().map(ms),
        }
    }

    pub(in crate::stores) fn was_away(&self, away: Away) {
        let has_lasted = |absence: &Absence, ms: Option<u64>| {
            if let Some(ms) = ms {
                absence.has_lasted(Duration::from_millis(ms));
            }
        };
        // Of one that has answered this process nobody else knows better.
        if self.links.up() == 0 {
            has_lasted(self.links.absence(), away.redis_ms);
        }
        if !*self.mysql.up().borrow() {
            has_lasted(self.mysql.absence(), away.mysql_ms);
        }
    }
}
