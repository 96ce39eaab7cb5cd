//! Records that cannot be read as they stand.

use serde_json::json;
use sync_core::{ErrorKind, Retry, Source as _, StreamSpec, Value};
use sync_rest::get;

use crate::reading::orders;
use crate::server::{Outcome, Reply, Server, read};

async fn page(body: impl Into<Vec<u8>>, spec: &StreamSpec) -> Outcome {
    let body = body.into();
    let server = Server::start(move |_| Reply::body("application/json", body.clone())).await;
    read(&server.source(spec, get("/orders").records("/data")), None).await
}

#[tokio::test]
async fn a_document_that_is_not_json_stops_the_stream() {
    let deep = format!(r#"{{"data":[{{"id":1,"x":{}1{}}}]}}"#, "[".repeat(70), "]".repeat(70));
    let bodies: [&[u8]; 3] = [br#"{"data":[{"id":1}]} x"#, b"{\"data\":[{\"id\":1,\"n\":\"\xff\"}]}", deep.as_bytes()];
    for body in bodies {
        let outcome = page(body, &orders().text("n")).await;
        assert!(outcome.batches.is_empty());
        assert_eq!(
            (outcome.error().kind(), outcome.error().retry()),
            (ErrorKind::Malformed, Retry::Never),
            "{:?}",
            outcome.error()
        );
    }
}

#[tokio::test]
async fn a_document_that_ends_too_early_is_taken_for_a_cut_transfer() {
    let outcome = page(r#"{"data":[{"id":1}"#, &orders()).await;
    assert_eq!((outcome.error().retry(), outcome.batches.len()), (Retry::Backoff, 0));
}

#[tokio::test]
async fn a_field_that_stands_twice_stops_the_stream() {
    let outcome = page(r#"{"data":[{"id":1,"id":2}]}"#, &orders()).await;
    assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Malformed, Retry::Never));
}

#[tokio::test]
async fn half_a_character_costs_one_row() {
    let body = r#"{"data":[{"id":1,"n":"a"},{"id":2,"n":"\ud83d"},{"id":3,"n":"c"}]}"#;
    let outcome = page(body, &orders().text("n")).await.good();
    assert_eq!(outcome.ids(), [1, 3]);
    let reject = &outcome.batches[0].rejects[0];
    assert_eq!(&*reject.body, br#"{"id":2,"n":"\ud83d"}"#);
    assert_eq!(reject.key, Some(sync_core::Key::new([2_i64])));
}

#[tokio::test]
async fn a_rejected_record_is_read_again_with_the_same_declaration() {
    let spec = orders().text("n");
    let server = Server::start(|_| Reply::json(&json!([]))).await;
    let source = server.source(&spec, get("/orders").column("n", "/name"));
    let rows = source.revive(&spec, br#"{"id":2,"name":"b"}"#).unwrap();
    assert_eq!(rows.row(0).named("n").unwrap().to_owned(), Value::from("b"));
}

#[tokio::test]
async fn both_records_of_one_key_come_in_their_order() {
    let body =
        r#"{"data":[{"id":1,"updated_at":"2026-01-02T00:00:00Z"},{"id":1,"updated_at":"2026-01-01T00:00:00Z"}]}"#;
    let outcome = page(body, &orders()).await.good();
    assert_eq!(outcome.ids(), [1, 1], "which of them counts is for the engine to say, by version");
}

#[tokio::test]
async fn numbers_beyond_a_double_stay_exact() {
    let spec = StreamSpec::new("orders").key(["id"]).uint("u").decimal("d", 30, 10);
    let body = r#"{"data":[{"id":9007199254740993,"u":18446744073709551615,"d":12345678901234567.0123456789}]}"#;
    let outcome = page(body, &spec).await.good();
    assert_eq!(outcome.ids(), [9_007_199_254_740_993]);
    assert_eq!(outcome.column("u"), [Value::UInt(u64::MAX)]);
    assert_eq!(outcome.column("d")[0].to_string(), "12345678901234567.0123456789");
}

#[tokio::test]
async fn a_new_field_is_ignored_and_a_changed_kind_costs_its_rows() {
    let body = r#"{"data":[{"id":1,"n":1,"new":{"a":[1]}},{"id":2,"n":"many"}]}"#;
    let outcome = page(body, &orders().int("n")).await.good();
    assert_eq!((outcome.ids(), outcome.batches[0].rejects.len()), (vec![1], 1));
    let reason = &outcome.batches[0].rejects[0].reason;
    assert!(reason.contains("\"n\"") && !reason.contains("many"), "names the column, not the value: {reason}");
}

#[tokio::test]
async fn a_missing_key_column_stops_the_stream() {
    let outcome = page(r#"{"data":[{"number":1},{"number":2}]}"#, &orders()).await;
    assert_eq!(outcome.error().retry(), Retry::Never, "{:?}", outcome.error());
    assert!(matches!(outcome.error().kind(), ErrorKind::Schema | ErrorKind::Malformed));
}

#[tokio::test]
async fn success_without_records_is_no_success() {
    let body = r#"{"status":"error","message":"try later"}"#;
    let outcome = page(body, &orders()).await;
    assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Malformed, Retry::Backoff));
}

#[tokio::test]
async fn records_are_found_in_other_places_and_layouts() {
    let server = Server::start(|request| match request.path.as_str() {
        "/a" => Reply::json(&json!({"offers": [{"id": 1}]})),
        "/b" => Reply::json(&json!({"data": {"x": {"Offer": {"id": 1}}}})),
        _ => Reply::body("application/x-ndjson", "{\"id\":1}\n"),
    })
    .await;
    let mut keyed = get("/b").records("/data");
    keyed.layout = sync_core::json::Layout::Keyed;
    keyed.wrapper = Some("Offer".to_owned());
    let mut lines = get("/c");
    lines.layout = sync_core::json::Layout::Lines;
    for endpoint in [get("/a").records("/data").records("/offers"), keyed, lines] {
        assert_eq!(read(&server.source(&orders(), endpoint), None).await.good().ids(), [1]);
    }
}
