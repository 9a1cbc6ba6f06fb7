//! What becomes of a change that nobody may publish at the moment, with real events of a real file.

use std::{fs, net::SocketAddr};

use super::*;
use crate::{config::Place, seckill::UserId, sources::watch::Events, state::Generation};

#[tokio::test]
async fn what_a_closed_writer_did_not_take_is_served_when_it_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list");
    fs::write(&path, "1\n").unwrap();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config::with_defaults(nowhere, nowhere);
    config.reload.blacklist.from = Place::File(path.clone());
    let states = Arc::new(SourceStates::new(&config.reload));
    let events = Arc::new(Events::default());
    let watch = Watch::open(&events, Datum::Blacklist, &path, Duration::from_secs(3600));
    let mut feed = Feed::new(Datum::Blacklist, Arc::new(config), Eye::Watch(watch), Arc::clone(&states));
    let first = feed.first(Duration::from_secs(30)).await.unwrap();
    let reload = Reload::start(vec![first], Generation::FIRST, Box::new(|_| Ok(()))).unwrap();
    let mut changes = reload.changes();
    let found = || states.list().into_iter().find(|state| state.datum == Datum::Blacklist).unwrap().found;
    let story = async {
        for (round, ids) in [(2, "1\n2\n"), (3, "1\n2\n3\n")] {
            // A successor takes over.
            _ = reload.close();
            states.update(Datum::Blacklist, |state| state.found = None);
            fs::write(&path, ids).unwrap();
            while found().as_deref() != Some("something new") {
                tokio::task::yield_now().await;
            }
            // Whoever looks keeps his turn until he has offered what he found.
            drop(states.turn_of_all().await);
            assert_eq!(reload.cell().load().blacklist.len(), round - 1);
            // It has failed, and the file has changed once more since.
            fs::write(&path, format!("{ids}{}\n", 100 + round)).unwrap();
            reload.reopen();
            let is_there =
                |_: &Generation| reload.cell().load().blacklist.contains(UserId(100 + round as u64));
            changes.wait_for(is_there).await.unwrap();
            fs::write(&path, ids).unwrap();
            changes.wait_for(|_| reload.cell().load().blacklist.len() == round).await.unwrap();
        }
    };
    tokio::select! {
        () = feed.run(Arc::clone(&reload), CancellationToken::new()) => panic!("nobody has stopped it"),
        () = story => {}
    }
}
