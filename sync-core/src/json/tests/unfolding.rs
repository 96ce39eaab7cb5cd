//! Records that are exploded or dropped before their columns are read.

use super::*;
use crate::ErrorKind;
use crate::json::When;

fn coupons() -> RecordReader {
    reader(StreamSpec::new("s").int("campaign").text("code").int("n").key(["campaign", "code"]))
        .explode("/coupons")
        .column("campaign", "^/id")
        .drop_if("/code", When::Equals(vec!["sum".to_owned()]))
        .drop_if("^/kind", When::Present)
}

const GOOD: &str = r#"{"id":1,"coupons":[{"code":"A"},{"code":"sum"},{"code":"B","n":2}]}"#;
const DROPPED: &str = r#"{"id":2,"kind":"x","coupons":[{"code":"C"}]}"#;
const BAD: &str = r#"{"id":3,"coupons":[{"code":"D","n":"x"},{"code":"E"}]}"#;

#[test]
fn a_page_counts_what_its_source_counts_whether_all_is_well_or_not() {
    for (body, rows, rejects) in [
        (format!("[{GOOD},{DROPPED},{GOOD}]"), vec!["1 A", "1 B", "1 A", "1 B"], 0),
        (format!("[{GOOD},{DROPPED},{BAD}]"), vec!["1 A", "1 B", "3 E"], 1),
    ] {
        let page = read(&coupons(), &body);
        let found: Vec<String> = texts(&page).iter().map(|row| format!("{} {}", row[0], row[1])).collect();
        assert_eq!(found, rows);
        assert_eq!(page.rejects.len(), rejects);
        assert_eq!((page.records, page.dropped, page.exploded.len()), (2, 1, 2));
        assert_eq!(page.exploded[0] == page.exploded[1], rejects == 0, "the same record has the same number");
    }
}

#[test]
fn lines_and_wrapped_records_of_objects_are_exploded_too() {
    let page = coupons().read(format!("{GOOD}\n{DROPPED}\n{BAD}\n").as_bytes(), &Envelope::lines()).unwrap();
    assert_eq!((page.rows.len(), page.rejects.len(), page.records, page.dropped), (3, 1, 2, 1));
    let body = format!(r#"{{"data":{{"7":{{"Offer":{GOOD}}},"8":{{"Offer":{BAD}}},"9":{{}}}}}}"#);
    let page = coupons().read(body.as_bytes(), &Envelope::at(["/data"]).keyed().wrapped("Offer")).unwrap();
    assert_eq!((page.rows.len(), page.rejects.len(), page.records), (3, 2, 3));
}

#[test]
fn children_without_a_key_column_at_all_are_a_schema_error_and_parents_without_children_are_none() {
    let none = read(&coupons(), r#"[{"id":1},{"id":2,"coupons":[]}]"#);
    assert_eq!((none.rows.len(), none.rejects.len(), none.records), (0, 0, 2));
    let error = coupons().read(br#"[{"id":1,"coupons":[{"x":1},{"x":2}]}]"#, &Envelope::body()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
}

#[test]
fn nesting_is_counted_from_the_outermost_bracket() {
    let body = |levels: usize| {
        format!(r#"[{{"id":1,"coupons":[{{"code":"A","x":{}{}}}]}}]"#, "[".repeat(levels), "]".repeat(levels))
    };
    assert_eq!(read(&coupons(), &body(60)).rows.len(), 1);
    let error = coupons().read(body(61).as_bytes(), &Envelope::body()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}
