//! Ranges of dates that hold too much for one answer: halved until they fit, and read in order.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::NaiveDate;
use serde_json::json;
use sync_core::engine::{Engine, Pipeline};
use sync_core::memory::{MemorySink, MemoryStore};
use sync_core::model::{Boundary, Disposition, RowScope};
use sync_core::retry::RetryPolicy;
use sync_core::source::Reading;
use sync_core::{ErrorKind, Retry, StreamSpec, SystemClock, Value};
use sync_rest::{HttpTransport, ReqwestTransport, Rest, RestSource, SocketOptions};

use crate::server::{Outcome, Reply, Request, Server, read, read_as};

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn purchases() -> StreamSpec {
    StreamSpec::new("purchases").key(["id"]).date("day")
}

fn asked(request: &Request) -> (NaiveDate, NaiveDate) {
    (day(request.param("from").unwrap()), day(request.param("to").unwrap()))
}

fn days(request: &Request) -> i64 {
    let (from, to) = asked(request);
    (to - from).num_days() + 1
}

/// One purchase a day from 1 January to 31 March 2026, numbered from 0, in pages of `size`.
fn page_of(request: &Request, size: usize, kept: impl Fn(i64) -> bool) -> Reply {
    let (from, to) = asked(request);
    let first = day("2026-01-01");
    let ids = (0..90).filter(|id| kept(*id)).map(|id| (id, first + chrono::TimeDelta::days(id)));
    let rows: Vec<_> = ids.filter(|(_, day)| (from..=to).contains(day)).collect();
    let page = request.number("page").unwrap_or(1);
    let shown = rows.iter().skip((page - 1) * size).take(size).map(|(id, day)| json!({"id": id, "day": day}));
    let body = json!({"data": shown.collect::<Vec<_>>(), "total": rows.len()});
    Reply::json(&body).header("date", "Tue, 31 Mar 2026 10:00:00 GMT")
}

fn all(request: &Request) -> Reply {
    page_of(request, 1000, |_| true)
}

const TOO_MANY: &str = r#"{ status = [400], matches = "too many rows", class = "too_many" }"#;

fn rest(server: &Server, spec: StreamSpec, rule: &str, halve: &str) -> Rest {
    let toml = format!(
        r#"
        base = {:?}
        rules = [{rule}]
        [streams.purchases]
        path = "/purchases"
        records = ["/data"]
        paging = {{ style = "page", param = "page", total = "/total" }}
        window = {{ column = "day", from = "from", to = "to", start = "2026-01-01", max_days = 31{halve} }}
        "#,
        server.url()
    );
    Rest::from_toml(&toml, [spec]).unwrap()
}

fn source(server: &Server, rule: &str, halve: &str) -> RestSource {
    rest(server, purchases(), rule, halve).build().unwrap()
}

fn range(from: &str, until: &str) -> RowScope {
    RowScope::Range { column: "day".into(), from: Some(Value::Date(day(from))), until: Some(Value::Date(day(until))) }
}

async fn read_range(source: &RestSource, from: &str, until: &str) -> Outcome {
    read_as(source, Default::default(), None, Reading::Range(range(from, until))).await
}

fn windows(server: &Server) -> Vec<(String, String)> {
    let text = |request: &Request, name: &str| request.param(name).unwrap()[5..].to_owned();
    server.seen().iter().map(|request| (text(request, "from"), text(request, "to"))).collect()
}

#[tokio::test]
async fn a_range_with_too_many_rows_is_halved_and_its_halves_are_read_in_order() {
    let server = Server::start(|request| match days(request) {
        8.. => Reply::json(&json!({"error": "too many rows"})).with_status(400),
        _ => all(request),
    })
    .await;
    let outcome = read_range(&source(&server, TOO_MANY, ", halve = {}"), "2026-01-01", "2026-01-21").await.good();
    assert_eq!(outcome.ids(), (0..20).collect::<Vec<i64>>());
    assert_eq!(outcome.complete(), Some(true));
    let window = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(
        windows(&server),
        [
            window("01-01", "01-20"),
            window("01-01", "01-10"),
            window("01-01", "01-05"),
            window("01-06", "01-10"),
            window("01-11", "01-20"),
            window("01-11", "01-15"),
            window("01-16", "01-20"),
        ]
    );
    let counted: u64 = outcome.batches.iter().map(|batch| batch.requests).sum();
    assert_eq!(counted, 7, "those that brought nothing are counted too");
}

#[tokio::test]
async fn rows_of_an_answer_that_says_it_is_not_all_are_not_taken() {
    let server = Server::start(|request| match days(request) {
        4.. => Reply::json(&json!({"data": [{"id": 999, "day": "2026-01-01"}], "incomplete_results": true})),
        _ => all(request),
    })
    .await;
    let rule = r#"{ pointer = "/incomplete_results", class = "too_many" }"#;
    let outcome = read_range(&source(&server, rule, ", halve = {}"), "2026-01-01", "2026-01-08").await.good();
    assert_eq!((outcome.ids(), outcome.complete()), ((0..7).collect(), Some(true)));
}

#[tokio::test]
async fn a_page_in_the_middle_that_is_too_much_begins_the_range_again_in_halves() {
    let server = Server::start(|request| match (days(request), request.number("page")) {
        (5.., Some(2)) => Reply::json(&json!({"error": "too many rows"})).with_status(400),
        _ => page_of(request, 2, |_| true),
    })
    .await;
    let outcome = read_range(&source(&server, TOO_MANY, ", halve = {}"), "2026-01-01", "2026-01-09").await.good();
    assert_eq!(outcome.ids(), [0, 1, 0, 1, 2, 3, 4, 5, 6, 7], "the rows of the first page come again, the others once");
    assert_eq!(outcome.complete(), Some(true));
}

#[tokio::test]
async fn the_shortest_range_that_is_still_too_much_fails_by_its_dates() {
    let server = Server::start(|request| {
        let (from, to) = asked(request);
        match (from..=to).contains(&day("2026-01-06")) {
            true => Reply::json(&json!({"error": "too many rows"})).with_status(400),
            false => all(request),
        }
    })
    .await;
    let source = source(&server, TOO_MANY, ", halve = { smallest_seconds = 172800 }");
    let outcome = read_range(&source, "2026-01-01", "2026-01-09").await;
    assert_eq!(outcome.ids(), [0, 1, 2, 3], "what came before it is kept");
    let error = outcome.error();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Limit, Retry::Never));
    let named: Vec<_> = error.context().filter(|(name, _)| matches!(*name, "from" | "to")).collect();
    assert_eq!(named, [("from", "2026-01-05"), ("to", "2026-01-06")]);
    assert_eq!(outcome.complete(), None, "nothing is said about the rows of the range");
}

#[tokio::test]
async fn without_a_word_about_halves_the_error_stands() {
    let server = Server::start(|_| Reply::json(&json!({"error": "too many rows"})).with_status(400)).await;
    let outcome = read_range(&source(&server, TOO_MANY, ""), "2026-01-01", "2026-01-09").await;
    assert_eq!((outcome.error().kind(), server.count()), (ErrorKind::Limit, 1));
    assert!(outcome.error().to_string().contains("2026-01-08"), "{}", outcome.error());
}

const TOO_SLOW: &str = r#"{ status = [502, 504], class = "too_slow" }"#;

#[tokio::test]
async fn a_range_that_takes_too_long_is_tried_again_before_it_is_halved() {
    let server = Server::start(|request| if days(request) > 3 { Reply::status(504) } else { all(request) }).await;
    let source = source(&server, TOO_SLOW, ", halve = { after = 3 }");
    for _ in 0..2 {
        let outcome = read_range(&source, "2026-01-01", "2026-01-13").await;
        assert_eq!((outcome.error().kind(), outcome.error().retry()), (ErrorKind::Unavailable, Retry::Backoff));
    }
    let outcome = read_range(&source, "2026-01-01", "2026-01-13").await.good();
    assert_eq!(outcome.ids(), (0..12).collect::<Vec<i64>>());
    assert_eq!(server.count(), 2 + 7, "the halves of a slow range are halved at once");
    let again = read_range(&source, "2026-01-01", "2026-01-13").await;
    assert_eq!(again.error().retry(), Retry::Backoff, "after an answer in time the count begins anew");
}

#[tokio::test]
async fn a_day_that_takes_too_long_fails_with_advice_to_try_again() {
    let server = Server::start(|_| Reply::status(502)).await;
    let source = source(&server, TOO_SLOW, ", halve = { after = 1 }");
    let outcome = read_range(&source, "2026-01-01", "2026-01-05").await;
    assert_eq!((outcome.error().retry(), server.count()), (Retry::Backoff, 3));
    assert!(outcome.error().to_string().contains("2026-01-01"), "{}", outcome.error());
}

#[tokio::test]
async fn a_read_goes_on_after_every_boundary_and_misses_no_row() {
    for disposition in [Disposition::Upsert, Disposition::ReplaceWindow] {
        let server = Server::start(|request| match days(request) {
            8.. if asked(request).0 < day("2026-04-01") => {
                Reply::json(&json!({"error": "too many rows"})).with_status(400)
            }
            _ => page_of(request, 3, |_| true),
        })
        .await;
        let spec = purchases().disposition(disposition);
        // One for all: setting up TLS takes longer than a read.
        let transport: Arc<dyn HttpTransport> = Arc::new(ReqwestTransport::new(&SocketOptions::default()).unwrap());
        let build = || {
            let rest = rest(&server, spec.clone(), TOO_MANY, ", lookback_days = 0, halve = {}");
            rest.transport(Arc::clone(&transport)).build().unwrap()
        };
        let whole = read(&build(), None).await.good();
        let mut before: Vec<i64> = Vec::new();
        let mut open = None;
        let mut checked = 0;
        for batch in &whole.batches {
            let piece = Outcome { batches: vec![batch.clone()], error: None };
            before.extend(piece.ids());
            let cursor = match &batch.boundary {
                Boundary::Begins(scope) => {
                    open = Some(scope.clone());
                    continue;
                }
                Boundary::Resume(cursor) => cursor.clone(),
                Boundary::Ends { scope, complete, resume } => {
                    assert_eq!((Some(scope), complete), (open.take().as_ref(), &true));
                    resume.clone().unwrap()
                }
                other => panic!("{other:?}"),
            };
            // A new source each time: a new process.
            let rest = read(&build(), Some(cursor)).await.good();
            let mut ids: Vec<i64> = before.iter().copied().chain(rest.ids()).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids, (0..90).collect::<Vec<_>>(), "{disposition:?} after {} rows", before.len());
            // What was begun is ended, or begun again.
            let first = rest.batches.iter().find_map(|batch| match &batch.boundary {
                Boundary::Begins(scope) => Some((false, scope.clone())),
                Boundary::Ends { scope, .. } => Some((true, scope.clone())),
                _ => None,
            });
            if let (Some(scope), Some((true, ended))) = (&open, &first) {
                assert_eq!(scope, ended);
            }
            assert!(open.is_some() || !matches!(first, Some((true, _))), "nothing ends that did not begin");
            checked += 1;
        }
        assert!(checked > 30, "{disposition:?} {checked}");
    }
}

#[tokio::test]
async fn a_window_in_trouble_is_asked_again_without_those_before_it() {
    let server = Server::start(|request| match asked(request).0 >= day("2026-02-01") {
        true => Reply::status(503),
        false => all(request),
    })
    .await;
    let source = source(&server, TOO_MANY, "");
    let first = read(&source, None).await;
    let again = read(&source, first.cursor()).await;
    assert_eq!((first.ids().len(), again.ids().len()), (31, 0), "or an engine that tries again would never end");
    let asked = windows(&server);
    assert_eq!((asked.len(), &asked[1]), (3, &asked[2]));
}

#[tokio::test]
async fn rows_that_are_gone_from_a_halved_window_are_deleted() {
    let gone = Arc::new(Mutex::new(false));
    let shown = Arc::clone(&gone);
    let server = Server::start(move |request| {
        let gone = *shown.lock().unwrap();
        match days(request) {
            8.. if request.number % 2 == 0 => Reply::status(504),
            8.. => Reply::json(&json!({"error": "too many rows"})).with_status(400),
            _ => page_of(request, 3, |id| !gone || id % 10 != 5),
        }
    })
    .await;
    let spec = purchases().disposition(Disposition::ReplaceWindow);
    let rules = format!("{TOO_MANY}, {TOO_SLOW}");
    let sink = MemorySink::new();
    let engine = Engine::builder(MemoryStore::new(Arc::new(SystemClock::new())))
        .retry(RetryPolicy::new().base(Duration::from_millis(1)))
        .pipeline(
            Pipeline::new(
                "shop",
                rest(&server, spec.clone(), &rules, ", halve = {}, lookback_days = 400").build().unwrap(),
                sink.clone(),
            )
            .stream(spec),
        )
        .build()
        .unwrap();
    engine.run("shop").await.unwrap().completed().unwrap();
    assert_eq!(sink.rows("purchases").len(), 90);
    *gone.lock().unwrap() = true;
    engine.run("shop").await.unwrap().completed().unwrap();
    let rows = sink.rows("purchases");
    assert_eq!(rows.len(), 81);
    assert!(!rows.iter().any(|(key, _)| matches!(key.values()[0], Value::Int(id) if id % 10 == 5)));
}

#[test]
fn halves_that_cannot_be_are_refused_by_the_field() {
    let stream = |rules: &str, window: &str| {
        format!(
            "base = \"https://a.example\"\n[streams.purchases]\npath = \"/p\"\nrules = [{rules}]\nwindow = {{ column = \"day\", from = \"f\", start = \"2026-01-01\"{window} }}"
        )
    };
    let cases = [
        (stream("", ", halve = { smallest_seconds = 3600 }"), "`window.halve.smallest_seconds`"),
        (stream("", ", halve = { smallest_seconds = 0 }, format = \"rfc3339\""), "`window.halve.smallest_seconds`"),
        (
            stream("", ", halve = { smallest_seconds = 60 }, format = \"%Y-%m-%d %H\""),
            "`window.halve.smallest_seconds`",
        ),
        (stream("", ", halve = {}, max_days = 1"), "`window.halve.smallest_seconds`"),
        (stream("", ", halve = { after = 0 }"), "`window.halve.after`"),
        (stream(TOO_MANY, ""), "`window.halve`"),
        (stream(TOO_SLOW, ""), "`window.halve`"),
    ];
    for (toml, named) in cases {
        let error = Rest::from_toml(&toml, [purchases()]).and_then(Rest::build).expect_err(&toml);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(named), "{named} is not named: {error}");
    }
}
