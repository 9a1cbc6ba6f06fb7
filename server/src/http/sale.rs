//! Looking at events, buying, and looking at what one has bought.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use jiff::{Timestamp, Unit};
use serde::Serialize;
use tokio::time::timeout;

use super::{
    App,
    known::Left,
    prefer::Wait,
    reply::{Problem, Reply, bearer, unauthorized},
};
use crate::{
    clock, effective,
    seckill::{
        EventId, GoodsId, IdempotencyKey, Order, OrderId, OrderRequest, Outcome, Purchase, Refusal, UserId,
    },
    state::{Event, Snapshot},
    stores::Unavailable,
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// An event with what is left of its goods.
#[derive(Serialize)]
struct EventInfo<'e> {
    id: EventId,
    name: &'e str,
    starts_at: Timestamp,
    ends_at: Timestamp,
    goods: Vec<GoodsInfo<'e>>,
    /// Present unless the store was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    from_cache: Option<FromCache>,
}

#[derive(Serialize)]
struct FromCache {
    /// Since the store was asked; `None`: it was not, and what is left is not known.
    age_ms: Option<u64>,
}

#[derive(Serialize)]
struct GoodsInfo<'e> {
    id: GoodsId,
    name: &'e str,
    price_cents: u64,
    stock: u64,
    limit_per_user: u32,
    /// How many can still be bought; `None`: not known.
    left: Option<u64>,
}

/// `GET /event/info?id=N`
pub(super) async fn event_info(app: &App, snapshot: &Snapshot, request: &Request<Bytes>) -> Reply {
    let id = request.uri().query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("id="));
    let Some(id) = id.and_then(|id| id.parse().ok()) else {
        return Problem::plain(StatusCode::BAD_REQUEST, "the query must be id=N with an event's number")
            .into();
    };
    let Some(event) = snapshot.activities.event(EventId(id)) else {
        return Problem::plain(StatusCode::NOT_FOUND, "there is no such event").into();
    };
    if snapshot.cluster.degradation.listing_from_cache {
        return from_cache(app, event);
    }
    let wait = Wait::asked(request.headers());
    if let Some(wait) = wait {
        let mut sales = app.parts.store.sales(event.id);
        // Without a sale the stock is told as it is; the sender goes only with the store.
        let _sold_or_not = timeout(wait.duration(), sales.changed()).await;
    }
    match left(app, event).await {
        Ok(left) => {
            let info = describe(event, |goods| Some(left_of(&left, goods).unwrap_or(0)), None);
            let reply = Reply::of(StatusCode::OK, &info);
            match wait {
                Some(wait) => wait.applied(reply),
                None => reply,
            }
        }
        // What is on sale is known without the services.
        Err(error) if error.is_of_a_service() => from_cache(app, event),
        Err(error) => unavailable(error),
    }
}

/// How many are left of each of an event's goods, which is remembered.
pub(super) async fn left(app: &App, event: &Event) -> Result<Left, Unavailable> {
    let left: Left = app.parts.store.left(event).await?.into();
    app.known.remember(event.id, Left::clone(&left));
    Ok(left)
}

/// What is known without the store. There is no sale to wait for then.
fn from_cache(app: &App, event: &Event) -> Reply {
    let known = app.known.of(event.id);
    let age = known.as_ref().map(|(age, _)| *age);
    let age_ms = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    let left = |goods| known.as_ref().and_then(|(_, left)| left_of(left, goods));
    let reply = Reply::of(StatusCode::OK, &describe(event, left, Some(FromCache { age_ms })));
    match age.as_ref().map(Duration::as_secs) {
        Some(age_s) => reply.with(header::AGE, HeaderValue::from(age_s)),
        None => reply,
    }
}

/// `POST /orders`
pub(super) async fn place_order(app: &App, snapshot: &Snapshot, request: &Request<Bytes>) -> Reply {
    let now = clock::now();
    let purchase = match check(app, snapshot, request, now) {
        Ok(purchase) => purchase,
        Err(reply) => return reply,
    };
    let limit = effective::orders_per_user_per_second(&app.parts.config, &snapshot.cluster);
    if let Some(too_many) = app.limits.of_user(purchase.user, limit.value, now) {
        return too_many;
    }
    match app.parts.store.buy(purchase).await {
        Ok(Outcome::Placed(order)) => created(&order),
        Ok(Outcome::Replayed(order)) => {
            created(&order).with(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"))
        }
        Ok(Outcome::Refused(refusal)) => refused(refusal),
        Err(error) => unavailable(error),
    }
}

/// `GET /orders/{id}`
pub(super) async fn find_order(app: &App, id: &str, request: &Request<Bytes>) -> Reply {
    let user = match authenticate(app, request, clock::now()) {
        Ok(user) => user,
        Err(reply) => return reply,
    };
    let found = match OrderId::parse(id) {
        Some(id) => app.parts.store.order(id, user).await,
        None => Ok(None),
    };
    match found {
        Ok(Some(order)) => Reply::of(StatusCode::OK, &order),
        // Whether somebody else has it is nobody's business.
        Ok(None) => Problem::plain(StatusCode::NOT_FOUND, "you have no such order").into(),
        Err(error) => unavailable(error),
    }
}

/// All that can be said about a purchase without asking the store.
fn check(
    app: &App,
    snapshot: &Snapshot,
    request: &Request<Bytes>,
    now: Timestamp,
) -> Result<Purchase, Reply> {
    let user = authenticate(app, request, now)?;
    if snapshot.blacklist.contains(user) {
        let (title, detail) = ("Blacklisted", "this user may not buy");
        return Err(Problem::ours(StatusCode::FORBIDDEN, "blacklisted", title, detail).into());
    }
    let mut keys = request.headers().get_all(IDEMPOTENCY_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(bad("missing-key", "Idempotency key missing", "send one idempotency-key header"));
    };
    let key = IdempotencyKey::parse(key.as_bytes())
        .map_err(|error| bad("invalid-key", "Invalid idempotency key", error.to_string()))?;
    let wanted = OrderRequest::parse(request.body())
        .map_err(|error| bad("invalid-body", "Invalid order", format!("the body is no order: {error}")))?;
    let event = snapshot.activities.event(wanted.event).ok_or_else(|| refused(Refusal::UnknownGoods))?;
    let goods = event.goods(wanted.goods).ok_or_else(|| refused(Refusal::UnknownGoods))?;
    let closed = snapshot.cluster.degradation.buying_closed.then_some(Refusal::BuyingClosed);
    Ok(Purchase {
        id: OrderId::new(),
        // Nobody needs more digits, and fewer can be read.
        created_at: now.round(Unit::Microsecond).unwrap_or(now),
        user,
        request: wanted,
        key,
        digest: wanted.digest(),
        limit_per_user: goods.limit_per_user,
        closed: event.closed(now).or(closed),
    })
}

fn authenticate(app: &App, request: &Request<Bytes>, now: Timestamp) -> Result<UserId, Reply> {
    let Some(token) = bearer(request.headers()) else {
        return Err(unauthorized("a user's token must be in the authorization header"));
    };
    app.parts.secrets.tokens.verify(token, now).map_err(|error| unauthorized(error.to_string()))
}

fn left_of(left: &Left, goods: GoodsId) -> Option<u64> {
    left.iter().find(|(id, _)| *id == goods).map(|(_, left)| *left)
}

fn describe<'e>(
    event: &'e Event,
    left: impl Fn(GoodsId) -> Option<u64>,
    from_cache: Option<FromCache>,
) -> EventInfo<'e> {
    let goods = event.goods.iter().map(|goods| GoodsInfo {
        id: goods.id,
        name: &goods.name,
        price_cents: goods.price_cents,
        stock: goods.stock,
        limit_per_user: goods.limit_per_user,
        left: left(goods.id),
    });
    EventInfo {
        id: event.id,
        name: &event.name,
        starts_at: event.starts_at,
        ends_at: event.ends_at,
        goods: goods.collect(),
        from_cache,
    }
}

fn created(order: &Order) -> Reply {
    let location = HeaderValue::try_from(format!("/orders/{}", order.id));
    let location = location.expect("a UUID must be fit for a header");
    Reply::of(StatusCode::CREATED, order).with(header::LOCATION, location)
}

fn bad(name: &'static str, title: &'static str, detail: impl Into<Cow<'static, str>>) -> Reply {
    Problem::ours(StatusCode::BAD_REQUEST, name, title, detail).into()
}

fn refused(refusal: Refusal) -> Reply {
    let (status, name, title, detail) = match refusal {
        Refusal::KeyReused => {
            let detail = "this idempotency key belongs to an order with another body; use a new one";
            (StatusCode::CONFLICT, "key-reused", "Idempotency key reused", detail)
        }
        Refusal::LimitReached => {
            let detail = "this user has as many of these goods as one user may have";
            (StatusCode::CONFLICT, "limit-reached", "Limit per user reached", detail)
        }
        Refusal::NotStarted => {
            (StatusCode::CONFLICT, "not-started", "Not started", "the event has not begun yet")
        }
        Refusal::SoldOut => (StatusCode::GONE, "sold-out", "Sold out", "none of these goods are left"),
        Refusal::Ended => (StatusCode::GONE, "ended", "Ended", "the event is over"),
        Refusal::BuyingClosed => {
            let detail = "nothing is sold for the moment; who has bought already is answered again";
            (StatusCode::SERVICE_UNAVAILABLE, "buying-closed", "Buying closed", detail)
        }
        Refusal::UnknownGoods => {
            let detail = "there is no such event, or it does not sell such goods";
            (StatusCode::NOT_FOUND, "unknown-goods", "Unknown goods", detail)
        }
    };
    let reply = Reply::from(Problem::ours(status, name, title, detail));
    if refusal == Refusal::BuyingClosed { reply.retry_later() } else { reply }
}

fn unavailable(error: Unavailable) -> Reply {
    Reply::from(Problem::plain(StatusCode::SERVICE_UNAVAILABLE, error.to_string())).retry_later()
}
