//! What became of a push, on one node or on all.

use std::fmt::{self, Write as _};

use serde_json::Value;

use super::{COLUMNS, changes::digest, cut, word, wrap};

/// What one node made of it, from the answer to `PUT /config/...`.
pub(in crate::cli) fn pushed(what: &str, body: &Value) -> String {
    let (generation, digest) = (&body["generation"], digest(&body["digest"]));
    let mut text = match (body["dry_run"] == true, body["changed"] == true) {
        (false, true) => format!("{what}: served as generation {generation}, digest {digest}\n"),
        (_, false) => format!("{what}: nothing changes, generation {generation} is this, digest {digest}\n"),
        (true, true) => {
            format!("{what}: tried only, generation {generation} is served on; it would change\n")
        }
    };
    write_difference(&mut text, &body["difference"]).expect("writing into a string must succeed");
    text
}

/// What the nodes made of it, from the answer to `POST /config/publish/...`.
pub(in crate::cli) fn published(what: &str, body: &Value) -> String {
    let nodes = body["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    let taken = nodes.iter().filter(|node| node["error"].is_null()).count();
    let mut text = format!("{what}: taken by {taken} of {} nodes\n", nodes.len());
    for node in nodes {
        write_node(&mut text, node).expect("writing into a string must succeed");
    }
    text
}

fn write_node(text: &mut String, node: &Value) -> fmt::Result {
    let told = match node["error"].as_str() {
        None => format!("generation {}, digest {}", node["generation"], digest(&node["digest"])),
        Some(error) => match node["status"].as_u64() {
            Some(status) => format!("{status}: {error}"),
            None => error.to_owned(),
        },
    };
    let name = format!("{} at {}:", word(&node["node"]), word(&node["address"]));
    writeln!(text, "  {}", cut(&name, COLUMNS - 2))?;
    for line in told.lines().flat_map(|line| wrap(line, COLUMNS - 4)) {
        writeln!(text, "    {line}")?;
    }
    Ok(())
}

fn write_difference(text: &mut String, difference: &Value) -> fmt::Result {
    if let (Some(before), Some(after)) =
        (difference["users_before"].as_u64(), difference["users_after"].as_u64())
    {
        return writeln!(text, "  {before} users blacklisted now, {after} then");
    }
    for value in difference.as_array().into_iter().flatten() {
        let line = format!("{}: {} -> {}", word(&value["place"]), value["from"], value["to"]);
        for line in wrap(&line, COLUMNS - 2) {
            writeln!(text, "  {line}")?;
        }
    }
    for kind in ["added", "removed", "changed"] {
        let ids = difference[kind].as_array().map_or(&[][..], Vec::as_slice);
        if !ids.is_empty() {
            let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
            for line in wrap(&format!("events {kind}: {}", ids.join(", ")), COLUMNS - 2) {
                writeln!(text, "  {line}")?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    }

    #[test]
    fn what_one_node_made_of_it() {
        let mut body = json!({"generation": 8, "changed": true, "digest": "9f86d081884c"});
        check(&pushed("blacklist", &body), &["blacklist: served as generation 8, digest 9f86d081"]);
        body["changed"] = false.into();
        let same = "blacklist: nothing changes, generation 8 is this, digest 9f86d081";
        check(&pushed("blacklist", &body), &[same]);
        body["dry_run"] = true.into();
        body["difference"] = json!([]);
        check(&pushed("blacklist", &body), &[same]);
    }

    #[test]
    fn what_a_trial_would_change() {
        let tried = |what: &str, difference: Value| {
            let body = json!({"generation": 8, "changed": true, "digest": "9f", "dry_run": true});
            let mut body = body.as_object().unwrap().clone();
            body.insert("difference".to_owned(), difference);
            pushed(what, &Value::Object(body))
        };
        check(
            &tried("blacklist", json!({"users_before": 1, "users_after": 3})),
            &[
                "blacklist: tried only, generation 8 is served on; it would change",
                "  1 users blacklisted now, 3 then",
            ],
        );
        check(
            &tried("cluster", json!([{"place": "log_level", "from": null, "to": "debug"}])),
            &[
                "cluster: tried only, generation 8 is served on; it would change",
                "  log_level: null -> \"debug\"",
            ],
        );
        check(
            &tried("activities", json!({"added": [4, 5], "removed": [], "changed": [2]})),
            &[
                "activities: tried only, generation 8 is served on; it would change",
                "  events added: 4, 5",
                "  events changed: 2",
            ],
        );
    }

    #[test]
    fn what_all_nodes_made_of_it() {
        let body = json!({"nodes": [
            {"node": "a", "address": "10.0.0.1:8081", "status": 200, "generation": 8, "digest": "9f86d081884c", "error": null},
            {"node": "b", "address": "10.0.0.2:8081", "status": 412, "generation": 3, "digest": null,
             "error": "failed to replace the cluster of digest \"9f\": that of digest \"60\" is served; read it and try again"},
            {"node": "c", "address": "10.0.0.3:8081", "status": null, "generation": null, "digest": null,
             "error": "failed to be asked: it cannot be connected to: Connection refused (os error 111)"}]});
        check(
            &published("cluster", &body),
            &[
                "cluster: taken by 1 of 3 nodes",
                "  a at 10.0.0.1:8081:",
                "    generation 8, digest 9f86d081",
                "  b at 10.0.0.2:8081:",
                "    412: failed to replace the cluster of digest \"9f\": that of digest \"60\" is",
                "    served; read it and try again",
                "  c at 10.0.0.3:8081:",
                "    failed to be asked: it cannot be connected to: Connection refused (os error",
                "    111)",
            ],
        );
    }
}
