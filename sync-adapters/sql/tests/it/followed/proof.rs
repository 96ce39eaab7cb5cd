//! The specification of a source, check by check, on every database.

use async_trait::async_trait;
use sync_core::{Error, Key, Result, StreamSpec};
use sync_testkit::source::{Act, Hand, conformance, with_hand};

use super::{BY_NUMBER, Tables, There, by_number, insert, on_every_database};

on_every_database!(
    the_specification_of_a_source_is_kept
    the_specification_of_a_source_whose_numbers_are_shared_is_kept
    the_specification_of_a_source_whose_times_are_shared_is_kept
);

/// Changes rows of the table under test.
struct Clerk<T> {
    there: T,
    /// The version after the newest one, in SQL.
    next_version: String,
    /// Whether a row may get the newest version when others have had it for long.
    shares: bool,
}

#[async_trait]
impl<T: There> Hand for Clerk<T> {
    async fn act(&self, act: Act) -> Result<Option<(String, Key)>> {
        let later = format!("(SELECT {} FROM orders)", self.next_version);
        let newest = "(SELECT max(version) FROM orders)";
        let number = async |sql: &str| self.there.sql(sql).await.parse::<i64>().unwrap();
        let (next, first) =
            (number("SELECT max(id) + 1 FROM orders").await, number("SELECT min(id) FROM orders").await);
        let (sql, id) = match act {
            Act::Add => (format!("INSERT INTO orders VALUES ({next}, {later}, 'new')"), next),
            Act::TieAbove => (format!("INSERT INTO orders VALUES ({next}, {newest}, 'tie')"), next),
            Act::Change => (format!("UPDATE orders SET version = {later} WHERE id = {first}"), first),
            Act::TieBelow if self.shares => {
                let old = number(&format!("SELECT min(id) FROM orders WHERE version < {newest}")).await;
                (format!("UPDATE orders SET version = {newest}, note = 'tie' WHERE id = {old}"), old)
            }
            Act::Remove => (format!("DELETE FROM orders WHERE id = {first}"), first),
            // The version of a transaction, whose rows appear together, is not given to a later row.
            _ => return Ok(None),
        };
        self.there.sql(&sql).await;
        Ok(Some(("orders".to_owned(), Key::new([id]))))
    }
}

/// Proves a table of 35 rows, two of each version.
pub(crate) async fn prove<T: There>(
    stream: StreamSpec,
    how: impl Fn(T::Source) -> T::Source,
    create: &str,
    next_version: &str,
    shares: bool,
) -> sync_testkit::Report {
    let report = conformance(async |_| {
        let there = T::new().await;
        there.sql(create).await;
        let source = how(there.source().await?.page(10).table(stream.clone()));
        let clerk = Clerk { there, next_version: next_version.to_owned(), shares };
        Ok::<_, Error>(with_hand(source, clerk))
    })
    .await;
    println!("{report}");
    report
}

pub(crate) const HELD: [&str; 4] = [
    "a_changed_row_comes_next",
    "a_change_during_a_read_is_not_lost",
    "a_range_brings_its_rows_alone",
    "a_row_at_the_same_position_comes_too",
];

const NUMBERS: &str = "max(version) + 1";

fn by_numbers() -> String {
    format!("{BY_NUMBER} {}", insert(1..=35, |id| format!("{id}, {}, 'note'", id / 2)))
}

async fn the_specification_of_a_source_is_kept<T: There>() {
    let report = prove::<T>(by_number(), |source| source, &by_numbers(), NUMBERS, false).await;
    report.assert_held(HELD);
}

async fn the_specification_of_a_source_whose_numbers_are_shared_is_kept<T: There>() {
    let report = prove::<T>(by_number(), Tables::inclusive, &by_numbers(), NUMBERS, true).await;
    report.assert_held(HELD);
    report.assert_held(["a_row_below_the_cursor_at_its_position_comes_too"]);
}

async fn the_specification_of_a_source_whose_times_are_shared_is_kept<T: There>() {
    let row = |id: i64| format!("{id}, {}, 'note'", T::time(&format!("2026-01-01 00:00:{:02}", id / 2)));
    let create = format!("CREATE TABLE orders (id int PRIMARY KEY, version {} NOT NULL, note text);", T::TIME);
    let create = format!("{create} {}", insert(1..=35, row));
    let stream = StreamSpec::new("orders").key(["id"]).version("version").text("note");
    let report = prove::<T>(stream, |source| source, &create, T::NEXT_SECOND, true).await;
    report.assert_held(HELD);
    report.assert_held(["a_row_below_the_cursor_at_its_position_comes_too"]);
}
