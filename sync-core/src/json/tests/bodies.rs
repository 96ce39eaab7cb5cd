//! Envelopes, and bodies that are broken: the HTTP part of the fault catalogue.

use super::*;
use crate::model::{Key, Value};
use crate::{Error, ErrorKind, Retry};

fn people() -> RecordReader {
    reader(StreamSpec::new("people").key(["id"]).text("name"))
}

fn ids(page: &Page) -> Vec<i64> {
    page.rows.iter().map(|row| row.at(0).as_i64().unwrap()).collect()
}

fn fails(body: impl AsRef<[u8]>, envelope: &Envelope) -> Error {
    people().read(body.as_ref(), envelope).unwrap_err()
}

#[test]
fn records_are_found_at_the_first_place_that_holds_some() {
    let envelope = Envelope::at(["/data/rows", "/offers", ""]).also(["/meta/next", "/meta/total", "/nothing"]);
    for (body, expected) in [
        (r#"{"meta":{"next":"c","total":7},"data":{"rows":[{"id":1}]},"offers":[{"id":2},{"id":3}]}"#, vec![1]),
        (r#"{"offers":[{"id":2},{"id":3}],"data":{"rows":[{"id":1}]},"meta":{"total":7,"next":"c"}}"#, vec![1]),
        (r#"{"offers":[{"id":2}],"data":{"rows":null},"meta":{"total":7,"next":"c"}}"#, vec![2]),
    ] {
        let page = people().read(body.as_bytes(), &envelope).unwrap();
        assert_eq!((ids(&page), page.found), (expected, true));
        assert_eq!(page.extras, [Some(Value::from("c")), Some(Value::Int(7)), None]);
    }
    let bare = people().read(br#"[{"id":9}]"#, &envelope).unwrap();
    assert_eq!((ids(&bare), bare.extras), (vec![9], vec![None, None, None]));
}

#[test]
fn a_place_that_is_missing_differs_from_an_empty_one() {
    let envelope = Envelope::at(["/data"]);
    let found = |body: &str| people().read(body.as_bytes(), &envelope).map(|page| (page.found, page.records)).unwrap();
    assert_eq!(found(r#"{"data":[]}"#), (true, 0));
    assert_eq!(found(r#"{"data":null}"#), (true, 0));
    assert_eq!(found(r#"{"error":"x"}"#), (false, 0));
    assert_eq!(found(r#"{"data":""}"#), (false, 0));
    assert_eq!(found(r#""down for maintenance""#), (false, 0));
}

#[test]
fn records_may_be_the_values_of_an_object_and_each_may_be_wrapped() {
    let body = r#"{"data":{"2001":{"Offer":{"id":2001,"name":"a"}},"2002":{"Offer":{"id":2002}}},"page":1}"#;
    let envelope = Envelope::at(["/data"]).keyed().wrapped("Offer").also(["/page"]);
    let page = people().read(body.as_bytes(), &envelope).unwrap();
    assert_eq!((ids(&page), page.extras), (vec![2001, 2002], vec![Some(Value::Int(1))]));

    let body = r#"{"data":{"1":{"Offer":{"id":"x","name":"a"}},"2":{},"3":{"Offer":{"id":3}}}}"#;
    let page = people().read(body.as_bytes(), &Envelope::at(["/data"]).keyed().wrapped("Offer")).unwrap();
    assert_eq!(ids(&page), [3]);
    assert_eq!(reasons(&page), ["column \"id\": not an integer", "the record has no member \"Offer\""]);
    assert_eq!(&*page.rejects[0].body, br#"{"id":"x","name":"a"}"#, "what can be replayed alone");
}

#[test]
fn extras_may_stand_inside_of_the_records_and_stay_exact() {
    let body = r#"{"data":[{"id":1},{"id":2}],"sum":1.10,"big":18446744073709551615,"list":[ 1, 2 ],"off":false}"#;
    let envelope = Envelope::at(["/data"]).also(["/data/1/id", "/sum", "/big", "/list", "/off", "/list/1", ""]);
    let page = people().read(body.as_bytes(), &envelope).unwrap();
    assert_eq!(ids(&page), [1, 2]);
    let texts: Vec<_> = page.extras.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(texts[..6], ["2", "1.10", "18446744073709551615", "[1,2]", "false", "2"]);
    assert_eq!(texts[6].len(), body.len() - 3, "the whole body, without its blanks");
}

#[test]
fn extras_beside_and_inside_of_a_body_that_may_itself_be_the_records_are_found() {
    let envelope = Envelope::at(["/data", ""]).also(["/0/id", "/error", "/data/0/id"]);
    let extras = |body: &str| {
        let page = people().read(body.as_bytes(), &envelope).unwrap();
        (page.records, page.extras.into_iter().map(|extra| extra.map(|value| value.to_string())).collect::<Vec<_>>())
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(extras(r#"[{"id":5},{"id":6}]"#), (2, vec![some("5"), None, None]));
    assert_eq!(extras(r#"{"error":"x","data":[{"id":7}]}"#), (1, vec![None, some("x"), some("7")]));
    let keyed = Envelope::body().keyed().also(["/a/id"]);
    let page = people().read(br#"{"a":{"id":1},"b":{"id":2}}"#, &keyed).unwrap();
    assert_eq!((ids(&page), page.extras), (vec![1, 2], vec![Some(Value::Int(1))]));
}

#[test]
fn json_lines_are_one_record_a_line() {
    let body = "\u{feff}{\"id\":1}\r\n\n  {\"id\":2,\"name\":\"a\\nb\"}\n{\"id\":3}";
    let page = people().read(body.as_bytes(), &Envelope::lines()).unwrap();
    assert_eq!((ids(&page), page.found, page.records), (vec![1, 2, 3], true, 3));
    assert_eq!(people().read(b"", &Envelope::lines()).unwrap().records, 0);
}

#[test]
fn a_byte_order_mark_is_no_fault() {
    assert_eq!(ids(&read(&people(), "\u{feff}[{\"id\":1}]")), [1]);
}

#[test]
fn broken_json_is_malformed_with_its_place_and_a_sample_without_values() {
    let error = fails("{\"data\":[{\"id\":1,\"name\":\"Jane Doe\"},\n{\"id\":47110815,,}]}", &Envelope::at(["/data"]));
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Malformed, Retry::Never));
    let text = error.to_string();
    assert!(
        text.contains("stream: people")
            && text.contains("line: 2")
            && text.contains("byte: 52")
            && text.contains("\"name\":\"…\""),
        "{text}"
    );
    assert!(!text.contains("Jane") && !text.contains("4711"), "{text}");
    let sample = error.context().find(|(key, _)| *key == "sample").unwrap().1;
    assert!(sample.len() <= 200);
}

#[test]
fn what_follows_the_body_is_malformed_too() {
    assert_eq!(fails("[{\"id\":1}] x", &Envelope::body()).retry(), Retry::Never);
    assert_eq!(fails("<!DOCTYPE html><p>Log in", &Envelope::body()).kind(), ErrorKind::Malformed);
}

#[test]
fn a_body_cut_anywhere_is_told_apart_so_that_it_can_be_asked_for_again() {
    let body = r#"{"data":[{"id":10,"name":"é\u00e9\n"},{"id":-2.5e1,"x":[true,null]}],"total":20}"#;
    let envelope = Envelope::at(["/data"]).also(["/total"]);
    people().read(body.as_bytes(), &envelope).unwrap();
    for end in 0..body.len() {
        let error = fails(&body.as_bytes()[..end], &envelope);
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Malformed, Retry::Backoff), "cut at {end}: {error}");
    }
}

#[test]
fn a_member_that_stands_twice_is_malformed_where_it_is_wanted_and_skipped_elsewhere() {
    let envelope = Envelope::at(["/data"]).also(["/next"]);
    for body in [
        r#"{"data":[{"id":1,"name":"a","id":2}]}"#,
        r#"{"data":[{"id":1,"n\u0061me":"a","name":"b"}]}"#,
        r#"{"data":[{"id":1}],"data":[]}"#,
        r#"{"next":1,"data":[],"next":2}"#,
    ] {
        let error = fails(body, &envelope);
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Malformed, Retry::Never));
        assert!(error.to_string().contains("twice"), "{error}");
    }
    let page = people().read(br#"{"a":1,"data":[{"id":1,"x":1,"x":2}],"a":2}"#, &envelope).unwrap();
    assert_eq!(ids(&page), [1]);
    let twice = fails(r#"[{"p":{"id":1},"p":{"id":2}}]"#, &Envelope::body().wrapped("p"));
    assert!(twice.to_string().contains("twice"));
}

#[test]
fn nesting_beyond_64_levels_is_malformed_wherever_it_is() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let envelope = Envelope::at(["/data"]).also(["/next"]);
    let at = |levels: usize| {
        [
            format!("{{\"data\":[{{\"id\":1,\"x\":{}}}]}}", deep(levels - 3)),
            format!("{{\"data\":[{{\"id\":1,\"name\":{}}}]}}", deep(levels - 3)),
            format!("{{\"data\":[{}]}}", deep(levels - 2)),
            format!("{{\"data\":[],\"y\":{}}}", deep(levels - 1)),
            format!("{{\"data\":[],\"next\":{}}}", deep(levels - 1)),
            deep(levels),
        ]
    };
    for body in at(64) {
        assert!(people().read(body.as_bytes(), &envelope).is_ok(), "{body}");
    }
    for body in at(65).into_iter().chain(at(100_000)) {
        let error = people().read(body.as_bytes(), &envelope).unwrap_err();
        assert!(error.kind() == ErrorKind::Malformed && error.to_string().contains("64 levels"), "{error}");
    }
}

#[test]
fn bytes_that_are_not_utf8_spoil_an_array_but_only_one_of_the_lines() {
    let body = b"[{\"id\":1},\n{\"id\":2,\"other\":\"\xff\"}]";
    let error = fails(body, &Envelope::body());
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Malformed, Retry::Never));
    assert!(error.to_string().contains("line: 2"), "{error}");

    let page = people().read(b"{\"id\":1}\n{\"id\":2,\"name\":\"\xff\"}\n{\"id\":3}\n", &Envelope::lines()).unwrap();
    assert_eq!((ids(&page), reasons(&page)), (vec![1, 3], vec!["the record is not valid UTF-8"]));
    assert_eq!(&*page.rejects[0].body, b"{\"id\":2,\"name\":\"\xff\"}");
}

#[test]
fn a_broken_line_is_malformed_and_only_the_last_can_have_been_cut_off() {
    let error = fails("{\"id\":1}\n{\"id\":\n{\"id\":3}\n", &Envelope::lines());
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Malformed, Retry::Never));
    let cut = fails("{\"id\":1}\n{\"id\":2,\"na", &Envelope::lines());
    assert_eq!((cut.kind(), cut.retry()), (ErrorKind::Malformed, Retry::Backoff));
}

#[test]
fn half_a_surrogate_pair_costs_one_record() {
    let body = r#"[{"id":1,"name":"\ud83d\ude00"},{"id":2,"name":"\ud83d"},{"id":3,"\ud83d":1},{"id":4,"x":"\ud83d"}]"#;
    let page = read(&people(), body);
    assert_eq!(ids(&page), [1, 4], "what is not wanted is not looked at");
    assert_eq!(page.rows.row(0).at(1).as_str(), Some("😀"));
    assert!(reasons(&page)[0].starts_with("column \"name\": text with an escape that is no character"));
    assert_eq!(page.rejects[0].key, Some(Key::new([2_i64])));
}

#[test]
fn a_missing_key_costs_one_record_unless_all_lack_it() {
    let page = read(&people(), r#"[{"id":1},{"name":"x"},{"id":null}]"#);
    assert_eq!(ids(&page), [1]);
    assert_eq!(reasons(&page), ["missing key column: id", "column \"id\": no value where one is required"]);
    assert!(page.rejects.iter().all(|reject| reject.key.is_none()));

    let error = fails(r#"[{"name":"x"},{"ID":1}]"#, &Envelope::body());
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("missing key column: id"), "{error}");
    assert_eq!(read(&people(), "[]").records, 0);
}

#[test]
fn a_record_that_is_no_object_costs_itself_alone() {
    let page = read(&people(), r#"[{"id":1},null,7,"x",[1],true,1.5,{"id":2}]"#);
    assert_eq!((ids(&page), page.rejects.len(), page.records), (vec![1, 2], 6, 8));
    assert!(reasons(&page).iter().all(|reason| *reason == "the record is not an object"));
}

#[test]
fn a_rejected_record_can_be_read_again_with_a_better_declaration() {
    let page = read(&people(), "[{\"id\":1},\n { \"id\" : \"A-7\",\n \"name\":\"x\"}]");
    let body = &page.rejects[0].body;
    let error = people().record(body).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Data, "column \"id\": not an integer"));
    let rows = reader(StreamSpec::new("people").key(["id"]).text("id").text("name")).record(body).unwrap();
    assert_eq!(rows.row(0).at(0).as_str(), Some("A-7"));
    assert_eq!(people().record(b"{").unwrap_err().kind(), ErrorKind::Malformed);
}

#[test]
fn errors_and_reasons_never_hold_a_value() {
    let secret = "4111111111111111s3cr3t";
    let stream =
        StreamSpec::new("s").key(["id"]).bool("b").float("f").decimal("d", 5, 2).timestamp("t").date("y").bytes("x");
    for column in ["id", "b", "f", "d", "t", "y", "x"] {
        let body = format!("[{{\"id\":1,\"{column}\":\"{secret}\"}}]").replacen("\"id\":1,\"id\"", "\"id\"", 1);
        let page = read(&reader(stream.clone()), &body);
        assert_eq!(page.rejects.len(), 1, "{column}");
        assert!(reasons(&page)[0].contains(&format!("{column:?}")) && !reasons(&page)[0].contains("4111"));
    }
}
