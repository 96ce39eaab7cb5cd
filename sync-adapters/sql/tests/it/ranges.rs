//! A range of rows is the same whatever form a table keeps them in: bounds compare as the declared kind.

use chrono::{DateTime, Utc};
use sync_core::model::RowScope;
use sync_core::{RunOptions, StreamSpec, Value};

use crate::copy::World;

fn range(column: &str, from: impl Into<Value>, until: impl Into<Value>) -> RowScope {
    RowScope::Range { column: column.into(), from: Some(from.into()), until: Some(until.into()) }
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_of_a_day_brings_the_rows_of_that_day_in_every_form() {
    for declared in ["TEXT", "DATETIME_TEXT", "VARCHAR(30)"] {
        let create = format!("CREATE TABLE orders (id INTEGER PRIMARY KEY, made {declared});
            INSERT INTO orders VALUES (1, '2025-12-31 23:59:59'), (2, '2026-01-01 00:00:00'), (3, '2026-01-01T23:00:00.5Z'),
                (4, '2026-01-02 10:00:00'), (5, '2026-01-02T01:00:00+02:00'), (6, '2026-01-01T01:00:00+02:00'),
                (7, '2025-12-31T20:00:00-05:00'), (8, '2026-01-02 00:00');");
        let world = World::new(&create, &[StreamSpec::new("orders").key(["id"]).timestamp("made")]).await;
        let day = range("made", time("2026-01-01T00:00:00Z"), time("2026-01-02T00:00:00Z"));
        let report = world.run(RunOptions::backfill("day", day)).await;
        assert_eq!(world.ids(), ["2", "3", "5", "7"], "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_of_a_range_of_decimals_compares_numbers() {
    for declared in ["DECIMAL_TEXT(12,2)", "REAL", "NUMERIC"] {
        let create = format!("CREATE TABLE orders (id INTEGER PRIMARY KEY, total {declared});
            INSERT INTO orders VALUES (1, '8.00'), (2, '9.00'), (3, '10.00'), (4, '11.00'), (5, '100.00'), (6, '-9.50'), (7, '10.99');");
        let world = World::new(&create, &[StreamSpec::new("orders").key(["id"]).decimal("total", 12, 2)]).await;
        let number = |text: &str| Value::Decimal(text.parse().unwrap());
        let report = world.run(RunOptions::backfill("mid", range("total", number("9"), number("11")))).await;
        assert_eq!(world.ids(), ["2", "3", "7"], "{declared}: {report}");
    }
}
