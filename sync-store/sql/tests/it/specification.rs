//! What every store must do, on every database.

use std::collections::HashMap;
use std::time::Duration;

use sync_core::ErrorKind;
use sync_core::state::{DeadLetter, Entry, FencingToken, LetterQuery, RunQuery, StateStore};
use sync_store_sql::SqlStore;
use tokio::sync::Mutex;

use crate::place::Place;
use crate::{HOUR, advance, letter, run, scope, step};

on_every_database![
    a_lease_has_one_owner_until_it_is_given_back,
    the_same_owner_takes_over_at_once_and_the_old_holder_is_fenced,
    an_expired_lease_goes_to_whoever_asks,
    tokens_start_above_the_floor_and_survive_a_restart,
    a_checkpoint_moves_one_step_at_a_time_and_comes_back_as_it_was,
    all_entries_are_kept_or_none,
    a_dead_letter_stands_once_until_it_is_dealt_with,
    runs_come_newest_first_and_no_run_lies_across_two_pages,
    a_hold_lasts_until_it_is_lifted,
    the_whole_specification_of_a_store_is_kept,
    what_the_store_has_acknowledged_survives_a_restart,
];

async fn the_whole_specification_of_a_store_is_kept(place: Place) {
    let places = Mutex::new(Vec::new());
    let report = sync_testkit::store::conformance(async |_, _| {
        let fresh = place.another().await;
        let store = SqlStore::connect(&fresh.url()).await;
        places.lock().await.push(fresh);
        store
    });
    report.await.assert();
}

async fn what_the_store_has_acknowledged_survives_a_restart(place: Place) {
    let places = Mutex::new(HashMap::new());
    let report = sync_testkit::store::durability(async |name, _| {
        let mut places = places.lock().await;
        if !places.contains_key(name) {
            places.insert(name.to_owned(), place.another().await);
        }
        SqlStore::connect(&places[name].url()).await
    });
    report.await.assert();
}

async fn a_lease_has_one_owner_until_it_is_given_back(place: Place) {
    let store = place.open().await;
    let first = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    let refused = store.acquire("job", "b", HOUR, FencingToken(0)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Fenced);
    assert!(refused.to_string().contains("owner: a"), "{refused}");
    store.release(&first).await.unwrap();
    let second = store.acquire("job", "b", HOUR, FencingToken(0)).await.unwrap();
    assert!(second.token > first.token);
}

async fn the_same_owner_takes_over_at_once_and_the_old_holder_is_fenced(place: Place) {
    let store = place.open().await;
    let old = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    let new = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    assert!(new.token > old.token);
    for refused in [store.renew(&old).await, store.record(&old, &[Entry::DeadLetter(letter(1))]).await] {
        assert_eq!(refused.unwrap_err().fenced_by(), Some(new.token));
    }
    store.release(&old).await.unwrap();
    store.renew(&new).await.unwrap();
    assert!(store.dead_letters(&LetterQuery::default()).await.unwrap().is_empty());
}

async fn an_expired_lease_goes_to_whoever_asks(place: Place) {
    let store = place.open().await;
    store.acquire("job", "a", Duration::from_millis(20), FencingToken(0)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    store.acquire("job", "b", HOUR, FencingToken(0)).await.unwrap();
}

async fn tokens_start_above_the_floor_and_survive_a_restart(place: Place) {
    let store = place.open().await;
    let high = store.acquire("job", "a", HOUR, FencingToken(41)).await.unwrap();
    assert_eq!(high.token, FencingToken(41));
    drop(store);
    let again = place.open().await;
    assert_eq!(again.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap().token, FencingToken(42));
}

async fn a_checkpoint_moves_one_step_at_a_time_and_comes_back_as_it_was(place: Place) {
    let store = place.open().await;
    let scope = scope("orders");
    let lease = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    store.record(&lease, &[step(&scope, lease.token, 0), step(&scope, lease.token, 1)]).await.unwrap();
    let passed = store.record(&lease, &[step(&scope, lease.token, 1)]).await.unwrap_err();
    assert_eq!((passed.kind(), passed.fenced_by()), (ErrorKind::Fenced, Some(lease.token)));
    assert_eq!(store.checkpoint(&scope).await.unwrap(), Some(advance(lease.token, 1).next));
    let next = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    let stale = step(&scope, lease.token, 2);
    assert!(store.record(&next, &[stale]).await.is_err(), "a token of an older lease moves nothing");
}

async fn all_entries_are_kept_or_none(place: Place) {
    let store = place.open().await;
    let lease = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    let impossible = step(&scope("orders"), lease.token, 7);
    assert!(
        store
            .record(&lease, &[Entry::DeadLetter(letter(1)), Entry::Run(run(1, &scope("orders"))), impossible])
            .await
            .is_err()
    );
    assert!(store.dead_letters(&LetterQuery::default()).await.unwrap().is_empty());
    assert!(store.runs(&RunQuery::default()).await.unwrap().is_empty());
}

async fn a_dead_letter_stands_once_until_it_is_dealt_with(place: Place) {
    let store = place.open().await;
    let lease = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    let letters: Vec<DeadLetter> = (1..=5).map(letter).collect();
    let entries: Vec<Entry> = letters.iter().chain(&letters).cloned().map(Entry::DeadLetter).collect();
    store.record(&lease, &entries).await.unwrap();
    let first = store.dead_letters(&LetterQuery { limit: 2, ..LetterQuery::default() }).await.unwrap();
    let rest = LetterQuery { after: Some(first[1].id.clone()), ..LetterQuery::default() };
    assert_eq!([first.clone(), store.dead_letters(&rest).await.unwrap()].concat(), letters);
    store.record(&lease, &[Entry::Resolved(first[1].id.clone())]).await.unwrap();
    assert_eq!(store.dead_letters(&rest).await.unwrap(), letters[2..], "the page after a letter that was dealt with");
    let others = LetterQuery { stream: Some("invoices".into()), ..LetterQuery::default() };
    assert!(store.dead_letters(&others).await.unwrap().is_empty());
}

async fn runs_come_newest_first_and_no_run_lies_across_two_pages(place: Place) {
    let store = place.open().await;
    let lease = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    for number in 1..=3 {
        let records = ["a", "b"].map(|feed| Entry::Run(run(number, &scope(feed))));
        store.record(&lease, &records).await.unwrap();
    }
    let page = store.runs(&RunQuery { limit: 3, ..RunQuery::default() }).await.unwrap();
    assert_eq!(page, [run(3, &scope("a")), run(3, &scope("b")), run(2, &scope("a")), run(2, &scope("b"))]);
    let rest = store.runs(&RunQuery { before: Some(page[3].run.clone()), ..RunQuery::default() }).await.unwrap();
    assert_eq!(rest, [run(1, &scope("a")), run(1, &scope("b"))]);
}

async fn a_hold_lasts_until_it_is_lifted(place: Place) {
    let store = place.open().await;
    let lease = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    let until = chrono::DateTime::from_timestamp_micros(4_000_000_000_000_001);
    store.record(&lease, &[Entry::Hold { scope: scope("orders"), until }]).await.unwrap();
    assert_eq!(store.hold(&scope("orders")).await.unwrap(), until);
    store.record(&lease, &[Entry::Hold { scope: scope("orders"), until: None }]).await.unwrap();
    assert_eq!(store.hold(&scope("orders")).await.unwrap(), None);
}
