//! Several that fight for the same at once, each with connections of its own, as processes have them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sync_core::ErrorKind;
use sync_core::state::{Entry, FencingToken, LetterQuery, StateStore};

use crate::place::Place;
use crate::{HOUR, letter, scope, step};

on_every_database![
    of_many_who_ask_one_at_a_time_holds_the_lease,
    of_many_who_ask_first_one_gets_a_lease,
    a_lease_that_nobody_gives_back_changes_hands_only_when_its_time_is_over,
    of_many_who_take_the_same_step_one_does,
    a_holder_that_is_taken_over_records_nothing_more,
    letters_that_come_at_once_are_all_kept,
];

const FIGHTERS: usize = 6;

async fn of_many_who_ask_one_at_a_time_holds_the_lease(place: Place) {
    let inside = Arc::new(AtomicUsize::new(0));
    let mut fighters = Vec::new();
    for number in 0..FIGHTERS {
        let (store, inside) = (place.open().await, Arc::clone(&inside));
        fighters.push(tokio::spawn(async move {
            let (owner, mut tokens) = (format!("fighter {number}"), Vec::new());
            while tokens.len() < 10 {
                match store.acquire("job", &owner, HOUR, FencingToken(0)).await {
                    Ok(lease) => {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold the lease");
                        store.renew(&lease).await.unwrap();
                        tokens.push(lease.token);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        store.release(&lease).await.unwrap();
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Fenced, "{error}"),
                }
            }
            tokens
        }));
    }
    let mut all = Vec::new();
    for fighter in fighters {
        let tokens = fighter.await.unwrap();
        assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
        all.extend(tokens);
    }
    all.sort();
    assert!(all.is_sorted_by(|a, b| a < b), "a token was given twice: {all:?}");
}

async fn of_many_who_ask_first_one_gets_a_lease(place: Place) {
    let mut stores = Vec::new();
    for _ in 0..FIGHTERS {
        stores.push(place.open().await);
    }
    for round in 0..10 {
        let name = format!("job {round}");
        let asked = stores.iter().enumerate().map(|(number, store)| {
            let (store, name) = (store.clone(), name.clone());
            tokio::spawn(async move { store.acquire(&name, &format!("{number}"), HOUR, FencingToken(0)).await })
        });
        let mut granted = 0;
        for answer in asked.collect::<Vec<_>>() {
            match answer.await.unwrap() {
                Ok(_) => granted += 1,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Fenced, "{error}"),
            }
        }
        assert_eq!(granted, 1, "{name}");
    }
}

async fn a_lease_that_nobody_gives_back_changes_hands_only_when_its_time_is_over(place: Place) {
    const TTL: Duration = Duration::from_millis(100);
    let began = Instant::now();
    let mut fighters = Vec::new();
    for number in 0..FIGHTERS {
        let store = place.open().await;
        fighters.push(tokio::spawn(async move {
            // A new name each time: the same owner would take over at once.
            let mut grants = Vec::new();
            for attempt in 0.. {
                if began.elapsed() > Duration::from_millis(1500) {
                    break;
                }
                let asked = began.elapsed();
                if let Ok(lease) = store.acquire("job", &format!("{number}.{attempt}"), TTL, FencingToken(0)).await {
                    grants.push((lease.token, asked, began.elapsed()));
                }
            }
            grants
        }));
    }
    let mut grants = Vec::new();
    for fighter in fighters {
        grants.extend(fighter.await.unwrap());
    }
    grants.sort();
    assert!(grants.len() > 3, "the lease changed hands {} times only", grants.len());
    for pair in grants.windows(2) {
        let [(token, asked, _), (next, _, granted)] = pair else { unreachable!() };
        assert!(next > token, "a token was given twice: {grants:?}");
        // The store granted the first after it was asked, for TTL. A millisecond for rounding.
        assert!(*granted + Duration::from_millis(1) >= *asked + TTL, "two held the lease at once: {grants:?}");
    }
}

async fn of_many_who_take_the_same_step_one_does(place: Place) {
    let first = place.open().await;
    let mut stores = Vec::new();
    for _ in 0..FIGHTERS {
        stores.push(place.open().await);
    }
    let scope = scope("orders");
    // Different leases, so that nothing but the position itself keeps them apart.
    for expected in 0..8 {
        let mut steps = Vec::new();
        for (number, store) in stores.iter().enumerate() {
            let lease = store.acquire(&format!("job {number}"), "me", HOUR, FencingToken(expected + 1)).await.unwrap();
            let (store, scope) = (store.clone(), scope.clone());
            steps.push(tokio::spawn(async move { store.record(&lease, &[step(&scope, lease.token, expected)]).await }));
        }
        let mut done = 0;
        for taken in steps {
            match taken.await.unwrap() {
                Ok(()) => done += 1,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Fenced, "{error}"),
            }
        }
        assert_eq!(done, 1, "step {expected}");
        assert_eq!(first.checkpoint(&scope).await.unwrap().map(|checkpoint| checkpoint.seq), Some(expected + 1));
    }
}

async fn a_holder_that_is_taken_over_records_nothing_more(place: Place) {
    let (holder, thief) = (place.open().await, place.open().await);
    let scope = scope("orders");
    let lease = holder.acquire("job", "me", HOUR, FencingToken(0)).await.unwrap();
    let work = tokio::spawn({
        let (scope, lease) = (scope.clone(), lease.clone());
        async move {
            for expected in 0.. {
                if let Err(error) = holder.record(&lease, &[step(&scope, lease.token, expected)]).await {
                    return (expected, error);
                }
            }
            unreachable!("the lease was never taken over")
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stolen = thief.acquire("job", "me", HOUR, FencingToken(0)).await.unwrap();
    let stands = thief.checkpoint(&scope).await.unwrap().map_or(0, |checkpoint| checkpoint.seq);
    let (written, error) = work.await.unwrap();
    assert_eq!(error.fenced_by(), Some(stolen.token), "{error}");
    assert_eq!(written, stands, "a step was taken after the lease was taken over");
}

async fn letters_that_come_at_once_are_all_kept(place: Place) {
    let mut keepers = Vec::new();
    for number in 0..2 {
        let store = place.open().await;
        keepers.push(tokio::spawn(async move {
            let lease = store.acquire(&format!("job {number}"), "me", HOUR, FencingToken(0)).await.unwrap();
            // The same letters by all, in another order each: what a deadlock is made of.
            let mut letters: Vec<Entry> = (0..20).map(letter).map(Entry::DeadLetter).collect();
            if number % 2 == 0 {
                letters.reverse();
            }
            for _ in 0..3 {
                store.record(&lease, &letters).await.unwrap();
            }
        }));
    }
    for keeper in keepers {
        keeper.await.unwrap();
    }
    assert_eq!(place.open().await.dead_letters(&LetterQuery::default()).await.unwrap().len(), 20);
}
