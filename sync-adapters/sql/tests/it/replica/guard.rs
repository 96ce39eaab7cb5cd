//! A value that could not be read again is refused where it is written.

use sync_core::StreamSpec;
use sync_core::two_way::{Replica as _, Table, Tables};

use super::Till;

/// A till with one column of each kind that has more to it than what SQLite calls a type.
async fn till() -> Till {
    let things = StreamSpec::new("things")
        .int("id")
        .key(["id"])
        .timestamp("at")
        .date("day")
        .uint("big")
        .decimal("price", 12, 2)
        .json("json");
    let schema = "CREATE TABLE things (id INTEGER PRIMARY KEY, at TEXT, day TEXT, big, price, json TEXT);";
    Till::with(schema, Tables::new([Table::new(things)]).unwrap()).await
}

#[tokio::test]
async fn a_value_that_is_not_of_its_columns_kind_is_refused_with_the_column() {
    let till = till().await;
    let no_instants =
        "date('now')|'2026-02-31 10:00:00'|'2026-01-01T25:00:00'|'2026-01-01 10:20+02:00'|'10:20'|'yesterday'|''|5
        |'2026-01-01 10:20:30.'|'2026-01-01 10:20:30.5x'|'2026-01-01 10:2'|'2026-01-01 10:20:30 '|'2026-01-01 10:20:3'";
    for (column, values) in [
        ("at", no_instants),
        ("day", "'2026-02-31'|'2026-01-01 10:00:00'|'26-01-01'|'today'|''|5|'2026-13-01'"),
        ("big", "-1|'18446744073709551616'|'-1'|'1.5'|''|'x'|1.5"),
        (
            "price",
            "'abc'|''|'.'|'-'|'--1'|'1.2.3'|'1e5'|'1.555'|1.555|'12345678901.00'|12345678901|12345678901.5|9e999|x'01'",
        ),
        ("json", "'{bad'|''|x'7b7d'|'{\"a\":}'"),
    ] {
        for value in values.split('|') {
            let sql = format!("INSERT INTO things (id, {column}) VALUES (1, {})", value.trim());
            let Err(error) = till.host.execute_batch(&sql) else { panic!("taken: {sql}") };
            let error = error.to_string();
            assert!(error.contains(&format!("column \"{column}\"")), "{sql}: {error}");
        }
    }
    assert_eq!(till.noticed("").await, []);
}

#[tokio::test]
async fn every_value_that_is_taken_can_be_read() {
    let till = till().await;
    for (column, values) in [
        (
            "at",
            "CURRENT_TIMESTAMP|'2026-03-01T10:20:30Z'|'2026-03-01 10:20'|'2026-03-01T10:20Z'|'2026-03-01 10:20:30.123456'|'2026-03-01T10:20:30.5Z'
             |'2026-03-01 12:20:30+02:00'|'2026-03-01T12:20:30.25-02:00'|'0001-01-01T00:00:00Z'|'9999-12-31T23:59:59.999999Z'|'2024-02-29 00:00:00'|NULL",
        ),
        ("day", "date('now')|'2024-02-29'|'0001-01-01'|'9999-12-31'|NULL"),
        ("big", "0|9223372036854775807|'9223372036854775808'|'18446744073709551615'|'0'|NULL"),
        ("price", "0|'-0.5'|'9999999999.99'|-9999999999|9.95|'.5'|'5.'|'0001.100'|1.5e3|'-1'|NULL"),
        ("json", "'{}'|'[1,2]'|'null'|' {\"a\": 1} '|NULL"),
    ] {
        for value in values.split('|') {
            let sql = format!("INSERT OR REPLACE INTO things (id, {column}) VALUES (1, {})", value.trim());
            let entries = till.noticed(&sql).await;
            let is_null = entries.last().unwrap().after.as_ref().unwrap()[1..].iter().all(|value| value.is_null());
            assert_eq!(is_null, value == "NULL", "{sql}");
        }
    }
    assert_eq!(till.replica.audit().await.unwrap(), 0);
}
