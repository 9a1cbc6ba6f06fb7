//! How many orders a second the store takes through Redis; a part of `ci/buying`.
//!
//!     buying SETTINGS BUYERS ORDERS     BUYERS at once buy ORDERS of goods of which there are enough
//!
//! Prints orders a second until the last was acknowledged, and the seconds until the last was in MySQL.

use std::{
    env,
    error::Error,
    io::Write as _,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use server::{
    config,
    lifecycle::ProcessGeneration,
    seckill::{EventId, GoodsId, IdempotencyKey, OrderId, OrderRequest, Outcome, Purchase, UserId},
    state::Activities,
    stores::{Stocking, Store},
    tasks::Tasks,
};

const ACTIVITIES: &str = r#"{"events":[{"id":1,"name":"e","starts_at":"2020-01-01T00:00:00Z",
"ends_at":"2100-01-01T00:00:00Z","goods":[{"id":1,"name":"g","price_cents":1,"stock":1000000000,"limit_per_user":0}]}]}"#;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match &arguments[..] {
        [settings, buyers, orders] => measure(settings, buyers, orders),
        _ => Err("see the head of this file for what to say".into()),
    };
    match done {
        Ok(told) => _ = writeln!(std::io::stdout(), "{told}"),
        Err(error) => {
            _ = writeln!(std::io::stderr(), "error: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(settings: &str, buyers: &str, orders: &str) -> Result<String, Box<dyn Error>> {
    let (buyers, orders): (u64, u64) = (buyers.parse()?, orders.parse()?);
    let config = config::load(Path::new(settings))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let activities = Activities::parse(ACTIVITIES.as_bytes())?;
        let process = ProcessGeneration::FIRST;
        let store = Arc::new(Store::open(&config, &Stocking::new(&config), &activities, process).await?);
        let (tasks, next, begun) = (Tasks::default(), Arc::new(AtomicU64::new(0)), Instant::now());
        let buying: Vec<_> = (0..buyers)
            .map(|buyer| {
                let (store, next) = (Arc::clone(&store), Arc::clone(&next));
                tasks.spawn(async move {
                    while next.fetch_add(1, Ordering::Relaxed) < orders {
                        let outcome = store.buy(purchase(buyer)).await;
                        if !matches!(outcome, Ok(Outcome::Placed(_))) {
                            return Err(format!("{outcome:?}"));
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        for buyer in buying {
            buyer.await??;
        }
        let took = begun.elapsed();
        while store.counters().written.get() < orders {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let written = begun.elapsed();
        store.close().await;
        #[expect(clippy::cast_precision_loss, reason = "a rate to three digits")]
        let rate = orders as f64 / took.as_secs_f64();
        Ok(format!("{rate:.0} {:.3}", written.as_secs_f64()))
    })
}

fn purchase(user: u64) -> Purchase {
    let request = OrderRequest { event: EventId(1), goods: GoodsId(1) };
    let id = OrderId::new();
    let key = IdempotencyKey::parse(id.to_string().as_bytes()).expect("a UUID must be fit for a key");
    Purchase {
        id,
        created_at: Timestamp::UNIX_EPOCH,
        user: UserId(user + 1),
        request,
        key,
        digest: request.digest(),
        limit_per_user: 0,
        closed: None,
    }
}
