//! Records inside of records, and records that are no rows.

use serde_json::{Value as Json, json};
use sync_core::source::Reading;
use sync_core::{ErrorKind, Key, Retry, Source as _, StreamSpec, Value};
use sync_rest::{DropConfig, Endpoint, Rest, Style, Transform, get};

use crate::reading::orders;
use crate::server::{Outcome, Reply, Server, read, read_as};

fn coupons() -> StreamSpec {
    StreamSpec::new("coupons").int("campaign_id").text("campaign").text("code").key(["campaign_id", "code"])
}

fn campaigns() -> Endpoint {
    get("/publisher/campaigns")
        .records("/payload/data")
        .explode("/coupons")
        .column("campaign_id", "^/id")
        .column("campaign", "^/name")
        .column("code", "/coupon")
}

async fn page(body: Json, spec: &StreamSpec, endpoint: Endpoint) -> Outcome {
    let server = Server::start(move |_| Reply::json(&body)).await;
    read(&server.source(spec, endpoint), None).await
}

fn texts(outcome: &Outcome, column: &str) -> Vec<String> {
    outcome.column(column).iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn the_coupons_of_campaigns_come_with_what_their_campaign_says() {
    let body = json!({"payload": {"data": [
        {"id": 1, "name": "Souk", "coupons": [{"coupon": "A"}, {"coupon": "B", "countries": ["SA"]}]},
        {"id": 2, "name": "Links", "coupons": []},
        {"id": 3, "name": "Null", "coupons": null},
        {"id": 4, "name": "None"},
        {"coupons": [{"coupon": "C"}], "name": "After", "id": 5},
    ]}});
    let outcome = page(body, &coupons(), campaigns()).await.good();
    assert_eq!(texts(&outcome, "campaign_id"), ["1", "1", "5"]);
    assert_eq!(texts(&outcome, "campaign"), ["Souk", "Souk", "After"]);
    assert_eq!(texts(&outcome, "code"), ["A", "B", "C"]);
    assert!(outcome.batches[0].rejects.is_empty());
}

#[tokio::test]
async fn a_bad_child_is_lost_alone_and_can_be_read_again_alone() {
    let body = json!({"payload": {"data": [
        {"id": 1, "name": "a", "coupons": [{"coupon": "A", "n": 1}, {"coupon": "B", "n": "x"}, {"coupon": "C"}]},
        {"id": 2, "name": "b", "coupons": {"coupon": "D"}},
        {"id": 3, "name": "c", "coupons": [{"coupon": "E"}]},
    ]}});
    let spec = coupons().int("n");
    let server = Server::start(move |_| Reply::json(&body)).await;
    let source = server.source(&spec, campaigns());
    let outcome = read(&source, None).await.good();
    assert_eq!(texts(&outcome, "code"), ["A", "C", "E"]);
    let [child, parent] = outcome.batches[0].rejects.as_slice() else { panic!("{outcome:?}") };
    assert_eq!(child.key, Some(Key::new([Value::Int(1), Value::from("B")])));
    assert!(parent.reason.contains("no array at \"/coupons\""), "{}", parent.reason);

    let mended = String::from_utf8(child.body.to_vec()).unwrap().replace("\"x\"", "7");
    let rows = source.revive(&spec, mended.as_bytes()).unwrap();
    let values: Vec<String> = rows.row(0).values().map(|value| value.to_string()).collect();
    assert_eq!(values, ["1", "a", "B", "7"]);
    let whole = br#"{"id":2,"name":"b","coupons":[{"coupon":"D"},{"coupon":"F"}]}"#;
    assert_eq!(source.revive(&spec, whole).unwrap().len(), 2, "a parent gives all its rows");
}

#[tokio::test]
async fn children_may_be_plain_values_and_parents_may_stand_in_for_them() {
    let spec = StreamSpec::new("countries").int("id").text("country").text("currency").key(["id", "country"]);
    let endpoint = get("/offers")
        .explode("/geo/countries")
        .column("id", "^/id")
        .column("country", "")
        .transform("currency", Transform::first_of(["^/cur", "^/geo/cur"]).or("USD"));
    let body = json!([
        {"id": 1, "geo": {"countries": ["SA", "AE"], "cur": "SAR"}},
        {"id": 2, "cur": "EUR", "geo": {"countries": ["KW"]}},
        {"id": 3, "geo": {"countries": ["QA"]}},
    ]);
    let outcome = page(body, &spec, endpoint).await.good();
    assert_eq!(texts(&outcome, "country"), ["SA", "AE", "KW", "QA"]);
    assert_eq!(texts(&outcome, "currency"), ["SAR", "SAR", "EUR", "USD"]);
}

/// Campaigns 1 to 5, two on a page; those of even number have three coupons, the others none.
fn paged(request: &crate::server::Request) -> Reply {
    let page = request.number("page").unwrap_or(1);
    let campaign = |id: usize| {
        let coupons: Vec<_> =
            (0..3).filter(|_| id.is_multiple_of(2)).map(|n| json!({"coupon": format!("{id}-{n}")})).collect();
        json!({"id": id, "name": "x", "coupons": coupons})
    };
    let rows: Vec<_> = (page * 2 - 1..=page * 2).filter(|id| *id <= 5).map(campaign).collect();
    Reply::json(&json!({"payload": {"data": rows, "pagination": {"total": 5, "perPage": 2}}}))
}

#[tokio::test]
async fn pages_and_totals_count_the_parents() {
    let server = Server::start(paged).await;
    let endpoint = campaigns().page("page").size("limit", 2).total("/payload/pagination/total");
    let source = server.source(&coupons(), endpoint);
    let outcome = read_as(&source, Default::default(), None, Reading::Listing).await.good();
    assert_eq!(texts(&outcome, "code"), ["2-0", "2-1", "2-2", "4-0", "4-1", "4-2"]);
    assert_eq!((server.count(), outcome.complete()), (3 + 2, Some(true)), "three pages, and all but the last again");
}

#[tokio::test]
async fn a_parent_that_comes_twice_does_not_prove_one_that_never_came() {
    // While we read, campaign 4 moved to the first page, and 2 to the second: 4 never came.
    let server = Server::start(|request| {
        let page = request.number("page").unwrap_or(1);
        let ids: &[i64] = if page == 1 { &[1, 2] } else { &[2, 3] };
        let rows: Vec<_> = ids
            .iter()
            .map(|id| json!({"id": id, "name": "x", "coupons": [{"coupon": "A"}, {"coupon": "B"}]}))
            .collect();
        Reply::json(&json!({"payload": {"data": rows, "total": 4}}))
    })
    .await;
    let source = server.source(&coupons(), campaigns().page("page").size("limit", 2).total("/payload/total"));
    let outcome = read_as(&source, Default::default(), None, Reading::Listing).await.good();
    assert_eq!((server.count(), outcome.complete()), (2, Some(false)));
}

#[tokio::test]
async fn rows_of_sums_are_dropped_before_they_are_read() {
    let endpoint = get("/performance")
        .records("/data")
        .drop_if(DropConfig::equals("/report_type", ["summary"]))
        .drop_if(DropConfig::present("/totals/orders"))
        .drop_if(DropConfig::absent("/campaign"))
        .drop_if(DropConfig::equals("/kind", [9]));
    let body = json!({"data": [
        {"id": 1, "campaign": "a", "totals": {"orders": null}, "kind": 1, "report_type": "row"},
        {"report_type": "summary", "campaign": "a"},
        {"id": "sum", "campaign": "a", "totals": {"orders": 7}},
        {"id": "sum", "campaign": null},
        {"id": "sum", "campaign": "a", "kind": 9},
        {"id": 2, "campaign": "b", "kind": "9 "},
        {"id": "bad", "campaign": "b"},
    ]});
    let outcome = page(body, &orders(), endpoint).await.good();
    assert_eq!(outcome.ids(), [1, 2]);
    assert_eq!(outcome.batches[0].rejects.len(), 1, "what is no row of sums is not dropped");
}

#[tokio::test]
async fn children_and_whole_parents_are_dropped() {
    let endpoint =
        campaigns().drop_if(DropConfig::equals("^/kind", ["link"])).drop_if(DropConfig::equals("/status", ["expired"]));
    let body = json!({"payload": {"data": [
        {"id": 1, "kind": "coupon", "coupons": [{"coupon": "A"}, {"coupon": "B", "status": "expired"}]},
        {"id": 2, "kind": "link", "coupons": [{"coupon": "C"}]},
    ]}});
    let outcome = page(body, &coupons(), endpoint).await.good();
    assert_eq!(texts(&outcome, "code"), ["A"]);
}

#[tokio::test]
async fn dropped_records_fill_a_page_and_count_for_no_total() {
    // Ten rows, three on a page, the last of each page being its sum.
    let reply = |request: &crate::server::Request, total: Option<u64>| {
        let from = request.number("offset").or(request.number("page").map(|page| (page - 1) * 2)).unwrap_or(0) as u64;
        let mut rows: Vec<_> = (from + 1..=10).take(2).map(|id| json!({"id": id})).collect();
        if !rows.is_empty() {
            rows.push(json!({"sum": 3}));
        }
        Reply::json(&json!({"data": rows, "total": total}))
    };
    for total in [None, Some(10)] {
        for style in [Style::Page, Style::Offset] {
            let server = Server::start(move |request| reply(request, total)).await;
            let endpoint = get("/o").records("/data").drop_if(DropConfig::present("/sum"));
            let mut endpoint = if style == Style::Page { endpoint.page("page") } else { endpoint.offset("offset") };
            endpoint.paging.total = total.map(|_| "/total".to_owned());
            let source = server.source(&orders(), endpoint);
            let outcome = read(&source, None).await.good();
            assert_eq!(outcome.ids(), (1..=10).collect::<Vec<i64>>(), "{style:?} {total:?}");
        }
    }
}

#[tokio::test]
async fn a_page_of_dropped_records_alone_is_not_the_end() {
    let server = Server::start(|request| match request.number("page").unwrap_or(1) {
        1 => Reply::json(&json!([{"id": 1}, {"test": true, "id": 2}])),
        2 => Reply::json(&json!([{"test": true, "id": 3}, {"test": true, "id": 4}])),
        3 => Reply::json(&json!([{"id": 5}])),
        _ => Reply::json(&json!([])),
    })
    .await;
    let endpoint = get("/o").page("page").size("limit", 2).drop_if(DropConfig::equals("/test", [true]));
    let outcome = read(&server.source(&orders(), endpoint), None).await.good();
    assert_eq!(outcome.ids(), [1, 5]);
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_a_cut_transfer_here_too() {
    let body = r#"{"payload":{"data":[{"id":1,"name":"a","coupons":[{"coupon":"A"}"#;
    let server = Server::start(move |_| Reply::body("application/json", body)).await;
    let outcome = read(&server.source(&coupons(), campaigns()), None).await;
    assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Malformed, Retry::Backoff));
    assert!(outcome.batches.is_empty());
}

#[test]
fn a_wrong_declaration_is_named() {
    let build = |endpoint: Endpoint| Rest::at("https://a.example").stream(&coupons(), endpoint).build().unwrap_err();
    let mut twice = DropConfig::present("/a");
    twice.equals = vec![json!(1)];
    let cases = [
        (get("/c").explode("coupons"), "`explode`"),
        (get("/c").explode(""), "`explode`"),
        (get("/c").column("campaign_id", "^/id"), "campaign_id"),
        (get("/c").explode("/c").column("code", "^id"), "code"),
        (get("/c").drop_if(DropConfig::present("a")), "`drop`"),
        (get("/c").drop_if(DropConfig::present("^/a")), "^/a"),
        (get("/c").drop_if(DropConfig::present("{a}")), "{a}"),
        (get("/c").drop_if(DropConfig::default()), "`drop`"),
        (get("/c").drop_if(DropConfig::equals("/a", [json!({})])), "`equals`"),
        (get("/c").drop_if(twice), "/a"),
    ];
    for (endpoint, name) in cases {
        let error = build(endpoint);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(name), "{name} is not named: {error}");
    }
}
