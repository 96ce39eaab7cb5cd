//! A table that is followed by its version loses no change, and its rows come once.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt;
use sync_core::model::{Disposition, Outcome};
use sync_core::state::RunStatus;
use sync_core::{Clock, ReadRequest, RunOptions, Source, StreamSpec};
use sync_testkit::ManualClock;

use super::{BY_NUMBER, Tables, There, World, by_number, by_time, create_by_time, insert, on_every_database};

on_every_database!(
    rows_that_share_a_version_are_neither_lost_nor_read_twice
    a_page_is_bounded_by_bytes
    rows_that_could_never_be_found_are_refused
    rows_that_come_late_are_found_within_the_lookback_and_measured
    a_lookback_reads_rows_again_and_writes_none_of_them
    rows_are_still_found_after_another_version_or_key_was_declared
    a_number_that_later_changes_share_is_read_inclusively_where_it_is_asked_for
    rows_that_are_appended_never_come_again
    one_version_in_the_far_future_does_not_hide_all_later_changes
    a_stream_without_a_key_is_refused_since_pages_could_not_tell_its_rows_apart
    a_column_that_the_table_does_not_have_is_an_error_and_no_text
    a_hostile_name_is_only_a_name
    keys_of_several_columns_tell_where_the_next_page_begins
);

async fn rows_that_share_a_version_are_neither_lost_nor_read_twice<T: There>() {
    let world = World::<T>::new(BY_NUMBER, &[by_number()]).await;
    world.sql(&insert(1..=1000, |id| format!("{id}, 5, 'note {id}'"))).await;
    let first = world.run(RunOptions::incremental()).await;
    assert_eq!((first.ledger().fetched, first.ledger().count(Outcome::Created)), (1000, 1000), "{first}");
    world.sql("INSERT INTO orders VALUES (1001, 5, 'a tie'), (1002, 6, 'newer')").await;
    world.sql("UPDATE orders SET version = 7 WHERE id = 3").await;
    let second = world.run(RunOptions::incremental()).await;
    assert_eq!((second.ledger().count(Outcome::Created), second.ledger().count(Outcome::Updated)), (2, 1), "{second}");
    assert_eq!(world.run(RunOptions::incremental()).await.ledger().fetched, 0);
    assert_eq!(world.rows("id").len(), 1002);
}

async fn a_page_is_bounded_by_bytes<T: There>() {
    let create = BY_NUMBER.replace("text", T::LONG_TEXT);
    let world = World::<T>::new(&create, &[by_number()]).await;
    let large = "x".repeat(1 << 20);
    for id in 1..=40 {
        world.sql(&insert(id..=id, |id| format!("{id}, {id}, '{large}'"))).await;
    }
    let source = world.source.clone().page(1000);
    let feed = source.feeds().await.unwrap().remove(0);
    let batches: Vec<_> = source.read(ReadRequest::new(feed, Default::default())).collect().await;
    let sizes: Vec<usize> = batches.into_iter().map(|batch| batch.unwrap().records()).collect();
    assert_eq!(sizes[0], 4, "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 40, "{sizes:?}");
    assert!(sizes.iter().all(|rows| *rows <= 4), "{sizes:?}");
}

async fn rows_that_could_never_be_found_are_refused<T: There>() {
    let world = World::<T>::new(BY_NUMBER, &[by_number()]).await;
    world.sql("INSERT INTO orders VALUES (1, NULL, 'a'), (2, 2, 'b')").await;
    let refused = world.refused().await;
    assert!(refused.contains("1 row has no \"version\""), "{refused}");
    world.sql("UPDATE orders SET version = 1").await;
    world.source.check().await.unwrap();
    world.run(RunOptions::incremental()).await;
    world.sql("INSERT INTO orders VALUES (3, NULL, 'c')").await;
    let refused = world.refused().await;
    assert!(refused.contains("1 row has no \"version\""), "later runs look again: {refused}");
}

async fn rows_that_come_late_are_found_within_the_lookback_and_measured<T: There>() {
    let mut world = World::<T>::new(&create_by_time::<T>(), &[by_time()]).await;
    world.source = world.source.lookback(Duration::from_secs(60));
    let at = |id, time: &str| format!("INSERT INTO orders VALUES ({id}, {}, 'note')", T::time(time));
    world.sql(&at(1, "2026-01-01 00:10:00")).await;
    world.run(RunOptions::incremental()).await;
    world.sql(&at(2, "2026-01-01 00:09:30")).await;
    world.sql(&at(3, "2026-01-01 00:05:00")).await;
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!((report.ledger().count(Outcome::Created), report.scopes[0].late), (1, 1), "{report}");
    assert_eq!(report.scopes[0].lateness, Duration::from_secs(30));
    let repaired = world.run(RunOptions::reconcile()).await;
    let found = (repaired.ledger().count(Outcome::Created), repaired.scopes[0].missed);
    assert_eq!(found, (1, 1), "what came later still is found by a reconcile, and told: {repaired}");
    assert_eq!(world.rows("id"), ["1", "2", "3"]);
}

async fn a_lookback_reads_rows_again_and_writes_none_of_them<T: There>() {
    let mut world = World::<T>::new(&create_by_time::<T>(), &[by_time()]).await;
    world.source = world.source.lookback(Duration::from_secs(10));
    let row = |id: i64| format!("{id}, {}, 'note'", T::time(&format!("2026-01-01 00:00:{id:02}")));
    world.sql(&insert(1..=30, row)).await;
    world.run(RunOptions::incremental()).await;
    let again = world.run(RunOptions::incremental()).await;
    assert_eq!((again.ledger().fetched, again.ledger().count(Outcome::Unchanged)), (11, 11), "{again}");
    assert_eq!(again.scopes[0].late, 0, "{again}");
}

async fn rows_are_still_found_after_another_version_or_key_was_declared<T: There>() {
    let create = format!(
        "CREATE TABLE orders (id int PRIMARY KEY, updated {} NOT NULL, rev int, code varchar(20) NOT NULL UNIQUE)",
        T::TIME
    );
    let spec = || StreamSpec::new("orders").timestamp("updated").int("rev").text("code");
    let mut world = World::<T>::new(&create, &[spec().int("id").key(["id"]).version("updated")]).await;
    let (new, old) = (T::time("2026-01-01 00:00:00"), T::time("2025-01-02 00:00:00"));
    world.sql(&format!("INSERT INTO orders VALUES (5, {new}, 5, 'z')")).await;
    let here =
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, updated TIMESTAMP_TEXT, rev INTEGER, code TEXT NOT NULL UNIQUE)";
    world.here.execute_batch(here).unwrap();
    world.run(RunOptions::incremental()).await;
    world.sql(&format!("INSERT INTO orders VALUES (2, {old}, 2, 'y')")).await;
    world.declare(spec().int("id").key(["id"]).version("rev")).await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["2", "5"]);
    world.sql(&format!("INSERT INTO orders VALUES (7, {old}, 1, 'a')")).await;
    world.declare(spec().int("id").key(["code"]).version("rev")).await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["2", "5", "7"]);
}

async fn a_number_that_later_changes_share_is_read_inclusively_where_it_is_asked_for<T: There>() {
    let mut world = World::<T>::new(BY_NUMBER, &[by_number()]).await;
    world.sql("INSERT INTO orders VALUES (1, 1767225600, 'first')").await;
    world.run(RunOptions::incremental()).await;
    world.sql("INSERT INTO orders VALUES (0, 1767225600, 'late')").await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["1"]);
    world.source = world.source.inclusive();
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["0", "1"]);
    assert_eq!(world.run(RunOptions::incremental()).await.ledger().count(Outcome::Unchanged), 2);
}

async fn rows_that_are_appended_never_come_again<T: There>() {
    let stream = by_time().disposition(Disposition::Append);
    let mut world = World::<T>::new(&create_by_time::<T>(), &[stream]).await;
    world.source = world.source.lookback(Duration::from_secs(60));
    let row = |id: i64| format!("{id}, {}, 'note'", T::time("2026-01-01 10:00:00"));
    world.sql(&insert(1..=1, row)).await;
    world.run(RunOptions::incremental()).await;
    world.sql(&insert(2..=2, row)).await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["1", "2"]);
    assert_eq!(world.run(RunOptions::incremental()).await.ledger().fetched, 0);
}

async fn one_version_in_the_far_future_does_not_hide_all_later_changes<T: There>() {
    let mut world = World::<T>::new(&create_by_time::<T>(), &[by_time()]).await;
    let clock = ManualClock::new(1);
    clock.jump("2026-06-02T00:00:00Z".parse::<DateTime<Utc>>().unwrap() - clock.now());
    world.source = world.source.clock(Arc::new(clock));
    let at = |id, time: &str| format!("INSERT INTO orders VALUES ({id}, {}, 'note')", T::time(time));
    world.sql(&at(1, "2099-01-01 00:00:00")).await;
    world.sql(&at(2, "2026-06-01 00:00:00")).await;
    world.run(RunOptions::incremental()).await;
    world.sql(&at(3, "2026-06-01 00:00:01")).await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["1", "2", "3"]);
}

async fn a_stream_without_a_key_is_refused_since_pages_could_not_tell_its_rows_apart<T: There>() {
    let stream = StreamSpec::new("orders").text("note").disposition(Disposition::Append);
    let world = World::<T>::new(BY_NUMBER, &[stream]).await;
    let report = world.attempt(RunOptions::incremental()).await;
    let error = report.scopes[0].error.as_ref().unwrap().to_string();
    assert!(error.contains("key"), "{error}");
}

async fn a_column_that_the_table_does_not_have_is_an_error_and_no_text<T: There>() {
    let world = World::<T>::new(BY_NUMBER, &[by_number().text("nope")]).await;
    world.sql("INSERT INTO orders VALUES (1, 1, 'a')").await;
    let report = world.attempt(RunOptions::incremental()).await;
    assert_eq!(report.status, RunStatus::Failed, "{report}");
    assert!(report.scopes[0].error.as_ref().unwrap().to_string().contains("nope"), "{report}");
}

async fn a_hostile_name_is_only_a_name<T: There>() {
    // Names of MySQL have no letters beyond U+FFFF.
    for name in ["x\"; DROP TABLE victims; --", "a.b.c", "select", "'$1'?", "naïve Ж `%s {}"] {
        let by = format!("by {name}");
        let (quoted, quoted_by) = (T::quoted(name), T::quoted(&by));
        let rows = (1..=20).map(|id| format!("({id}, {id})")).collect::<Vec<_>>().join(", ");
        let create = format!(
            "CREATE TABLE victims (id int); CREATE TABLE {quoted} ({quoted} int PRIMARY KEY, {quoted_by} bigint NOT NULL); INSERT INTO {quoted} VALUES {rows}"
        );
        let stream = StreamSpec::new(name).key([name]).int(by.as_str()).version(by.as_str());
        let world = World::<T>::new(&create, &[stream]).await;
        let report = world.run(RunOptions::incremental()).await;
        assert_eq!(report.ledger().count(Outcome::Created), 20, "{name}: {report}");
        assert_eq!(world.sql("SELECT count(*) FROM victims").await, "0");
        assert_eq!(world.source.discover(name).await.unwrap().key_columns(), [name]);
        assert!(world.source.tables().await.unwrap().contains(&name.to_owned()));
    }
}

async fn keys_of_several_columns_tell_where_the_next_page_begins<T: There>() {
    let create = "CREATE TABLE orders (shop int, kind varchar(9), nr int, version bigint NOT NULL, PRIMARY KEY (kind, shop, nr))";
    let stream = StreamSpec::new("orders").text("kind").int("shop").int("nr").int("version");
    let stream = stream.key(["kind", "shop", "nr"]).version("version");
    let mut world = World::<T>::new(create, &[stream]).await;
    world.source = world.source.page(1);
    let row = |i: i64| format!("{}, '{}', {}, {}", i % 3, ["a", "", "é"][(i / 3 % 3) as usize], i / 9, i % 2);
    world.sql(&insert(0..=53, row)).await;
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!((report.ledger().fetched, world.rows("nr").len()), (54, 54), "{report}");
    assert_eq!(world.run(RunOptions::reconcile()).await.ledger().count(Outcome::Deleted), 0);
}
