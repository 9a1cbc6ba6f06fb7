//! How many requests are answered, as the request's own snapshot says: by route for all users together, and by
//! user for orders.
//!
//! Only what has been used up is kept, and only of what is limited: a request without a limit pays one comparison.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    Route,
    reply::{Problem, Reply},
};
use crate::{
    clock,
    seckill::{SharedLimit, UserId, UserLimit},
    state::RouteLimits,
};

/// What has been used up in this process.
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

fn too_many(name: &str, limit: u32, detail: String) -> Reply {
    let members = [("limit", Value::from(name)), ("per_second", limit.into())];
    let members = members.map(|(member, value)| (member.to_owned(), value));
    let status = StatusCode::TOO_MANY_REQUESTS;
    let problem = Problem::ours(status, "rate-limited", "Too many requests", detail);
    Reply::from(problem.with_members(Map::from_iter(members))).retry_later()
}
