//! Every value comes back exactly, read by a plain driver and by the sink; every name is only a name.

use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::types::Value as Plain;
use sync_core::detect::Difference;
use sync_core::model::{Changes, Field, Kind, Lane, Outcome, Partition, Scope, Timestamp};
use sync_core::sink::{Guard, Intent, Step, StepReport, Write, WriteMode, WriteUnit};
use sync_core::{ErrorKind, Key, Result, Rows, Sink, StreamSpec, Value};
use sync_sql::Sqlite;

async fn write(sink: &Sqlite, stream: &StreamSpec, rows: &[Vec<Value>]) -> Result<Vec<Outcome>> {
    let mut page = Rows::new(std::sync::Arc::clone(stream.schema()));
    for row in rows {
        page.push(row.iter().map(Value::as_ref))?;
    }
    let steps = [Step::Write(Write {
        stream: std::sync::Arc::new(stream.clone()),
        changes: Changes::upserts(page),
        mode: WriteMode::Upsert,
        guard: Guard::Always,
        difference: Difference::Content,
        expect: Vec::new(),
    })];
    let scope = Scope { pipeline: "p".into(), feed: "f".into(), partition: Partition::default(), lane: Lane::Live };
    let report = sink.apply(&WriteUnit { scope: &scope, steps: &steps, advance: None, intent: Intent::Commit }).await?;
    match &report.steps[0] {
        StepReport::Rows(outcomes) => Ok(outcomes.clone()),
        other => panic!("{other:?}"),
    }
}

fn field_of(kind: Kind) -> StreamSpec {
    StreamSpec::new("t").key(["id"]).field(Field::new("v", kind))
}

/// Writes values of one kind and returns what a plain driver finds, after checking that the sink finds the same values
/// and that writing them again changes nothing.
async fn round_trip(kind: Kind, values: &[Value]) -> Vec<Plain> {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sqlite::open(folder.path().join("t.db")).await.unwrap();
    let stream = field_of(kind);
    sink.prepare(&stream).await.unwrap();
    let rows: Vec<Vec<Value>> = (0_i64..).zip(values).map(|(id, value)| vec![id.into(), value.clone()]).collect();
    assert_eq!(write(&sink, &stream, &rows).await.unwrap(), vec![Outcome::Created; rows.len()]);
    assert_eq!(write(&sink, &stream, &rows).await.unwrap(), vec![Outcome::Unchanged; rows.len()]);
    let keys: Vec<Key> = rows.iter().map(|row| Key::new([row[0].clone()])).collect();
    let stored = sink.stored(&stream, &keys).await.unwrap();
    let stored: Vec<Vec<Value>> = stored.into_iter().map(|row| row.unwrap().values).collect();
    assert_eq!(stored, rows, "{kind}");
    let plain = Connection::open(folder.path().join("t.db")).unwrap();
    let mut read = plain.prepare("SELECT v FROM t ORDER BY id").unwrap();
    read.query_map([], |row| row.get(0)).unwrap().map(std::result::Result::unwrap).collect()
}

#[tokio::test]
async fn integers_are_exact_up_to_their_limits() {
    let found = round_trip(Kind::Int, &[i64::MIN.into(), (-1_i64).into(), i64::MAX.into()]).await;
    assert_eq!(found, [Plain::Integer(i64::MIN), Plain::Integer(-1), Plain::Integer(i64::MAX)]);
    let found = round_trip(
        Kind::UInt,
        &[0_u64.into(), (i64::MAX as u64).into(), (i64::MAX as u64 + 1).into(), u64::MAX.into()],
    )
    .await;
    let text = |number: &str| Plain::Text(number.into());
    assert_eq!(
        found,
        [Plain::Integer(0), Plain::Integer(i64::MAX), text("09223372036854775808"), text("18446744073709551615")]
    );
}

#[tokio::test]
async fn decimals_are_exact_text_with_the_digits_of_their_column() {
    let values: Vec<Value> = vec![
        Value::Decimal("0.10".parse().unwrap()),
        Value::Decimal("-12345678901234567890.1234".parse().unwrap()),
        Value::from("1234567890123456789012345678901234.5678"),
    ];
    let found = round_trip(Kind::Decimal { precision: 38, scale: 4 }, &values).await;
    let expected = ["0.1000", "-12345678901234567890.1234", "1234567890123456789012345678901234.5678"]
        .map(|text| Plain::Text(text.into()));
    assert_eq!(found, expected);
}

#[tokio::test]
async fn texts_keep_every_character() {
    let texts = ["", "abc", "ABC", "abc ", "äbc", "🍣🍺", "a\0b", "'\"`;--", "\u{10FFFF}"];
    let values: Vec<Value> = texts.iter().map(|text| Value::from(*text)).collect();
    assert_eq!(round_trip(Kind::Text, &values).await, texts.map(|text| Plain::Text(text.into())));
}

#[tokio::test]
async fn instants_and_dates_sort_as_text_from_year_1_to_9999() {
    let at =
        |text: &str| Value::Timestamp(Timestamp::from(chrono::DateTime::parse_from_rfc3339(text).unwrap().to_utc()));
    let texts = [
        "0001-01-01T00:00:00.000000Z",
        "1969-12-31T23:59:59.999999Z",
        "2024-02-29T12:00:00.000001Z",
        "9999-12-31T23:59:59.999999Z",
    ];
    let found = round_trip(Kind::Timestamp, &texts.map(at)).await;
    assert_eq!(found, texts.map(|text| Plain::Text(text.into())));
    let dates = ["0001-01-01", "2024-02-29", "9999-12-31"];
    let found = round_trip(Kind::Date, &dates.map(|date| Value::Date(date.parse().unwrap()))).await;
    assert_eq!(found, dates.map(|date| Plain::Text(date.into())));
}

#[tokio::test]
async fn the_other_kinds_come_back_too() {
    assert_eq!(
        round_trip(Kind::Bool, &[true.into(), false.into(), Value::Null]).await,
        [Plain::Integer(1), Plain::Integer(0), Plain::Null]
    );
    assert_eq!(round_trip(Kind::Bytes, &[vec![0_u8, 255].into()]).await, [Plain::Blob(vec![0, 255])]);
    assert_eq!(round_trip(Kind::Json, &[Value::Json("{\"a\":[1]}".into())]).await, [Plain::Text("{\"a\":[1]}".into())]);
    round_trip(Kind::Float, &[1.0.into(), f64::MIN_POSITIVE.into(), f64::MAX.into(), (-0.0).into(), 5e-324.into()])
        .await;
}

#[tokio::test]
async fn what_sqlite_cannot_hold_exactly_is_a_fault_of_the_row() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sqlite::open(folder.path().join("t.db")).await.unwrap();
    let decimal = Kind::Decimal { precision: 10, scale: 2 };
    let cases = [
        (Kind::Float, Value::Float(f64::NAN), "NaN"),
        (Kind::Float, Value::Float(f64::INFINITY), "infinity"),
        (decimal, Value::Decimal("1.005".parse().unwrap()), "more digits"),
        (decimal, Value::from("12e3"), "no decimal"),
        (Kind::Timestamp, Value::Timestamp(Timestamp::from_micros(i64::MAX)), "year"),
    ];
    for (number, (kind, value, why)) in cases.into_iter().enumerate() {
        let stream = StreamSpec::new(format!("t{number}")).key(["id"]).field(Field::new("v", kind));
        sink.prepare(&stream).await.unwrap();
        let rows = [vec![1_i64.into(), Value::Null], vec![2_i64.into(), value]];
        let refused = write(&sink, &stream, &rows).await.unwrap_err();
        assert_eq!((refused.kind(), refused.row().map(|at| at.row)), (ErrorKind::Data, Some(1)), "{refused}");
        assert!(refused.to_string().contains(why) && refused.to_string().contains("\"v\""), "{refused}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_name_is_only_a_name(table in "[^\0]{1,12}", column in "[^\0]{1,12}", text in any::<String>()) {
        prop_assume!(!column.eq_ignore_ascii_case("id") && !table.to_ascii_lowercase().starts_with("sqlite_"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let sink = Sqlite::open(folder.path().join("t.db")).await.unwrap();
            let stream = StreamSpec::new(table.as_str()).key(["id"]).text(column.as_str());
            sink.prepare(&stream).await.unwrap();
            let rows = [vec![1_i64.into(), Value::from(text.as_str())]];
            assert_eq!(write(&sink, &stream, &rows).await.unwrap(), [Outcome::Created]);
            assert_eq!(write(&sink, &stream, &rows).await.unwrap(), [Outcome::Unchanged]);
            let stored = sink.stored(&stream, &[Key::new([1_i64])]).await.unwrap();
            assert_eq!(stored[0].as_ref().unwrap().values, rows[0]);
        });
    }
}
