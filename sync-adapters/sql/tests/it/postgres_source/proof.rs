//! The specification of a source, check by check.

use async_trait::async_trait;
use sync_core::{Error, Key, Result, StreamSpec};
use sync_sql::PostgresSource;
use sync_test_servers::Database;
use sync_testkit::source::{Act, Hand, conformance, with_hand};

use super::{BY_NUMBER, by_number};

/// Changes rows of the table under test.
struct Clerk {
    there: Database,
    /// The version after the newest one, in SQL.
    next_version: &'static str,
    /// Whether a row may get the newest version when others have had it for long.
    shares: bool,
}

#[async_trait]
impl Hand for Clerk {
    async fn act(&self, act: Act) -> Result<Option<(String, Key)>> {
        let (later, shares) = (self.next_version, self.shares);
        let newest = "(SELECT max(version) FROM orders)";
        let add = |version: &str, note: &str| {
            format!("INSERT INTO orders SELECT max(id) + 1, {version}, '{note}' FROM orders RETURNING id")
        };
        let first = "id = (SELECT min(id) FROM orders)";
        let sql = match act {
            Act::Add => add(later, "new"),
            Act::TieAbove => add("max(version)", "tie"),
            Act::Change => {
                format!("UPDATE orders SET version = (SELECT {later} FROM orders) WHERE {first} RETURNING id")
            }
            Act::TieBelow if shares => format!(
                "UPDATE orders SET version = {newest}, note = 'tie' WHERE id = (SELECT min(id) FROM orders WHERE version < {newest}) RETURNING id"
            ),
            Act::Remove => format!("DELETE FROM orders WHERE {first} RETURNING id"),
            // The version of a transaction, whose rows appear together, is not given to a later row.
            _ => return Ok(None),
        };
        let id: i64 = self.there.client(&sql).await.unwrap().parse().unwrap();
        Ok(Some(("orders".to_owned(), Key::new([id]))))
    }
}

/// Proves a table of 35 rows, whose versions these expressions make.
async fn prove(
    stream: StreamSpec,
    how: impl Fn(PostgresSource) -> PostgresSource,
    create: &str,
    next_version: &'static str,
    shares: bool,
) -> sync_testkit::Report {
    let report = conformance(async |_| {
        let there = sync_test_servers::postgres().await.unwrap();
        there.client(create).await.unwrap();
        let source = how(PostgresSource::connect(&there.url()).await?.page(10).table(stream.clone()));
        Ok::<_, Error>(with_hand(source, Clerk { there, next_version, shares }))
    })
    .await;
    println!("{report}");
    report
}

const HELD: [&str; 3] =
    ["a_changed_row_comes_next", "a_change_during_a_read_is_not_lost", "a_range_brings_its_rows_alone"];

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_specification_of_a_source() {
    let create = format!("{BY_NUMBER} INSERT INTO orders SELECT i, i / 2, 'note' FROM generate_series(1, 35) i");
    let report = prove(by_number(), |source| source, &create, "max(version) + 1", false).await;
    report.assert_held(HELD);
    report.assert_held(["a_row_at_the_same_position_comes_too"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_specification_of_a_source_whose_versions_are_shared() {
    let create = "CREATE TABLE orders (id int PRIMARY KEY, version timestamptz NOT NULL, note text);
        INSERT INTO orders SELECT i, '2026-01-01Z'::timestamptz + i / 2 * interval '1 second', 'note' FROM generate_series(1, 35) i";
    let stream = StreamSpec::new("orders").key(["id"]).version("version").text("note");
    let report = prove(stream, |source| source, create, "max(version) + interval '1 microsecond'", true).await;
    report.assert_held(HELD);
    report.assert_held(["a_row_at_the_same_position_comes_too", "a_row_below_the_cursor_at_its_position_comes_too"]);
    let create = format!("{BY_NUMBER} INSERT INTO orders SELECT i, i / 2, 'note' FROM generate_series(1, 35) i");
    let report = prove(by_number(), PostgresSource::inclusive, &create, "max(version) + 1", true).await;
    report.assert_held(["a_row_below_the_cursor_at_its_position_comes_too"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_specification_of_a_source_whose_versions_the_server_stamps() {
    let create = "CREATE TABLE orders (id int PRIMARY KEY, version timestamptz NOT NULL DEFAULT now(), note text);
        INSERT INTO orders SELECT i, '2026-01-01Z'::timestamptz + i / 2 * interval '1 second', 'note' FROM generate_series(1, 35) i";
    let stream = StreamSpec::new("orders").key(["id"]).version("version").text("note");
    let report = prove(stream, PostgresSource::stamped_by_server, create, "greatest(max(version), now())", false).await;
    report.assert_held(HELD);
}
