//! Columns that are not simply a member of the record.

use serde_json::{Value as Json, json};
use sync_core::json::Parse;
use sync_core::model::Partition;
use sync_core::source::Reading;
use sync_core::{Boundary, ErrorKind, Source as _, StreamSpec, Value};
use sync_rest::{Case, Endpoint, Rest, Transform, get};

use crate::server::{Outcome, Reply, Server, read, read_as};

async fn page(records: Json, spec: &StreamSpec, endpoint: Endpoint) -> Outcome {
    let server = Server::start(move |_| Reply::json(&records)).await;
    read(&server.source(spec, endpoint), None).await
}

fn texts(outcome: &Outcome, column: &str) -> Vec<String> {
    outcome.column(column).iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_column_is_chosen_cleaned_and_looked_up() {
    let spec = StreamSpec::new("sales").key(["id"]).text("code").text("status").text("network").text("currency");
    let endpoint = get("/sales")
        .transform("code", Transform::first_of(["/code", "/coupon/code"]).null_if(["N/A", "-"]).case(Case::Upper))
        .transform("status", Transform::map([("A", "approved"), ("1", "paid")]).otherwise("unknown"))
        .transform("network", Transform::constant("boostiny"))
        .transform("currency", Transform::trim().null_if([""]).or("USD"))
        .column("currency", "/cur");
    let records = json!([
        {"id": 1, "code": "abc", "status": "A", "network": "x", "cur": " SAR "},
        {"id": 2, "code": "-", "coupon": {"code": "de"}, "status": 1, "cur": "  "},
        {"id": 3, "code": null, "coupon": {"code": "N/A"}, "status": "odd"},
    ]);
    let outcome = page(records, &spec, endpoint).await.good();
    assert_eq!(texts(&outcome, "code"), ["ABC", "DE", "null"]);
    assert_eq!(texts(&outcome, "status"), ["approved", "paid", "unknown"]);
    assert_eq!(texts(&outcome, "network"), ["boostiny"; 3]);
    assert_eq!(texts(&outcome, "currency"), ["SAR", "USD", "USD"]);
}

#[tokio::test]
async fn flags_separated_numbers_and_placeholder_dates_are_read() {
    let spec = StreamSpec::new("sales").key(["id"]).bool("paid").decimal("de", 12, 2).decimal("us", 12, 2).date("day");
    let endpoint = get("/sales")
        .parse("paid", Parse::Flag)
        .parse("de", Parse::Number { thousands: '.', point: ',' })
        .parse("us", Parse::Number { thousands: ',', point: '.' })
        .transform("day", Transform::default().null_if(["0000-00-00"]));
    let records = json!([
        {"id": 1, "paid": "y", "de": "1.018,20", "us": "44,920.00", "day": "2026-03-01"},
        {"id": 2, "paid": 0, "de": "-0,5", "us": 7.25, "day": "0000-00-00"},
        {"id": 3, "paid": "true", "de": "12", "us": "1", "day": null},
    ]);
    let outcome = page(records, &spec, endpoint).await.good();
    assert_eq!(outcome.column("paid"), [Value::Bool(true), Value::Bool(false), Value::Bool(true)]);
    assert_eq!(texts(&outcome, "de"), ["1018.20", "-0.5", "12"]);
    assert_eq!(texts(&outcome, "us"), ["44920.00", "7.25", "1"]);
    assert_eq!(texts(&outcome, "day"), ["2026-03-01", "null", "null"]);
}

#[tokio::test]
async fn a_text_that_no_map_lists_costs_its_row_and_is_not_repeated() {
    let spec = StreamSpec::new("sales").key(["id"]).text("status");
    let endpoint = get("/sales").transform("status", Transform::map([("A", "approved")]));
    let outcome = page(json!([{"id": 1, "status": "A"}, {"id": 2, "status": "hush"}]), &spec, endpoint).await.good();
    assert_eq!(outcome.ids(), [1]);
    let reason = &outcome.batches[0].rejects[0].reason;
    assert!(reason.contains("\"status\"") && !reason.contains("hush"), "{reason}");
}

#[tokio::test]
async fn a_variable_of_the_partition_is_part_of_the_key_and_of_rejected_records() {
    let server = Server::start(|request| Reply::json(&json!([{"id": 1}, {"id": request.path.len(), "n": "x"}]))).await;
    let spec = StreamSpec::new("sales").text("account").int("n").key(["account", "id"]);
    let endpoint = get("/a/{account}")
        .column("account", "{account}")
        .partition("one", [("account", "11")])
        .partition("two", [("account", "222")]);
    let source = server.source(&spec, endpoint);
    for (partition, account, id) in [("one", "11", 5_i64), ("two", "222", 6)] {
        let outcome = read_as(&source, Partition::new(partition), None, Reading::Changes).await.good();
        assert!(matches!(outcome.batches[0].boundary, Boundary::Resume(_)));
        assert_eq!(outcome.column("account"), [Value::from(account)]);
        let reject = &outcome.batches[0].rejects[0];
        assert_eq!(reject.key, Some(sync_core::Key::new([Value::from(account), Value::Int(id)])));
        let mended = String::from_utf8(reject.body.to_vec()).unwrap().replace("\"x\"", "3");
        let rows = source.revive(&spec, mended.as_bytes()).unwrap();
        assert_eq!(rows.row(0).named("account").unwrap().to_owned(), Value::from(account), "it knows its account");
    }
}

#[test]
fn a_wrong_declaration_is_refused_by_the_name_of_its_column() {
    let spec = StreamSpec::new("sales").key(["id"]).text("status").int("n").json("tags");
    let build = |endpoint: Endpoint| Rest::at("https://a.example").stream(&spec, endpoint).build().unwrap_err();
    let mut without_split = Transform::part(".", 1);
    without_split.split = None;
    let cases = [
        (get("/s").transform("nope", Transform::trim()), "nope"),
        (get("/s").transform("status", Transform::first_of(["status"])), "status"),
        (get("/s").column("status", "/a").transform("status", Transform::first_of(["/b"])), "first_of"),
        (get("/s").transform("status", Transform::trim().otherwise("x")), "status"),
        (get("/s").transform("n", Transform::constant("many")), "\"n\""),
        (get("/s").transform("n", Transform::map([("a", "b")])), "\"n\""),
        (get("/s").column("status", "{account}"), "{account}"),
        (get("/s").transform("status", Transform::split(",")), "`part`"),
        (get("/s").transform("tags", Transform::part(",", 0)), "\"tags\""),
        (get("/s").transform("tags", Transform::split("")), "`split`"),
        (get("/s").transform("status", without_split), "`split`"),
        (get("/s").transform("n", Transform::hash_of(["/a"])), "declare the column as text"),
        (get("/s").transform("status", Transform::hash_of(["/a", "{account}"])), "{account}"),
        (get("/s").transform("status", Transform::look_up("list", "/key", "x", "/value")), "\"/list\""),
        (get("/s").transform("status", Transform::first_of(["/a", "{account}"])), "{account}"),
    ];
    for (endpoint, name) in cases {
        let error = build(endpoint);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(name), "{name} is not named: {error}");
    }
    let toml = "base = \"https://a.example\"\n[streams.sales]\npath = \"/s\"\n";
    let unnamed = format!("{toml}transforms = {{ status = {{ look_up = {{ list = \"/parameters\" }} }} }}\n");
    let error = Rest::from_toml(&unnamed, [spec.clone()]).unwrap_err();
    assert!(error.to_string().contains("`name`"), "{error}");
    let typo = format!("{toml}transforms = {{ status = {{ triim = true }} }}\n");
    let error = Rest::from_toml(&typo, [spec.clone()]).unwrap_err();
    assert!(error.to_string().contains("triim"), "{error}");
}
