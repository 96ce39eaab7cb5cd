//! The streams, rows and scopes that the suites work with.

use std::sync::Arc;

use chrono::NaiveDate;
use sync_core::model::{Changes, Decimal, Lane, Mark, Partition, Rows, Timestamp};
use sync_core::{Key, Scope, StreamSpec, Value};

/// A stream with key, version and two columns of content.
pub(crate) fn orders() -> Arc<StreamSpec> {
    Arc::new(StreamSpec::new("testkit_orders").key(["id"]).version("changed_at").text("note").decimal("total", 12, 2))
}

/// The same with a column more.
pub(crate) fn wider_orders() -> Arc<StreamSpec> {
    Arc::new(StreamSpec::clone(&orders()).text("comment"))
}

/// An order: its id, its version in seconds, and a note.
pub(crate) fn order(id: i64, version: i64, note: &str) -> Vec<Value> {
    vec![Value::Int(id), at(version), note.into(), Decimal::new(id * 100 + 99, 2).into()]
}

/// A version or a time, in seconds.
pub(crate) fn at(seconds: i64) -> Value {
    Value::Timestamp(Timestamp::from_micros(seconds * 1_000_000))
}

/// The keys of orders.
pub(crate) fn ids(ids: impl IntoIterator<Item = i64>) -> Vec<Key> {
    ids.into_iter().map(|id| Key::new([id])).collect()
}

/// Rows as plain upserts.
///
/// # Panics
/// When they do not fit the stream: a mistake in the suite.
pub(crate) fn upserts(stream: &StreamSpec, rows: &[Vec<Value>]) -> Changes {
    Changes::upserts(page(stream, rows))
}

/// Deletes of orders, each with a version where one is given.
pub(crate) fn deletes(stream: &StreamSpec, orders: &[(i64, Option<i64>)]) -> Changes {
    let row = |(id, version): &(i64, Option<i64>)| {
        vec![Value::Int(*id), version.map_or(Value::Null, at), Value::Null, Value::Null]
    };
    let rows = page(stream, &orders.iter().map(row).collect::<Vec<_>>());
    Changes::marked(rows, vec![Mark::delete(); orders.len()])
}

#[expect(clippy::expect_used, reason = "the suites write rows of their own streams")]
fn page(stream: &StreamSpec, values: &[Vec<Value>]) -> Rows {
    let mut rows = Rows::new(Arc::clone(stream.schema()));
    for row in values {
        rows.push(row.iter().map(Value::as_ref)).expect("a row of the stream");
    }
    rows
}

/// A scope of the suites.
pub(crate) fn scope(feed: &str) -> Scope {
    Scope { pipeline: "testkit".into(), feed: feed.into(), partition: Partition::default(), lane: Lane::Live }
}

/// A stream with a column of every kind.
pub(crate) fn samples() -> Arc<StreamSpec> {
    let stream = StreamSpec::new("testkit_samples").key(["id"]).bool("a_bool").int("an_int").uint("a_uint");
    let stream = stream.float("a_float").decimal("a_decimal", 28, 6).text("a_text").bytes("some_bytes");
    Arc::new(stream.timestamp("a_timestamp").date("a_date").json("some_json"))
}

/// Rows whose values are easily bent on the way.
pub(crate) fn sample_rows() -> Vec<Vec<Value>> {
    let date = |year, month, day| NaiveDate::from_ymd_opt(year, month, day).map_or(Value::Null, Value::Date);
    let json = |text: &str| Value::Json(text.into());
    let micros = |micros| Value::Timestamp(Timestamp::from_micros(micros));
    let mut rows = vec![
        vec![
            true.into(),
            i64::MAX.into(),
            u64::MAX.into(),
            // What a JSON parser in a hurry reads as its neighbour.
            31.245270191439438.into(),
            Decimal::new(1_234_567_890_123_456_789, 6).into(),
            "Zoë 🍣 \"quoted\", it's\nline two\ttab \\ %_".into(),
            vec![0, 255, 10, 39].into(),
            micros(1_700_000_000_123_456),
            date(2024, 2, 29),
            json(r#"{"b":1,"a":[1.50,null]}"#),
        ],
        vec![
            false.into(),
            i64::MIN.into(),
            0u64.into(),
            (-2.5e-300).into(),
            Decimal::new(-1, 6).into(),
            "".into(),
            Vec::new().into(),
            micros(-1),
            date(1, 1, 1),
            json("[]"),
        ],
        vec![Value::Null; 10],
        vec![
            true.into(),
            9_007_199_254_740_993i64.into(),
            9_007_199_254_740_993u64.into(),
            1e300.into(),
            Decimal::new(0, 0).into(),
            " spaces kept ".into(),
            vec![7; 1000].into(),
            micros(253_402_300_799_999_999),
            date(9999, 12, 31),
            json("\"text\""),
        ],
    ];
    for (row, id) in rows.iter_mut().zip(1i64..) {
        row.insert(0, id.into());
    }
    rows
}

/// A stream whose keys differ only in what careless targets fold together.
pub(crate) fn names() -> Arc<StreamSpec> {
    Arc::new(StreamSpec::new("testkit_names").key(["first", "last"]).text("first").text("last").int("place"))
}

/// Its rows.
pub(crate) fn name_rows() -> Vec<Vec<Value>> {
    let pairs = [
        ("abc", "d"),
        ("ab", "cd"),
        ("ABC", "d"),
        ("abc ", "d"),
        ("äbc", "d"),
        ("abc", "🍣"),
        ("abc", "🍺"),
        ("", "d"),
        ("abc,d", ""),
        ("abc", ",d"),
    ];
    pairs.iter().zip(0i64..).map(|((first, last), place)| vec![(*first).into(), (*last).into(), place.into()]).collect()
}
