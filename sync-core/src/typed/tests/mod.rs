//! Types of a host's own, there and back.

mod misspelt;
mod paging;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use proptest::prelude::*;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::rows;
use crate::model::{Field, Kind, Rows, Timestamp, Value};
use crate::{ErrorKind, StreamSpec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: String,
    total: Decimal,
    weight: f64,
    paid: Option<bool>,
    state: State,
    created: DateTime<Utc>,
    changed: Timestamp,
    due: Option<NaiveDate>,
    seal: Vec<u8>,
    lines: Vec<Line>,
    note: Option<Note>,
    balance: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Open,
    InTransit,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    sku: String,
    price: Decimal,
    kind: Packing,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Packing {
    Loose,
    Boxed(u8),
    Palette { height: u32 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Note(String);

fn orders() -> StreamSpec {
    StreamSpec::new("orders")
        .key(["id"])
        .uint("id")
        .text("customer")
        .decimal("total", 12, 2)
        .float("weight")
        .bool("paid")
        .text("state")
        .timestamp("created")
        .timestamp("changed")
        .date("due")
        .bytes("seal")
        .json("lines")
        .text("note")
        .int("balance")
}

fn order() -> Order {
    Order {
        id: u64::MAX,
        customer: "Zoë 😀".to_owned(),
        total: Decimal::new(110, 2),
        weight: 0.1,
        paid: None,
        state: State::InTransit,
        created: "9999-12-31T23:59:59.999999Z".parse().unwrap(),
        changed: Timestamp::from_micros(-1),
        due: NaiveDate::from_ymd_opt(1, 1, 1),
        seal: vec![0, 255],
        lines: vec![Line { sku: "a".into(), price: Decimal::new(5, 1), kind: Packing::Palette { height: 7 } }],
        note: Some(Note("n".into())),
        balance: i64::MIN,
    }
}

#[test]
fn a_struct_comes_back_as_it_was() {
    let items = [order(), Order { paid: Some(true), due: None, note: None, lines: vec![], ..order() }];
    let rows = rows(&orders(), &items).unwrap();
    let back: Vec<Order> = rows.iter().map(|row| row.to().unwrap()).collect();
    assert_eq!(back, items);
    let row = rows.row(0);
    assert_eq!(row.named("total").unwrap().to_owned(), Value::Decimal(Decimal::new(110, 2)));
    assert_eq!(row.named("state").unwrap().as_str(), Some("in_transit"));
    assert_eq!(row.named("created").unwrap().to_string(), "9999-12-31T23:59:59.999999Z");
    let lines = r#"[{"sku":"a","price":"0.5","kind":{"Palette":{"height":7}}}]"#;
    assert_eq!(row.named("lines").unwrap().to_owned(), Value::Json(lines.into()));
}

#[test]
fn a_map_is_a_row_by_its_names_and_missing_ones_are_empty() {
    let stream = StreamSpec::new("s").key(["id"]).text("name").int("count");
    let items = [BTreeMap::from([("id", Some("7")), ("other", Some("x")), ("name", None)])];
    let rows = rows(&stream, &items).unwrap();
    assert_eq!(rows.row(0).named("id").unwrap().as_i64(), Some(7), "an integer may come as text");
    assert!(rows.row(0).named("name").unwrap().is_null() && rows.row(0).named("count").unwrap().is_null());
    let back: BTreeMap<String, serde_json::Value> = rows.row(0).to().unwrap();
    assert_eq!(back.keys().collect::<Vec<_>>(), ["count", "id", "name"]);
    assert!(back["count"].is_null());
}

#[test]
fn a_row_may_be_read_as_a_tuple_and_borrow_its_texts() {
    let stream = StreamSpec::new("s").text("name").key(["id"]).decimal("sum", 9, 2);
    let mut rows = Rows::new(Arc::clone(stream.schema()));
    let sum = Value::Decimal(Decimal::new(250, 2));
    rows.push([Value::from("a"), Value::Int(3), sum].iter().map(Value::as_ref)).unwrap();
    assert_eq!(rows.row(0).to::<(&str, u8, f64)>().unwrap(), ("a", 3, 2.5));
    #[derive(Deserialize)]
    struct Borrowed<'a> {
        name: &'a str,
        #[serde(default)]
        missing: Option<i64>,
    }
    let borrowed: Borrowed<'_> = rows.row(0).to().unwrap();
    assert_eq!((borrowed.name, borrowed.missing), ("a", None));
}

fn refusal<T: Serialize>(stream: &StreamSpec, item: T) -> String {
    let error = rows(stream, &[item]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    error.to_string()
}

#[test]
fn what_does_not_fit_is_refused_with_the_column_and_without_the_value() {
    let stream = StreamSpec::new("s").key(["id"]).decimal("sum", 4, 2).timestamp("at").text("name").bytes("raw");
    let with = |name: &'static str, value: serde_json::Value| BTreeMap::from([("id", 1.into()), (name, value)]);
    for (item, column) in [
        (with("id", "4711x".into()), "id"),
        (with("sum", "47.115".into()), "sum"),
        (with("sum", 47.11.into()), "sum"),
        (with("sum", 4711.into()), "sum"),
        (with("at", "2026-04-11 00:00:00".into()), "at"),
        (with("name", serde_json::json!({"a": 4711})), "name"),
        (with("raw", serde_json::json!([1, 4711])), "raw"),
        (with("raw", "4711=".into()), "raw"),
    ] {
        let text = refusal(&stream, item);
        assert!(text.starts_with(&format!("column {column:?}: ")) && !text.contains("471"), "{text}");
    }
    assert!(refusal(&stream, BTreeMap::from([("sum", "1")])).contains("column \"id\": no value where one is required"));
    assert!(refusal(&stream, 5).contains("a struct or a map"));
    assert!(refusal(&stream, BTreeMap::from([(1, 1)])).contains("names of a map"));
    let floats = StreamSpec::new("f").key(["id"]).float("x");
    assert!(refusal(&floats, BTreeMap::from([("id", f64::NAN)])).contains("no number"));
    assert!(refusal(&floats, BTreeMap::from([("x", (1_i64 << 53) + 1)])).contains("exactly"));
}

#[test]
fn a_type_that_does_not_fit_a_row_names_the_column_and_never_the_value() {
    let stream = StreamSpec::new("s").key(["id"]).text("name").json("more").text("kind");
    let item = serde_json::json!({"id": -4711, "name": "s3cret", "more": {"pin": "s3cret"}, "kind": "s3cret"});
    let rows = rows(&stream, &[item]).unwrap();
    let row = rows.row(0);
    let texts = [
        row.to::<BTreeMap<String, u8>>().unwrap_err().to_string(),
        row.to::<(u8,)>().unwrap_err().to_string(),
        row.to::<(i64, i64)>().unwrap_err().to_string(),
        row.to::<(i64, String, BTreeMap<String, i64>)>().unwrap_err().to_string(),
        row.to::<(i64, String, serde_json::Value, State)>().unwrap_err().to_string(),
    ];
    for (text, column) in texts.iter().zip(["id", "id", "name", "more", "kind"]) {
        assert!(text.starts_with(&format!("column {column:?}: ")), "{text}");
        assert!(!text.contains("s3cret") && !text.contains("4711"), "{text}");
    }
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Wants {
        absent: String,
    }
    assert!(row.to::<Wants>().unwrap_err().to_string().contains("`absent`"));
}

#[test]
fn a_required_column_that_an_item_leaves_out_is_refused() {
    let stream = StreamSpec::new("s").key(["id"]).field(Field::new("name", Kind::Text).required());
    assert!(refusal(&stream, BTreeMap::from([("id", 1)])).contains("\"name\""));
}

/// A kind of column and a value that it may hold.
fn cell() -> impl Strategy<Value = (Kind, Value)> {
    let instants = -62_135_596_800_000_000..253_402_300_800_000_000_i64;
    prop_oneof![
        any::<bool>().prop_map(|v| (Kind::Bool, v.into())),
        any::<i64>().prop_map(|v| (Kind::Int, v.into())),
        any::<u64>().prop_map(|v| (Kind::UInt, v.into())),
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| (Kind::Float, v.into())),
        (any::<i64>(), 0..10_u32)
            .prop_map(|(v, scale)| (Kind::Decimal { precision: 38, scale: 10 }, Decimal::new(v, scale).into())),
        "[1-9][0-9]{29,36}[1-9]".prop_map(|v| (Kind::Decimal { precision: 38, scale: 0 }, v.into())),
        ".*".prop_map(|v| (Kind::Text, v.into())),
        any::<Vec<u8>>().prop_map(|v| (Kind::Bytes, v.into())),
        instants.prop_map(|v| (Kind::Timestamp, Timestamp::from_micros(v).into())),
        (1..3_652_059_i32).prop_map(|v| (Kind::Date, NaiveDate::from_num_days_from_ce_opt(v).unwrap().into())),
        any::<(i32, bool)>().prop_map(|(n, b)| (
            Kind::Json,
            Value::Json(serde_json::json!({"n": n, "b": [b, null]}).to_string().into())
        )),
        Just((Kind::Text, Value::Null)),
    ]
}

/// What a value is as a field of a type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Wrapper<T>(T);

proptest! {
    #[test]
    fn every_row_comes_back_from_types_by_the_kinds_of_its_columns(cells in prop::collection::vec(cell(), 0..10)) {
        let names: Vec<String> = (0..cells.len()).map(|at| format!("c{at}")).collect();
        let mut stream = StreamSpec::new("s").key(["id"]);
        for (name, (kind, _)) in names.iter().zip(&cells) {
            stream = stream.field(Field::new(name.as_str(), *kind));
        }
        let mut first = Rows::new(Arc::clone(stream.schema()));
        let values: Vec<Value> = std::iter::once(Value::Int(1)).chain(cells.into_iter().map(|(_, value)| value)).collect();
        first.push(values.iter().map(Value::as_ref)).unwrap();
        // Through a map of whatever each value is to serde, and back.
        let map: BTreeMap<String, Any> = first.row(0).to().unwrap();
        let second = rows(&stream, &[map]).unwrap();
        prop_assert_eq!(second.row(0).to_values(), values);
    }

    #[test]
    fn integers_go_only_where_they_fit(value in any::<i128>(), shift in 0..128_u32) {
        let value = value >> shift;
        let stream = StreamSpec::new("s").int("id").uint("u").key(["id"]);
        let signed = rows(&stream, &[BTreeMap::from([("id", value)])]);
        prop_assert_eq!(signed.is_ok(), i64::try_from(value).is_ok());
        let unsigned = rows(&stream, &[BTreeMap::from([("id", 0), ("u", value)])]);
        prop_assert_eq!(unsigned.is_ok(), u64::try_from(value).is_ok());
        if let Ok(rows) = unsigned {
            prop_assert_eq!(rows.row(0).to::<(i64, i128)>().unwrap(), (0, value));
        }
    }

    #[test]
    fn a_struct_with_any_values_comes_back(id in any::<u64>(), customer in ".*", cents in -999_999_999_999_i64..999_999_999_999, weight in any::<f64>(), paid in any::<Option<bool>>(), seal in any::<Vec<u8>>(), height in any::<u32>()) {
        prop_assume!(weight.is_finite());
        let line = Line { sku: customer.clone(), price: Decimal::new(cents, 3), kind: Packing::Palette { height } };
        let lines = vec![line, Line { sku: String::new(), price: Decimal::ZERO, kind: Packing::Boxed(1) }];
        let item = Order { id, customer, total: Decimal::new(cents, 2), weight, paid, seal, lines, ..order() };
        let rows = rows(&orders(), std::slice::from_ref(&item)).unwrap();
        prop_assert_eq!(rows.row(0).to::<Order>().unwrap(), item);
    }
}

/// Any plain value or JSON, with bytes kept apart from sequences.
#[derive(Debug, Clone)]
enum Any {
    Bytes(Vec<u8>),
    Plain(serde_json::Value),
}

impl Serialize for Any {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Self::Plain(value) => Wrapper(value).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Any;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("anything")
            }

            fn visit_unit<E>(self) -> Result<Any, E> {
                Ok(Any::Plain(serde_json::Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Any, E> {
                Ok(Any::Plain(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Any, E> {
                Ok(Any::Plain(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Any, E> {
                Ok(Any::Plain(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Any, E> {
                Ok(Any::Plain(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Any, E> {
                Ok(Any::Plain(value.into()))
            }

            fn visit_bytes<E>(self, value: &[u8]) -> Result<Any, E> {
                Ok(Any::Bytes(value.to_vec()))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Any, A::Error> {
                let map = serde_json::Map::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Any::Plain(map.into()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
