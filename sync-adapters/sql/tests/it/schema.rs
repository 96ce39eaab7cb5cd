//! Tables that exist already: grown where nothing is lost, refused with the exact difference otherwise.

use rusqlite::Connection;
use sync_core::{ErrorKind, Sink, StreamSpec};
use sync_sql::Sqlite;

async fn prepare(create: &str, stream: &StreamSpec) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    Connection::open(&file).unwrap().execute_batch(create).unwrap();
    let sink = Sqlite::open(&file).await.unwrap();
    sink.prepare(stream).await.map(drop).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::Schema, "{error}");
        error.to_string()
    })
}

fn goods() -> StreamSpec {
    StreamSpec::new("goods").key(["sku"]).text("sku").decimal("price", 10, 2)
}

#[tokio::test]
async fn a_column_that_is_missing_is_added() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sqlite::open(folder.path().join("shop.db")).await.unwrap();
    sink.prepare(&goods()).await.unwrap();
    sink.prepare(&goods().text("colour").timestamp("seen_at")).await.unwrap();
    let plain = Connection::open(folder.path().join("shop.db")).unwrap();
    let sql: String =
        plain.query_row("SELECT sql FROM sqlite_schema WHERE name = 'goods'", [], |row| row.get(0)).unwrap();
    assert!(sql.contains("\"colour\" TEXT") && sql.contains("\"seen_at\" TIMESTAMP_TEXT"), "{sql}");
}

#[tokio::test]
async fn a_key_that_merges_different_keys_is_refused() {
    let refused =
        prepare("CREATE TABLE goods (sku TEXT COLLATE NOCASE PRIMARY KEY, price TEXT)", &goods()).await.unwrap_err();
    assert!(refused.contains("NOCASE") && refused.contains("\"sku\""), "{refused}");
}

#[tokio::test]
async fn another_key_is_refused_and_a_unique_index_is_as_good_as_a_primary_key() {
    let refused = prepare("CREATE TABLE goods (sku TEXT, shop TEXT, price TEXT, PRIMARY KEY (sku, shop))", &goods())
        .await
        .unwrap_err();
    assert!(refused.contains("exactly (sku)") && refused.contains("(shop, sku)"), "{refused}");
    let refused = prepare("CREATE TABLE goods (sku TEXT, price TEXT)", &goods()).await.unwrap_err();
    assert!(refused.contains("it has none"), "{refused}");
    let partial =
        "CREATE TABLE goods (sku TEXT, price TEXT); CREATE UNIQUE INDEX g ON goods (sku) WHERE price IS NOT NULL";
    prepare(partial, &goods()).await.unwrap_err();
    prepare("CREATE TABLE goods (sku TEXT, price TEXT); CREATE UNIQUE INDEX g ON goods (sku)", &goods()).await.unwrap();
}

#[tokio::test]
async fn a_column_that_would_turn_decimals_into_floats_is_refused() {
    let refused =
        prepare("CREATE TABLE goods (sku TEXT PRIMARY KEY, price DECIMAL(10,2))", &goods()).await.unwrap_err();
    assert!(
        refused.contains("\"price\"") && refused.contains("DECIMAL(10,2)") && refused.contains("DECIMAL_TEXT(10,2)"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_change_that_would_lose_digits_is_refused() {
    let wide = "CREATE TABLE goods (sku TEXT PRIMARY KEY, price DECIMAL_TEXT(12,4))";
    let refused = prepare(wide, &goods()).await.unwrap_err();
    assert!(refused.contains("4 digits") && refused.contains("2"), "{refused}");
    prepare(wide, &StreamSpec::new("goods").key(["sku"]).text("sku").decimal("price", 14, 6)).await.unwrap();
}
