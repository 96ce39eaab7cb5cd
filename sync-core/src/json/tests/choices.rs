//! Columns that choose: the first place with a value, constants, meanings, values from outside of the record.

use std::collections::BTreeMap;

use super::*;
use crate::ErrorKind;
use crate::json::Parse;

fn one(stream: StreamSpec) -> RecordReader {
    reader(stream.key(["id"]))
}

fn given(pairs: [(&str, &str); 1]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn refusal(reader: &RecordReader) -> String {
    let error = reader.check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    error.to_string()
}

#[test]
fn the_first_place_with_a_value_counts_whatever_their_order_in_the_record() {
    let reader = one(StreamSpec::new("s").text("v")).first_of("v", ["/a", "/b/c", "/b"]).null_if("v", ["-"]);
    let body = r#"[
        {"id":1,"b":"3","a":"1"}, {"id":2,"b":{"c":"2"},"a":null}, {"id":3,"b":"3","a":"-"},
        {"id":4,"b":{"c":"-"}}, {"id":5}, {"a":{"x":1},"id":6,"b":"3"}
    ]"#;
    let page = read(&reader, body);
    assert_eq!(texts(&page), [["1", "1"], ["2", "2"], ["3", "3"], ["null", "5"]]);
    let nested = "column \"v\": nested data where a single value is declared";
    assert_eq!(reasons(&page), [nested, nested], "an object that is chosen is refused, and never passed over");
}

#[test]
fn a_place_to_choose_from_may_be_another_column_of_its_own() {
    let reader = one(StreamSpec::new("s").text("name").text("v")).first_of("v", ["/nick", "/name", ""]);
    let page = read(&reader, r#"[{"id":1,"name":"a"},{"id":2,"name":"a","nick":"b"}]"#);
    assert_eq!(texts(&page), [["a", "a", "1"], ["a", "b", "2"]]);
}

#[test]
fn a_chosen_column_that_must_have_a_value_is_refused_without_one() {
    let reader = reader(StreamSpec::new("s").key(["id"])).first_of("id", ["/id", "/number"]);
    let page = read(&reader, r#"[{"number":7},{"id":null},{"id":8,"number":9}]"#);
    assert_eq!(texts(&page), [["7"], ["8"]]);
    assert_eq!(reasons(&page), ["column \"id\": no value where one is required"]);
    let twice = reader.read(br#"[{"number":7,"number":8}]"#, &Envelope::body()).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::Malformed);
}

#[test]
fn a_constant_stands_alone_or_in_for_what_is_not_there() {
    let stream = StreamSpec::new("s").text("network").decimal("rate", 6, 2).bool("live").timestamp("at");
    let reader = one(stream)
        .constant("network", "boostiny")
        .column("rate", "/r")
        .constant("rate", 1.5)
        .constant("live", true)
        .constant("at", "2026-01-01T00:00:00Z")
        .parse("at", Parse::EpochSeconds);
    let page = read(&reader, r#"[{"id":1,"network":"other","live":false},{"id":2,"r":"2.25","at":7}]"#);
    let at = "2026-01-01T00:00:00.000000Z";
    assert_eq!(texts(&page), [["boostiny", "1.5", "true", at, "1"], ["boostiny", "2.25", "true", at, "2"]]);
}

#[test]
fn meanings_are_looked_up_by_the_cleaned_text_and_numbers_by_theirs() {
    let stream = StreamSpec::new("s").text("state").bool("live").int("rank");
    let reader = one(stream)
        .trim("state")
        .lower("state")
        .null_if("state", [""])
        .map("state", [("approved", "ok"), ("1", "ok"), ("true", "ok")], Some("unknown"))
        .map("live", [("A", "true"), ("P", "no")], None)
        .map("rank", [("high", "3")], Some("0"));
    let page = read(
        &reader,
        r#"[{"id":1,"state":" APPROVED ","live":"A","rank":"high"},{"id":2,"state":1,"live":"P","rank":9},
            {"id":3,"state":true},{"id":4,"state":"x"},{"id":5,"state":" "},{"id":6,"live":"X"}]"#,
    );
    assert_eq!(
        texts(&page),
        [
            ["ok", "true", "3", "1"],
            ["ok", "false", "0", "2"],
            ["ok", "null", "null", "3"],
            ["unknown", "null", "null", "4"],
            ["null", "null", "null", "5"],
        ]
    );
    let unknown = "column \"live\": a value that its map does not list, and no default is declared";
    assert_eq!(reasons(&page), [unknown]);
}

#[test]
fn values_given_with_the_read_reach_rows_keys_and_rejected_records() {
    let stream = StreamSpec::new("s").text("account").int("n").key(["account", "id"]);
    let reader = reader(stream).column("account", "{account}");
    let given = given([("account", "a\"1")]);
    let page = reader.read_with(br#"[{"id":1,"n":1},{"id":2,"n":"x"}]"#, &Envelope::body(), &given).unwrap();
    assert_eq!(texts(&page), [["a\"1", "1", "1"]]);
    let reject = &page.rejects[0];
    assert_eq!(reject.key, Some(crate::Key::new([crate::Value::from("a\"1"), crate::Value::Int(2)])));
    assert_eq!(&*reject.body, br#"{"record":{"id":2,"n":"x"},"outer":{"{account}":"a\"1"}}"#);

    let mended = std::str::from_utf8(&reject.body).unwrap().replace("\"x\"", "5");
    let rows = reader.record(mended.as_bytes()).unwrap();
    assert_eq!(rows.row(0).values().map(|value| value.to_string()).collect::<Vec<_>>(), ["a\"1", "5", "2"]);
}

#[test]
fn a_value_that_is_not_given_is_none() {
    let reader = one(StreamSpec::new("s").text("v")).first_of("v", ["{nobody}", "/v"]);
    assert_eq!(texts(&read(&reader, r#"[{"id":1,"v":"own"},{"id":2}]"#)), [["own", "1"], ["null", "2"]]);
}

#[test]
fn lines_take_outer_values_too() {
    let reader = one(StreamSpec::new("s").text("account")).column("account", "{account}");
    let page = reader.read_with(b"{\"id\":1}\n{\"id\":2}\n", &Envelope::lines(), &given([("account", "a")])).unwrap();
    assert_eq!(texts(&page), [["a", "1"], ["a", "2"]]);
}

#[test]
fn what_cannot_work_is_refused_by_the_name_of_its_column() {
    let stream = || StreamSpec::new("s").text("v").int("n").bool("b").json("j");
    let cases = [
        one(stream()).first_of("v", ["a"]),
        one(stream()).first_of::<[&str; 0]>("v", []),
        one(stream()).column("v", "{account"),
        one(stream()).constant("n", "many"),
        one(stream()).constant("v", serde_json::Value::Null),
        one(stream()).map("b", [("a", "perhaps")], None),
        one(stream()).map("n", [("a", "1")], Some("unknown")),
        one(stream()).map("j", [("a", "1")], None),
        one(stream()).upper("n"),
    ];
    let names = ["v", "v", "v", "n", "v", "b", "n", "j", "n"];
    for (reader, name) in cases.iter().zip(names) {
        let refusal = refusal(reader);
        assert!(refusal.contains(&format!("column {name:?}")), "{refusal}");
    }
}
