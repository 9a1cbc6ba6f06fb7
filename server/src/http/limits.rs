//! How many requests are answered, as the request's own snapshot says: by route for all users together, and by
//! user for orders.
//!
//! Only what has been used up is kept, and only of what is limited: a request without a limit pays one comparison.
//! An upgrade hands it on.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    Route,
    reply::{Problem, Reply},
};
use crate::{
    carried::Routes,
    clock,
    seckill::{SharedLimit, UserId, UserLimit},
    state::RouteLimits,
};

/// What has been used up, in the processes before this one too.
#[derive(Debug, Default)]
pub(super) struct Limits {
    users: UserLimit,
    event_list: SharedLimit,
    event_info: SharedLimit,
    orders: SharedLimit,
    order: SharedLimit,
}

impl Limits {
    /// Counts a request; the answer to one that is too many.
    #[inline]
    pub(super) fn of_route(&self, route: Route<'_>, limits: &RouteLimits) -> Option<Reply> {
        let (used, limit, name) = match route {
            Route::EventList => (&self.event_list, limits.event_list, "rate_limits.per_second.event_list"),
            Route::EventInfo => (&self.event_info, limits.event_info, "rate_limits.per_second.event_info"),
            Route::Orders => (&self.orders, limits.orders, "rate_limits.per_second.orders"),
            Route::Order(_) => (&self.order, limits.order, "rate_limits.per_second.order"),
            _ => return None,
        };
        let limit = limit.filter(|limit| *limit > 0)?;
        (!used.admit(limit, clock::now()))
            .then(|| too_many(name, limit, format!("this path answers {limit} requests a second")))
    }

    /// Counts an order of `user`; the answer to one that is too many.
    pub(super) fn of_user(&self, user: UserId, limit: u32, now: Timestamp) -> Option<Reply> {
        (!self.users.admit(user, limit, now)).then(|| {
            let name = "rate_limits.orders_per_user_per_second";
            too_many(name, limit, format!("a user may ask for {limit} orders a second"))
        })
    }
}

impl Limits {
    /// What is left at `now` of what was used up of each route.
    pub(super) fn routes_used(&self, now: Timestamp) -> Routes {
        Routes {
            event_list: self.event_list.used(now),
            event_info: self.event_info.used(now),
            orders: self.orders.used(now),
            order: self.order.used(now),
        }
    }

    /// Adds what another process has used up of each route.
    pub(super) fn add_routes(&self, used: &Routes, now: Timestamp) {
        for (limit, left_ns) in [
            (&self.event_list, used.event_list),
            (&self.event_info, used.event_info),
            (&self.orders, used.orders),
            (&self.order, used.order),
        ] {
            limit.add(left_ns, now);
        }
    }

    /// What users have used up.
    pub(super) fn users(&self) -> &UserLimit {
        &self.users
    }
}

fn too_many(name: &str, limit: u32, detail: String) -> Reply {
    let members = [("limit", Value::from(name)), ("per_second", limit.into())];
    let members = members.map(|(member, value)| (member.to_owned(), value));
    let status = StatusCode::TOO_MANY_REQUESTS;
    let problem = Problem::ours(status, "rate-limited", "Too many requests", detail);
    Reply::from(problem.with_members(Map::from_iter(members))).retry_later()
}
