//! The engine over this source: what the advice in its errors is for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use sync_core::engine::{Engine, Pipeline, RunOptions};
use sync_core::memory::{MemorySink, MemoryStore};
use sync_core::model::{Outcome, Value};
use sync_core::retry::RetryPolicy;
use sync_core::state::RunStatus;
use sync_core::{ErrorKind, StreamSpec, SystemClock};
use sync_rest::{Endpoint, get};

use crate::reading::{orders, tokened};
use crate::server::{Reply, Request, Server};

fn engine(server: &Server, endpoint: Endpoint, sink: &MemorySink) -> Engine {
    let source = server.rest(&orders(), endpoint).limits(|limits| limits.idle_seconds = 0.3).build().unwrap();
    Engine::builder(MemoryStore::new(Arc::new(SystemClock::new())))
        .retry(RetryPolicy::new().base(Duration::from_millis(10)))
        .pipeline(Pipeline::new("shop", source, sink.clone()).stream(orders()))
        .build()
        .unwrap()
}

fn ids(sink: &MemorySink) -> Vec<i64> {
    let rows = sink.rows("orders").into_iter();
    rows.map(|(key, _)| if let Value::Int(id) = key.values()[0] { id } else { panic!("{key}") }).collect()
}

/// Every second answer is a fault, each time another one.
fn troubled(pages: impl Fn(&Request) -> Reply + Send + Sync) -> impl Fn(&Request) -> Reply + Send + Sync {
    move |request| match request.number % 12 {
        1 => Reply::status(503),
        3 => Reply::status(429).header("retry-after", "0"),
        5 => Reply::raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{\"data\":[")
            .close(),
        7 => Reply::silence().reset(),
        9 => Reply::silence().pause(Duration::from_secs(1)).close(),
        11 => Reply::body("text/html", "<html>one moment</html>"),
        _ => pages(request),
    }
}

#[tokio::test]
async fn a_run_through_every_passing_fault_ends_with_every_row_once() {
    let server = Server::start(troubled(tokened(250, 10))).await;
    let sink = MemorySink::new();
    let endpoint = get("/orders").records("/data").cursor("/next").since("updated_since");
    let engine = engine(&server, endpoint, &sink);
    let report = engine.run("shop").await.unwrap();
    assert_eq!(report.status, RunStatus::Completed, "{report:?}");
    assert_eq!(ids(&sink), (1..=250).collect::<Vec<_>>());
    assert_eq!(
        (report.ledger().fetched, report.ledger().count(Outcome::Created)),
        (250, 250),
        "no page was counted twice"
    );
    assert!(report.ledger().balances());
}

#[tokio::test]
async fn a_second_run_is_one_request_and_moves_nothing() {
    let server = Server::start(tokened(250, 100)).await;
    let sink = MemorySink::new();
    let engine = engine(&server, get("/orders").records("/data").cursor("/next").since("updated_since"), &sink);
    engine.run("shop").await.unwrap().completed().unwrap();
    let effects = sink.effects().len();
    let second = engine.run("shop").await.unwrap();
    assert_eq!((second.requests(), sink.effects().len()), (1, effects));
    assert_eq!(second.ledger().count(Outcome::Unchanged), second.ledger().fetched);
}

#[tokio::test]
async fn only_a_listing_that_was_seen_whole_deletes() {
    // What the server shows: ids, and the total it names.
    let shown = Arc::new(Mutex::new((vec![1, 2, 3, 4], 4)));
    let showing = Arc::clone(&shown);
    let server = Server::start(move |request| {
        let (rows, total) = showing.lock().unwrap().clone();
        let page = request.number("page").unwrap();
        let data: Vec<_> = rows.iter().skip((page - 1) * 2).take(2).map(|id| json!({"id": id})).collect();
        Reply::json(&json!({"data": data, "total": total}))
    })
    .await;
    let sink = MemorySink::new();
    let endpoint = get("/orders").records("/data").page("page").size("limit", 2).total("/total");
    let engine = engine(&server, endpoint, &sink);
    engine.run("shop").await.unwrap().completed().unwrap();

    *shown.lock().unwrap() = (vec![1, 2, 3], 4);
    let short = engine.run_with("shop", RunOptions::reconcile()).await.unwrap();
    assert_eq!(short.status, RunStatus::Failed);
    assert_eq!(ids(&sink), [1, 2, 3, 4], "the total says that a row is missing, not deleted");

    *shown.lock().unwrap() = (vec![1, 2, 3], 3);
    engine.run_with("shop", RunOptions::reconcile()).await.unwrap().completed().unwrap();
    assert_eq!(ids(&sink), [1, 2, 3]);
}

#[tokio::test]
async fn a_listing_that_removes_nothing_for_want_of_proof_says_why() {
    let shown = Arc::new(Mutex::new(json!([{"id": 1}, {"id": 2}])));
    let showing = Arc::clone(&shown);
    let server = Server::start(move |_| Reply::json(&showing.lock().unwrap())).await;
    let sink = MemorySink::new();
    let engine = engine(&server, get("/orders"), &sink);
    engine.run("shop").await.unwrap().completed().unwrap();

    *shown.lock().unwrap() = json!([{"id": 1}, {"id": "x"}]);
    let report = engine.run_with("shop", RunOptions::reconcile()).await.unwrap();
    assert_eq!(ids(&sink), [1, 2], "the row whose key cannot be read may be the second one");
    assert!(
        report.to_string().contains("left as it is, since rows were rejected whose keys cannot be read"),
        "{report}"
    );

    *shown.lock().unwrap() = json!([{"id": 1}]);
    let report = engine.run_with("shop", RunOptions::reconcile()).await.unwrap();
    assert_eq!(ids(&sink), [1]);
    assert_eq!(report.scopes[0].unproven, None, "{report}");
}

#[tokio::test]
async fn paging_without_end_keeps_what_was_seen_and_fails_the_run() {
    let server = Server::start(|request| {
        let page = request.number("cursor").unwrap_or(0);
        Reply::json(&json!({"data": [{"id": page}], "next": page + 1}))
    })
    .await;
    let sink = MemorySink::new();
    let source = server.rest(&orders(), get("/orders").records("/data").cursor("/next"));
    let source = source.limits(|limits| limits.pages = 5).build().unwrap();
    let engine = Engine::builder(MemoryStore::new(Arc::new(SystemClock::new())))
        .pipeline(Pipeline::new("shop", source, sink.clone()).stream(orders()))
        .build()
        .unwrap();
    let report = engine.run("shop").await.unwrap();
    assert_eq!(ids(&sink), [0, 1, 2, 3, 4]);
    assert_eq!(report.completed().unwrap_err().kind(), ErrorKind::Limit);
}

#[tokio::test]
async fn a_position_the_source_has_lost_is_read_from_the_beginning() {
    let server = Server::start(|request| match (request.number, request.param("cursor")) {
        (2, Some("b")) => Reply::status(410),
        (_, None) => Reply::json(&json!({"data": [{"id": 1}], "next": "b"})),
        (1, _) => Reply::status(503),
        _ => Reply::json(&json!({"data": [{"id": 2}]})),
    })
    .await;
    let sink = MemorySink::new();
    let engine = engine(&server, get("/orders").records("/data").cursor("/next"), &sink);
    engine.run("shop").await.unwrap().completed().unwrap();
    assert_eq!(ids(&sink), [1, 2]);
    let cursors: Vec<_> = server.seen().iter().map(|request| request.param("cursor").map(str::to_owned)).collect();
    assert_eq!(cursors, [None, Some("b".into()), Some("b".into()), None, Some("b".into())]);
}

#[tokio::test]
async fn a_column_that_an_endpoint_without_a_cursor_no_longer_fills_is_told_by_the_next_run() {
    let renamed = Arc::new(AtomicBool::new(false));
    let server = {
        let renamed = Arc::clone(&renamed);
        Server::start(move |_| {
            let name = if renamed.load(Ordering::SeqCst) { "caption" } else { "title" };
            Reply::json(&json!({"data": [{"id": 1, (name): "a"}, {"id": 2, (name): "b"}]}))
        })
        .await
    };
    let stream = StreamSpec::new("orders").key(["id"]).text("title");
    let source = server.rest(&stream, get("/orders").records("/data")).build().unwrap();
    let engine = Engine::builder(MemoryStore::new(Arc::new(SystemClock::new())))
        .pipeline(Pipeline::new("shop", source, MemorySink::new()))
        .build()
        .unwrap();
    assert!(engine.run("shop").await.unwrap().unfilled().is_empty());
    renamed.store(true, Ordering::SeqCst);
    let report = engine.run("shop").await.unwrap();
    assert!(report.to_string().contains("orders: none of 2 rows has a value for title;"), "{report}");
}

/// It stopped at a page that was refused, and the next run goes on there.
#[tokio::test]
async fn of_a_reading_that_goes_on_in_the_middle_no_column_is_told_as_not_filled() {
    let refused = AtomicBool::new(false);
    let server = Server::start(move |request: &Request| {
        let n = request.number("cursor").unwrap_or(0);
        if n == 3 && !refused.swap(true, Ordering::SeqCst) {
            return Reply::status(403);
        }
        let title = if n < 3 { json!("x") } else { json!(null) };
        let next = if n < 4 { json!(n + 1) } else { json!(null) };
        Reply::json(&json!({"data": [{"id": n, "title": title}], "next": next}))
    })
    .await;
    let spec = StreamSpec::new("orders").key(["id"]).text("title");
    let endpoint = get("/orders").records("/data").cursor("/next");
    let source = server.rest(&spec, endpoint).build().unwrap();
    let sink = MemorySink::new();
    let engine = Engine::builder(MemoryStore::new(Arc::new(SystemClock::new())))
        .pipeline(Pipeline::new("shop", source, sink.clone()).stream(spec))
        .unit_rows(1)
        .build()
        .unwrap();
    let first = engine.run("shop").await.unwrap();
    assert_eq!((first.status == RunStatus::Completed, ids(&sink)), (false, vec![0, 1, 2]), "{first}");
    let second = engine.run("shop").await.unwrap();
    assert_eq!((second.status, ids(&sink)), (RunStatus::Completed, vec![0, 1, 2, 3, 4]), "{second}");
    assert_eq!(second.ledger().fetched, 2, "it went on in the middle: {second}");
    assert!(second.unfilled().is_empty(), "{second}");
}
