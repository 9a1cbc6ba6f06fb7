//! The files that the reference server starts with: settings, activities and blacklist.
//!
//! All paths in them are relative to the server's working directory, which keeps the path of its unix
//! socket short whatever the run's folder is called.

use std::{fmt::Write as _, fs, net::SocketAddr, path::Path};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Error;
use crate::plan::ReferencePlan;

/// Name of the settings file in the working directory.
pub(super) const SETTINGS: &str = "seckill.toml";
/// Name of the admin token's file in the working directory.
pub(super) const ADMIN_TOKEN: &str = ".admin-token";
/// Name of the embedded store's file in the working directory.
pub(super) const STORE: &str = "seckill.db";
const ACTIVITIES: &str = "activities.json";
const BLACKLIST: &str = "blacklist.txt";
const PRICE_CENTS: u64 = 9_900;
/// Sales began this long before the run and end this long after it: no run sees one closed.
const SALE_MARGIN: SignedDuration = SignedDuration::from_hours(24);

/// Writes all files into the server's working directory.
pub(super) fn write(
    work_dir: &Path,
    plan: &ReferencePlan,
    api: SocketAddr,
    admin: SocketAddr,
    now: Timestamp,
) -> Result<(), Error> {
    let files = [
        (SETTINGS, settings(plan, api, admin)),
        (ACTIVITIES, activities(plan, now)),
        // No user of the load is on it; a non-empty list keeps the look-up honest.
        (BLACKLIST, "4000000001\n4000000002\n".to_owned()),
    ];
    for (name, text) in files {
        let path = work_dir.join(name);
        fs::write(&path, text).map_err(Error::file("write", &path))?;
    }
    Ok(())
}

fn settings(plan: &ReferencePlan, api: SocketAddr, admin: SocketAddr) -> String {
    let mut upgrade = String::new();
    for (key, value) in &plan.upgrade {
        writeln!(upgrade, "{key} = {value}").expect("writing to a string must succeed");
    }
    format!(
        r#"# Written by the harness for one run.
[global]
logLevel = "info"
pid = "./.pid"

[api]
bind = "{api}"
blacklist = "./{BLACKLIST}"

[admin]
bind = "{admin}"
token_file = "./{ADMIN_TOKEN}"

[auth]
secret_file = "./.token-secret"

[store]
path = "./{STORE}"

[sale]
activities = "./{ACTIVITIES}"

[upgrade]
strategy = "{strategy}"
socket = "./.seckill.sock"
{upgrade}
[limits]
orders_per_user_per_second = 0
"#,
        strategy = plan.strategy,
    )
}

#[derive(Serialize)]
struct Activities {
    events: Vec<SaleEvent>,
}

#[derive(Serialize)]
struct SaleEvent {
    id: u32,
    name: String,
    starts_at: Timestamp,
    ends_at: Timestamp,
    goods: Vec<Good>,
}

#[derive(Serialize)]
struct Good {
    id: u32,
    name: String,
    price_cents: u64,
    stock: u64,
    limit_per_user: u32,
}

fn activities(plan: &ReferencePlan, now: Timestamp) -> String {
    let events = (1..=plan.sale_events)
        .map(|id| SaleEvent {
            id,
            name: format!("Flash sale {id}"),
            starts_at: now - SALE_MARGIN,
            ends_at: now + SALE_MARGIN,
            goods: vec![Good {
                id,
                name: format!("Good {id}"),
                price_cents: PRICE_CENTS,
                stock: plan.stock,
                limit_per_user: plan.limit_per_user,
            }],
        })
        .collect();
    serde_json::to_string_pretty(&Activities { events }).expect("activities must serialize")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn plan() -> ReferencePlan {
        ReferencePlan {
            strategy: "handoff-live".to_owned(),
            old: None,
            new: None,
            users: 10,
            sale_events: 1,
            stock: 500,
            limit_per_user: 2,
            faults: Vec::new(),
            upgrade: BTreeMap::from([("drain_ms".to_owned(), 1500), ("probation_ms".to_owned(), 50)]),
        }
    }

    #[test]
    fn settings_name_every_file_relative_to_the_working_directory() {
        let text = settings(&plan(), "127.0.0.1:20001".parse().unwrap(), "127.0.0.1:20002".parse().unwrap());
        insta::assert_snapshot!(text, @r#"
        # Written by the harness for one run.
        [global]
        logLevel = "info"
        pid = "./.pid"

        [api]
        bind = "127.0.0.1:20001"
        blacklist = "./blacklist.txt"

        [admin]
        bind = "127.0.0.1:20002"
        token_file = "./.admin-token"

        [auth]
        secret_file = "./.token-secret"

        [store]
        path = "./seckill.db"

        [sale]
        activities = "./activities.json"

        [upgrade]
        strategy = "handoff-live"
        socket = "./.seckill.sock"
        drain_ms = 1500
        probation_ms = 50

        [limits]
        orders_per_user_per_second = 0
        "#);
    }

    #[test]
    fn activities_hold_one_good_per_event_with_the_plan_s_stock() {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        insta::assert_snapshot!(activities(&plan(), now), @r#"
        {
          "events": [
            {
              "id": 1,
              "name": "Flash sale 1",
              "starts_at": "2026-01-01T03:04:05Z",
              "ends_at": "2026-01-03T03:04:05Z",
              "goods": [
                {
                  "id": 1,
                  "name": "Good 1",
                  "price_cents": 9900,
                  "stock": 500,
                  "limit_per_user": 2
                }
              ]
            }
          ]
        }
        "#);
    }
}
