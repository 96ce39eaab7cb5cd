//! Tables that are made once, whoever comes.

use sync_core::ErrorKind;
use sync_core::state::{FencingToken, StateStore};
use sync_store_sql::SqlStore;

use crate::HOUR;
use crate::place::Place;

on_every_database![
    eight_that_start_at_once_make_the_tables_once,
    what_a_process_left_half_made_is_finished,
    tables_of_a_newer_release_are_refused,
];

async fn eight_that_start_at_once_make_the_tables_once(place: Place) {
    let url = place.url();
    let starts: Vec<_> = (0..8)
        .map(|number| {
            let url = url.clone();
            tokio::spawn(async move {
                let store = SqlStore::connect(&url).await?;
                store.acquire(&format!("job {number}"), "me", HOUR, FencingToken(0)).await
            })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap();
    }
    assert_eq!(place.number("SELECT count(*) FROM _sync_schema").await, 1);
    assert_eq!(place.number("SELECT count(*) FROM _sync_lease").await, 8);
}

/// MySQL cannot undo a change of a table: a process that ends between two leaves the first.
async fn what_a_process_left_half_made_is_finished(place: Place) {
    let lease = place.open().await.acquire("job", "me", HOUR, FencingToken(0)).await.unwrap();
    place.number("DELETE FROM _sync_schema").await;
    place.number("DROP TABLE _sync_dead_letter").await;
    let store = place.open().await;
    store.renew(&lease).await.unwrap();
    assert!(store.dead_letters(&Default::default()).await.unwrap().is_empty());
}

async fn tables_of_a_newer_release_are_refused(place: Place) {
    drop(place.open().await);
    place.number("INSERT INTO _sync_schema (version, name, done_ms) VALUES (999, 'later', 0)").await;
    let error = SqlStore::connect(&place.url()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    let text = error.to_string();
    assert!(text.contains("newer release") && text.contains("999"), "{text}");
}
