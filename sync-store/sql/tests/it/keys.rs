//! Names that a careless database takes for each other, or does not take.

use sync_core::model::{Partition, Scope};
use sync_core::state::{DeadLetter, Entry, FencingToken, LetterId, LetterQuery, RunQuery, StateStore};

use crate::place::Place;
use crate::{HOUR, letter, run, scope, step};

on_every_database![
    names_that_look_alike_are_leased_apart,
    scopes_that_look_alike_stand_apart,
    names_of_any_length_and_kind_are_kept_whole,
    letters_and_runs_are_found_by_the_exact_name,
    an_owner_is_another_where_a_letter_s_case_or_a_space_differs,
];

const ALIKE: [&str; 9] = ["a", "A", "a ", "ä", "Ä", "a\u{308}", "á", "ß", "ss"];

async fn names_that_look_alike_are_leased_apart(place: Place) {
    let store = place.open().await;
    for (owner, name) in ALIKE.iter().enumerate() {
        let lease = store.acquire(name, &format!("owner {owner}"), HOUR, FencingToken(0)).await.unwrap();
        assert_eq!(lease.token, FencingToken(1), "{name:?} was taken for another");
    }
}

async fn scopes_that_look_alike_stand_apart(place: Place) {
    let store = place.open().await;
    let lease = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    for (position, name) in (1..).zip(ALIKE) {
        let scope = scope(name);
        assert_eq!(store.checkpoint(&scope).await.unwrap(), None, "{name:?} was taken for another");
        let until = chrono::DateTime::from_timestamp_micros(position);
        store.record(&lease, &[step(&scope, lease.token, 0), Entry::Hold { scope, until }]).await.unwrap();
    }
    for (position, name) in (1..).zip(ALIKE) {
        let until = chrono::DateTime::from_timestamp_micros(position);
        assert_eq!(store.hold(&scope(name)).await.unwrap(), until, "{name:?}");
    }
}

async fn names_of_any_length_and_kind_are_kept_whole(place: Place) {
    let store = place.open().await;
    let long = "é/".repeat(5000);
    let names = ["", " ", "\0", "a\0b", "'; --", "%_\\", "?{now}$1", "🦀", &long, &format!("{long}x")];
    for (number, name) in (1..).zip(names) {
        let scope = Scope { pipeline: name.into(), partition: Partition::new(name), ..scope("orders") };
        let lease = store.acquire(name, "me", HOUR, FencingToken(0)).await.unwrap();
        assert_eq!((lease.name.as_str(), lease.token), (name, FencingToken(1)));
        let kept = DeadLetter { id: LetterId::from_text(name), scope: scope.clone(), ..letter(number) };
        let entries = [step(&scope, lease.token, 0), Entry::DeadLetter(kept.clone()), Entry::Run(run(number, &scope))];
        store.record(&lease, &entries).await.unwrap();
        assert!(store.checkpoint(&scope).await.unwrap().is_some(), "{name:.20?}");
        let pipeline = Some(name.to_owned());
        let query = LetterQuery { pipeline: pipeline.clone(), ..LetterQuery::default() };
        assert_eq!(store.dead_letters(&query).await.unwrap(), [kept]);
        let query = RunQuery { pipeline, ..RunQuery::default() };
        assert_eq!(store.runs(&query).await.unwrap(), [run(number, &scope)]);
        store.renew(&lease).await.unwrap();
        store.release(&lease).await.unwrap();
    }
}

async fn letters_and_runs_are_found_by_the_exact_name(place: Place) {
    let store = place.open().await;
    let lease = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    for (number, name) in (1..).zip(ALIKE) {
        let scope = Scope { pipeline: name.into(), ..scope("orders") };
        let kept = DeadLetter { scope: scope.clone(), stream: name.into(), id: LetterId::from_text(name), ..letter(1) };
        store.record(&lease, &[Entry::DeadLetter(kept), Entry::Run(run(number, &scope))]).await.unwrap();
    }
    for name in ALIKE {
        let query = LetterQuery { stream: Some(name.into()), ..LetterQuery::default() };
        let found: Vec<_> = store.dead_letters(&query).await.unwrap().into_iter().map(|letter| letter.stream).collect();
        assert_eq!(found, [name]);
        let query = RunQuery { pipeline: Some(name.into()), ..RunQuery::default() };
        let found: Vec<_> = store.runs(&query).await.unwrap().into_iter().map(|run| run.scope.pipeline).collect();
        assert_eq!(found, [name]);
    }
}

async fn an_owner_is_another_where_a_letter_s_case_or_a_space_differs(place: Place) {
    let store = place.open().await;
    store.acquire("job", "host", HOUR, FencingToken(0)).await.unwrap();
    for other in ["Host", "host ", "hőst"] {
        let error = store.acquire("job", other, HOUR, FencingToken(0)).await.unwrap_err();
        assert_eq!(error.kind(), sync_core::ErrorKind::Fenced, "{other:?}");
    }
    store.acquire("job", "host", HOUR, FencingToken(0)).await.unwrap();
}
