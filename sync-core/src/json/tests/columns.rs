//! Columns: where they stand, how they are written, and what they refuse.

use super::*;
use crate::ErrorKind;
use crate::json::{Parse, Zone};
use crate::model::{Field, Kind, Value};

fn one(stream: StreamSpec) -> RecordReader {
    reader(stream.key(["id"]))
}

/// The text of the column `v`, or the reason for refusing it, for each of these JSON values.
fn read_each(reader: &RecordReader, values: &[&str]) -> Vec<Result<String, String>> {
    let read_one = |value: &&str| {
        let page = read(reader, &format!("[{{\"id\":1,\"v\":{value}}}]"));
        match page.rejects.first() {
            Some(reject) => Err(reject.reason.clone()),
            None => Ok(page.rows.row(0).named("v").unwrap().to_string()),
        }
    };
    values.iter().map(read_one).collect()
}

fn accepts(reader: &RecordReader, cases: &[(&str, &str)]) {
    let (values, expected): (Vec<_>, Vec<_>) = cases.iter().copied().unzip();
    let expected: Vec<Result<String, String>> = expected.into_iter().map(|text| Ok(text.to_owned())).collect();
    assert_eq!(read_each(reader, &values), expected);
}

fn refuses(reader: &RecordReader, values: &[&str]) {
    for (value, result) in values.iter().zip(read_each(reader, values)) {
        let reason = result.expect_err(value);
        assert!(reason.starts_with("column \"v\": "), "{value}: {reason}");
    }
}

#[test]
fn members_are_followed_into_objects_and_arrays() {
    let stream = StreamSpec::new("s").text("a").text("b").json("all").text("c").text("t0").text("slash");
    let reader = one(stream)
        .column("a", "/x/y/a")
        .column("b", "/x/y/b")
        .column("all", "/x/y")
        .column("c", "/x/c")
        .column("t0", "/tags/0")
        .column("slash", "/a~1b");
    let page = read(
        &reader,
        r#"[{"a/b":"s","x":{"y":{"a":"1","b":"2"},"c":"3"},"id":1,"tags":["t","u"]},{"id":2,"x":{"y":null},"tags":[]},{"id":3,"x":null}]"#,
    );
    assert_eq!(
        texts(&page),
        [
            ["1", "2", "{\"a\":\"1\",\"b\":\"2\"}", "3", "t", "s", "1"],
            ["null", "null", "null", "null", "null", "null", "2"],
            ["null", "null", "null", "null", "null", "null", "3"],
        ]
    );
    let page = read(&reader, r#"[{"id":1,"x":"text"},{"id":2,"x":{"y":5}}]"#);
    assert_eq!(reasons(&page), ["column \"all\": a single value where its pointer expects nested data"]);
    assert_eq!(texts(&page)[0][2], "5", "beside a JSON column any value may stand");
}

#[test]
fn the_order_of_members_does_not_matter() {
    let reader = one(StreamSpec::new("s").text("a").text("b"));
    let page = read(
        &reader,
        r#"[{"a":"1","id":1,"b":"2"},{"b":"2","a":"1","id":1},{"x":0,"id":1,"y":{},"b":"2","a":"1"},{"\u0061":"1","b":"2","id":1}]"#,
    );
    assert!(texts(&page).iter().all(|row| row == &["1", "2", "1"]), "{:?}", texts(&page));
    assert_eq!(page.rows.len(), 4);
}

#[test]
fn more_members_than_one_word_of_bits_are_kept_apart() {
    let wide = (0..150).fold(StreamSpec::new("wide"), |stream, at| stream.int(format!("c{at}")));
    let body = (0..150).map(|at| format!("\"c{at}\":{at}")).collect::<Vec<_>>().join(",");
    let page = read(&one(wide), &format!("[{{\"id\":1,{body}}}]"));
    assert_eq!(page.rows.row(0).at(149).as_i64(), Some(149));
}

#[test]
fn integers_are_exact_or_refused() {
    let ints = one(StreamSpec::new("s").int("v"));
    accepts(
        &ints,
        &[
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("\"12\"", "12"),
            ("5.0", "5"),
            ("-0", "0"),
            ("null", "null"),
        ],
    );
    refuses(&ints, &["9223372036854775808", "1e400", "1.5", "true", "\"\"", "\"x\"", "{}", "[1]"]);
    let uints = one(StreamSpec::new("s").uint("v"));
    accepts(&uints, &[("18446744073709551615", "18446744073709551615"), ("\"7\"", "7")]);
    refuses(&uints, &["18446744073709551616", "-1"]);
}

#[test]
fn decimals_are_exact_whether_number_or_text() {
    let decimals = one(StreamSpec::new("s").decimal("v", 12, 2));
    accepts(&decimals, &[("1.10", "1.10"), ("\"1.10\"", "1.10"), ("0.3", "0.3"), ("1e3", "1000"), ("7", "7")]);
    refuses(&decimals, &["1.105", "12345678901", "\"\"", "\"1,5\"", "true", "[]"]);
    let long = one(StreamSpec::new("s").decimal("v", 38, 10));
    let digits = "1234567890123456789012345678.0123456789";
    accepts(&long, &[(digits, digits)]);
    let page = read(&long, &format!("[{{\"id\":1,\"v\":{digits}}}]"));
    assert_eq!(page.rows.row(0).at(0).to_owned(), Value::from(digits), "too long for a decimal: exact text");
}

#[test]
fn floats_refuse_what_no_float_can_hold() {
    let floats = one(StreamSpec::new("s").float("v"));
    accepts(&floats, &[("0.1", "0.1"), ("1", "1"), ("\"2.5\"", "2.5"), ("5e-324", &5e-324_f64.to_string())]);
    refuses(&floats, &["1e400", "-1e400", "\"NaN\"", "\"inf\"", "true"]);
}

#[test]
fn a_text_column_keeps_numbers_as_they_were_written() {
    let reader = one(StreamSpec::new("s").text("v"));
    let values =
        [("1.10", "1.10"), ("1e400", "1e400"), ("-0", "-0"), ("true", "true"), ("\"a\\u0000\\\"😀\"", "a\0\"😀")];
    accepts(&reader, &values);
    accepts(&reader, &values);
    refuses(&reader, &["{}", "[]", "\"\\ud83d\""]);
}

#[test]
fn json_columns_keep_their_text_without_blanks() {
    let reader = one(StreamSpec::new("s").json("v"));
    accepts(
        &reader,
        &[
            ("{ \"b\" : 1.10, \"a\" : [ \"x y\" ] }", "{\"b\":1.10,\"a\":[\"x y\"]}"),
            ("\"text\"", "\"text\""),
            ("1.0", "1.0"),
            ("null", "null"),
        ],
    );
    refuses(&reader, &["{\"a\":\"\\ud83d\"}"]);
    let page = read(&reader, "[{\"id\":1,\"v\":null}]");
    assert!(page.rows.row(0).at(0).is_null(), "a null is no value, not the text");
}

#[test]
fn instants_are_rfc3339_unless_declared_otherwise() {
    let stream = StreamSpec::new("s").timestamp("v");
    let plain = one(stream.clone());
    accepts(&plain, &[("\"2026-03-01T04:05:06.1234567+02:00\"", "2026-03-01T02:05:06.123456Z")]);
    refuses(&plain, &["\"2026-03-01 04:05:06\"", "1700000000", "\"\"", "true"]);
    let format =
        Parse::Format { format: "%Y-%m-%d %H:%M:%S".into(), zone: Zone::Named("EET-2EEST,M4.5.5/0,M10.5.4/24".into()) };
    let declared = one(stream.clone()).parse("v", format);
    accepts(&declared, &[("\"2026-07-01 12:00:00\"", "2026-07-01T09:00:00.000000Z")]);
    refuses(&declared, &["\"2026-07-01T12:00:00Z\"", "20260701"]);
    for (parse, value) in [
        (Parse::EpochSeconds, "1700000000.5"),
        (Parse::EpochMillis, "1700000000500"),
        (Parse::EpochMicros, "\"1700000000500000\""),
    ] {
        let reader = one(stream.clone()).parse("v", parse);
        accepts(&reader, &[(value, "2023-11-14T22:13:20.500000Z")]);
        refuses(&reader, &["\"2026-03-01T04:05:06Z\"", "1e300"]);
    }
}

#[test]
fn dates_are_days_and_may_be_taken_from_instants_where_declared() {
    let stream = StreamSpec::new("s").date("v");
    let plain = one(stream.clone());
    accepts(&plain, &[("\"0001-01-01\"", "0001-01-01"), ("\"9999-12-31\"", "9999-12-31")]);
    refuses(&plain, &["\"2026-02-29\"", "\"2026-03-01T00:00:00Z\"", "20260301", "\"0000-00-00\""]);
    accepts(&one(stream.clone()).parse("v", Parse::Rfc3339), &[("\"2026-03-01T01:00:00+02:00\"", "2026-02-28")]);
    let german = Parse::Format { format: "%d.%m.%Y".into(), zone: Zone::Utc };
    accepts(&one(stream).parse("v", german), &[("\"01.03.2026\"", "2026-03-01")]);
}

#[test]
fn bytes_are_base64_and_bools_are_bools() {
    accepts(&one(StreamSpec::new("s").bytes("v")), &[("\"AP8=\"", "00ff"), ("\"\"", "")]);
    refuses(&one(StreamSpec::new("s").bytes("v")), &["\"AP8\"", "1"]);
    let bools = one(StreamSpec::new("s").bool("v"));
    accepts(&bools, &[("true", "true"), ("false", "false")]);
    refuses(&bools, &["1", "\"true\"", "\"yes\""]);
    let flags = bools.parse("v", Parse::Flag);
    accepts(&flags, &[("1", "true"), ("0", "false"), ("\"Yes\"", "true"), ("\"n\"", "false"), ("true", "true")]);
    refuses(&flags, &["2", "\"maybe\"", "\"\""]);
}

#[test]
fn separators_blanks_case_and_placeholders_are_handled_where_declared() {
    let number = Parse::Number { thousands: ',', point: '.' };
    let sums = one(StreamSpec::new("s").decimal("v", 12, 2)).parse("v", number).trim("v").null_if("v", ["", "-", "0"]);
    accepts(
        &sums,
        &[("\" 1,234.50 \"", "1234.50"), ("1234.5", "1234.5"), ("\"-\"", "null"), ("\"  \"", "null"), ("0", "null")],
    );
    refuses(&sums, &["\"1.234,50\"", "\"x\""]);
    let country = one(StreamSpec::new("s").text("v")).trim("v").upper("v");
    accepts(&country, &[("\" sa\\n\"", "SA"), ("true", "TRUE")]);
    accepts(&one(StreamSpec::new("s").text("v")).lower("v"), &[("\"NEW\"", "new")]);
}

#[test]
fn a_required_column_refuses_to_be_empty() {
    let stream = StreamSpec::new("s").field(Field::new("v", Kind::Text).required());
    let page = read(&one(stream), r#"[{"id":1,"v":""},{"id":2,"v":null},{"id":3}]"#);
    assert_eq!(texts(&page), [["", "1"]]);
    assert_eq!(
        reasons(&page),
        ["column \"v\": no value where one is required", "column \"v\": missing, and it must have a value"]
    );
}

#[test]
fn a_declaration_that_cannot_work_is_refused_before_anything_is_read() {
    let stream = || StreamSpec::new("s").text("v").timestamp("t").bool("b").int("n").json("j");
    let format = |format: &str, zone: &str| Parse::Format { format: format.into(), zone: zone.parse().unwrap() };
    for (wrong, named) in [
        (one(stream()).column("w", "/v"), "\"w\""),
        (one(stream()).column("v", "v"), "\"/v\""),
        (one(stream()).parse("t", format("%Q", "UTC")), "\"%Q\""),
        (one(stream()).parse("t", format("%F %T", "Mars/Base")), "\"Mars/Base\""),
        (one(stream()).parse("v", Parse::EpochMillis), "\"v\""),
        (one(stream()).parse("n", Parse::Flag), "\"n\""),
        (one(stream()).parse("n", Parse::Number { thousands: '.', point: '.' }), "separators"),
        (one(stream()).parse("v", Parse::Number { thousands: ',', point: '.' }), "\"v\""),
        (one(stream()).upper("n"), "\"n\""),
        (one(stream()).trim("j"), "\"j\""),
    ] {
        let error = wrong.check().unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains(named), "{error}");
        assert_eq!(wrong.read(b"[]", &Envelope::body()).unwrap_err().kind(), ErrorKind::Config);
    }
    let error = one(stream()).read(b"[]", &Envelope::at(["data"])).unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("\"/data\""), "{error}");
    assert!(one(stream()).check().is_ok());
}

#[test]
fn a_declaration_is_plain_data() {
    let zones: Vec<Zone> = serde_json::from_str(r#"["UTC","+03:30","-01:00","Africa/Cairo"]"#).unwrap();
    assert_eq!(zones, [Zone::Utc, Zone::Fixed(12_600), Zone::Fixed(-3600), Zone::Named("Africa/Cairo".into())]);
    assert_eq!(serde_json::to_string(&zones).unwrap(), r#"["UTC","+03:30","-01:00","Africa/Cairo"]"#);
    assert!(serde_json::from_str::<Zone>("\"+3\"").is_err());
    let parse: Parse = serde_json::from_str(r#"{"format":{"format":"%F"}}"#).unwrap();
    assert_eq!(parse, Parse::Format { format: "%F".into(), zone: Zone::Utc });
    let envelope: Envelope = serde_json::from_str(r#"{"records":["/data"],"layout":"keyed"}"#).unwrap();
    assert_eq!(envelope, Envelope::at(["/data"]).keyed());
}
