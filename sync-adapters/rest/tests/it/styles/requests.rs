//! Ways to ask: what stands in the query, in the path, in headers and in bodies.

use serde_json::{Value as Json, json};
use sync_core::StreamSpec;
use sync_core::model::Partition;
use sync_core::source::Reading;
use sync_rest::Rest;

use super::{declared, sent};
use crate::server::{Reply, Server, read_as};

fn body(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn repeated_and_nested_keys_in_the_query_and_a_header_that_is_required() {
    let server = Server::start(|_| Reply::json(&json!([]))).await;
    let toml = r#"
        [streams.stats]
        path = "/json"
        headers = { Accept = "application/vnd.network+json" }
        window = { column = "at", format = "%Y-%m-%d %H:%M:%S", start = "2026-01-01" }
        [streams.stats.query]
        metric = ["orders", "revenue"]
        "fields[]" = ["id", "payout"]
        "filters[Stat.datetime][conditional]" = "BETWEEN"
        "filters[Stat.datetime][values][]" = ["{from}", "{to}"]
    "#;
    let spec = StreamSpec::new("stats").key(["id"]).timestamp("at");
    declared(&server, toml, spec, Some("at")).await.good();
    let request = &server.seen()[0];
    let named = |name: &str| {
        let pairs = request.query.iter().filter(|(known, _)| known == name);
        pairs.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(named("metric"), ["orders", "revenue"]);
    assert_eq!(named("fields[]"), ["id", "payout"]);
    assert_eq!(named("filters[Stat.datetime][values][]"), ["2026-03-01 00:00:00", "2026-03-02 23:59:59"]);
    sent(request, &[("filters[Stat.datetime][conditional]", "BETWEEN")]);
    assert_eq!(request.header("accept"), "application/vnd.network+json");
}

#[tokio::test]
async fn the_range_in_the_body_while_the_page_is_in_the_query() {
    let server = Server::start(|request| {
        let page = request.number("page").unwrap();
        let paging = json!({"page": page, "page_size": 1, "total_count": 2});
        Reply::json(&json!({"conversions": [{"id": page, "day": "2026-03-01"}], "paging": paging}))
    })
    .await;
    let toml = r#"
        [streams.conversions]
        method = "POST"
        path = "/v1/affiliates/reporting/conversions"
        records = ["/conversions"]
        body = { json = { from = "{from}", to = "{to}", timezone_id = 67, query = { filters = [] } } }
        paging = { style = "page", param = "page", size = 1, size_param = "page_size", total = "/paging/total_count" }
        window = { column = "day", start = "2026-01-01" }
    "#;
    let spec = StreamSpec::new("conversions").key(["id"]).date("day");
    let outcome = declared(&server, toml, spec, Some("day")).await.good();
    assert_eq!((outcome.ids(), outcome.complete()), (vec![1, 2], Some(true)));
    let second = &server.seen()[1];
    sent(second, &[("page", "2"), ("page_size", "1")]);
    let wanted = json!({"from": "2026-03-01", "to": "2026-03-02", "timezone_id": 67, "query": {"filters": []}});
    assert_eq!(body(&second.body), wanted);
}

#[tokio::test]
async fn a_form_a_date_in_the_path_and_an_account_in_every_place() {
    let server = Server::start(|_| Reply::json(&json!({"data": {"rows": []}}))).await;
    let form = r#"
        [streams.rows]
        method = "POST"
        path = "/{account}/{from}/"
        body = { form = { action = "list", "ids[]" = ["{account}", "7"], until = "{to}" } }
        records = ["/data/rows"]
        window = { column = "day", format = "%d%m%Y", start = "2026-01-01" }
        partitions = [{ name = "", variables = { account = "a1" } }]
    "#;
    let spec = || StreamSpec::new("rows").key(["id"]).date("day");
    declared(&server, form, spec(), Some("day")).await.good();
    let request = &server.seen()[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/a1/01032026/"));
    assert_eq!(request.body, "action=list&ids%5B%5D=a1&ids%5B%5D=7&until=02032026");
    assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");

    let graphql = r#"
        [streams.rows]
        method = "POST"
        path = "/query"
        body = { json = { query = "query($id: ID!) { rows(id: $id) { id day } }", variables = { id = "{account}", tags = ["x", "{account}"] } } }
        records = ["/data/rows"]
        partitions = [{ name = "", variables = { account = "a1" } }]
    "#;
    declared(&server, graphql, spec(), None).await.good();
    let sent = body(&server.seen()[1].body);
    assert_eq!(sent["variables"], json!({"id": "a1", "tags": ["x", "a1"]}));
    assert_eq!(sent["query"], "query($id: ID!) { rows(id: $id) { id day } }", "braces of its own stay");
}

#[tokio::test]
async fn one_request_for_each_account_or_status_that_is_listed_or_declared() {
    let server = Server::start(|request| match request.path.as_str() {
        "/accounts" => Reply::json(&json!({"accounts": [{"accountId": 45}]})),
        _ => Reply::json(&json!([{"id": 1, "status": request.param("relationship")}])),
    })
    .await;
    let declared_parts = r#"
        [streams.programmes]
        path = "/programmes"
        query = { relationship = "{partition}" }
        partition_column = "status"
        partitions = [{ name = "joined" }, { name = "pending" }]
    "#;
    let spec = || StreamSpec::new("programmes").text("status").key(["status", "id"]);
    let toml = format!("base = {:?}\n{declared_parts}", server.url());
    let source = Rest::from_toml(&toml, [spec()]).unwrap().build().unwrap();
    for part in ["joined", "pending"] {
        let partition = Partition::new(part);
        let read = read_as(&source, partition, None, Reading::Listing).await.good();
        assert_eq!(read.column("status"), [part.into()]);
    }
    let listed = r#"
        [streams.programmes]
        path = "/publishers/{account}/programmes"
        columns = { status = "{account}" }
        [streams.programmes.partitions_from]
        path = "/accounts"
        records = ["/accounts"]
        name = "/accountId"
        variables = { account = "/accountId" }
    "#;
    let toml = format!("base = {:?}\n{listed}", server.url());
    let source = Rest::from_toml(&toml, [spec()]).unwrap().build().unwrap();
    let partition = Partition::new("45");
    read_as(&source, partition, None, Reading::Listing).await.good();
    assert_eq!(server.seen().last().unwrap().path, "/publishers/45/programmes");
}
