//! What there is to a file alone.

use sync_core::ErrorKind;
use sync_core::state::{FencingToken, StateStore};
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
async fn a_path_and_an_address_open_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state of the shop.db");
    let by_path = SqlStore::open_sqlite(&path).await.unwrap();
    let by_address = SqlStore::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    let first = by_path.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    let second = by_address.acquire("job", "a", HOUR, FencingToken(0)).await.unwrap();
    assert!(second.token > first.token);
}
