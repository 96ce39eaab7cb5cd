//! A table that is followed by its version loses no change, whatever the table looks like and however it is declared anew.

use std::time::Duration;

use sync_core::model::Outcome;
use sync_core::{RunOptions, Source, StreamSpec};

use crate::copy::World;

fn by_time() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).version("updated_at").text("note")
}

/// A table whose first row has this version, read once.
async fn followed(stream: StreamSpec, declared: &str, version: &str) -> World {
    let create = format!(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, updated_at {declared}, note TEXT); INSERT INTO orders VALUES (1, '{version}', 'a')"
    );
    let world = World::new(&create, &[stream]).await;
    world.run(RunOptions::incremental()).await;
    world
}

impl World {
    fn adds(&self, id: i64, version: &str) {
        self.there.execute("INSERT INTO orders VALUES (?, ?, 'new')", (id, version)).unwrap();
    }

    async fn then_has(&self, ids: &[&str]) {
        let report = self.run(RunOptions::incremental()).await;
        assert_eq!(self.ids(), ids, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_time_is_found_in_whatever_form_it_is_written() {
    for (first, later) in [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z"),
        ("2026-01-01T10:00:00Z", "2026-01-01 10:00:01"),
        ("2026-01-01T10:00:00+14:00", "2025-12-31T23:00:00Z"),
        ("2026-01-01T10:00:00Z", "2026-01-01T05:30:00-05:00"),
        ("2026-01-01T10:00:00.75Z", "2026-01-01T10:00:00Z"),
        ("2026-01-01 10:00:00", "2026-01-01 10:00:00"),
    ] {
        let world = followed(by_time(), "TEXT", first).await;
        world.adds(2, later);
        world.then_has(&["1", "2"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_last_second_comes_again_and_nothing_of_it_is_written() {
    let world = followed(by_time(), "TEXT", "2026-01-01 10:00:00").await;
    for (id, version) in [(2, "2026-01-01 10:00:01"), (3, "2026-01-01 10:00:02"), (4, "2026-01-01 10:00:02.25")] {
        world.adds(id, version);
    }
    world.run(RunOptions::incremental()).await;
    let again = world.run(RunOptions::incremental()).await;
    assert_eq!((again.ledger().fetched, again.ledger().count(Outcome::Unchanged)), (2, 2), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_times_that_this_library_wrote_only_the_last_comes_again() {
    let world = followed(by_time(), "TIMESTAMP_TEXT", "2026-01-01T10:00:00.000000Z").await;
    world.adds(5, "2026-01-01T10:00:00.000001Z");
    world.then_has(&["1", "5"]).await;
    assert_eq!(world.run(RunOptions::incremental()).await.ledger().fetched, 1);
    world.adds(2, "2026-01-01T10:00:00.000001Z");
    world.then_has(&["1", "2", "5"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_where_forms_and_offsets_are_mixed() {
    let world = followed(by_time(), "TEXT", "2026-01-01T12:00:00Z").await;
    let mut ids = vec!["1".to_owned()];
    for id in 2..=60 {
        let version = match id % 3 {
            0 => format!("2026-01-01T12:{id:02}:00Z"),
            1 => format!("2026-01-01 12:{id:02}:00.5"),
            _ => format!("2026-01-01T07:{id:02}:00-05:00"),
        };
        world
            .there
            .execute(
                "INSERT INTO orders VALUES (?, ?, 'new')",
                (id, if id == 60 { "2026-01-01 13:00".to_owned() } else { version }),
            )
            .unwrap();
        ids.push(id.to_string());
    }
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(world.texts("SELECT CAST(id AS TEXT) FROM orders ORDER BY id"), ids, "{report}");
    assert_eq!(report.ledger().fetched, 60, "each once: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookback_never_moves_the_position_forward() {
    let mut world = World::new("CREATE TABLE orders (id INTEGER PRIMARY KEY, updated_at TEXT, note TEXT); INSERT INTO orders VALUES (1, '2026-01-01T10:00:00-05:00', 'a')", &[by_time()]).await;
    world.source = world.source.lookback(Duration::from_secs(3600));
    world.run(RunOptions::incremental()).await;
    world.adds(2, "2026-01-01T11:00:00-05:00");
    world.adds(3, "2026-01-01T09:00:00-05:00");
    world.adds(4, "2026-01-01T08:59:59-05:00");
    world.then_has(&["1", "2", "3"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_none_does_not_hide_all_later_changes() {
    let world = followed(by_time(), "TEXT", "soon").await;
    world.adds(2, "2026-06-01T00:00:01Z");
    world.then_has(&["2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_unique_in_a_nocase_column_loses_no_row_at_a_page_border() {
    let create = "CREATE TABLE orders (code TEXT COLLATE NOCASE, n INTEGER, UNIQUE (code COLLATE BINARY));
        INSERT INTO orders VALUES ('a', 1), ('A', 2), ('b', 3), ('B', 4), ('c', 5), ('C', 6);";
    let mut world = World::new(create, &[StreamSpec::new("orders").key(["code"]).text("code").int("n")]).await;
    world.source = world.source.page(1);
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(world.texts("SELECT code FROM orders ORDER BY code"), ["A", "B", "C", "a", "b", "c"], "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_not_grow_as_it_is_stored_is_refused() {
    let stream = StreamSpec::new("orders").key(["id"]).decimal("rev", 9, 2).version("rev");
    let create =
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, rev DECIMAL_TEXT(9,2)); INSERT INTO orders VALUES (1, '10.00')";
    let refused = World::new(create, &[stream]).await.source.check().await.unwrap_err().to_string();
    assert!(refused.contains("\"rev\"") && refused.contains("9 comes after 10"), "{refused}");
}
