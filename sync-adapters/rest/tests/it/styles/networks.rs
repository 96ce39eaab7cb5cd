//! Whole networks, each as a declaration: what goes out and what is made of the answer.

use serde_json::json;
use sync_core::{Retry, StreamSpec, Value};

use super::{declared, sent};
use crate::server::{Reply, Server};

#[tokio::test]
async fn a_raw_key_numbered_pages_and_amounts_with_separators() {
    let server = Server::start(|request| {
        let page = request.number("page").unwrap();
        let rows = [json!({"order_id": format!("o{page}"), "date": "2026-03-01", "revenue": "1,234.50"})];
        Reply::json(&json!({"payload": {"data": rows, "pagination": {"total": 2, "perPage": 1, "currentPage": page}}}))
    })
    .await;
    let toml = r#"
        auth = { type = "headers", headers = [{ name = "Authorization", value = "host:key" }] }
        rate = { requests = 1000, per_seconds = 1, key = "account" }
        [streams.purchases]
        path = "/publisher/performance"
        records = ["/payload/data"]
        parse = { revenue = { number = { thousands = ",", point = "." } } }
        paging = { style = "page", param = "page", size = 100, size_param = "limit", total = "/payload/pagination/total", per_page = "/payload/pagination/perPage" }
        window = { column = "date", from = "from", to = "to", start = "2026-01-01" }
    "#;
    let spec = StreamSpec::new("purchases").key(["order_id"]).text("order_id").date("date").decimal("revenue", 12, 2);
    let outcome = declared(&server, toml, spec, Some("date")).await.good();
    assert_eq!(outcome.column("revenue")[1].to_string(), "1234.50");
    assert_eq!(outcome.complete(), Some(true));
    sent(&server.seen()[1], &[("from", "2026-03-01"), ("to", "2026-03-02"), ("page", "2"), ("limit", "100")]);
    assert_eq!(server.seen()[0].header("authorization"), "key-1");
}

#[tokio::test]
async fn offsets_dates_by_day_first_and_a_throttle_in_a_503() {
    let server = Server::start(|request| match request.number {
        0 => Reply::json(&json!({"results": [{"id": 1, "action_date": "2026-03-01 10:00:00"}], "_meta": {"count": 2}})),
        _ => Reply::json(&json!({"error": "rate_limit", "error_code": 4})).with_status(503),
    })
    .await;
    let toml = r#"
        auth = { type = "bearer", token = "host:key" }
        rules = [{ status = [503], pointer = "/error_code", equals = [4], class = "throttle", wait = [{ from = "fixed", seconds = 60 }] }]
        [streams.actions]
        path = "/statistics/actions/"
        query = { order_by = "datetime" }
        records = ["/results"]
        parse = { action_date = { format = { format = "%Y-%m-%d %H:%M:%S", zone = "+03:00" } } }
        paging = { style = "offset", param = "offset", size = 500, size_param = "limit", total = "/_meta/count" }
        window = { column = "action_date", from = "date_start", to = "date_end", format = "%d.%m.%Y", zone = "+03:00", start = "2026-01-01" }
    "#;
    let spec = StreamSpec::new("actions").key(["id"]).timestamp("action_date");
    let outcome = declared(&server, toml, spec, Some("action_date")).await;
    assert_eq!(outcome.error().retry(), Retry::After(std::time::Duration::from_secs(60)));
    assert_eq!(outcome.column("action_date")[0].to_string(), "2026-03-01T07:00:00.000000Z");
    sent(
        &server.seen()[1],
        &[("date_start", "01.03.2026"), ("date_end", "02.03.2026"), ("offset", "1"), ("order_by", "datetime")],
    );
}

#[tokio::test]
async fn graphql_with_an_exclusive_end_and_a_flag_when_it_is_complete() {
    let server = Server::start(|request| {
        let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
        let after = body["variables"]["after"].as_i64().unwrap_or(0);
        let rows = [json!({"commissionId": after + 1, "postingDate": "2026-03-01T05:00:00Z"})];
        Reply::json(&json!({"data": {"publisherCommissions": {"payloadComplete": after == 1, "records": rows}}}))
    })
    .await;
    let toml = r#"
        auth = { type = "bearer", token = "host:key" }
        rules = [{ pointer = "/errors", class = "bad_request" }]
        messages = ["/errors/0/message"]
        [streams.commissions]
        method = "POST"
        path = "/query"
        body = { json = { query = "query($since: String, $after: ID) { publisherCommissions(since: $since) { records { commissionId } } }", variables = { since = "{from}", before = "{to}", after = "{after}" } } }
        records = ["/data/publisherCommissions/records"]
        paging = { style = "keyset", column = "commissionId", done = "/data/publisherCommissions/payloadComplete" }
        window = { column = "postingDate", format = "rfc3339", end = "exclusive", start = "2026-01-01" }
    "#;
    let spec = StreamSpec::new("commissions").key(["commissionId"]).timestamp("postingDate");
    let outcome = declared(&server, toml, spec, Some("postingDate")).await.good();
    assert_eq!(outcome.column("commissionId"), [Value::Int(1), Value::Int(2)]);
    let body =
        |n: usize| serde_json::from_str::<serde_json::Value>(&server.seen()[n].body).unwrap()["variables"].clone();
    let (since, before) = ("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z");
    assert_eq!(body(0), json!({"since": since, "before": before}));
    assert_eq!(body(1), json!({"since": since, "before": before, "after": 1}));
}

#[tokio::test]
async fn a_map_of_wrapped_records_a_page_count_and_failures_with_status_200() {
    let server = Server::start(|request| match request.number("page") {
        Some(1) => Reply::json(
            &json!({"response": {"status": 1, "data": {"pageCount": 2, "data": {"2001": {"Offer": {"id": "2001"}}}}}}),
        ),
        _ => Reply::json(
            &json!({"response": {"status": -1, "data": "", "errorMessage": "User has exceeded API rate limit"}}),
        ),
    })
    .await;
    let toml = r#"
        auth = { type = "query", name = "api_key", key = "host:key" }
        messages = ["/response/errorMessage"]
        [[rules]]
        pointer = "/response/errorMessage"
        matches = "rate limit"
        class = "throttle"
        wait = [{ from = "fixed", seconds = 10 }]
        [[rules]]
        pointer = "/response/status"
        equals = [-1]
        class = "failure"
        [streams.offers]
        path = "/Apiv3/json"
        query = { Target = "Affiliate_Offer", Method = "findAll", "fields[]" = ["id", "name"] }
        records = ["/response/data/data"]
        layout = "keyed"
        wrapper = "Offer"
        paging = { style = "page", param = "page", pages = "/response/data/pageCount" }
    "#;
    let outcome = declared(&server, toml, StreamSpec::new("offers").key(["id"]), None).await;
    assert_eq!(outcome.ids(), [2001]);
    assert_eq!(outcome.error().retry(), Retry::After(std::time::Duration::from_secs(10)));
    let fields: Vec<_> =
        server.seen()[0].query.iter().filter(|(name, _)| name == "fields[]").map(|(_, value)| value.clone()).collect();
    assert_eq!(fields, ["id", "name"]);
    sent(&server.seen()[1], &[("api_key", "key-1"), ("page", "2")]);
}

#[tokio::test]
async fn totals_as_text_relative_next_addresses_and_several_accounts_in_the_path() {
    let server = Server::start(|request| {
        let second = request.number("Page") == Some(2);
        let next = if second { "" } else { "/Mediapartners/IR1/Actions?Page=2" };
        Reply::json(&json!({"@total": "2", "@nextpageuri": next, "Actions": [{"Id": if second { "b" } else { "a" }}]}))
    })
    .await;
    let toml = r#"
        auth = { type = "basic", user = "host:key", password = "host:key" }
        headers = { Accept = "application/json" }
        [streams.actions]
        path = "/Mediapartners/{account}/Actions"
        records = ["/Actions"]
        paging = { style = "next", at = "/@nextpageuri", total = "/@total" }
        partitions = [{ name = "", variables = { account = "IR1" } }]
    "#;
    let spec = StreamSpec::new("actions").key(["Id"]).text("Id");
    let outcome = declared(&server, toml, spec, None).await.good();
    assert_eq!(outcome.column("Id"), [Value::from("a"), Value::from("b")]);
    assert_eq!((outcome.complete(), server.seen()[0].path.as_str()), (Some(true), "/Mediapartners/IR1/Actions"));
}

#[tokio::test]
async fn one_day_at_a_time_and_dates_in_the_path() {
    let server = Server::start(|_| Reply::json(&json!([]))).await;
    let toml = r#"
        [streams.links]
        path = "/links/{from}/{to}/"
        window = { column = "day", format = "%m%d%Y", max_days = 1, start = "2026-01-01" }
    "#;
    let spec = StreamSpec::new("links").key(["id"]).date("day");
    let outcome = declared(&server, toml, spec, Some("day")).await.good();
    let paths: Vec<_> = server.seen().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/links/03012026/03012026/", "/links/03022026/03022026/"]);
    assert_eq!(outcome.complete(), Some(true));
}

#[tokio::test]
async fn several_keys_an_odd_scheme_and_an_account_in_path_query_and_body() {
    let server = Server::start(|_| Reply::json(&json!({"offers": [{"id": 1}]}))).await;
    let toml = r#"
        [auth]
        type = "headers"
        headers = [
            { name = "apikey", value = "host:key" },
            { name = "x-agency-id", value = "host:key", prefix = "agency-" },
            { name = "Authorization", value = "host:key", prefix = "secret " },
        ]
        [streams.offers]
        method = "POST"
        path = "/v1/{account}/offers/"
        query = { "account[]" = ["{account}", "{other}"], lang = "{language}" }
        body = { json = { account = "{account}", nested = [{ account = "a {other}" }], lang = "{language}" } }
        records = ["/offers"]
        partitions = [{ name = "", variables = { account = "71", other = "a&b" } }]
    "#;
    declared(&server, toml, StreamSpec::new("offers").key(["id"]), None).await.good();
    let request = &server.seen()[0];
    let keys = ["apikey", "x-agency-id", "authorization"].map(|name| request.header(name));
    assert_eq!(keys, ["key-1", "agency-key-1", "secret key-1"]);
    assert_eq!(request.path, "/v1/71/offers/", "the slash at the end is kept");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(request.query, [pair("account[]", "71"), pair("account[]", "a&b")], "what has no value is left out");
    let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(body, json!({"account": 71, "nested": [{"account": "a a&b"}]}));
}

#[tokio::test]
async fn a_date_in_the_path_is_one_segment_whatever_its_format() {
    let server = Server::start(|_| Reply::json(&json!([]))).await;
    let toml = r#"
        [streams.links]
        path = "/links/{from}/7/{to}"
        window = { column = "day", format = "%Y/%m", max_days = 31, start = "2026-01-01" }
    "#;
    let spec = StreamSpec::new("links").key(["id"]).date("day");
    declared(&server, toml, spec, Some("day")).await.good();
    assert_eq!(server.seen()[0].path, "/links/2026%2F03/7/2026%2F03");
}
