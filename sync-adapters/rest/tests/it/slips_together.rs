//! Rows that slip between numbered pages that are asked for together: the last one may be answered before those in front of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};
use sync_core::engine::{Engine, Pipeline, RunOptions};
use sync_core::memory::{MemorySink, MemoryStore};
use sync_core::{StreamSpec, SystemClock};
use sync_rest::{Endpoint, get};

use crate::server::{Reply, Server};
use crate::slips::ids;

fn engine(server: &Server, spec: &StreamSpec, endpoint: Endpoint, sink: &MemorySink) -> Engine {
    Engine::builder(MemoryStore::new(Arc::new(SystemClock::new())))
        .pipeline(Pipeline::new("shop", server.source(spec, endpoint), sink.clone()).stream(spec.clone()))
        .build()
        .unwrap()
}

/// What the second page waits for: that the third one was answered, for a while.
fn wait_for(third: &AtomicBool) {
    let begun = std::time::Instant::now();
    while !third.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_millis(500) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_row_that_moves_onto_the_last_page_once_that_was_answered_is_not_deleted() {
    let pages = || get("/orders").records("/data").page("page").size("limit", 2).concurrency(3);
    let by_count = || {
        let mut paging = sync_rest::PagingConfig::default();
        (paging.style, paging.param) = (sync_rest::Style::Page, Some("page".to_owned()));
        (paging.size_param, paging.size) = (Some("limit".to_owned()), Some(2));
        (paging.pages, paging.concurrency) = (Some("/pages".to_owned()), Some(3));
        get("/orders").records("/data").paging(paging)
    };
    for (what, endpoint, leaves) in [
        ("total", pages().total("/total"), true),
        ("total, ordered by key", pages().total("/total").ordered_by_key(), true),
        ("pages", by_count(), false),
    ] {
        // In the order of a key that is not given in order.
        let table: Arc<Mutex<Vec<i64>>> = Arc::new(Mutex::new(vec![10, 20, 30, 40, 50, 60]));
        let (armed, third, asked) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (is_armed, is_third, rows) = (Arc::clone(&armed), Arc::clone(&third), Arc::clone(&table));
        let counting = Arc::clone(&asked);
        let server = Server::start(move |request| {
            let page = request.number("page").unwrap();
            counting.fetch_add(1, Ordering::SeqCst);
            if page == 2 && is_armed.swap(false, Ordering::SeqCst) {
                wait_for(&is_third);
                let mut rows = rows.lock().unwrap();
                rows.insert(2, 25);
                if leaves {
                    rows.pop();
                }
            }
            let rows = rows.lock().unwrap();
            let data: Vec<Json> = rows.iter().skip((page - 1) * 2).take(2).map(|id| json!({"id": id})).collect();
            let reply = Reply::json(&json!({"data": data, "total": rows.len(), "pages": rows.len().div_ceil(2)}));
            if page == 3 {
                is_third.store(true, Ordering::SeqCst);
            }
            reply
        })
        .await;
        let spec = StreamSpec::new("orders").key(["id"]);
        let sink = MemorySink::new();
        let engine = engine(&server, &spec, endpoint, &sink);
        engine.run("shop").await.unwrap().completed().unwrap();
        assert_eq!(ids(&sink), [10, 20, 30, 40, 50, 60], "{what}");
        third.store(false, Ordering::SeqCst);
        armed.store(true, Ordering::SeqCst);
        let report = engine.run_with("shop", RunOptions::reconcile()).await.unwrap();
        assert!(ids(&sink).contains(&40), "{what}: 40 is at the source: {:?}\n{report}", ids(&sink));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_row_that_moves_onto_the_last_page_of_a_first_load_once_that_was_answered_arrives() {
    for empty_behind in [false, true] {
        let row = |id: i64, minute: i64| json!({"id": id, "updated_at": format!("2026-01-01T00:{minute:02}:00Z")});
        let count = if empty_behind { 4 } else { 5 };
        let table = Arc::new(Mutex::new((1..=count).map(|id| row(id, id)).collect::<Vec<_>>()));
        let (third, asked, rows) = (AtomicBool::new(false), AtomicUsize::new(0), Arc::clone(&table));
        let server = Server::start(move |request| {
            let page = request.number("page").unwrap();
            if page == 2 && asked.fetch_add(1, Ordering::SeqCst) == 0 {
                wait_for(&third);
                rows.lock().unwrap().insert(2, row(9, 30));
            }
            let since = request.param("since").unwrap_or("").to_owned();
            let rows = rows.lock().unwrap();
            let all: Vec<_> = rows.iter().filter(|row| row["updated_at"].as_str().unwrap() >= since.as_str()).collect();
            let data: Vec<_> = all.iter().skip((page - 1) * 2).take(2).collect();
            let reply =
                if data.is_empty() && page > 1 { Reply::status(204) } else { Reply::json(&json!({"data": data})) };
            third.fetch_or(page == 3, Ordering::SeqCst);
            reply.header("date", "Thu, 01 Jan 2026 00:40:00 GMT")
        })
        .await;
        let spec = StreamSpec::new("orders").key(["id"]).version("updated_at");
        let sink = MemorySink::new();
        let mut since = sync_rest::SinceConfig::new("since");
        since.overlap_seconds = 60;
        let endpoint = get("/orders").records("/data").page("page").size("limit", 2).concurrency(3).since_as(since);
        let engine = engine(&server, &spec, endpoint, &sink);
        for _ in 0..2 {
            engine.run("shop").await.unwrap().completed().unwrap();
        }
        let wanted: Vec<i64> = (1..=count).chain([9]).collect();
        assert_eq!(ids(&sink), wanted, "empty behind: {empty_behind}, {} requests", server.count());
    }
}
