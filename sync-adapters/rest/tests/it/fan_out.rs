//! Partitions that the other side lists: found anew by every run, and never by half of a list.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};
use sync_core::engine::{Engine, Pipeline};
use sync_core::memory::{MemorySink, MemoryStore};
use sync_core::model::Partition;
use sync_core::retry::RetryPolicy;
use sync_core::source::Reading;
use sync_core::state::RunStatus;
use sync_core::{Error, ErrorKind, Retry, Source as _, StreamSpec, SystemClock, Value};
use sync_rest::{PagingConfig, ParentConfig, Rest, RestSource, get};

use crate::server::{Reply, Request, Server, read_as};

fn clicks() -> StreamSpec {
    StreamSpec::new("clicks").key(["id"]).text("account").text("country")
}

const TOML: &str = r#"
    [streams.clicks]
    path = "/accounts/{account}/clicks"
    query = { country = "{country}" }
    records = ["/data"]

    [streams.clicks.partitions_from]
    path = "/accounts"
    query = { relation = "joined" }
    records = ["/accounts"]
    paging = { style = "page", param = "page", total = "/total" }
    name = "/id"
    variables = { account = "/id", country = "/site/country" }
"#;

fn source(server: &Server, toml: &str) -> RestSource {
    Rest::from_toml(&format!("base = {:?}\n{toml}", server.url()), [clicks()]).unwrap().build().unwrap()
}

fn account(id: u64, country: &str) -> Json {
    json!({"id": id, "site": {"country": country}})
}

/// Accounts in pages of two, and one click each.
fn network(accounts: &[Json], request: &Request) -> Reply {
    if request.path == "/accounts" {
        let page = request.number("page").unwrap();
        let shown: Vec<_> = accounts.iter().skip((page - 1) * 2).take(2).collect();
        return Reply::json(&json!({"accounts": shown, "total": accounts.len()}));
    }
    let id: u64 = request.path.split('/').nth(2).unwrap().parse().unwrap();
    Reply::json(&json!({"data": [{"id": id, "account": id.to_string(), "country": request.param("country")}]}))
}

async fn names(source: &RestSource) -> Result<Vec<String>, Error> {
    let feed = source.feeds().await.unwrap().remove(0);
    let partitions = source.partitions(&feed).await?;
    Ok(partitions.iter().map(|partition| partition.name().to_owned()).collect())
}

fn engine(server: &Server, sink: &MemorySink) -> Engine {
    Engine::builder(MemoryStore::new(Arc::new(SystemClock::new())))
        .retry(RetryPolicy::new().base(Duration::from_millis(1)).attempts(3))
        .pipeline(Pipeline::new("network", source(server, TOML), sink.clone()).stream(clicks()))
        .build()
        .unwrap()
}

fn countries(sink: &MemorySink) -> Vec<(i64, String)> {
    let rows = sink.rows("clicks").into_iter().map(|(key, row)| {
        let Value::Int(id) = key.values()[0] else { panic!("{key}") };
        let country = ["SA", "AE", "EG"].into_iter().find(|country| format!("{row:?}").contains(country));
        (id, country.unwrap_or("none").to_owned())
    });
    rows.collect()
}

#[tokio::test]
async fn every_account_of_every_page_of_the_list_is_read_with_its_variables() {
    let accounts = [account(7, "SA"), account(8, "AE"), account(9, "EG")];
    let server = Server::start(move |request| network(&accounts, request)).await;
    let sink = MemorySink::new();
    let report = engine(&server, &sink).run("network").await.unwrap();
    assert_eq!(report.status, RunStatus::Completed, "{report:?}");
    let country = |id, country: &str| (id, country.to_owned());
    assert_eq!(countries(&sink), [country(7, "SA"), country(8, "AE"), country(9, "EG")]);
    let lists: Vec<_> = server.seen().into_iter().filter(|request| request.path == "/accounts").collect();
    assert_eq!(lists.len(), 2, "once a run");
    assert!(lists.iter().all(|request| request.param("relation") == Some("joined")));
}

#[tokio::test]
async fn an_account_that_vanishes_is_no_longer_read_and_keeps_its_rows() {
    let accounts = Arc::new(Mutex::new(vec![account(7, "SA"), account(8, "AE")]));
    let listed = Arc::clone(&accounts);
    let server = Server::start(move |request| network(&listed.lock().unwrap(), request)).await;
    let sink = MemorySink::new();
    let engine = engine(&server, &sink);
    engine.run("network").await.unwrap().completed().unwrap();
    *accounts.lock().unwrap() = vec![account(8, "AE"), account(9, "EG")];
    let before = server.count();
    engine.run("network").await.unwrap().completed().unwrap();
    let paths: Vec<_> = server.seen().into_iter().skip(before).map(|request| request.path).collect();
    assert_eq!(paths, ["/accounts", "/accounts/8/clicks", "/accounts/9/clicks"]);
    assert_eq!(countries(&sink).len(), 3, "what was read of it stays");
}

#[tokio::test]
async fn a_list_that_cannot_be_read_to_its_end_stops_the_run_and_is_named() {
    let good = json!({"accounts": [account(7, "SA"), account(8, "AE")], "total": 3});
    let list = |body: Json| Reply::json(&body);
    let cases: Vec<(Reply, ErrorKind)> = vec![
        (Reply::status(403), ErrorKind::Forbidden),
        (Reply::status(503), ErrorKind::Unavailable),
        (Reply::body("text/html", "<html>log in</html>"), ErrorKind::Malformed),
        (Reply::body("application/json", ""), ErrorKind::Unavailable),
        (Reply::status(204), ErrorKind::Unavailable),
        (list(json!({"error": "x"})), ErrorKind::Malformed),
        (list(json!({"accounts": [], "total": 3})), ErrorKind::Unavailable),
        (list(json!({"accounts": [{"site": {"country": "SA"}}], "total": 3})), ErrorKind::Schema),
        (list(json!({"accounts": [{"id": 9}], "total": 3})), ErrorKind::Malformed),
        (list(json!({"accounts": [{"id": "", "site": {"country": "SA"}}], "total": 3})), ErrorKind::Malformed),
        (list(json!({"accounts": [account(7, "EG")], "total": 3})), ErrorKind::Malformed),
        (list(json!({"accounts": [account(9, "EG")], "total": 4})), ErrorKind::Unavailable),
    ];
    for (second, kind) in cases {
        let (first, answer) = (good.clone(), second.clone());
        let server = Server::start(move |request| match (request.path.as_str(), request.number("page")) {
            ("/accounts", Some(1)) => Reply::json(&first),
            ("/accounts", _) => answer.clone(),
            _ => network(&[], request),
        })
        .await;
        let error = names(&source(&server, TOML)).await.expect_err(&format!("{second:?}"));
        assert_eq!(error.kind(), kind, "{error}");
        let context: Vec<_> = error.context().collect();
        assert!(context.contains(&("partitions_from", "/accounts")), "{error}");
        assert!(context.contains(&("stream", "clicks")), "{error}");
        assert!(server.seen().iter().all(|request| request.path == "/accounts"), "nothing is read by half of a list");
    }
}

#[tokio::test]
async fn an_empty_list_is_a_fault_unless_it_is_declared_to_be_none() {
    let allowed = TOML.replace("name = \"/id\"", "name = \"/id\"\nmay_be_empty = true");
    let empty = [json!({"accounts": [], "total": 0}), json!({"accounts": []})];
    for body in empty {
        let server = Server::start(move |_| Reply::json(&body)).await;
        let error = names(&source(&server, TOML)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(error.to_string().contains("may_be_empty"), "{error}");
        assert_eq!(names(&source(&server, &allowed)).await.unwrap(), Vec::<String>::new());
    }
    for nothing in [Reply::body("application/json", ""), Reply::json(&json!({"error": "no"})), Reply::status(500)] {
        let server = Server::start(move |_| nothing.clone()).await;
        names(&source(&server, &allowed)).await.expect_err("no answer is no empty list");
    }
}

#[tokio::test]
async fn a_list_longer_than_allowed_is_refused_before_it_is_read_to_its_end() {
    let accounts: Vec<_> = (1..=20).map(|id| account(id, "SA")).collect();
    let server = Server::start(move |request| network(&accounts, request)).await;
    let toml = TOML.replace("name = \"/id\"", "name = \"/id\"\nmost = 3");
    let error = names(&source(&server, &toml)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry(), server.count()), (ErrorKind::Limit, Retry::Never, 2));
    assert!(error.to_string().contains("`partitions_from.most`"), "{error}");
}

#[tokio::test]
async fn an_account_that_is_listed_twice_is_read_once() {
    let toml = TOML.replace("total = \"/total\"", "pages = \"/pages\"");
    let once = [account(7, "SA"), account(8, "AE")];
    let again = [account(7, "SA"), account(9, "EG")];
    let server = Server::start(move |request| {
        let page = if request.number("page") == Some(1) { &once } else { &again };
        Reply::json(&json!({"accounts": page, "pages": 2}))
    })
    .await;
    assert_eq!(names(&source(&server, &toml)).await.unwrap(), ["7", "8", "9"]);
}

#[tokio::test]
async fn a_read_that_nobody_listed_for_asks_for_the_list_itself() {
    let accounts = [account(7, "SA"), account(8, "AE")];
    let server = Server::start(move |request| network(&accounts, request)).await;
    let source = source(&server, TOML);
    let read = |name: &str| read_as(&source, Partition::new(name), None, Reading::Changes);
    assert_eq!(read("8").await.good().ids(), [8]);
    assert_eq!(read("7").await.good().ids(), [7]);
    let paths: Vec<_> = server.seen().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/accounts", "/accounts/8/clicks", "/accounts/7/clicks"], "the list is asked for once");
    let gone = read("9").await;
    assert_eq!(gone.error().kind(), ErrorKind::Config);
    assert!(gone.error().to_string().contains("/accounts"), "{}", gone.error());
}

#[tokio::test]
async fn a_check_asks_for_the_list() {
    let server = Server::start(|_| Reply::status(403)).await;
    assert_eq!(source(&server, TOML).check().await.unwrap_err().kind(), ErrorKind::Forbidden);
    assert_eq!(server.seen()[0].path, "/accounts");
}

#[tokio::test]
async fn a_list_may_be_a_post_with_wrapped_records_behind_next_links() {
    let server = Server::start(|request| match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/list") => {
            let third = request.body.contains("\"third\"");
            let next = if third { json!(null) } else { json!("third") };
            let id = if third { "c" } else { "a" };
            Reply::json(&json!({"found": {"x": {"space": {"id": id}}}, "next": next}))
        }
        _ => Reply::json(&json!({"data": [{"id": 1, "account": request.path}]})),
    })
    .await;
    let toml = r#"
        [streams.clicks]
        path = "/{space}"
        records = ["/data"]
        [streams.clicks.partitions_from]
        method = "POST"
        path = "/list"
        body = { json = { cursor = "{cursor}" } }
        records = ["/found"]
        layout = "keyed"
        wrapper = "space"
        paging = { style = "cursor", at = "/next" }
        name = "/id"
        variables = { space = "/id" }
    "#;
    assert_eq!(names(&source(&server, toml)).await.unwrap(), ["a", "c"]);
}

#[tokio::test]
async fn a_list_may_be_csv_or_xml_while_the_stream_is_json() {
    let server = Server::start(|request| match request.path.as_str() {
        "/accounts.csv" => {
            assert_eq!(request.header("accept"), "text/csv");
            Reply::body("text/csv", "Account ID;Country\r\n7;SA\r\n8;AE\r\n")
        }
        "/accounts.xml" => Reply::body(
            "application/xml",
            "<cj><accounts total='1'><account id='9'><at>EG</at></account></accounts></cj>",
        ),
        path => Reply::json(&json!({"data": [{"id": 1, "account": path, "country": request.param("country")}]})),
    })
    .await;
    let stream = r#"
        [streams.clicks]
        path = "/{account}"
        query = { country = "{country}" }
        records = ["/data"]
        [streams.clicks.partitions_from]
    "#;
    let csv = r#"
        path = "/accounts.csv"
        format = "csv"
        csv = { delimiter = ";" }
        name = "/Account ID"
        variables = { account = "/Account ID", country = "/Country" }
    "#;
    let xml = r#"
        path = "/accounts.xml"
        format = "xml"
        records = ["/cj/accounts/account"]
        paging = { style = "page", param = "page", total = "/cj/accounts/@total" }
        name = "/@id"
        variables = { account = "/@id", country = "/at" }
    "#;
    let by_csv = source(&server, &format!("{stream}{csv}"));
    assert_eq!(names(&by_csv).await.unwrap(), ["7", "8"]);
    let read = read_as(&by_csv, Partition::new("8"), None, Reading::Changes).await.good();
    assert_eq!((read.column("account"), read.column("country")), (vec![Value::from("/8")], vec![Value::from("AE")]));
    let by_xml = source(&server, &format!("{stream}{xml}"));
    assert_eq!(names(&by_xml).await.unwrap(), ["9"]);
    let read = read_as(&by_xml, Partition::new("9"), None, Reading::Changes).await.good();
    assert_eq!(read.column("country"), [Value::from("EG")]);
}

#[test]
fn a_list_that_cannot_be_is_refused_by_the_field() {
    let list = || ParentConfig::new("/accounts", "/id").variable("account", "/id");
    let mut none = list();
    none.most = 0;
    let mut unpaged = PagingConfig::default();
    unpaged.total = Some("total".into());
    let clicks_by = |list: ParentConfig| get("/{account}").partitions_from(list);
    let cases = [
        (get("/a").partitions_from(list()), "`partitions_from.variables`"),
        (clicks_by(list()).partition("a", [("account", "1")]), "`partitions_from`"),
        (clicks_by(ParentConfig::new("/accounts", "/id")), "{account}"),
        (clicks_by(ParentConfig::new("/accounts", "id").variable("account", "/id")), "`partitions_from`"),
        (clicks_by(ParentConfig::new("/accounts", "/id").variable("account", "id")), "`partitions_from`"),
        (clicks_by(list().variable("from", "/id")), "`partitions_from.variables`"),
        (clicks_by(none), "`partitions_from.most`"),
        (clicks_by(ParentConfig::new("accounts", "/id").variable("account", "/id")), "partitions_from"),
        (clicks_by(ParentConfig::new("/{owner}", "/id").variable("account", "/id")), "{owner}"),
        (clicks_by(list().paging(unpaged)), "`total`"),
        (clicks_by(list().csv(';').records("/x")), "`records`"),
        (clicks_by(list().csv('"')), "`csv.delimiter`"),
        (clicks_by(list().xml()), "`records`"),
    ];
    for (endpoint, named) in cases {
        let error = Rest::at("https://a.example").stream(&clicks(), endpoint).build().expect_err(named);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(named), "{named} is not named: {error}");
    }
    let unknown = format!("base = \"https://a.example\"\n{TOML}\nvariable = {{}}");
    assert!(Rest::from_toml(&unknown, [clicks()]).unwrap_err().to_string().contains("variable"));
    Rest::at("https://a.example").stream(&clicks(), clicks_by(list().records("/x"))).build().unwrap();
}
