//! Writes that come together leave what they leave one by one, whatever the values and the tables' rules are.

use chrono::{DateTime, NaiveDate};
use sync_core::model::{Decimal, Timestamp};
use sync_core::two_way::{Hlc, RowWrite, Table, Tables};
use sync_core::{Key, StreamSpec, Value};
use sync_sql::MySqlReplica;
use sync_testkit::Random;

use super::write;
use crate::office::together;

/// Names that look like places for values or end a text, keys of several kinds, trees that hang on themselves, a unique value, and
/// what triggers do to rows: change them, refuse them, or touch others.
const ODD: &str = r#"
CREATE TABLE nodes (id bigint PRIMARY KEY, parent bigint, code varchar(40) UNIQUE, n bigint CHECK (n <> 14),
  FOREIGN KEY (parent) REFERENCES nodes (id) ON DELETE CASCADE) COLLATE utf8mb4_nopad_bin;
CREATE TABLE `wh?t's "this` (`k?` decimal(20,2), `at?` datetime(6), day date, raw varbinary(60), t varchar(60), yes tinyint(1), i bigint,
  u bigint unsigned, f double, `d?'"` decimal(38,10), blo longblob, txt longtext, j longtext, ts datetime(6),
  PRIMARY KEY (`k?`, `at?`, day, raw, t)) COLLATE utf8mb4_nopad_bin;
CREATE TRIGGER ruled BEFORE INSERT ON nodes FOR EACH ROW SET NEW.code = IF(NEW.n = 13, UPPER(NEW.code), NEW.code);"#;

fn odd() -> Tables {
    let nodes = StreamSpec::new("nodes").int("id").key(["id"]).int("parent").text("code").int("n");
    let what =
        StreamSpec::new("wh?t's \"this").decimal("k?", 20, 2).timestamp("at?").date("day").bytes("raw").text("t");
    let what = what.key(["k?", "at?", "day", "raw", "t"]).bool("yes").int("i").uint("u").float("f");
    let what = what.decimal("d?'\"", 38, 10).bytes("blo").text("txt").json("j").timestamp("ts");
    Tables::new([nodes, what].map(Table::new)).unwrap()
}

fn at(micros: i64) -> Value {
    Value::Timestamp(Timestamp::from(DateTime::from_timestamp_micros(micros).unwrap()))
}

fn node(random: &mut Random) -> (Value, Vec<Value>) {
    let id = 1 + random.below(6) as i64;
    let parent = if random.chance(0.8) { Value::Null } else { (1 + random.below(6) as i64).into() };
    let n = if random.chance(0.93) { random.below(3) } else { 13 + random.below(2) };
    (id.into(), vec![id.into(), parent, format!("c{}", random.below(60)).into(), (n as i64).into()])
}

const TEXTS: [&str; 7] = ["", "'", "\\", "? \"so\" \\' --", "gr\u{fc}\u{df} \u{1f4a9}\0\n", " blank ", "x'41'"];

fn odd_row(random: &mut Random) -> Vec<Value> {
    let text = |random: &mut Random| Value::from(TEXTS[random.below(7) as usize]);
    let bytes: Vec<u8> = (0..=255).collect();
    let one = |values: &[Value], random: &mut Random| values[random.below(values.len() as u64) as usize].clone();
    let day = NaiveDate::from_ymd_opt(if random.chance(0.5) { 9999 } else { 1 }, 2, 28);
    vec![
        Value::Decimal(Decimal::new(random.below(3) as i64 * 150 - 150, 2)),
        at(if random.chance(0.5) { 1_763_798_400_123_456 } else { -1 }),
        Value::Date(day.unwrap()),
        one(&[Value::Bytes([0, 39, 92, 255].into()), Value::Bytes([].into())], random),
        text(random),
        one(&[true.into(), false.into(), Value::Null], random),
        one(&[i64::MIN.into(), i64::MAX.into(), (-1).into(), Value::Null], random),
        one(&[Value::UInt(u64::MAX), Value::UInt(0), Value::Null], random),
        one(&[f64::MAX, f64::MIN_POSITIVE, -0.1, 1e22, 0.0, 5e-324].map(Value::Float), random),
        one(&[Value::Decimal(Decimal::new(-1, 10)), Value::from("9999999999999999999999999999.9999999999")], random),
        one(&[Value::Bytes(bytes.into()), Value::Bytes([].into()), Value::Null], random),
        text(random),
        one(&[Value::Json("{\"a\": \"'\\\\\"}".into()), Value::Null], random),
        one(&[at(0), at(253_402_300_799_999_999), Value::Null], random),
    ]
}

fn some_write(random: &mut Random, tables: &Tables, number: u64) -> RowWrite {
    let deletes = random.chance(0.2);
    let write = if random.chance(0.6) {
        let (id, row) = node(random);
        write(tables, "nodes", id, (!deletes).then_some(row))
    } else {
        let row = odd_row(random);
        let key = Key::new(row[..5].to_vec());
        RowWrite { key, ..write(tables, "wh?t's \"this", 0, (!deletes).then_some(row)) }
    };
    RowWrite { op: number, seen: number, hlc: Hlc((number + 1) << 16), upstream: random.chance(0.5), ..write }
}

#[tokio::test]
async fn writes_at_once_leave_what_they_leave_one_by_one_whatever_the_values_are() {
    together::writes_leave_what_they_leave_one_by_one::<MySqlReplica>(ODD, odd, 7, some_write, 5).await;
}
