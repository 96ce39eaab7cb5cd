//! Rows that are staged end as they would if they were written one by one, and listings decide what is missing.

use rusqlite::Connection;
use sync_core::memory::{Feeding, MemorySource};
use sync_core::model::{Absent, Outcome};
use sync_core::source::Listing;
use sync_core::state::RunStatus;
use sync_core::{Key, RunOptions, StreamSpec, Value};

use crate::script::{Script, Shop, count, orders, row};

fn stages(plain: &Connection) -> i64 {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%stage%'";
    plain.query_row(sql, [], |found| found.get(0)).unwrap()
}

fn marked() -> StreamSpec {
    let stream = StreamSpec::new("orders").key(["id"]).int("version").version("version").text("note");
    stream.absent(Absent::Mark("gone_at".into()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_listing_names_again_is_no_longer_marked_as_missing() {
    for listing in [Listing::Rows, Listing::Keys] {
        let shop = Shop::new().await;
        let source = MemorySource::of([marked()]).feeding(Feeding::Version).listing(listing);
        for id in 1..=5 {
            source.upsert("orders", row(id, id, "x"));
        }
        shop.run(source.clone(), RunOptions::incremental()).await;
        source.delete("orders", &Key::new([2]));
        shop.run(source.clone(), RunOptions::reconcile()).await;
        assert_eq!(shop.texts("SELECT CAST(id AS TEXT) FROM orders WHERE gone_at IS NOT NULL"), ["2"]);
        source.upsert("orders", row(2, 2, "x"));
        let report = shop.run(source.clone(), RunOptions::reconcile()).await;
        assert!(shop.texts("SELECT gone_at FROM orders WHERE gone_at IS NOT NULL").is_empty(), "{listing:?}: {report}");
        assert_eq!((count(&report, Outcome::Updated), count(&report, Outcome::Unchanged)), (1, 4), "{report}");
        let again = shop.run(source, RunOptions::reconcile()).await;
        assert_eq!(count(&again, Outcome::Unchanged), 5, "{again}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_change_in_a_staged_first_load_keeps_the_other_columns() {
    let (shop, script) = (Shop::new().await, Script::of(orders()));
    script.then([
        script.page([row(9, 1, "x"), row(1, 1, "keep me")], 1),
        script.partial(vec![1.into(), 5.into(), Value::Null], &[0, 1], 2),
        script.partial(vec![9.into(), Value::Null, "only the note".into()], &[0, 2], 3),
        script.partial(vec![4.into(), 4.into(), Value::Null], &[0, 1], 4),
    ]);
    let report = shop.run(script, RunOptions::incremental()).await;
    let found = shop.texts("SELECT id || ' ' || n || ' ' || coalesce(note, 'nothing') FROM orders ORDER BY id");
    assert_eq!(found, ["1 5 keep me", "4 4 nothing", "9 1 only the note"], "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_staged_partial_change_leaves_the_columns_of_a_row_that_is_there_alone() {
    let shop = Shop::with(
        "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT);
        INSERT INTO orders VALUES (1, 1, 'keep me'), (2, 2, 'forget me')",
    )
    .await;
    let script = Script::of(orders());
    let empty = |id: i64| vec![id.into(), Value::Null, Value::Null];
    script.then([
        script.partial(vec![1.into(), 5.into(), Value::Null], &[0, 1], 1),
        script.partial(vec![1.into(), 6.into(), Value::Null], &[1], 2),
        script.delete(empty(2), 3),
        script.partial(vec![2.into(), 7.into(), Value::Null], &[0, 1], 4),
        script.page([row(9, 1, "x"), row(8, 1, "x")], 5),
    ]);
    let report = shop.run(script, RunOptions::incremental()).await;
    let found =
        shop.texts("SELECT id || ' ' || n || ' ' || coalesce(note, 'nothing') FROM orders WHERE id < 3 ORDER BY id");
    assert_eq!(found, ["1 6 keep me", "2 7 nothing"], "what was deleted begins anew: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_first_load_goes_on_after_the_stream_has_gained_columns() {
    let (shop, script) = (Shop::new().await, Script::of(orders()));
    script.then_fails_after([script.page([row(3, 1, "c"), row(1, 1, "a")], 1)]);
    assert_eq!(shop.attempt(script, RunOptions::incremental()).await.status, RunStatus::Failed);
    assert_eq!(stages(&shop.plain), 1, "the first load is staged");
    let script = Script::of(orders().text("extra").text("_sync_op"));
    let wide = vec![2.into(), 1.into(), "b".into(), "new".into(), "too".into()];
    script.then([script.page([wide], 2)]);
    let report = shop.run(script, RunOptions::incremental()).await;
    let found = shop.texts("SELECT id || note || coalesce(extra || _sync_op, '') FROM orders ORDER BY id");
    assert_eq!((found, stages(&shop.plain)), (vec!["1a".to_owned(), "2bnewtoo".into(), "3c".into()], 0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_first_load_of_another_kind_of_column_begins_anew_with_a_full_run() {
    let (shop, script) = (Shop::new().await, Script::of(StreamSpec::new("orders").key(["id"]).text("price")));
    script.then_fails_after([script.page([vec![3.into(), "1.50".into()], vec![1.into(), "2.5".into()]], 1)]);
    shop.attempt(script, RunOptions::incremental()).await;
    shop.plain
        .execute_batch("DROP TABLE orders; CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, price INTEGER)")
        .unwrap();
    let script = Script::of(StreamSpec::new("orders").key(["id"]).int("price"));
    script.then([script.page([vec![2.into(), 7.into()]], 2)]);
    let refused = shop.refusal(script.clone()).await;
    assert!(refused.contains("\"price\"") && refused.contains("`full`"), "{refused}");
    script.then([script.page([vec![2.into(), 7.into()]], 2)]);
    shop.run(script, RunOptions::full()).await;
    assert_eq!(shop.texts("SELECT id || ' ' || price FROM orders"), ["2 7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_lacks_what_a_gained_column_requires_is_a_letter_also_where_the_table_would_take_it() {
    let shop =
        Shop::with("CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT, extra TEXT)").await;
    let script = Script::of(orders());
    script.then_fails_after([script.page([row(3, 1, "c"), row(1, 1, "a")], 1)]);
    shop.attempt(script, RunOptions::incremental()).await;
    let extra = sync_core::model::Field::new("extra", sync_core::model::Kind::Text).required();
    let script = Script::of(orders().field(extra));
    script.then([script.page([vec![2.into(), 1.into(), "b".into(), "new".into()]], 2)]);
    shop.run(script.clone(), RunOptions::incremental()).await;
    assert_eq!(shop.texts("SELECT note FROM orders"), ["b"]);
    assert_eq!(shop.letters(script).await, ["1", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_called_rowid_does_not_decide_which_change_came_last() {
    let stream = StreamSpec::new("orders").key(["id"]).int("rowid").text("oid").text("_rowid_");
    let (shop, script) = (Shop::new().await, Script::of(stream));
    let values = |id: i64, rowid: i64, note: &str| vec![id.into(), rowid.into(), note.into(), note.into()];
    script.then([script.page([values(2, 7, "x"), values(1, 9, "older")], 1), script.page([values(1, 3, "newer")], 2)]);
    let report = shop.run(script, RunOptions::incremental()).await;
    assert_eq!(shop.texts("SELECT oid FROM orders WHERE id = 1"), ["newer"], "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_called_like_those_of_a_stage_are_written_like_any_other() {
    let stream =
        StreamSpec::new("orders").key(["op"]).int("op").text("_sync_op").text("seq").text("fields").text("c_op");
    let (shop, script) = (Shop::new().await, Script::of(stream));
    let values = |op: i64, text: &str| vec![op.into(), text.into(), text.into(), text.into(), text.into()];
    script.then([script.page([values(2, "b"), values(1, "a")], 1), script.page([values(2, "c")], 2)]);
    let report = shop.run(script, RunOptions::incremental()).await;
    assert_eq!(
        shop.texts("SELECT op || _sync_op || seq || fields || c_op FROM orders ORDER BY op"),
        ["1aaaa", "2cccc"],
        "{report}"
    );
}
