//! The SQL store, on a SQLite file of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::time::Duration;

use sync_core::model::{Cursor, Key, Lane, Op, Partition, Scope};
use sync_core::state::{
    Advance, Checkpoint, DeadLetter, Entry, FencingToken, LetterBody, LetterId, LetterKind, LetterQuery, RunId,
    RunQuery, RunRecord, RunStatus, StateStore,
};
use sync_core::{ErrorKind, Ledger};
use sync_store_sql::SqlStore;

const HOUR: Duration = Duration::from_secs(3600);

struct Fresh {
    store: SqlStore,
    folder: tempfile::TempDir,
}

async fn fresh() -> Fresh {
    let folder = tempfile::tempdir().unwrap();
    let store = SqlStore::open_sqlite(folder.path().join("state.db")).await.unwrap();
    Fresh { store, folder }
}

fn scope(feed: &str) -> Scope {
    Scope { pipeline: "shop".into(), feed: feed.into(), partition: Partition::default(), lane: Lane::Live }
}

fn letter(key: i64) -> DeadLetter {
    let (scope, key) = (scope("orders"), Key::new([key]));
    let body = LetterBody::Row { op: Op::Upsert, values: vec![("id".into(), key.values()[0].clone())] };
    let id = LetterId::of(&scope, "orders", Some(&key), &body);
    let at = chrono::DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
    DeadLetter {
        id,
        scope,
        stream: "orders".into(),
        key: Some(key),
        kind: LetterKind::Rejected,
        reason: "too long".into(),
        body,
        at,
    }
}

fn run(number: i64, feed: &str) -> RunRecord {
    let started = chrono::DateTime::from_timestamp_micros(number).unwrap();
    RunRecord {
        run: RunId::new(started, 0),
        scope: scope(feed),
        status: RunStatus::Completed,
        started,
        finished: Some(started),
        ledger: Ledger { fetched: 3, ..Ledger::default() },
        error: None,
    }
}

fn advance(token: FencingToken, expected: u64) -> Advance {
    let cursor = Some(Cursor::new(1, &(expected, "page")).unwrap());
    Advance { token, expected, next: Checkpoint { seq: expected + 1, cursor, ..Checkpoint::default() } }
}

#[tokio::test]
async fn a_lease_has_one_owner_until_it_is_given_back() {
    let Fresh { store, folder: _folder } = fresh().await;
    let first = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    let refused = store.acquire("job", "b", HOUR, FencingToken(0)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Fenced);
    assert!(refused.to_string().contains("owner: a"), "{refused}");
    store.release(&first).await.unwrap();
    let second = store.acquire("job", "b", HOUR, FencingToken(0)).await.unwrap();
    assert!(second.token > first.token);
}

#[tokio::test]
async fn the_same_owner_takes_over_at_once_and_the_old_holder_is_fenced() {
    let Fresh { store, folder: _folder } = fresh().await;
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

#[tokio::test]
async fn an_expired_lease_goes_to_whoever_asks() {
    let Fresh { store, folder: _folder } = fresh().await;
    store.acquire("job", "a", Duration::from_millis(20), FencingToken(0)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    store.acquire("job", "b", HOUR, FencingToken(0)).await.unwrap();
}

#[tokio::test]
async fn tokens_start_above_the_floor_and_survive_a_restart() {
    let Fresh { store, folder } = fresh().await;
    let high = store.acquire("job", "a", HOUR, FencingToken(41)).await.unwrap();
    assert_eq!(high.token, FencingToken(41));
    drop(store);
    let again = SqlStore::open_sqlite(folder.path().join("state.db")).await.unwrap();
    assert_eq!(again.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap().token, FencingToken(42));
}

#[tokio::test]
async fn a_checkpoint_moves_one_step_at_a_time_and_comes_back_as_it_was() {
    let Fresh { store, folder: _folder } = fresh().await;
    let scope = scope("orders");
    let lease = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    let step = |expected| Entry::Checkpoint { scope: scope.clone(), advance: advance(lease.token, expected) };
    store.record(&lease, &[step(0), step(1)]).await.unwrap();
    let passed = store.record(&lease, &[step(1)]).await.unwrap_err();
    assert_eq!((passed.kind(), passed.fenced_by()), (ErrorKind::Fenced, Some(lease.token)));
    assert_eq!(store.checkpoint(&scope).await.unwrap(), Some(advance(lease.token, 1).next));
    let next = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    let stale = Entry::Checkpoint { scope: scope.clone(), advance: advance(lease.token, 2) };
    assert!(store.record(&next, &[stale]).await.is_err(), "a token of an older lease moves nothing");
}

#[tokio::test]
async fn all_entries_are_kept_or_none() {
    let Fresh { store, folder: _folder } = fresh().await;
    let lease = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    let impossible = Entry::Checkpoint { scope: scope("orders"), advance: advance(lease.token, 7) };
    assert!(
        store.record(&lease, &[Entry::DeadLetter(letter(1)), Entry::Run(run(1, "orders")), impossible]).await.is_err()
    );
    assert!(store.dead_letters(&LetterQuery::default()).await.unwrap().is_empty());
    assert!(store.runs(&RunQuery::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_dead_letter_stands_once_until_it_is_dealt_with() {
    let Fresh { store, folder: _folder } = fresh().await;
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

#[tokio::test]
async fn runs_come_newest_first_and_no_run_lies_across_two_pages() {
    let Fresh { store, folder: _folder } = fresh().await;
    let lease = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    for number in 1..=3 {
        let records = ["a", "b"].map(|feed| Entry::Run(run(number, feed)));
        store.record(&lease, &records).await.unwrap();
    }
    let page = store.runs(&RunQuery { limit: 3, ..RunQuery::default() }).await.unwrap();
    assert_eq!(page, [run(3, "a"), run(3, "b"), run(2, "a"), run(2, "b")]);
    let rest = store.runs(&RunQuery { before: Some(page[3].run.clone()), ..RunQuery::default() }).await.unwrap();
    assert_eq!(rest, [run(1, "a"), run(1, "b")]);
}

#[tokio::test]
async fn a_hold_lasts_until_it_is_lifted() {
    let Fresh { store, folder: _folder } = fresh().await;
    let lease = store.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    let until = chrono::DateTime::from_timestamp_micros(4_000_000_000_000_001);
    store.record(&lease, &[Entry::Hold { scope: scope("orders"), until }]).await.unwrap();
    assert_eq!(store.hold(&scope("orders")).await.unwrap(), until);
    store.record(&lease, &[Entry::Hold { scope: scope("orders"), until: None }]).await.unwrap();
    assert_eq!(store.hold(&scope("orders")).await.unwrap(), None);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    std::fs::write(
        &file,
        "these are notes, not a database; they must be long enough to be read as a header".repeat(20),
    )
    .unwrap();
    let error = SqlStore::open_sqlite(&file).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("notes.txt"), "{error}");
}

#[tokio::test]
async fn two_processes_share_one_file() {
    let Fresh { store, folder } = fresh().await;
    let other = SqlStore::open_sqlite(folder.path().join("state.db")).await.unwrap();
    let mut tokens = Vec::new();
    for round in 0..20 {
        let owner = if round % 2 == 0 { &store } else { &other };
        let lease = owner.acquire("job", &format!("owner {}", round % 2), HOUR, FencingToken(0)).await.unwrap();
        tokens.push(lease.token);
        owner.release(&lease).await.unwrap();
    }
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}

#[tokio::test]
async fn sqlite_keeps_the_whole_specification_of_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let report =
        sync_testkit::store::conformance(async |name, _| SqlStore::open_sqlite(folder.path().join(name)).await).await;
    report.assert();
}

#[tokio::test]
async fn what_the_store_has_acknowledged_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    sync_testkit::store::durability(async |name, _| SqlStore::open_sqlite(folder.path().join(name)).await)
        .await
        .assert();
}
