//! Which configuration is served, and where it comes from.

use std::fmt::{self, Write as _};

use serde_json::Value;

use super::{COLUMNS, changes::digest, cut, word, wrap};

/// What is served, from the body of `GET /config`.
pub(in crate::cli) fn config(body: &Value) -> String {
    let mut text = String::new();
    write(&mut text, body).expect("writing into a string must succeed");
    text
}

fn write(text: &mut String, body: &Value) -> fmt::Result {
    writeln!(
        text,
        "generation {}: {} events, {} users blacklisted",
        body["generation"], body["events"], body["blacklisted"]
    )?;
    let effective = &body["effective"];
    line(text, "log level", word(&effective["log_level"]["value"]))?;
    line(text, "switches", &switches(&effective["degradation"]))?;
    let limits = &effective["rate_limits"];
    line(text, "limits", &format!("requests a second: {}", routes(&limits["per_second"])))?;
    let per_user = limit(&limits["orders_per_user_per_second"]);
    line(text, "", &format!("orders a second of one user: {per_user}"))?;
    let pools = &effective["pools"];
    line(text, "pools", &format!("mysql {}, redis {}", pool(&pools["mysql"]), pool(&pools["redis"])))?;
    for datum in ["blacklist", "cluster", "activities"] {
        let source = &body["sources"][datum];
        let digest = digest(&body["digests"][datum]);
        let from = format!("by {} from {}, digest {digest}", word(&source["by"]), word(&source["from"]));
        line(text, datum, &from)?;
    }
    let nodes = body["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    line(text, "nodes", &nodes.len().to_string())?;
    for node in nodes {
        let told = format!(
            "{}: {}, admin {}, release {}, process {}",
            word(&node["name"]),
            word(&node["address"]),
            word(&node["admin"]),
            word(&node["version"]),
            node["process"]
        );
        writeln!(text, "    {}", cut(&told, COLUMNS - 4))?;
    }
    Ok(())
}

fn line(text: &mut String, label: &str, told: &str) -> fmt::Result {
    for (index, line) in wrap(told, COLUMNS - 14).iter().enumerate() {
        let label = if index == 0 { label } else { "" };
        writeln!(text, "  {label:<12}{line}")?;
    }
    Ok(())
}

fn switches(degradation: &Value) -> String {
    let buying = if degradation["buying_closed"]["value"] == true { "closed" } else { "open" };
    let left = if degradation["listing_from_cache"]["value"] == true { "not told" } else { "told" };
    format!("buying is {buying}, what is left of the goods is {left}")
}

fn routes(limits: &Value) -> String {
    let routes = [
        ("event list", "event_list"),
        ("event info", "event_info"),
        ("orders", "orders"),
        ("order", "order"),
    ];
    let told = routes.map(|(name, key)| format!("{name} {}", limit(&limits[key])));
    told.join(", ")
}

fn limit(setting: &Value) -> String {
    match setting["value"].as_u64() {
        Some(0) | None => "any".to_owned(),
        Some(limit) => limit.to_string(),
    }
}

fn pool(setting: &Value) -> String {
    setting["value"].as_u64().map_or_else(|| "-".to_owned(), |size| size.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_and_whence() {
        let source = |by: &str, from: &str| serde_json::json!({"by": by, "from": from, "every_ms": 5000});
        let setting = |value: Value| serde_json::json!({"value": value, "from": "cluster"});
        let body = serde_json::json!({
            "generation": 7, "events": 3, "blacklisted": 10_000_000,
            "digests": {"blacklist": "9f86d081884c", "cluster": "", "activities": "60303ae22b99"},
            "effective": {"log_level": setting("info".into()),
                "rate_limits": {"orders_per_user_per_second": setting(5.into()),
                    "per_second": {"event_list": setting(0.into()), "event_info": setting(0.into()), "orders": setting(1_000_000.into()),
                        "order": setting(10_000_000.into())}},
                "degradation": {"buying_closed": setting(false.into()), "listing_from_cache": setting(true.into())},
                "pools": {"mysql": setting(16.into()), "redis": setting(Value::Null)}},
            "nodes": [{"name": "a", "address": "10.0.0.1:8080", "admin": "10.0.0.1:8081", "version": "42", "process": 3}],
            "sources": {"blacklist": source("file", "./blacklist.txt"),
                "cluster": source("etcd", "etcd:/seckill/config"),
                "activities": source("timer", "http://config.internal:8000/some/rather/long/path/activities.json")},
        });
        let text = config(&body);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "generation 7: 3 events, 10000000 users blacklisted",
                "  log level   info",
                "  switches    buying is open, what is left of the goods is not told",
                "  limits      requests a second: event list any, event info any, orders 1000000,",
                "              order 10000000",
                "              orders a second of one user: 5",
                "  pools       mysql 16, redis -",
                "  blacklist   by file from ./blacklist.txt, digest 9f86d081",
                "  cluster     by etcd from etcd:/seckill/config, digest -",
                "  activities  by timer from",
                "              http://config.internal:8000/some/rather/long/path/activities.json,",
                "              digest 60303ae2",
                "  nodes       1",
                "    a: 10.0.0.1:8080, admin 10.0.0.1:8081, release 42, process 3",
            ]
        );
    }
}
