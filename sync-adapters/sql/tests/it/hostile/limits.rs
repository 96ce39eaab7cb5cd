//! What stands in a table that no stream could have sent, and bounds that no column could hold.

use chrono::NaiveDate;
use sync_core::model::{Outcome, RowScope, Timestamp};
use sync_core::{ErrorKind, Key, StreamSpec, Value};

use super::place::{Place, Target};

#[tokio::test(flavor = "multi_thread")]
async fn a_time_without_end_is_told_with_its_column_and_no_panic() {
    let [_, target, _] = Target::all().await;
    let Place::Postgres(database) = &target.place else { unreachable!() };
    let stream = StreamSpec::new("orders").key(["id"]).timestamp("at").date("day");
    target.sink.prepare(&stream).await.unwrap();
    for (row, column) in [("1, 'infinity', NULL", "at"), ("1, NULL, '-infinity'", "day")] {
        database.client(&format!("DELETE FROM orders; INSERT INTO orders VALUES ({row})")).await.unwrap();
        let error = target.sink.stored(&stream, &[Key::new([1_i64])]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Schema);
        assert!(error.to_string().contains(&format!("{column:?}")), "{error}");
        let rows = [vec![1_i64.into(), Value::Null, Value::Null]];
        let error = target.write(&stream, &rows).await.unwrap_err();
        assert!(error.to_string().contains("infinity"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_beyond_the_numbers_of_a_column_is_no_number_of_the_column() {
    for target in Target::all().await {
        let stream = StreamSpec::new("prices").key(["id"]).decimal("price", 5, 2).uint("stock");
        target.sink.prepare(&stream).await.unwrap();
        let price = |text: &str| Value::Decimal(text.parse().unwrap());
        let rows =
            [vec![1_i64.into(), price("999.99"), u64::MAX.into()], vec![2_i64.into(), price("-999.99"), 0_u64.into()]];
        target.write(&stream, &rows).await.unwrap();
        let range = |from: Option<&str>, until: Option<&str>| RowScope::Range {
            column: "price".into(),
            from: from.map(price),
            until: until.map(price),
        };
        for (scope, expected) in [
            (range(Some("1000"), None), 0),
            (range(None, Some("1000")), 2),
            (range(None, Some("-1000")), 0),
            (range(Some("-123456789"), None), 2),
            (RowScope::Equals { column: "price".into(), value: price("1000") }, 0),
        ] {
            let found = target.sink.count(&stream, &scope).await.unwrap();
            assert_eq!(found, Some(expected), "{:?}: {scope:?}", target.place);
        }
        // A listing of what costs more than a thousand says nothing of what costs less.
        assert_eq!(target.replace(&stream, &rows[1..], range(Some("1000"), None)).await.unwrap(), 0);
        assert_eq!(target.sink.count(&stream, &RowScope::All).await.unwrap(), Some(2), "{:?}", target.place);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_beyond_the_days_of_a_database_covers_all_rows_or_none() {
    let time = |year, (month, day)| {
        let day = NaiveDate::from_ymd_opt(year, month, day).unwrap();
        (Value::Timestamp(day.and_hms_opt(0, 0, 0).unwrap().and_utc().into()), Value::Date(day))
    };
    let ends = (Value::Timestamp(Timestamp::from_micros(i64::MIN)), Value::Date(NaiveDate::MIN));
    let far = (Value::Timestamp(Timestamp::from_micros(i64::MAX)), Value::Date(NaiveDate::MAX));
    for target in Target::all().await {
        let stream = StreamSpec::new("days").key(["id"]).timestamp("at").date("day");
        target.sink.prepare(&stream).await.unwrap();
        let row = |id: i64, (at, day): (Value, Value)| vec![id.into(), at, day];
        let rows = [row(1, time(1, (1, 1))), row(2, time(9999, (12, 31))), row(3, (Value::Null, Value::Null))];
        target.write(&stream, &rows).await.unwrap();
        let (late, early) = (time(10_000, (1, 1)), time(0, (12, 31)));
        for (from, until, expected) in [
            (None, Some(&late), 2),
            (None, Some(&far), 2),
            (None, Some(&early), 0),
            (None, Some(&ends), 0),
            (Some(&late), None, 0),
            (Some(&far), None, 0),
            (Some(&early), None, 2),
            (Some(&ends), Some(&far), 2),
            (Some(&time(2026, (1, 1))), Some(&late), 1),
        ] {
            for column in ["at", "day"] {
                let of = |bound: &(Value, Value)| if column == "at" { bound.0.clone() } else { bound.1.clone() };
                let scope = RowScope::Range { column: column.into(), from: from.map(of), until: until.map(of) };
                let found = target.sink.count(&stream, &scope).await;
                // In SQLite days are texts, whose order is another one beyond these years.
                if let (Place::Sqlite(_), "day", Err(error)) = (&target.place, column, &found) {
                    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
                    assert!(error.to_string().contains("\"day\""), "{error}");
                    continue;
                }
                assert_eq!(found.unwrap(), Some(expected), "{:?}: {scope:?}", target.place);
            }
        }
        let all = RowScope::Range { column: "at".into(), from: Some(early.0.clone()), until: Some(late.0.clone()) };
        assert_eq!(target.replace(&stream, &rows[..1], all).await.unwrap(), 1, "{:?}: the other one", target.place);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_that_no_column_can_be_compared_with_is_named_by_the_error() {
    for target in Target::all().await {
        let stream = StreamSpec::new("prices").key(["id"]).decimal("price", 5, 2);
        target.sink.prepare(&stream).await.unwrap();
        let bound = Some(Value::Decimal("9.005".parse().unwrap()));
        let scope = RowScope::Range { column: "price".into(), from: bound, until: None };
        let Err(error) = target.sink.count(&stream, &scope).await else {
            assert!(matches!(target.place, Place::Sqlite(_)), "decimals are compared as numbers there");
            continue;
        };
        assert_eq!(error.kind(), ErrorKind::Config, "{:?}: {error}", target.place);
        assert!(error.to_string().contains("\"price\" >= 9.005"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_whose_names_differ_by_case_alone_are_two_or_refused() {
    for target in Target::all().await {
        let stream = |name: &str, column: &str| StreamSpec::new(name).key(["id"]).text(column);
        let (upper, lower) = (stream("Orders", "note"), stream("orders", "text"));
        target.sink.prepare(&upper).await.unwrap();
        target.write(&upper, &[vec![1_i64.into(), "upper".into()]]).await.unwrap();
        match target.sink.prepare(&lower).await {
            Ok(_) => {
                target.sink.prepare(&lower).await.unwrap();
                let outcomes = target.write(&lower, &[vec![1_i64.into(), "lower".into()]]).await.unwrap();
                assert_eq!(outcomes, [Outcome::Created], "{:?}", target.place);
            }
            Err(error) => assert!(error.to_string().contains("\"Orders\" and \"orders\""), "{error}"),
        }
        let stored = target.sink.stored(&upper, &[Key::new([1_i64])]).await.unwrap();
        assert_eq!(stored[0].as_ref().unwrap().values[1], "upper".into(), "{:?}", target.place);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_decimal_in_a_key_is_one_key_however_it_is_written() {
    for target in Target::all().await {
        let stream = StreamSpec::new("long").key(["id"]).decimal("id", 38, 8).text("note");
        target.sink.prepare(&stream).await.unwrap();
        let row = |key: &str| vec![vec![Value::from(key), "once".into()]];
        let outcomes = target.write(&stream, &row("123456789012345678901234567890.5")).await.unwrap();
        assert_eq!(outcomes, [Outcome::Created], "{:?}", target.place);
        let outcomes = target.write(&stream, &row("+0123456789012345678901234567890.50")).await.unwrap();
        assert_eq!(outcomes, [Outcome::Unchanged], "{:?}", target.place);
        assert_eq!(target.sink.count(&stream, &RowScope::All).await.unwrap(), Some(1), "{:?}", target.place);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_json_is_compared_as_text_or_refused_with_the_column() {
    for target in Target::all().await {
        let stream = StreamSpec::new("documents").key(["id"]).json("id").text("note");
        match target.sink.prepare(&stream).await {
            Ok(_) => {
                let row = [vec![Value::Json("{\"a\" :1}".into()), "x".into()]];
                assert_eq!(target.write(&stream, &row).await.unwrap(), [Outcome::Created]);
                assert_eq!(target.write(&stream, &row).await.unwrap(), [Outcome::Unchanged]);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Config);
                assert!(error.to_string().contains("\"id\" is json"), "{error}");
            }
        }
    }
}
