//! Several passes through one stream: by the date of the event, of its last change, of its payment.

use serde_json::json;
use sync_core::engine::{Engine, Pipeline};
use sync_core::memory::{MemorySink, MemoryStore};
use sync_core::model::{Boundary, Disposition, RowScope};
use sync_core::source::Reading;
use sync_core::{ErrorKind, StreamSpec, SystemClock, Value};
use sync_rest::{Endpoint, PassConfig, Rest, RestSource, WindowConfig, get};

use crate::server::{Reply, Request, Server, read, read_as};

fn actions() -> StreamSpec {
    StreamSpec::new("actions").key(["id"]).date("day").text("status")
}

/// The dates a request names, as `parameter` without `_start`.
fn pass(request: &Request) -> String {
    let start = request.query.iter().find(|(name, _)| name.ends_with("_start"));
    start.map_or("?".to_owned(), |(name, _)| name.trim_end_matches("_start").to_owned())
}

/// One action, pending by its date, approved by the date of its change.
fn by_dates(request: &Request) -> Reply {
    let status = if pass(request) == "date" { "pending" } else { "approved" };
    Reply::json(&json!([{"id": 1, "day": "2026-01-05", "status": status}]))
}

const TOML: &str = r#"
    [streams.actions]
    path = "/actions/"
    window = { column = "day", from = "date_start", to = "date_end", format = "%d.%m.%Y", start = "2026-01-01", max_days = 4000, lookback_days = 120, also = [
        { name = "status", from = "status_start", to = "status_end", format = "%d.%m.%Y %H:%M:%S", lookback_days = 2 },
        { name = "closing", from = "closing_start", to = "closing_end", start = "2026-01-15" },
    ] }
"#;

fn source(server: &Server, toml: &str) -> RestSource {
    let toml = format!("base = {:?}\n{toml}", server.url());
    Rest::from_toml(&toml, [actions()]).unwrap().build().unwrap()
}

fn asked(server: &Server) -> Vec<String> {
    server.seen().iter().map(pass).collect()
}

fn date(server: &Server, number: usize, name: &str) -> chrono::NaiveDate {
    let text = server.seen()[number].param(name).unwrap().to_owned();
    chrono::NaiveDate::parse_from_str(&text[..10], "%d.%m.%Y").unwrap()
}

#[tokio::test]
async fn each_pass_has_dates_forms_and_a_position_of_its_own() {
    let server = Server::start(by_dates).await;
    let source = source(&server, TOML);
    let first = read(&source, None).await.good();
    assert_eq!(asked(&server), ["date", "status", "closing"]);
    let seen = server.seen();
    assert_eq!(seen[0].param("date_start"), Some("01.01.2026"));
    assert_eq!(seen[1].param("status_start"), Some("01.01.2026 00:00:00"));
    assert_eq!((seen[1].param("date_start"), seen[1].param("date_end")), (None, None));
    assert!(seen[1].param("status_end").unwrap().len() == 19);
    assert_eq!(seen[2].param("closing_start"), Some("15.01.2026"));
    let statuses = first.column("status");
    assert_eq!(statuses[..2], [Value::from("pending"), Value::from("approved")]);

    read(&source, first.cursor()).await.good();
    assert_eq!(asked(&server)[3..], ["date", "status", "closing"]);
    let today = chrono::Utc::now().date_naive();
    let back = |number, name| (today - date(&server, number, name)).num_days();
    assert!((120..=121).contains(&back(3, "date_start")), "{}", back(3, "date_start"));
    assert!((2..=3).contains(&back(4, "status_start")), "{}", back(4, "status_start"));
    assert!((120..=121).contains(&back(5, "closing_start")), "what a pass does not say is as in the window");
}

#[tokio::test]
async fn passes_may_differ_by_a_variable_alone() {
    let server = Server::start(|_| Reply::json(&json!([]))).await;
    let toml = r#"
        [streams.actions]
        method = "POST"
        path = "/by/{kind}"
        query = { dateType = "{kind}" }
        body = { json = { filter = { dateType = "{kind}", more = "{more}" } } }
        [streams.actions.window]
        column = "day"
        from = "startDate"
        start = "2026-01-01"
        max_days = 4000
        variables = { kind = "transaction" }
        also = [{ name = "validation", variables = { kind = "validation", more = "x" } }]
    "#;
    read(&source(&server, toml), None).await.good();
    let told: Vec<_> = server
        .seen()
        .iter()
        .map(|request| format!("{} {} {}", request.path, request.param("dateType").unwrap(), request.body))
        .collect();
    assert_eq!(
        told,
        [
            r#"/by/transaction transaction {"filter":{"dateType":"transaction"}}"#,
            r#"/by/validation validation {"filter":{"dateType":"validation","more":"x"}}"#,
        ]
    );
}

#[tokio::test]
async fn a_read_that_stopped_goes_on_in_its_pass() {
    let server = Server::start(|request| match request.number {
        2 => Reply::status(503),
        _ => by_dates(request),
    })
    .await;
    let source = source(&server, TOML);
    let broken = read(&source, None).await;
    assert_eq!((broken.error().kind(), asked(&server).len()), (ErrorKind::Unavailable, 3));
    let rest = read(&source, broken.cursor()).await.good();
    assert_eq!(asked(&server)[3..], ["closing"], "what was read is not read again");
    read(&source, rest.cursor()).await.good();
    assert_eq!(asked(&server)[4..], ["date", "status", "closing"], "the next run makes all of them");
}

#[tokio::test]
async fn a_read_may_stop_after_any_boundary() {
    let server = Server::start(by_dates).await;
    let source = source(&server, TOML);
    let whole = read(&source, None).await.good();
    let order = asked(&server);
    for (index, batch) in whole.batches.iter().enumerate() {
        let Boundary::Resume(cursor) = batch.boundary.clone() else { panic!("{batch:?}") };
        let before = server.count();
        read(&source, Some(cursor)).await.good();
        let mut rest = asked(&server)[before..].to_vec();
        // The seconds that went by meanwhile are a range of their own.
        rest.dedup();
        match &order[index + 1..] {
            [] => assert_eq!(rest, ["date", "status", "closing"]),
            following => assert_eq!(rest, following),
        }
    }
}

#[tokio::test]
async fn a_range_and_a_listing_are_read_by_the_window_alone() {
    let server = Server::start(by_dates).await;
    let source = source(&server, TOML);
    let until = Some(Value::Date("2026-02-01".parse().unwrap()));
    let scope = RowScope::Range { column: "day".into(), from: None, until };
    for reading in [Reading::Range(scope), Reading::Listing] {
        let outcome = read_as(&source, Default::default(), None, reading).await.good();
        assert_eq!(outcome.complete(), Some(true));
    }
    assert_eq!(asked(&server), ["date", "date"]);
}

#[tokio::test]
async fn a_pass_that_is_no_longer_declared_is_forgotten() {
    let server =
        Server::start(|request| if request.number == 1 { Reply::status(503) } else { by_dates(request) }).await;
    let broken = read(&source(&server, TOML), None).await;
    let without = &TOML.replace("name = \"status\", from = \"status_start\"", "name = \"paid\", from = \"paid_start\"");
    read(&source(&server, without), broken.cursor()).await.good();
    assert_eq!(asked(&server)[2..], ["date", "paid", "closing"]);
}

#[tokio::test]
async fn what_comes_in_two_passes_is_one_row_of_the_newest_kind() {
    let server = Server::start(by_dates).await;
    let sink = MemorySink::new();
    let engine = Engine::builder(MemoryStore::new(std::sync::Arc::new(SystemClock::new())))
        .pipeline(Pipeline::new("shop", source(&server, TOML), sink.clone()).stream(actions()))
        .build()
        .unwrap();
    let report = engine.run("shop").await.unwrap();
    assert_eq!((report.ledger().fetched, report.ledger().balances()), (3, true));
    let rows = sink.rows("actions");
    assert_eq!(rows.len(), 1);
    assert!(format!("{rows:?}").contains("approved") && !format!("{rows:?}").contains("pending"), "{rows:?}");
}

#[tokio::test]
async fn a_pass_is_halved_by_its_own_dates_and_named() {
    let server = Server::start(|request| match pass(request).as_str() {
        "status" => Reply::json(&json!({"error": "too many rows"})).with_status(400),
        _ => by_dates(request),
    })
    .await;
    let toml = TOML.replace("also =", "halve = { smallest_seconds = 86400 }, also =");
    let toml = format!("rules = [{{ status = [400], matches = \"too many rows\", class = \"too_many\" }}]\n{toml}");
    let outcome = read(&source(&server, &toml), None).await;
    assert_eq!((outcome.error().kind(), outcome.ids().len()), (ErrorKind::Limit, 1));
    let told = outcome.error().to_string();
    assert!(told.contains("status") && told.contains("01.01.2026 00:00:00"), "{told}");
    assert!(told.contains("01.01.2026 23:59:59"), "{told}");
    let seen = server.seen();
    assert!(seen.len() > 8 && seen[1].param("status_end") > seen.last().unwrap().param("status_end"), "{}", seen.len());
}

fn endpoint(change: impl FnOnce(WindowConfig) -> WindowConfig) -> Endpoint {
    get("/a").query("kind", "{kind}").window(change(WindowConfig::new("day", "f", "t", "2026-01-01".parse().unwrap())))
}

#[test]
fn passes_that_cannot_be_are_refused_by_the_field() {
    let pass = || PassConfig::new("p", "f2", "t2");
    let refusal = |spec: &StreamSpec, endpoint: Endpoint, named: &str| {
        let error = Rest::at("https://a.example").stream(spec, endpoint).build().expect_err(named);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(named), "{named} is not named: {error}");
    };
    refusal(&actions(), endpoint(|window| window.also(pass()).also(pass())), "`window.also`");
    refusal(&actions(), endpoint(|window| window.also(PassConfig::new("", "f", "t"))), "`window.also`");
    let mut same = PassConfig::default();
    same.name = "p".into();
    refusal(&actions(), endpoint(|window| window.also(same)), "`window.also`");
    let mut wrong = pass();
    wrong.format = Some("iso".into());
    refusal(&actions(), endpoint(|window| window.also(wrong)), "iso");
    let mut never = pass();
    never.max_days = Some(0);
    refusal(&actions(), endpoint(|window| window.also(never)), "`window.max_days`");
    refusal(&actions(), endpoint(|window| window.also(PassConfig::by("p", "sort", "x"))), "`window.also.variables`");
    refusal(&actions(), endpoint(|window| window.also(PassConfig::by("p", "from", "x"))), "`window.also.variables`");
    refusal(&actions(), endpoint(|window| window.variable("sort", "x")), "`window.variables`");
    let replaced = actions().disposition(Disposition::ReplaceWindow);
    refusal(&replaced, endpoint(|window| window.also(pass())), "`window.also`");
    let fine = endpoint(|window| window.variable("kind", "a").also(PassConfig::by("p", "kind", "b")));
    Rest::at("https://a.example").stream(&actions(), fine).build().unwrap();
}
