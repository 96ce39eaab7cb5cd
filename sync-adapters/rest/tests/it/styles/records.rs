//! Ways to answer: where records stand, and what is made of their values.

use serde_json::{Value as Json, json};
use sync_core::{StreamSpec, Value};

use super::declared;
use crate::server::{Outcome, Reply, Server};

async fn rows(body: Json, stream: &str, spec: StreamSpec) -> Outcome {
    let server = Server::start(move |_| Reply::json(&body)).await;
    declared(&server, &format!("[streams.rows]\npath = \"/rows\"\n{stream}"), spec, None).await.good()
}

async fn text_body(kind: &'static str, body: &'static str, stream: &str, spec: StreamSpec) -> Outcome {
    let server = Server::start(move |_| Reply::body(kind, body)).await;
    declared(&server, &format!("[streams.rows]\npath = \"/rows\"\n{stream}"), spec, None).await.good()
}

fn texts(outcome: &Outcome, column: &str) -> Vec<String> {
    outcome.column(column).iter().map(ToString::to_string).collect()
}

fn keyed() -> StreamSpec {
    StreamSpec::new("rows").key(["id"])
}

#[tokio::test]
async fn a_list_a_bare_list_alternatives_a_map_and_wrappers() {
    let one = json!([{"id": 1}, {"id": 2}]);
    let layouts = [
        (json!({"payload": {"data": one}}), r#"records = ["/payload/data"]"#),
        (one.clone(), ""),
        (json!({"offers": one}), r#"records = ["/data", "/offers"]"#),
        (json!({"transactions": one}), r#"records = ["", "/transactions"]"#),
        (one.clone(), r#"records = ["", "/transactions"]"#),
        (json!({"data": {"8": {"id": 1}, "9": {"id": 2}}}), "records = [\"/data\"]\nlayout = \"keyed\""),
        (json!({"c": [{"Offer": {"id": 1}}, {"Offer": {"id": 2}}]}), "records = [\"/c\"]\nwrapper = \"Offer\""),
    ];
    for (body, stream) in layouts {
        assert_eq!(rows(body, stream, keyed()).await.ids(), [1, 2], "{stream}");
    }
}

#[tokio::test]
async fn records_inside_of_records_with_fields_around_and_rows_of_sums_dropped() {
    let body = json!([
        {"id": 624, "name": "KSA", "coupons": [{"coupon": "A1", "countries": ["SA"]}, {"coupon": "A2", "countries": null}]},
        {"id": 625, "coupons": [], "report_type": "summary"},
        {"id": 626, "coupons": [{"coupon": "SUM", "report_type": "summary"}]},
    ]);
    let stream = r#"
        explode = "/coupons"
        columns = { campaign = "^/id", code = "/coupon" }
        drop = [{ pointer = "/report_type", equals = ["summary"] }]
    "#;
    let spec = StreamSpec::new("rows").int("campaign").text("code").json("countries").key(["campaign", "code"]);
    let outcome = rows(body, stream, spec).await;
    assert_eq!(
        (texts(&outcome, "campaign"), texts(&outcome, "code")),
        (vec!["624".into(); 2], vec!["A1".into(), "A2".into()])
    );
    assert_eq!(texts(&outcome, "countries"), [r#"["SA"]"#, "null"]);
}

#[tokio::test]
async fn csv_by_the_names_in_its_first_line_and_xml_by_elements_and_attributes() {
    let spec = || StreamSpec::new("rows").key(["id"]).decimal("amount", 12, 2).text("sid");
    let csv = r#"
        format = "csv"
        columns = { id = "/Order ID", amount = "/Sales", sid = "/Member ID (U1)" }
        parse = { amount = { number = { thousands = ",", point = "." } } }
    "#;
    let outcome = text_body("text/csv", "Sales,Member ID (U1),Order ID\n\"1,018.20\",,7\n", csv, spec()).await;
    assert_eq!(
        (outcome.ids(), texts(&outcome, "amount"), texts(&outcome, "sid")),
        (vec![7], vec!["1018.20".into()], vec!["null".into()])
    );
    let xml = r#"
        format = "xml"
        records = ["/feed/link"]
        columns = { id = "/@id", amount = "/sale/#text" }
        transforms = { sid = { look_up = { list = "/param", by = "/@name", name = "u1", value = "/#text" } } }
    "#;
    let body = "<feed><link id='7'><sale currency='USD'>1018.20</sale><param name='u1'>s</param></link><link id='8'><sale/><param name='u0'>t</param><param name='u1'>u</param></link></feed>";
    let outcome = text_body("application/xml", body, xml, spec()).await;
    assert_eq!((outcome.ids(), texts(&outcome, "sid")), (vec![7, 8], vec!["s".to_owned(), "u".to_owned()]));
    assert_eq!(texts(&outcome, "amount"), ["1018.20", "null"]);
}

#[tokio::test]
async fn dates_numbers_and_flags_in_the_writing_of_the_network() {
    let spec = keyed().timestamp("at").timestamp("seen").date("day").decimal("amount", 12, 2).decimal("us", 12, 2);
    let spec = spec.bool("paid").bool("live").bool("open");
    let stream = r#"
        [streams.rows.parse]
        at = { format = { format = "%d.%m.%Y %H:%M", zone = "+03:00" } }
        seen = "epoch_seconds"
        day = { format = { format = "%m%d%Y" } }
        us = { number = { thousands = ",", point = "." } }
        paid = "flag"
        live = "flag"
        open = "flag"
    "#;
    let body = json!([
        {"id": 1, "at": "01.03.2026 02:30", "seen": 1772323200, "day": "03012026", "amount": "12.50", "us": "1,234.50", "paid": "y", "live": 0, "open": "true"},
        {"id": 2, "at": null, "seen": "1772323200", "day": null, "amount": 12.5, "us": 7, "paid": "n", "live": "1", "open": false},
    ]);
    let outcome = rows(body, stream, spec).await;
    assert_eq!(texts(&outcome, "at"), ["2026-02-28T23:30:00.000000Z", "null"]);
    assert_eq!(texts(&outcome, "seen"), ["2026-03-01T00:00:00.000000Z"; 2]);
    assert_eq!(texts(&outcome, "day"), ["2026-03-01", "null"]);
    assert_eq!(
        (texts(&outcome, "us"), texts(&outcome, "amount")),
        (vec!["1234.50".into(), "7".into()], vec!["12.50".into(), "12.5".into()])
    );
    let flags = |one, two| [Value::Bool(one), Value::Bool(two)];
    assert_eq!(outcome.column("paid"), flags(true, false));
    assert_eq!(outcome.column("live"), flags(false, true));
    assert_eq!(outcome.column("open"), flags(true, false));
}

#[tokio::test]
async fn values_chosen_cleaned_mapped_split_and_looked_up() {
    let spec = keyed().text("network").text("order").text("status").text("coupon").text("customer").text("currency");
    let spec = spec.json("countries").json("codes").int("campaign");
    let stream = r#"
        [streams.rows.transforms]
        network = { constant = "impact" }
        order = { first_of = ["/orderRef", "/order/id"], null_if = ["", "N/A"], constant = "none" }
        status = { case = "lower", map = { approved = "approved", "0" = "pending" }, default = "unknown" }
        coupon = { trim = true, case = "upper" }
        currency = { map = { "1" = "USD", "2" = "SAR" } }
        countries = { split = ",", case = "upper" }
        codes = { split = "|", null_if = ["-"] }
        campaign = { first_of = ["/key"], split = ".", part = 1 }
        customer = { look_up = { list = "/customParameters", by = "/key", name = "cust" } }
    "#;
    let body = json!([
        {"id": 1, "orderRef": "N/A", "order": {"id": 7}, "status": "APPROVED", "coupon": " ab ", "currency": 1, "countries": "sa, ae",
            "codes": "A|-|B", "key": "5500.1001.700001", "customParameters": [{"key": "x", "value": "y"}, {"key": "cust", "value": "new"}]},
        {"id": 2, "orderRef": "", "status": 0, "coupon": null, "currency": "2", "countries": ["eg"], "codes": "-", "key": "5500", "customParameters": []},
        {"id": 3, "orderRef": "o3", "status": "odd", "currency": null, "countries": null, "customParameters": null},
    ]);
    let outcome = rows(body, stream, spec).await;
    assert_eq!(texts(&outcome, "network"), ["impact"; 3]);
    assert_eq!(texts(&outcome, "order"), ["7", "none", "o3"]);
    assert_eq!(texts(&outcome, "status"), ["approved", "pending", "unknown"]);
    assert_eq!(texts(&outcome, "coupon"), ["AB", "null", "null"]);
    assert_eq!(texts(&outcome, "currency"), ["USD", "SAR", "null"]);
    assert_eq!(texts(&outcome, "countries"), [r#"["SA","AE"]"#, r#"["EG"]"#, "null"]);
    assert_eq!(texts(&outcome, "codes"), [r#"["A","B"]"#, "null", "null"]);
    assert_eq!(texts(&outcome, "campaign"), ["1001", "null", "null"]);
    assert_eq!(texts(&outcome, "customer"), ["new", "null", "null"]);
}

/// Rows of sums have no order: what they are of is their key, and it is the same whenever they are read.
#[tokio::test]
async fn a_row_without_an_id_has_the_hash_of_its_fields_for_a_key() {
    let spec = || StreamSpec::new("rows").text("key").date("date").int("orders").text("account").key(["key"]);
    let stream = r#"
        columns = { account = "{account}" }
        transforms = { key = { first_of = ["/order_id"], null_if = [""], hash_of = ["{account}", "/date", "/campaign_id", "/code", "/country"] } }
        partitions = [{ name = "", variables = { account = "a1" } }]
    "#;
    let body = |orders: u32| {
        json!([
            {"order_id": "o1", "date": "2026-03-01", "orders": 1},
            {"order_id": "", "date": "2026-03-01", "campaign_id": "624", "code": "A1", "country": "SA", "orders": orders},
            {"date": "2026-03-01", "campaign_id": 624, "code": "A1", "country": null, "orders": 2},
        ])
    };
    let (first, again) = (rows(body(3), stream, spec()).await, rows(body(4), stream, spec()).await);
    assert_eq!(texts(&first, "key"), texts(&again, "key"), "a value that is corrected does not change the key");
    let keys = texts(&first, "key");
    assert_eq!((keys[0].as_str(), keys[1].len(), keys[2].len()), ("o1", 32, 32));
    assert_ne!(keys[1], keys[2]);
    let other = stream.replace("\"a1\"", "\"a2\"");
    assert_ne!(texts(&rows(body(3), &other, spec()).await, "key")[1], keys[1], "another account is another row");
}

#[tokio::test]
async fn the_whole_record_may_be_its_key() {
    let spec = StreamSpec::new("rows").text("print").int("n").key(["print"]);
    let outcome =
        rows(json!([{"n": 1, "m": 2}, {"m": 2, "n": 2}]), "transforms = { print = { hash_of = [\"\"] } }", spec).await;
    let prints = texts(&outcome, "print");
    assert!(prints[0].len() == 32 && prints[0] != prints[1], "{prints:?}");
}
