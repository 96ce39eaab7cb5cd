//! What there is to a file alone.

use std::time::Duration;

use sync_core::ErrorKind;
use sync_core::state::{FencingToken, RunQuery, StateStore};
use sync_store_sql::SqlStore;

use crate::HOUR;

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
async fn a_folder_that_is_missing_is_told_from_one_that_is_closed_to_us() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("missing").join("state.db");
    let opened = [SqlStore::open_sqlite(&file).await, SqlStore::connect(&format!("sqlite:{}", file.display())).await];
    for error in opened.map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(
            error.to_string().contains("its folder does not exist") && error.remedy().contains("create"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_folder_that_is_given_for_the_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = SqlStore::open_sqlite(folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("it is a folder") && error.remedy().contains("name a file"), "{error}");
}

#[tokio::test]
async fn a_path_and_an_address_open_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state of the shop.db");
    let by_path = SqlStore::open_sqlite(&path).await.unwrap();
    let by_address = SqlStore::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    let first = by_path.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    let second = by_address.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    assert!(second.token > first.token);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_does_not_wait_for_the_write_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let store = SqlStore::open_sqlite(&path).await.unwrap();
    let sink = sqlx::SqlitePool::connect_with(sqlx::sqlite::SqliteConnectOptions::new().filename(&path)).await.unwrap();
    let publishing = sink.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let writer = tokio::spawn({
        let store = store.clone();
        async move { store.acquire("job", "a", HOUR, FencingToken(0)).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let all = RunQuery::default();
    for _ in 0..3 {
        let read = tokio::time::timeout(Duration::from_secs(10), store.runs(&all));
        assert!(read.await.expect("a reader waits for the lock").unwrap().is_empty());
    }
    assert!(!writer.is_finished(), "the writer waits for the lock");
    publishing.rollback().await.unwrap();
    writer.await.unwrap().unwrap();
}

/// As services do that a machine starts together on a new file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_open_a_new_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let file = folder.path().join(format!("state{round}.db"));
        let opened: Vec<_> = (0..16)
            .map(|_| {
                let file = file.clone();
                tokio::spawn(async move { SqlStore::open_sqlite(&file).await })
            })
            .collect();
        for store in opened {
            store.await.unwrap().unwrap();
        }
    }
}
