//! A source that asks to be left alone, or does not answer at all: who waits, for how long, and who does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use serde_json::json;
use sync_core::engine::{Engine, Pipeline, RunOptions};
use sync_core::memory::{MemorySink, MemoryStore};
use sync_core::retry::RetryPolicy;
use sync_core::state::RunStatus;
use sync_core::{Clock, Source, StreamSpec, SystemClock};
use sync_rest::{Rest, get};
use sync_testkit::ManualClock;
use tokio_util::sync::CancellationToken;

use crate::reading::orders;
use crate::server::{Reply, Server};

fn engine(source: impl Source + 'static, clock: Arc<dyn Clock>) -> Engine {
    Engine::builder(MemoryStore::new(Arc::clone(&clock)))
        .clock(clock)
        .retry(RetryPolicy::new().base(Duration::from_millis(10)))
        .pipeline(Pipeline::new("shop", source, MemorySink::new()))
        .build()
        .unwrap()
}

fn on_time(source: impl Source + 'static) -> Engine {
    engine(source, Arc::new(SystemClock::new()))
}

async fn busy_for_an_hour() -> Server {
    Server::start(|_| Reply::status(429).header("retry-after", "3600")).await
}

#[tokio::test]
async fn a_source_that_asked_to_be_left_alone_is_not_asked_by_another_kind_of_run() {
    let server = busy_for_an_hour().await;
    let engine = on_time(server.source(&orders(), get("/orders").records("/data")));
    let report = engine.run("shop").await.unwrap();
    assert_eq!((report.status, server.count()), (RunStatus::Held, 1));
    for options in [RunOptions::incremental(), RunOptions::reconcile()] {
        engine.run_with("shop", options).await.unwrap();
        assert_eq!(server.count(), 1);
    }
}

#[tokio::test]
async fn a_source_that_asked_to_be_left_alone_is_not_asked_for_its_other_streams() {
    let server = busy_for_an_hour().await;
    let lines = StreamSpec::new("lines").key(["id"]);
    let rest = Rest::at(server.url()).stream(&orders(), get("/orders")).stream(&lines, get("/lines"));
    let report = on_time(rest.build().unwrap()).run("shop").await.unwrap();
    assert_eq!(server.count(), 1, "both streams were asked for: {report}");
}

#[tokio::test]
async fn absurd_demands_to_wait_end_the_run_in_order() {
    let past = "Thu, 01 Jan 1970 00:00:00 GMT";
    let future = "Fri, 31 Dec 9999 23:59:59 GMT";
    for text in ["-5", "NaN", "inf", "1e308", "99999999999999999999", past, future, "", "soon"] {
        let server = Server::start(move |_| Reply::status(503).header("retry-after", text)).await;
        let engine = on_time(server.source(&orders(), get("/orders")));
        let report = tokio::time::timeout(Duration::from_secs(20), engine.run("shop")).await.expect(text).unwrap();
        assert!(matches!(report.status, RunStatus::Held | RunStatus::Failed), "{text}: {report}");
        assert!(server.count() <= 8, "{text}: {}", server.count());
    }
}

#[tokio::test]
async fn a_hold_made_while_the_clock_was_wrong_does_not_last_for_decades() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(429).header("retry-after", "1800"),
        _ => Reply::json(&json!([{"id": 1}])),
    })
    .await;
    let clock = Arc::new(ManualClock::new(1));
    let engine = engine(server.source(&orders(), get("/orders")), Arc::<ManualClock>::clone(&clock));
    clock.jump(TimeDelta::days(365 * 70));
    assert_eq!(engine.run("shop").await.unwrap().status, RunStatus::Held);
    clock.jump(-TimeDelta::days(365 * 70));
    clock.advance(Duration::from_secs(2 * 3600));
    let report = engine.run("shop").await.unwrap();
    assert_eq!(report.status, RunStatus::Completed, "two hours later: {report}");
}

#[tokio::test]
async fn a_run_that_waits_for_a_silent_source_is_cancelled_at_once() {
    let server = Server::start(|_| Reply::silence().pause(Duration::from_secs(30))).await;
    let engine = on_time(server.source(&orders(), get("/orders")));
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cancel.cancel();
    });
    let begun = Instant::now();
    let report = engine.run_with("shop", RunOptions::incremental().cancel(token)).await.unwrap();
    assert!(report.status == RunStatus::Cancelled && begun.elapsed() < Duration::from_secs(5), "{report}");
}
