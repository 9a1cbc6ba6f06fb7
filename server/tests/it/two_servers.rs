//! Two servers that live at once sell the same, as two processes do while one takes over from the other.

use std::{collections::HashMap, thread};

use crate::{
    client::Client,
    server::{Server, eventually},
    service_processes::services,
};

const STOCK: u64 = 50;
const LIMIT: u64 = 3;
const USERS: u64 = 20;

/// What a user asks the first and the second server for, at once in each round: a piece from each; the third and last
/// that he may have, with one key or with two; more than that; what the other server has sold him.
const KEYS: [[[&str; 4]; 2]; 2] = [
    [["one", "both", "more", "two"], ["two", "both", "most", "one"]],
    [["one", "this", "more", "two"], ["two", "that", "most", "one"]],
];

/// What was answered to one of a user's requests: an order's id, or why there is none.
#[derive(Debug)]
struct Told {
    server: usize,
    user: u64,
    key: &'static str,
    order: Result<String, u16>,
}

fn ask(server: &Server, client: &mut Client, user: u64, key: &str) -> Result<String, u16> {
    // A server that was just started may not have compared its services yet.
    let answer = eventually("an answer", || {
        Some(server.buy(client, user, key, 7, 1)).filter(|answer| answer.status != 503)
    });
    match answer.status {
        201 => Ok(answer.json()["id"].as_str().unwrap().to_owned()),
        status => Err(status),
    }
}

#[test]
fn two_servers_that_sell_at_once_sell_nothing_twice_and_nobody_more_than_the_limit() {
    let Some(services) = services() else { return };
    let servers = [0, 1].map(|upgrades| {
        let server = Server::start_with("handoff-live", &services.settings());
        // Its process has another number.
        for _ in 0..upgrades {
            server.upgrade();
        }
        let goods =
            format!(r#"[{{"id":1,"name":"g","price_cents":1,"stock":{STOCK},"limit_per_user":{LIMIT}}}]"#);
        let event =
            r#""id":7,"name":"e","starts_at":"2020-01-01T00:00:00Z","ends_at":"2100-01-01T00:00:00Z""#;
        let activities = format!(r#"{{"events":[{{{event},"goods":{goods}}}]}}"#);
        let put = server.admin_request(&format!("PUT /config/activities {activities}"));
        assert_eq!(put.status, 200, "{}", put.body);
        server
    });
    let mut clients: Vec<(usize, u64, Client)> = (1..=USERS)
        .flat_map(|user| [0, 1].map(|server| (server, user, Client::connect(servers[server].public))))
        .collect();
    let rounds = [0, 1, 2, 3].map(|round| {
        thread::scope(|scope| {
            let asking: Vec<_> = clients
                .iter_mut()
                .map(|(server, user, client)| {
                    let (server, user) = (*server, *user);
                    let key = KEYS[usize::from(user % 2 == 1)][server][round];
                    let asked = &servers[server];
                    scope.spawn(move || Told { server, user, key, order: ask(asked, client, user, key) })
                })
                .collect();
            asking.into_iter().map(|asking| asking.join().unwrap()).collect::<Vec<_>>()
        })
    });
    services.until_written(STOCK);

    // There is enough for all in the first round, so each server has sold to everybody.
    assert!(rounds[0].iter().all(|told| told.order.is_ok()), "{:?}", rounds[0]);
    // From then on each user has room for one more at most, and so has the stock for half of them.
    let mut placed: HashMap<(u64, &str), &str> = HashMap::new();
    for Told { user, key, order, .. } in rounds[..2].iter().flatten() {
        match order {
            Ok(id) => {
                let first = placed.insert((*user, key), id);
                assert!(first.is_none_or(|first| first == id), "{key} of user {user} has one order");
            }
            Err(status) => assert!([409, 410].contains(status), "{status}"),
        }
    }
    assert_eq!(placed.len() as u64, STOCK, "all is sold, and nothing twice");
    for user in 1..=USERS {
        assert!((2..=LIMIT).contains(&(placed.keys().filter(|(who, _)| *who == user).count() as u64)));
    }
    for Told { order, .. } in &rounds[2] {
        assert!(matches!(order, Err(409 | 410)), "{order:?}");
    }
    for Told { server, user, key, order } in &rounds[3] {
        let of_the_other = placed[&(*user, *key)];
        assert_eq!(order.as_deref(), Ok(of_the_other), "server {server} knows what the other one has sold");
    }
    let orders = |of: &str| services.mysql.count(&format!("SELECT COUNT(*) FROM orders{of}"));
    let sold_by = [1, 2].map(|process| orders(&format!(" WHERE process = {process}")));
    assert!(sold_by.iter().all(|sold| *sold >= USERS) && sold_by[0] + sold_by[1] == STOCK, "{sold_by:?}");
    for id in placed.values() {
        assert_eq!(orders(&format!(" WHERE id = '{id}'")), 1, "{id} was acknowledged");
    }
    assert_eq!(services.mysql.count("SELECT COUNT(DISTINCT user, `key`) FROM orders"), STOCK);
}
