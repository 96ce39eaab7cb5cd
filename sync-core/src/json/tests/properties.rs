//! What holds for all schemas, all rows and all bytes.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::{Field, Kind, Rows, Timestamp, Value, ValueRef};

/// A kind with a value of it, and the JSON that stands for it.
fn cell() -> impl Strategy<Value = (Kind, Value, String)> {
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    prop_oneof![
        any::<bool>().prop_map(|v| (Kind::Bool, Value::Bool(v), v.to_string())),
        prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)].prop_map(|v| (
            Kind::Int,
            Value::Int(v),
            v.to_string()
        )),
        any::<i64>().prop_map(|v| (Kind::Int, Value::Int(v), format!("\"{v}\""))),
        prop_oneof![any::<u64>(), Just(u64::MAX)].prop_map(|v| (Kind::UInt, Value::UInt(v), v.to_string())),
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| (
            Kind::Float,
            Value::Float(v),
            serde_json::to_string(&v).unwrap()
        )),
        (any::<i64>(), 0..19_u32, any::<bool>()).prop_map(move |(digits, scale, as_text)| {
            let value = rust_decimal::Decimal::new(digits, scale);
            let text = if as_text { format!("\"{value}\"") } else { value.to_string() };
            (Kind::Decimal { precision: 38, scale: 18 }, Value::Decimal(value), text)
        }),
        ".*".prop_map(move |v| (Kind::Text, Value::from(v.clone()), quoted(&v))),
        any::<Vec<char>>().prop_map(move |v| {
            let text: String = v.into_iter().collect();
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            (Kind::Text, Value::from(text), format!("\"{escaped}\""))
        }),
        // The years 0001 to 9999.
        (-62_135_596_800_000_000..253_402_300_800_000_000_i64).prop_map(|micros| {
            let at = Timestamp::from_micros(micros);
            (Kind::Timestamp, Value::Timestamp(at), format!("\"{at}\""))
        }),
        (1..3_652_059_i32).prop_map(|day| {
            let date = chrono::NaiveDate::from_num_days_from_ce_opt(day).unwrap();
            (Kind::Date, Value::Date(date), format!("\"{date}\""))
        }),
        (any::<i32>(), ".*").prop_map(|(number, text)| {
            let text = json!({"n": number, "t": [text, null]}).to_string();
            (Kind::Json, Value::Json(text.as_str().into()), text)
        }),
        Just((Kind::Text, Value::Null, "null".to_owned())),
    ]
}

/// A stream, and records of it that begin with an id.
fn table() -> impl Strategy<Value = (StreamSpec, Vec<Vec<Value>>, Vec<String>)> {
    prop::collection::vec(cell(), 1..12).prop_flat_map(|cells| (Just(cells), 1..6_usize)).prop_map(|(cells, count)| {
        let mut stream = StreamSpec::new("s").key(["id"]);
        for (at, (kind, ..)) in cells.iter().enumerate() {
            stream = stream.field(Field::new(format!("c{at}"), *kind));
        }
        let members: Vec<String> =
            cells.iter().enumerate().map(|(at, (_, _, text))| format!("\"c{at}\": {text}")).collect();
        let values: Vec<Value> = cells.into_iter().map(|(_, value, _)| value).collect();
        let rows = (0..count).map(|id| {
            let mut row = vec![Value::Int(id as i64)];
            row.extend(values.iter().cloned());
            row
        });
        let records = (0..count).map(|id| {
            // Every record has its members in another order.
            let mut members = members.clone();
            members.push(format!("\"id\": {id}"));
            let turn = id % members.len();
            members.rotate_left(turn);
            format!("{{{}}}", members.join(","))
        });
        (stream, rows.collect(), records.collect())
    })
}

proptest! {
    #[test]
    fn every_row_comes_back_from_its_json((stream, rows, records) in table()) {
        let reader = reader(stream);
        let array = reader.read(format!("[{}]", records.join(",")).as_bytes(), &Envelope::body()).unwrap();
        let lines = reader.read(records.join("\n").as_bytes(), &Envelope::lines()).unwrap();
        prop_assert_eq!(reasons(&array), Vec::<&str>::new());
        let read = |rows: &Rows| rows.iter().map(|row| row.to_values()).collect::<Vec<_>>();
        prop_assert_eq!(read(&array.rows), rows);
        prop_assert_eq!(lines.rows, array.rows);
    }

    #[test]
    fn bad_records_are_lost_alone_and_the_others_are_as_if_they_had_not_been_there(
        (stream, _, records) in table(),
        bad in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize), 0..5),
    ) {
        const BAD: [&str; 4] = [r#"{"id":"x"}"#, "null", r#"{"id":1e400,"a":[{}]}"#, r#"{"id":7,"\ud83d":1}"#];
        let reader = reader(stream);
        let good = reader.read(format!("[{}]", records.join(",")).as_bytes(), &Envelope::body()).unwrap();
        let mut mixed = records.clone();
        for (at, which) in &bad {
            mixed.insert(at.index(mixed.len() + 1), BAD[*which].to_owned());
        }
        let page = reader.read(format!("[{}]", mixed.join(" , ")).as_bytes(), &Envelope::body()).unwrap();
        prop_assert_eq!(&page.rows, &good.rows);
        prop_assert_eq!(page.rejects.len(), bad.len());
        prop_assert_eq!(page.records, records.len() + bad.len());
        let bodies: Vec<_> = page.rejects.iter().map(|reject| String::from_utf8(reject.body.to_vec()).unwrap()).collect();
        let expected: Vec<_> = mixed.iter().filter(|record| BAD.contains(&record.as_str())).cloned().collect();
        prop_assert_eq!(bodies, expected);
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200), keyed in any::<bool>()) {
        let reader = reader(StreamSpec::new("s").key(["id"]).json("j").decimal("d", 9, 3));
        let envelope = Envelope::at(["", "/a"]).also(["/b", "/a/0"]);
        let envelope = if keyed { envelope.keyed().wrapped("w") } else { envelope };
        let _ = reader.read(&body, &envelope);
        let _ = reader.read(&body, &Envelope::lines());
        let _ = reader.record(&body);
    }

    #[test]
    fn no_text_that_looks_like_json_makes_it_panic_and_nothing_is_lost(
        body in r#"(\[|\{|\]|\}|,|:|"id"|"d"|"j"|"a"|"w"|null|1|-2\.50|1e9|"\\ud83d"|"x"| |\n){0,60}"#,
        keyed in any::<bool>(),
    ) {
        let reader = reader(StreamSpec::new("s").key(["id"]).json("j").decimal("d", 9, 3));
        let envelope = Envelope::at(["", "/a"]).also(["/d"]);
        let envelope = if keyed { envelope.keyed() } else { envelope };
        if let Ok(page) = reader.read(body.as_bytes(), &envelope) {
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok());
            prop_assert_eq!(page.records, page.rows.len() + page.rejects.len());
        }
    }

    #[test]
    fn a_decimal_of_up_to_38_digits_keeps_its_value(digits in "[1-9][0-9]{0,37}", scale in 0..=38_usize) {
        let scale = scale.min(digits.len());
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let text = if scale == 0 { digits.clone() } else { format!("{}.{fraction}", if whole.is_empty() { "0" } else { whole }) };
        let stream = StreamSpec::new("s").key(["id"]).decimal("d", 38, scale as u8);
        let page = read(&reader(stream), &format!("[{{\"id\":1,\"d\":{text}}}]"));
        prop_assert_eq!(reasons(&page), Vec::<&str>::new());
        let kept = page.rows.row(0).named("d").unwrap();
        let kept_text = match kept { ValueRef::Text(text) => text.to_owned(), other => other.to_string() };
        let plain = |text: &str| match text.split_once('.') {
            Some((whole, fraction)) => format!("{whole}.{}", fraction.trim_end_matches('0')).trim_end_matches('.').to_owned(),
            None => text.to_owned(),
        };
        prop_assert_eq!(plain(&kept_text), plain(&text));
        prop_assert!(digits.len() > 28 || !matches!(kept, ValueRef::Text(_)) || scale > 28);
    }
}
