//! `GET /event/stream`: what is left of everything on sale, as Server-Sent Events (WHATWG HTML, section 9.2).
//!
//! | event | when | data |
//! |---|---|---|
//! | `stock` | at once, then when something has changed, at most once in `stream.interval_ms` | all events with what is left |
//! | a comment | after `stream.heartbeat_ms` without one | |
//! | `goodbye` | when this process leaves; the last one | `retry_ms`: when to come back |
//!
//! Each `stock` event is complete, so a reader that misses some misses nothing, a stream holds no more than the one it is
//! about to send, and `last-event-id` needs no memory. The store is asked once for all streams, and not at all while
//! there are none. Who reads too slowly, and who does not end in time, is the connection's business
//! ([`crate::lifecycle`]).

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body::Frame;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use serde::Serialize;
use tokio::{
    sync::{Mutex, watch},
    time::sleep,
};

use super::{
    App,
    reply::{Problem, Reply},
    sale,
};
use crate::{
    lifecycle::{Control, ProcessGeneration},
    seckill::{EventId, GoodsId},
    telemetry::Metrics,
};

/// What all streams share.
#[derive(Debug)]
pub(super) struct Streams {
    process: ProcessGeneration,
    open: watch::Sender<u32>,
    stock: watch::Sender<Stock>,
    /// When the store was asked last. Held while it is asked, so that many who come at once ask once.
    asked: Mutex<Option<Instant>>,
    pub(super) opened: Counter,
    pub(super) refused: Counter,
    gauge: Gauge,
}

/// What was last told.
#[derive(Debug, Clone, Default)]
struct Stock {
    number: u64,
    /// Complete JSON.
    text: Arc<str>,
}

#[derive(Serialize)]
struct Told {
    events: Vec<EventLeft>,
}

#[derive(Serialize)]
struct EventLeft {
    id: EventId,
    goods: Vec<GoodsLeft>,
}

#[derive(Serialize)]
struct GoodsLeft {
    id: GoodsId,
    /// Null: not known.
    left: Option<u64>,
}

/// `GET /event/stream`
pub(super) async fn open(app: &App) -> Reply {
    let settings = &app.parts.config.stream;
    let Some(seat) = Seat::take(&app.streams, settings.streams_max) else {
        app.streams.refused.inc();
        let detail = format!("{} streams are open, and more are not allowed", settings.streams_max);
        let problem =
            Problem::ours(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", "Too many streams", detail);
        return Reply::from(problem).retry_later();
    };
    app.streams.look(app, settings.interval).await;
    let feed = Feed {
        stage: Stage::First,
        stock: app.streams.stock.subscribe(),
        control: app.parts.control.clone(),
        heartbeat: settings.heartbeat,
        retry: settings.retry,
        seat,
    };
    Reply::stream("text/event-stream", Ticker::new(feed))
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

/// Keeps what the streams tell up to date, for ever.
pub(super) async fn run(app: &App) {
    let mut open = app.streams.open.subscribe();
    loop {
        // The sender lives in `app`, so the wait cannot fail.
        _ = open.wait_for(|open| *open > 0).await;
        sleep(app.parts.config.stream.interval).await;
        app.streams.look(app, Duration::ZERO).await;
    }
}

impl Streams {
    pub(super) fn new(process: ProcessGeneration, metrics: &Metrics) -> Arc<Self> {
        let streams = Self {
            process,
            open: watch::Sender::new(0),
            stock: watch::Sender::default(),
            asked: Mutex::default(),
            opened: Counter::default(),
            refused: Counter::default(),
            gauge: Gauge::default(),
        };
        metrics.register("streams_opened", "Streams of events that were begun", streams.opened.clone());
        metrics.register("streams_refused", "Streams beyond the limit", streams.refused.clone());
        metrics.register("streams_open", "Streams of events open now", streams.gauge.clone());
        Arc::new(streams)
    }

    /// Asks what is left unless that is known since less than `age`, and tells all streams if it has changed.
    async fn look(&self, app: &App, age: Duration) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < age) {
            return;
        }
        let text = serde_json::to_string(&left(app).await).expect("numbers must be writable as JSON");
        *asked = Some(Instant::now());
        self.stock.send_if_modified(|stock| {
            let is_new = *stock.text != *text;
            if is_new {
                *stock = Stock { number: stock.number + 1, text: text.into() };
            }
            is_new
        });
    }
}

async fn left(app: &App) -> Told {
    let snapshot = app.parts.snapshots.load();
    let from_cache = snapshot.cluster.degradation.listing_from_cache;
    let mut events = Vec::new();
    for event in snapshot.activities.events() {
        let asked = if from_cache { None } else { sale::left(app, event).await.ok() };
        let known = asked.or_else(|| app.known.of(event.id).map(|(_, left)| left));
        let left_of =
            |id: GoodsId| known.as_ref()?.iter().find(|(goods, _)| *goods == id).map(|(_, left)| *left);
        let goods = event.goods.iter().map(|goods| GoodsLeft { id: goods.id, left: left_of(goods.id) });
        events.push(EventLeft { id: event.id, goods: goods.collect() });
    }
    Told { events }
}

/// A place among the streams that may be open.
#[derive(Debug)]
struct Seat(Arc<Streams>);

impl Seat {
    fn take(streams: &Arc<Streams>, streams_max: u32) -> Option<Self> {
        let has_room = streams.open.send_if_modified(|open| {
            let has_room = *open < streams_max;
            *open += u32::from(has_room);
            has_room
        });
        has_room.then(|| {
            streams.opened.inc();
            streams.gauge.inc();
            Self(Arc::clone(streams))
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.gauge.dec();
        self.0.open.send_modify(|open| *open -= 1);
    }
}

/// One stream, between two of its events.
struct Feed {
    stage: Stage,
    stock: watch::Receiver<Stock>,
    control: Control,
    heartbeat: Duration,
    retry: Duration,
    seat: Seat,
}

#[derive(Clone, Copy)]
enum Stage {
    First,
    Goes,
    Over,
}

impl Feed {
    /// The next bytes, when there are some; `None`: it is over.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let text = match self.stage {
            Stage::Over => return None,
            Stage::First => {
                self.stage = Stage::Goes;
                format!("retry: {}\n{}", self.retry.as_millis(), self.told())
            }
            Stage::Goes => tokio::select! {
                biased;
                () = self.control.past_ready() => {
                    self.stage = Stage::Over;
                    let retry_ms = spread(self.retry).as_millis();
                    format!("retry: {retry_ms}\nevent: goodbye\ndata: {{\"retry_ms\":{retry_ms}}}\n\n")
                }
                // The sender lives in the seat.
                _ = self.stock.changed() => self.told(),
                () = sleep(self.heartbeat) => ": nothing has changed\n\n".to_owned(),
            },
        };
        Some((text.into(), self))
    }

    fn told(&mut self) -> String {
        let stock = self.stock.borrow_and_update();
        format!("id: {}.{}\nevent: stock\ndata: {}\n\n", self.seat.0.process, stock.number, stock.text)
    }
}

/// Half to all of `most`, by chance.
fn spread(most: Duration) -> Duration {
    let mut random = [0; 4];
    // Without chance everybody comes at the same time, which is no reason to say nothing.
    let share = getrandom::fill(&mut random)
        .map_or(1.0, |()| f64::from(u32::from_le_bytes(random)) / 4_294_967_296.0);
    most.mul_f64(0.5 + share / 2.0)
}

type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Feed)>> + Send>>;

/// The body of the answer.
pub struct Ticker(Option<Next>);

impl Ticker {
    fn new(feed: Feed) -> Self {
        Self(Some(Box::pin(feed.next())))
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        let Some(next) = &mut self.0 else { return Poll::Ready(None) };
        next.as_mut().poll(cx).map(|told| {
            let (bytes, feed) = told.or_else(|| {
                self.0 = None;
                None
            })?;
            self.0 = Some(Box::pin(feed.next()));
            Some(Frame::data(bytes))
        })
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ticker").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_sent_away_comes_back_at_a_time_of_his_own() {
        let most = Duration::from_secs(2);
        let times: std::collections::HashSet<Duration> = (0..100).map(|_| spread(most)).collect();
        assert!(times.iter().all(|time| (most / 2..=most).contains(time)), "{times:?}");
        assert!(times.len() > 90);
        assert_eq!(spread(Duration::ZERO), Duration::ZERO);
    }
}
