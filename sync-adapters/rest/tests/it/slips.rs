//! Rows that slip from one numbered page to another while we read: nothing is deleted for it, and nothing is skipped.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};
use sync_core::engine::{Engine, Pipeline, RunOptions};
use sync_core::memory::{MemorySink, MemoryStore};
use sync_core::model::Value;
use sync_core::retry::RetryPolicy;
use sync_core::source::Reading;
use sync_core::state::RunStatus;
use sync_core::{StreamSpec, SystemClock};
use sync_rest::{Endpoint, WindowConfig, get};

use crate::server::{Reply, Request, Server, read, read_as};

fn engine(server: &Server, spec: &StreamSpec, endpoint: Endpoint, sink: &MemorySink) -> Engine {
    Engine::builder(MemoryStore::new(Arc::new(SystemClock::new())))
        .retry(RetryPolicy::new().base(Duration::from_millis(10)))
        .pipeline(Pipeline::new("shop", server.source(spec, endpoint), sink.clone()).stream(spec.clone()))
        .build()
        .unwrap()
}

pub(crate) fn ids(sink: &MemorySink) -> Vec<i64> {
    let rows = sink.rows("orders").into_iter();
    rows.map(|(key, _)| if let Value::Int(id) = key.values()[0] { id } else { panic!("{key}") }).collect()
}

type Table = Arc<Mutex<Vec<Json>>>;

/// A table that is listed in pages of two, by its order; `between` may change it before a request is answered.
fn listed(
    table: &Table,
    with_total: bool,
    keeps: impl Fn(&Request, &Json) -> bool + Send + Sync + 'static,
    between: impl Fn(usize, &mut Vec<Json>) + Send + Sync + 'static,
) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    let table = Arc::clone(table);
    let requests = AtomicUsize::new(0);
    move |request| {
        let mut table = table.lock().unwrap();
        between(requests.fetch_add(1, Ordering::SeqCst), &mut table);
        let all: Vec<_> = table.iter().filter(|row| keeps(request, row)).cloned().collect();
        let from = request.number("offset").unwrap_or_else(|| (request.number("page").unwrap_or(1) - 1) * 2);
        let data: Vec<_> = all.iter().skip(from).take(2).cloned().collect();
        match with_total {
            true => Reply::json(&json!({"data": data, "total": all.len()})),
            false => Reply::json(&json!({"data": data})),
        }
    }
}

fn all(_: &Request, _: &Json) -> bool {
    true
}

fn table(count: i64) -> Table {
    Arc::new(Mutex::new((1..=count).map(|id| json!({"id": id, "n": id})).collect()))
}

fn spec() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("n")
}

fn pages() -> Endpoint {
    get("/orders").records("/data").page("page").size("limit", 2)
}

/// Versions five minutes apart.
fn dated(count: i64) -> Table {
    let row = |id: i64| json!({"id": id, "updated_at": format!("2026-01-01T00:{:02}:00Z", id * 5)});
    Arc::new(Mutex::new((1..=count).map(row).collect()))
}

fn since(request: &Request, row: &Json) -> bool {
    row["updated_at"].as_str().unwrap() >= request.param("since").unwrap_or("")
}

fn by_version() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).version("updated_at")
}

#[tokio::test]
async fn a_row_that_slips_between_numbered_pages_is_not_deleted() {
    for endpoint in
        [pages(), get("/orders").records("/data").offset("offset").size("limit", 2), pages().ordered_by_key()]
    {
        let table = table(6);
        // The first run takes four requests; before the second page of the reconcile, row 1 is deleted.
        let server = Server::start(listed(&table, false, all, |request, table| {
            if request == 5 {
                table.remove(0);
            }
        }))
        .await;
        let sink = MemorySink::new();
        let engine = engine(&server, &spec(), endpoint, &sink);
        engine.run("shop").await.unwrap().completed().unwrap();
        assert_eq!(server.count(), 4);
        engine.run_with("shop", RunOptions::reconcile()).await.unwrap().completed().unwrap();
        assert_eq!(ids(&sink), [1, 2, 3, 4, 5, 6], "row 3 is at the source; nothing is sure of row 1 yet");
        engine.run_with("shop", RunOptions::reconcile()).await.unwrap().completed().unwrap();
        assert_eq!(ids(&sink), [2, 3, 4, 5, 6], "at rest, the listing proves that row 1 is gone");
    }
}

#[tokio::test]
async fn a_row_that_slips_while_the_total_stays_the_same_is_not_deleted() {
    for endpoint in [pages(), pages().ordered_by_key()] {
        let table = table(6);
        let server = Server::start(listed(&table, true, all, |request, table| {
            if request == 4 {
                table.remove(0);
                table.push(json!({"id": 7, "n": 7}));
            }
        }))
        .await;
        let sink = MemorySink::new();
        let engine = engine(&server, &spec(), endpoint.total("/total"), &sink);
        engine.run("shop").await.unwrap().completed().unwrap();
        assert_eq!(server.count(), 3);
        let report = engine.run_with("shop", RunOptions::reconcile()).await.unwrap();
        assert!(ids(&sink).contains(&3), "row 3 is at the source: {:?}\n{report}", ids(&sink));
    }
}

#[tokio::test]
async fn a_change_that_slips_between_numbered_pages_ordered_by_an_integer_version_arrives_later() {
    let table = Arc::new(Mutex::new((1..=6).map(|id| json!({"id": id, "rev": id})).collect::<Vec<_>>()));
    let since =
        |request: &Request, row: &Json| row["rev"].as_u64().unwrap() as usize >= request.number("since").unwrap_or(0);
    let server = Server::start(listed(&table, false, since, |request, table| {
        if request == 1 {
            let mut changed = table.remove(0);
            changed["rev"] = 7.into();
            table.push(changed);
        }
    }))
    .await;
    let sink = MemorySink::new();
    let spec = StreamSpec::new("orders").key(["id"]).int("rev").version("rev");
    let engine = engine(&server, &spec, pages().since("since"), &sink);
    for _ in 0..4 {
        engine.run("shop").await.unwrap().completed().unwrap();
    }
    assert_eq!(ids(&sink), [1, 2, 3, 4, 5, 6]);
    let last = server.seen().last().unwrap().clone();
    assert_eq!(last.number("since"), Some(7), "once the table rests, the version moves on");
}

#[tokio::test]
async fn a_change_behind_us_under_an_integer_version_arrives_although_rows_keep_their_places() {
    let table = Arc::new(Mutex::new((1..=6).map(|id| json!({"id": id, "rev": id})).collect::<Vec<_>>()));
    let since =
        |request: &Request, row: &Json| row["rev"].as_u64().unwrap() as usize >= request.number("since").unwrap_or(0);
    // Row 1 changes when it has been read, and row 6 later, before it is read: the highest version is above both.
    let server = Server::start(listed(&table, false, since, |request, table| {
        if request == 1 {
            table[0]["rev"] = 7.into();
            table[5]["rev"] = 8.into();
        }
    }))
    .await;
    let sink = MemorySink::new();
    let spec = StreamSpec::new("orders").key(["id"]).int("rev").version("rev");
    let engine = engine(&server, &spec, pages().since("since").ordered_by_key(), &sink);
    for _ in 0..3 {
        engine.run("shop").await.unwrap().completed().unwrap();
    }
    let revision = sink.rows("orders")[0].1[1].clone();
    assert_eq!(revision, Value::Int(7));
}

#[tokio::test]
async fn a_change_that_slips_because_a_row_was_deleted_arrives_later() {
    for endpoint in [pages(), pages().ordered_by_key()] {
        let table = dated(6);
        let server = Server::start(listed(&table, false, since, |request, table| {
            if request == 1 {
                table.remove(0);
            }
        }))
        .await;
        let sink = MemorySink::new();
        let engine = engine(&server, &by_version(), endpoint.since("since"), &sink);
        for _ in 0..3 {
            engine.run("shop").await.unwrap().completed().unwrap();
        }
        assert_eq!(ids(&sink), [1, 2, 3, 4, 5, 6]);
        assert_eq!(server.seen().last().unwrap().param("since"), Some("2026-01-01T00:29:00Z"));
    }
}

#[tokio::test]
async fn rows_that_come_at_the_end_hold_no_listing_up() {
    for endpoint in [pages(), pages().ordered_by_key()] {
        let table = dated(5);
        let server = Server::start(listed(&table, false, since, |request, table| {
            let id = 6 + request as i64;
            table.push(json!({"id": id, "updated_at": format!("2026-01-01T01:{id:02}:00Z")}));
        }))
        .await;
        let source = server.source(&by_version(), endpoint.since("since"));
        let limited = read(&source, None).await;
        // The table grows by a row a request, so a listing in pages of two ends.
        let first = limited.good();
        read(&source, first.cursor()).await;
        let again = server.seen().into_iter().rev().find(|request| request.number("page") == Some(1)).unwrap();
        assert!(again.param("since").is_some(), "the version has moved on");
    }
}

#[tokio::test]
async fn a_listing_of_one_page_is_asked_for_once_and_one_of_several_pages_almost_twice() {
    for (rows, requests) in [(1, 1), (2, 1), (6, 3 + 2)] {
        let server = Server::start(listed(&table(rows), true, all, |_, _| {})).await;
        let source = server.source(&spec(), pages().total("/total"));
        let outcome = read_as(&source, Default::default(), None, Reading::Listing).await.good();
        assert_eq!((outcome.ids(), outcome.complete()), ((1..=rows).collect(), Some(true)), "each row comes once");
        assert_eq!(server.count(), requests);
        assert_eq!(outcome.batches.iter().map(|batch| batch.requests).sum::<u64>(), requests as u64);
    }
}

#[tokio::test]
async fn pages_that_are_declared_stable_are_asked_for_once_and_prove_as_much() {
    let server = Server::start(listed(&dated(6), true, since, |_, _| {})).await;
    let sink = MemorySink::new();
    let stable = pages().total("/total").since("since").concurrency(3).stable();
    let engine = engine(&server, &by_version(), stable, &sink);
    engine.run("shop").await.unwrap().completed().unwrap();
    assert_eq!((ids(&sink), server.count()), (vec![1, 2, 3, 4, 5, 6], 3));
    engine.run("shop").await.unwrap().completed().unwrap();
    assert_eq!(server.count(), 4, "the version has moved on");
}

#[tokio::test]
async fn a_row_that_is_gone_from_stable_pages_is_deleted_after_one_look() {
    let table = table(6);
    let server = Server::start(listed(&table, true, all, |_, _| {})).await;
    let sink = MemorySink::new();
    let engine = engine(&server, &spec(), pages().total("/total").stable(), &sink);
    engine.run("shop").await.unwrap().completed().unwrap();
    table.lock().unwrap().remove(0);
    engine.run_with("shop", RunOptions::reconcile()).await.unwrap().completed().unwrap();
    assert_eq!((ids(&sink), server.count()), (vec![2, 3, 4, 5, 6], 3 + 3));
}

#[tokio::test]
async fn a_run_without_changes_stays_one_request() {
    let server = Server::start(listed(&dated(6), false, since, |_, _| {})).await;
    let sink = MemorySink::new();
    let engine = engine(&server, &by_version(), pages().since("since"), &sink);
    engine.run("shop").await.unwrap().completed().unwrap();
    let before = server.count();
    let report = engine.run("shop").await.unwrap();
    assert_eq!((report.status, server.count() - before), (RunStatus::Completed, 1));
}

#[tokio::test]
async fn an_error_between_the_two_looks_costs_neither_rows_nor_proof() {
    for fails in 0..5 {
        let answer = listed(&table(6), true, all, |_, _| {});
        let sink = MemorySink::new();
        // The first run takes five requests. One of those of the reconcile fails, whichever it is.
        let server = Server::start(move |request| match request.number {
            number if number == 3 + fails => Reply::status(503),
            _ => answer(request),
        })
        .await;
        let engine = engine(&server, &spec(), pages().total("/total"), &sink);
        engine.run("shop").await.unwrap().completed().unwrap();
        let report = engine.run_with("shop", RunOptions::reconcile()).await.unwrap();
        assert_eq!(report.status, RunStatus::Completed, "{report}");
        assert_eq!(ids(&sink), [1, 2, 3, 4, 5, 6], "request {fails} of the listing failed");
    }
}

#[tokio::test]
async fn a_process_that_has_not_seen_the_first_look_proves_nothing_by_the_second() {
    let server = Server::start(listed(&table(6), true, all, |_, _| {})).await;
    let source = server.source(&spec(), pages().total("/total"));
    let whole = read_as(&source, Default::default(), None, Reading::Listing).await.good();
    let stranger = server.source(&spec(), pages().total("/total"));
    for batch in &whole.batches {
        let sync_core::model::Boundary::Resume(inside) = &batch.boundary else { continue };
        let rest = read_as(&stranger, Default::default(), Some(inside.clone()), Reading::Listing).await.good();
        assert_eq!(rest.complete(), Some(false));
        let began = rest.batches.iter().any(|batch| matches!(batch.boundary, sync_core::model::Boundary::Begins(_)));
        assert!(!began, "the rows that were handed over before still count");
    }
}

#[tokio::test]
async fn dates_during_which_a_row_slipped_are_read_again() {
    let table = Arc::new(Mutex::new((1..=6).map(|id| json!({"id": id, "day": "2026-03-01"})).collect::<Vec<_>>()));
    let server = Server::start(listed(&table, false, all, |request, table| {
        if request == 1 {
            table.remove(0);
        }
    }))
    .await;
    let spec = StreamSpec::new("orders").key(["id"]).date("day");
    let mut window = WindowConfig::new("day", "from", "to", "2026-03-01".parse().unwrap());
    (window.max_days, window.lookback_days) = (4000, 1);
    let source = server.source(&spec, pages().window(window));
    let first = read(&source, None).await.good();
    let second = read(&source, first.cursor()).await.good();
    let seen: Vec<_> = [first.ids(), second.ids()].concat();
    assert!(seen.contains(&3), "{seen:?}");
    let asked: Vec<_> = server.seen().iter().filter_map(|request| request.param("from").map(str::to_owned)).collect();
    assert!(asked.iter().all(|from| from == "2026-03-01"), "{asked:?}");
    read(&source, second.cursor()).await.good();
    assert_ne!(server.seen().last().unwrap().param("from"), Some("2026-03-01"), "at rest, the dates count as read");
}

/// Numbers that look like chance, the same for the same seed (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// One change of a table: a row is added, deleted, or gets a new version; and moves there, if the table is in the order of
/// its versions.
fn disturb(table: &mut Vec<Json>, chance: &mut Chance, next: &mut i64, by_key: bool) {
    let version = json!(chrono::Utc::now().to_rfc3339());
    match chance.below(3) {
        0 => {
            *next += 1;
            table.push(json!({"id": *next, "updated_at": version}));
        }
        1 if table.len() > 4 => {
            table.remove(chance.below(table.len()));
        }
        _ => {
            let at = chance.below(table.len());
            let mut row = table.remove(at);
            row["updated_at"] = version;
            table.insert(if by_key { at } else { table.len() }, row);
        }
    }
}

#[tokio::test]
async fn whatever_moves_between_pages_nothing_is_deleted_that_exists_and_nothing_is_skipped() {
    for seed in 1..=60_u64 {
        let by_key = seed % 2 == 0;
        let table = dated(9);
        let chance = Mutex::new((Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), 9_i64));
        let restless = Arc::new(AtomicUsize::new(1));
        let moving = Arc::clone(&restless);
        let since = |request: &Request, row: &Json| {
            let version = |text: &str| text.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
            let at = version(row["updated_at"].as_str().unwrap());
            request.param("since").is_none_or(|since| at >= version(since))
        };
        let server = Server::start(listed(&table, seed % 3 == 0, since, move |_, table| {
            let (chance, next) = &mut *chance.lock().unwrap();
            if moving.load(Ordering::SeqCst) > 0 && chance.below(2) == 0 {
                (0..=chance.below(2)).for_each(|_| disturb(table, chance, next, by_key));
            }
        }))
        .await;
        let mut changes = sync_rest::SinceConfig::new("since");
        changes.overlap_seconds = 0;
        let mut endpoint = match seed % 5 {
            0 => get("/orders").records("/data").offset("offset").size("limit", 2),
            _ => pages(),
        };
        endpoint.ordered_by_key = by_key;
        endpoint = if seed % 3 == 0 { endpoint.total("/total") } else { endpoint };
        let sink = MemorySink::new();
        let engine = engine(&server, &by_version(), endpoint.since_as(changes), &sink);
        let there = || -> Vec<i64> { table.lock().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect() };
        for run in 0..6 {
            let before = (there(), ids(&sink));
            let reconcile = run % 2 == 1;
            let options = if reconcile { RunOptions::reconcile().confirm_deletes() } else { RunOptions::incremental() };
            // A total that moves under a listing may fail the run; what counts is what it leaves behind.
            engine.run_with("shop", options).await.unwrap();
            let (now, held) = (there(), ids(&sink));
            let lost: Vec<_> =
                before.1.iter().filter(|id| before.0.contains(id) && now.contains(id) && !held.contains(id)).collect();
            assert!(lost.is_empty(), "seed {seed}, run {run}: {lost:?} exist and were deleted");
        }
        restless.store(0, Ordering::SeqCst);
        for _ in 0..3 {
            engine.run("shop").await.unwrap();
        }
        let held = sink.rows("orders");
        for row in table.lock().unwrap().iter() {
            let found = held.iter().find(|(key, _)| key.values()[0] == Value::Int(row["id"].as_i64().unwrap()));
            let version: chrono::DateTime<chrono::Utc> = row["updated_at"].as_str().unwrap().parse().unwrap();
            let version = Value::Timestamp(version.into());
            assert_eq!(found.map(|(_, row)| &row[1]), Some(&version), "seed {seed}: {row} was skipped");
        }
        engine.run_with("shop", RunOptions::reconcile().confirm_deletes()).await.unwrap().completed().unwrap();
        let (mut now, held) = (there(), ids(&sink));
        now.sort_unstable();
        assert_eq!(held, now, "seed {seed}: at rest, what is gone is found");
    }
}
