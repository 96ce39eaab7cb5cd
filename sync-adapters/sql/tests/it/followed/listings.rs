//! Rows that are listed, as a whole or by a range: what is gone is found, and bounds compare as the declared kind.

use chrono::{DateTime, NaiveDate, Utc};
use sync_core::model::{Outcome, RowScope};
use sync_core::{RunOptions, StreamSpec, Value};

use super::{BY_NUMBER, There, World, by_number, insert, on_every_database};

on_every_database!(
    rows_that_are_gone_are_found_by_a_reconcile
    a_range_is_read_again_without_moving_the_live_position
    a_backfill_of_a_day_brings_the_rows_of_that_day
    a_backfill_of_a_range_of_decimals_compares_numbers
    a_range_of_texts_is_in_the_order_of_their_bytes
    a_range_beyond_every_year_is_no_error
    a_range_of_days_ends_where_it_says_in_every_year
);

fn range(column: &str, from: impl Into<Value>, until: impl Into<Value>) -> RowScope {
    RowScope::Range { column: column.into(), from: Some(from.into()), until: Some(until.into()) }
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

async fn rows_that_are_gone_are_found_by_a_reconcile<T: There>() {
    let world = World::<T>::new(BY_NUMBER, &[by_number()]).await;
    world.sql(&insert(1..=30, |id| format!("{id}, {id}, 'note'"))).await;
    world.run(RunOptions::incremental()).await;
    world.sql("DELETE FROM orders WHERE id IN (2, 30)").await;
    let report = world.run(RunOptions::reconcile()).await;
    assert_eq!(report.ledger().count(Outcome::Deleted), 2, "{report}");
    assert_eq!(world.rows("id").len(), 28);
}

async fn a_range_is_read_again_without_moving_the_live_position<T: There>() {
    let world = World::<T>::new(BY_NUMBER, &[by_number()]).await;
    world.sql(&insert(1..=30, |id| format!("{id}, {id}, 'note'"))).await;
    world.run(RunOptions::incremental()).await;
    world.here.execute_batch("DELETE FROM orders WHERE id = 2").unwrap();
    let report = world.run(RunOptions::backfill("again", range("id", 2, 3))).await;
    assert_eq!((report.ledger().fetched, report.ledger().count(Outcome::Created)), (1, 1), "{report}");
    assert_eq!(world.run(RunOptions::incremental()).await.ledger().fetched, 0);
}

async fn a_backfill_of_a_day_brings_the_rows_of_that_day<T: There>() {
    let create = format!("CREATE TABLE orders (id int PRIMARY KEY, made {})", T::TIME);
    let world = World::<T>::new(&create, &[StreamSpec::new("orders").key(["id"]).timestamp("made")]).await;
    let row = |id: i64| format!("{id}, {}", T::time(&format!("2026-01-{:02} {:02}:00:00", 1 + id / 4, id % 4 * 6)));
    world.sql(&insert(0..=19, row)).await;
    world.sql("INSERT INTO orders VALUES (99, NULL)").await;
    let day = range("made", time("2026-01-02T00:00:00Z"), time("2026-01-03T00:00:00Z"));
    world.run(RunOptions::backfill("day", day)).await;
    assert_eq!(world.rows("id"), ["4", "5", "6", "7"]);
}

async fn a_backfill_of_a_range_of_decimals_compares_numbers<T: There>() {
    let create = format!("CREATE TABLE orders (id int PRIMARY KEY, total {});
        INSERT INTO orders VALUES (1, '8.00'), (2, '9.00'), (3, '10.00'), (4, '11.00'), (5, '100.00'), (6, '-9.50'), (7, '10.99');", T::DECIMAL);
    let world = World::<T>::new(&create, &[StreamSpec::new("orders").key(["id"]).decimal("total", 12, 2)]).await;
    let number = |text: &str| Value::Decimal(text.parse().unwrap());
    world.run(RunOptions::backfill("mid", range("total", number("9"), number("11")))).await;
    assert_eq!(world.rows("id"), ["2", "3", "7"]);
}

async fn a_range_of_texts_is_in_the_order_of_their_bytes<T: There>() {
    let create = "CREATE TABLE orders (id int PRIMARY KEY, code varchar(9));
        INSERT INTO orders VALUES (1, 'a'), (2, 'B'), (3, 'b'), (4, 'C'), (5, 'é'), (6, 'b '), (7, '');";
    let world = World::<T>::new(create, &[StreamSpec::new("orders").key(["id"]).text("code")]).await;
    world.run(RunOptions::backfill("upper", range("code", "B", "b"))).await;
    assert_eq!(world.rows("id"), ["1", "2", "4"]);
    world.run(RunOptions::backfill("one", RowScope::Equals { column: "code".into(), value: "b".into() })).await;
    assert_eq!(world.rows("id"), ["1", "2", "3", "4"]);
}

async fn a_range_beyond_every_year_is_no_error<T: There>() {
    let create = format!("CREATE TABLE orders (id int PRIMARY KEY, made {})", T::TIME);
    let world = World::<T>::new(&create, &[StreamSpec::new("orders").key(["id"]).timestamp("made")]).await;
    world.sql(&insert(1..=1, |id| format!("{id}, {}", T::time("2026-01-01 10:00:00")))).await;
    let all = range("made", DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    let report = world.run(RunOptions::backfill("all", all)).await;
    assert_eq!(report.ledger().count(Outcome::Created), 1, "{report}");
}

async fn a_range_of_days_ends_where_it_says_in_every_year<T: There>() {
    let create = "CREATE TABLE orders (id int PRIMARY KEY, made date);
        INSERT INTO orders VALUES (1, '2026-01-01'), (2, '9999-12-31'), (3, NULL), (4, '0001-01-01');";
    let world = World::<T>::new(create, &[StreamSpec::new("orders").key(["id"]).date("made")]).await;
    let day = |year, month, day| Value::Date(NaiveDate::from_ymd_opt(year, month, day).unwrap());
    let ahead = range("made", day(2026, 1, 1), day(12_000, 1, 1));
    let report = world.attempt(RunOptions::backfill("ahead", ahead)).await;
    match report.scopes.iter().find_map(|scope| scope.error.as_ref()) {
        // Where days are texts, their order is another one beyond these years.
        Some(error) => assert!(error.to_string().contains("\"made\" < +12000-01-01"), "{error}"),
        None => assert_eq!(world.rows("id"), ["1", "2"], "{report}"),
    }
}
