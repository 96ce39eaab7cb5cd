//! What a table refuses costs no more than the row at fault, and only where the row would be written.

use sync_core::memory::{Feeding, MemorySource};
use sync_core::model::{Field, Kind, Outcome};
use sync_core::source::Listing;
use sync_core::state::RunStatus;
use sync_core::{Key, RunOptions, StreamSpec, Value};

use crate::script::{Script, Shop, count, orders, row};

const NO_BAD_NOTES: &str =
    "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT CHECK (note <> 'bad'));";

fn versioned() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("n").version("n").text("note")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_change_that_the_table_would_refuse_is_stale_and_not_poison() {
    let (shop, script) = (Shop::with(NO_BAD_NOTES).await, Script::of(versioned()));
    script.then([script.page([row(1, 5, "fine")], 1)]);
    script.then([script.page([row(1, 2, "bad"), row(2, 2, "bad")], 2)]);
    shop.run(script.clone(), RunOptions::incremental()).await;
    let report = shop.run(script.clone(), RunOptions::incremental()).await;
    assert_eq!((count(&report, Outcome::Stale), count(&report, Outcome::Rejected)), (1, 1), "{report}");
    assert_eq!(shop.letters(script).await, ["2"], "a new row is refused as ever");
    assert_eq!(shop.texts("SELECT note FROM orders"), ["fine"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_only_run_leaves_an_existing_row_alone_though_its_new_value_would_be_refused() {
    let (shop, script) = (Shop::with(NO_BAD_NOTES).await, Script::of(orders()));
    script.then([script.page([row(1, 1, "fine")], 1)]);
    script.then([script.page([row(1, 2, "bad"), row(2, 1, "fine")], 2)]);
    shop.run(script.clone(), RunOptions::incremental()).await;
    let report = shop.run(script, RunOptions::incremental().new_only()).await;
    assert_eq!((count(&report, Outcome::Existing), count(&report, Outcome::Created)), (1, 1), "{report}");
    assert_eq!(count(&report, Outcome::Rejected), 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_need_not_name_what_only_a_new_row_requires() {
    let stream = StreamSpec::new("orders").key(["id"]).int("n").field(Field::new("note", Kind::Text).required());
    let (shop, script) = (Shop::new().await, Script::of(stream));
    script.then([script.page([row(1, 1, "keep me")], 1)]);
    script.then([script.partial(vec![1.into(), 2.into(), Value::Null], &[0, 1], 2)]);
    script.then([script.partial(vec![7.into(), 2.into(), Value::Null], &[0, 1], 3)]);
    for _ in 0..3 {
        shop.run(script.clone(), RunOptions::incremental()).await;
    }
    assert_eq!(shop.texts("SELECT id || note || n FROM orders"), ["1keep me2"]);
    assert_eq!(shop.letters(script).await, ["7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_takes_the_transaction_back_leaves_nothing_half_written() {
    let create = "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT);
        CREATE TRIGGER t BEFORE INSERT ON orders WHEN NEW.note = 'bad' BEGIN SELECT RAISE(ROLLBACK, 'no'); END;";
    let (shop, script) = (Shop::with(create).await, Script::of(orders()));
    script.then([script.page([row(1, 1, "a"), row(2, 1, "bad"), row(3, 1, "c")], 1)]);
    let report = shop.run(script.clone(), RunOptions::incremental()).await;
    assert_eq!(shop.texts("SELECT note FROM orders ORDER BY id"), ["a", "c"], "{report}");
    assert_eq!(shop.letters(script).await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn gone_rows_that_others_refer_to_stay_and_the_error_names_both_tables() {
    let shop = Shop::new().await;
    let source = MemorySource::of([versioned()]).feeding(Feeding::Version).listing(Listing::Rows);
    for id in 1..=30 {
        source.upsert("orders", row(id, 1, "x"));
    }
    shop.run(source.clone(), RunOptions::incremental()).await;
    shop.plain
        .execute_batch("CREATE TABLE lines (id INTEGER PRIMARY KEY, o INTEGER REFERENCES orders (id)); INSERT INTO lines VALUES (1, 7)")
        .unwrap();
    source.delete("orders", &Key::new([7]));
    let report = shop.attempt(source.clone(), RunOptions::reconcile()).await;
    let error = report.scopes[0].error.as_ref().unwrap();
    let said = format!("{:?} {error}", error.kind());
    assert!(said.contains("Schema") && said.contains("\"lines\"") && said.contains("orders"), "{said}");
    shop.plain.execute_batch("DELETE FROM lines").unwrap();
    let report = shop.run(source, RunOptions::reconcile()).await;
    assert_eq!(count(&report, Outcome::Deleted), 1, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_delete_of_a_row_that_others_refer_to_is_a_dead_letter() {
    let create = "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT);
        CREATE TABLE lines (id INTEGER PRIMARY KEY, o INTEGER REFERENCES orders (id));
        INSERT INTO orders VALUES (7, 1, 'x'), (8, 1, 'y'); INSERT INTO lines VALUES (1, 7)";
    let (shop, script) = (Shop::with(create).await, Script::of(orders()));
    let gone = |id: i64| vec![id.into(), Value::Null, Value::Null];
    script.then([script.delete(gone(7), 1), script.delete(gone(8), 2)]);
    shop.run(script.clone(), RunOptions::incremental()).await;
    assert_eq!(
        (shop.letters(script).await, shop.texts("SELECT note FROM orders")),
        (vec!["7".to_owned()], vec!["x".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_targets_are_written_or_refused_clearly() {
    let (written, refused, buried) = (Some("ab"), None, Some(""));
    for (create, rows, said) in [
        (
            "CREATE TABLE o (id INTEGER PRIMARY KEY, n INTEGER, note TEXT); CREATE VIEW orders AS SELECT * FROM o;",
            refused,
            "a view",
        ),
        (
            "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT GENERATED ALWAYS AS ('g') STORED);",
            refused,
            "\"note\" is computed",
        ),
        (
            "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT AS ('g'));",
            refused,
            "\"note\" is computed",
        ),
        (
            "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT, must TEXT NOT NULL);",
            refused,
            "\"must\"",
        ),
        (
            "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT, must TEXT NOT NULL DEFAULT 'x');",
            written,
            "",
        ),
        ("CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT) STRICT;", written, ""),
        ("CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT) WITHOUT ROWID;", written, ""),
        ("CREATE VIRTUAL TABLE orders USING fts5(id, n, note);", refused, "unique key"),
        ("CREATE TABLE ORDERS (ID INTEGER NOT NULL PRIMARY KEY, N INTEGER, NOTE TEXT);", written, ""),
        ("CREATE TABLE ORDERS (Id INTEGER NOT NULL, N INTEGER, NOTE TEXT, UNIQUE (ID));", written, ""),
        (
            "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT); CREATE TRIGGER t BEFORE INSERT ON orders BEGIN SELECT RAISE(IGNORE); END;",
            buried,
            "",
        ),
    ] {
        let (shop, script) = (Shop::with(create).await, Script::of(orders()));
        script.then([script.page([row(1, 1, "a"), row(2, 1, "b")], 1)]);
        let report = shop.attempt(script.clone(), RunOptions::incremental()).await;
        let error =
            report.scopes[0].error.as_ref().map(|error| format!("{:?} {error}", error.kind())).unwrap_or_default();
        match rows {
            None => assert!(
                report.status == RunStatus::Failed && error.contains("Schema") && error.contains(said),
                "{create}: {error}"
            ),
            Some(rows) => {
                assert_eq!(report.status, RunStatus::Completed, "{create}: {error}");
                assert_eq!(shop.texts("SELECT note FROM orders ORDER BY id").concat(), rows, "{create}");
                assert_eq!(shop.letters(script).await.len(), 2 - rows.len(), "{create}");
            }
        }
    }
}
