//! Pages of a first load that are asked for together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use sync_core::engine::{Engine, Pipeline, RunOptions};
use sync_core::memory::{MemorySink, MemoryStore};
use sync_core::model::{Outcome, Value};
use sync_core::retry::RetryPolicy;
use sync_core::state::RunStatus;
use sync_core::{StreamSpec, SystemClock};
use sync_rest::{Endpoint, SinceConfig, get};

use crate::server::{Reply, Server};

fn engine(server: &Server, spec: &StreamSpec, endpoint: Endpoint, sink: &MemorySink) -> Engine {
    Engine::builder(MemoryStore::new(Arc::new(SystemClock::new())))
        .retry(RetryPolicy::new().base(Duration::from_millis(2)).cap(Duration::from_millis(10)))
        .pipeline(Pipeline::new("shop", server.source(spec, endpoint), sink.clone()).stream(spec.clone()))
        .build()
        .unwrap()
}

fn pages() -> Endpoint {
    get("/orders").records("/data").page("page").size("limit", 2)
}

/// The first page takes long. Meanwhile a row changes that the second page has shown, and another one later.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_row_that_changes_while_the_first_page_is_waited_for_arrives_though_a_later_page_has_come_before() {
    let row = |id: i64, minute: u32| json!({"id": id, "updated_at": format!("2026-01-01T00:{minute:02}:00Z")});
    let table = Arc::new(Mutex::new((1..=4).map(|id| (id, row(id, id as u32))).collect::<BTreeMap<i64, _>>()));
    let (shown, rows) = (Arc::new(AtomicBool::new(false)), Arc::clone(&table));
    let server = Server::start(move |request| {
        let since = request.param("since").unwrap_or("").to_owned();
        let page = request.number("page").unwrap();
        let mut minute = 10;
        if since.is_empty() && page == 1 {
            let begun = std::time::Instant::now();
            while !shown.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_millis(500) {
                std::thread::sleep(Duration::from_millis(1));
            }
            let mut rows = rows.lock().unwrap();
            rows.insert(3, row(3, 20));
            rows.insert(1, row(1, 25));
            minute = 30;
        } else if since.is_empty() && shown.load(Ordering::SeqCst) {
            minute = 31;
        }
        let rows = rows.lock().unwrap();
        let all: Vec<_> = rows.values().filter(|row| row["updated_at"].as_str().unwrap() >= since.as_str()).collect();
        let data: Vec<_> = all.iter().skip((page - 1) * 2).take(2).collect();
        let reply = Reply::json(&json!({"data": data, "total": all.len()}));
        if page == 2 {
            shown.store(true, Ordering::SeqCst);
        }
        reply.header("date", format!("Thu, 01 Jan 2026 00:{minute:02}:00 GMT"))
    })
    .await;
    let spec = StreamSpec::new("orders").key(["id"]).version("updated_at");
    let mut since = SinceConfig::new("since");
    since.overlap_seconds = 60;
    let sink = MemorySink::new();
    let endpoint = pages().total("/total").stable().concurrency(3).since_as(since);
    let engine = engine(&server, &spec, endpoint, &sink);
    for _ in 0..3 {
        engine.run("shop").await.unwrap().completed().unwrap();
    }
    let found: Vec<String> = sink.rows("orders").iter().map(|(_, row)| row[1].to_string()).collect();
    let versions: Vec<&str> = found.iter().map(|at| &at[14..16]).collect();
    assert_eq!(versions, ["25", "02", "20", "04"], "{found:?}");
}

/// Everything that may be in the way of pages that are asked for together, drawn by a seed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_row_arrives_once_whatever_comes_of_pages_that_are_asked_for_together() {
    for seed in 1..=40_u64 {
        let mut random = sync_testkit::Random::new(seed);
        let count = random.below(30) as usize;
        let (with_total, stable) = (random.chance(0.6), random.chance(0.5));
        let at_once = 2 + random.below(7) as usize;
        let (trouble, beyond) = (random.below(60), random.below(4));
        let moving = random.below(4);
        let (asked, draws) = (Arc::new(AtomicUsize::new(0)), Mutex::new(random));
        let counting = Arc::clone(&asked);
        let ids = Arc::new(Mutex::new((1..=count as i64).collect::<Vec<_>>()));
        let rows = Arc::clone(&ids);
        let server = Server::start(move |request| {
            let number = counting.fetch_add(1, Ordering::SeqCst);
            let page = request.number("page").unwrap();
            let (pause, bad, which) = {
                let mut draws = draws.lock().unwrap();
                (draws.below(5), draws.below(100) < trouble && number < 25, draws.below(4))
            };
            std::thread::sleep(Duration::from_millis(pause));
            if bad {
                return match which {
                    0 => Reply::status(429).header("retry-after", "0"),
                    1 => Reply::status(503),
                    2 => Reply::json(&json!({"data": []})).reset(),
                    _ => Reply::status(500),
                };
            }
            let mut rows = rows.lock().unwrap();
            if number < 12 && number % 3 == 2 {
                let next = rows.last().copied().unwrap_or(0) + 1;
                match moving {
                    1 => rows.push(next),
                    2 if !stable && rows.len() > 3 => drop(rows.remove(0)),
                    3 if !stable => rows.insert(0, -(number as i64)),
                    _ => {}
                }
            }
            let data: Vec<_> = rows.iter().skip((page - 1) * 2).take(2).map(|id| json!({"id": id})).collect();
            if data.is_empty() && page > 1 {
                match beyond {
                    0 if with_total => return Reply::status(404),
                    1 if with_total => return Reply::status(500),
                    _ => {}
                }
            }
            match with_total {
                true => Reply::json(&json!({"data": data, "total": rows.len()})),
                false => Reply::json(&json!({"data": data})),
            }
        })
        .await;
        let spec = StreamSpec::new("orders").key(["id"]);
        let mut endpoint = pages().concurrency(at_once);
        endpoint = if with_total { endpoint.total("/total") } else { endpoint };
        endpoint = if stable { endpoint.stable() } else { endpoint };
        let sink = MemorySink::new();
        let engine = engine(&server, &spec, endpoint, &sink);
        let what = format!(
            "seed {seed}: {count} rows, total {with_total}, stable {stable}, {at_once} at once, moving {moving}, beyond {beyond}"
        );
        let (mut created, mut good) = (0, 0);
        for _ in 0..12 {
            let run = tokio::time::timeout(Duration::from_secs(20), engine.run("shop"));
            let report = run.await.unwrap_or_else(|_| panic!("{what}: no end")).unwrap();
            created += report.ledger().count(Outcome::Created);
            good += u32::from(report.status == RunStatus::Completed);
            if good == 3 {
                break;
            }
        }
        assert!(good > 0, "{what}");
        let run = tokio::time::timeout(
            Duration::from_secs(20),
            engine.run_with("shop", RunOptions::reconcile().confirm_deletes()),
        );
        let report = run.await.unwrap_or_else(|_| panic!("{what}: no end")).unwrap();
        created += report.ledger().count(Outcome::Created);
        let found: Vec<Value> = sink.rows("orders").iter().map(|(key, _)| key.values()[0].clone()).collect();
        let mut expected = ids.lock().unwrap().clone();
        expected.sort_unstable();
        let expected: Vec<Value> = expected.into_iter().map(Value::from).collect();
        assert!(expected.iter().all(|id| found.contains(id)), "{what}: {found:?} of {expected:?} {report}");
        assert!(created as usize >= expected.len(), "{what}");
        let asked = asked.load(Ordering::SeqCst);
        assert!(asked < 600, "{what}: {asked} requests");
    }
}
