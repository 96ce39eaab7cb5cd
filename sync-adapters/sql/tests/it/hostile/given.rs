//! Names and values that somebody might mean badly, or not mean at all.

use chrono::NaiveDate;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use sync_core::Value;
use sync_core::model::{Kind, Timestamp};

/// A name put together of what has a meaning somewhere.
pub(crate) fn name() -> impl Strategy<Value = String> {
    let parts: Vec<&str> = vec![
        "\"",
        "`",
        "'",
        "\\",
        "%",
        "$1",
        "?",
        ";",
        "--",
        "/*",
        "*/",
        "#",
        ":x",
        "@",
        "{}",
        "(",
        ")",
        ",",
        ".",
        " ",
        "\t",
        "\n",
        "\0",
        "select",
        "order",
        "key",
        "user",
        "Group",
        "NULL",
        "x",
        "Y",
        "é",
        "e\u{301}",
        "ß",
        "İ",
        "\u{202e}",
        "\u{fffd}",
        "\u{7f}",
        "🍣",
        "c_",
        "t",
        "u",
        "s",
        "ord",
        "op",
        "xmin",
        "rowid",
        "xxxxxxxxxxxxxxxxxxxx",
        "; DROP TABLE \"decoy\"; --",
    ];
    prop_oneof![
        8 => prop::collection::vec(select(parts), 1..5).prop_map(|parts| parts.concat()),
        1 => "\\PC{1,20}",
        1 => (61_usize..67).prop_map(|length| "n".repeat(length)),
        1 => (14_usize..18).prop_map(|length| "é🍣".chars().cycle().take(length + 6).collect()),
    ]
}

/// Texts that some database takes for the same, or for something else.
pub(crate) fn keys() -> impl Strategy<Value = Vec<String>> {
    let long = "k".repeat(700);
    let longer = format!("{}e", "Lorem ipsum ".repeat(100));
    // Does not get shorter when it is compressed.
    let noise: String =
        (0_u64..4000).map(|at| char::from(33 + (at.wrapping_mul(2_654_435_761) >> 7) as u8 % 90)).collect();
    let keys = [
        "",
        "a",
        "A",
        "á",
        "a\u{301}",
        "a ",
        "a  ",
        " a",
        "a\t",
        "a\0",
        "a\0b",
        "ß",
        "ss",
        "🍣",
        "🍺",
        "\u{202e}x",
        "%",
        "_",
        "'",
        "\"",
        "\\",
        "\\'",
        "$1",
        "?",
        "NULL",
        "\u{fffd}",
        "0",
        "00",
        "1e0",
        "\u{feff}",
        "I",
        "ı",
        "İ",
    ];
    let keys: Vec<String> = keys.map(str::to_owned).into_iter().chain([long, longer, noise]).collect();
    let most = keys.len();
    subsequence(keys, 1..most.min(9)).prop_shuffle()
}

/// Values of one kind.
pub(crate) fn values() -> impl Strategy<Value = (Kind, Vec<Value>)> {
    select(kinds()).prop_flat_map(|(kind, values)| {
        let most = values.len();
        (Just(kind), subsequence(values, 1..=most).prop_shuffle())
    })
}

fn kinds() -> Vec<(Kind, Vec<Value>)> {
    let texts = [
        "",
        " ",
        "'",
        "\"",
        "`",
        "\\",
        "\\N",
        "\\0",
        "a\0b",
        "\0",
        "\u{fffd}",
        "e\u{301}",
        "\u{202e}abc",
        "🍣🍺👩‍👩‍👧",
        "%s",
        "$1",
        "?",
        "'; DROP TABLE x; --",
        "\r\n",
        "\t",
        "\u{10ffff}",
        "\u{feff}x",
        "x ",
    ];
    let mut text: Vec<Value> = texts.iter().map(|text| Value::from(*text)).collect();
    text.push(Value::from("é".repeat(1 << 19)));
    let json =
        ["null", " {\"b\" :1,\n\"a\":[ 1.0,1e400 ] , \"a\":2}\t", "\"\\u00e9\\ud83c\\udf63\"", "-0", "[]", "\"'\\\\\""];
    let decimals = |numbers: &[&str]| numbers.iter().map(|number| decimal(number)).collect::<Vec<_>>();
    vec![
        (Kind::Bool, vec![true.into(), false.into(), Value::Null]),
        (Kind::Int, [i64::MIN, -1, 0, 1, i64::MAX].map(Value::from).to_vec()),
        (Kind::UInt, [0, 1, i64::MAX.unsigned_abs(), i64::MIN.unsigned_abs(), u64::MAX].map(Value::from).to_vec()),
        (
            Kind::Float,
            [
                0.0,
                -0.0,
                0.1,
                -1.5,
                1e23,
                f64::MIN_POSITIVE,
                5e-324,
                2.225_073_858_507_201e-308,
                f64::MAX,
                f64::MIN,
                f64::EPSILON,
                f64::NAN,
                f64::INFINITY,
            ]
            .map(Value::from)
            .to_vec(),
        ),
        (
            Kind::Decimal { precision: 38, scale: 0 },
            decimals(&[
                "0",
                "-0",
                "99999999999999999999999999999999999999",
                "-99999999999999999999999999999999999999",
                "7",
            ]),
        ),
        (
            Kind::Decimal { precision: 38, scale: 30 },
            decimals(&[
                "99999999.999999999999999999999999999999",
                "-0.000000000000000000000000000001",
                "1.5",
                "123456789",
                "+00000000000000000000000000000000001.50",
            ]),
        ),
        (Kind::Decimal { precision: 5, scale: 2 }, decimals(&["999.99", "-999.99", "1000", "0.001", "0.10", "-0.5"])),
        (Kind::Text, text),
        (
            Kind::Bytes,
            vec![
                (0..=255).collect::<Vec<u8>>().into(),
                Vec::new().into(),
                vec![0_u8].into(),
                vec![b'\\', 0, b'x'].into(),
            ],
        ),
        (
            Kind::Timestamp,
            [
                "0001-01-01T00:00:00Z",
                "0001-01-01T00:00:00.000001Z",
                "1582-10-10T12:00:00Z",
                "1969-12-31T23:59:59.999999Z",
                "1970-01-01T00:00:00Z",
                "2038-01-19T03:14:08Z",
                "2024-03-31T02:30:00.5Z",
                "9999-12-31T23:59:59.999999Z",
            ]
            .map(at)
            .into_iter()
            .chain([i64::MAX, i64::MIN, 253_402_300_800_000_000].map(|at| Value::Timestamp(Timestamp::from_micros(at))))
            .collect(),
        ),
        (
            Kind::Date,
            [(1, 1, 1), (1582, 10, 10), (2024, 2, 29), (9999, 12, 31), (10_000, 1, 1), (0, 12, 31), (-5000, 1, 1)]
                .map(|(year, month, day)| Value::Date(NaiveDate::from_ymd_opt(year, month, day).unwrap()))
                .to_vec(),
        ),
        (Kind::Json, json.map(|json| Value::Json(json.into())).to_vec()),
    ]
}

fn at(text: &str) -> Value {
    Value::Timestamp(Timestamp::from(chrono::DateTime::parse_from_rfc3339(text).unwrap().to_utc()))
}

/// A decimal as sources give it: as text where it has too many digits.
fn decimal(number: &str) -> Value {
    sync_core::model::Decimal::from_str_exact(number).map_or_else(|_| Value::from(number), Value::Decimal)
}
