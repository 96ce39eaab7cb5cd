//! Partitions that fill one table: the listing of one speaks for its own rows only.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use sync_core::engine::{Engine, Pipeline, RunOptions};
use sync_core::memory::{MemorySink, MemoryStore};
use sync_core::model::{Boundary, Disposition, Partition, RowScope};
use sync_core::retry::RetryPolicy;
use sync_core::source::Reading;
use sync_core::{StreamSpec, SystemClock, Value};
use sync_rest::{Endpoint, ParentConfig, WindowConfig, get};

use crate::server::{Reply, Server, read_as};

/// The ids at `/north/orders` and at `/south/orders`; the record says something else about its shop.
#[derive(Clone)]
struct Shops(Arc<Mutex<[Vec<i64>; 2]>>);

impl Shops {
    fn new() -> Self {
        Self(Arc::new(Mutex::new([vec![1, 2, 3, 4], vec![5, 6, 7, 8]])))
    }

    async fn serve(&self) -> Server {
        let shops = self.clone();
        Server::start(move |request| {
            if request.path == "/shops" {
                return Reply::json(&json!([{"id": "north"}, {"id": "south"}]));
            }
            let ids = shops.0.lock().unwrap()[usize::from(request.path.contains("south"))].clone();
            let data: Vec<_> = ids.into_iter().map(|id| json!({"id": id, "shop": "head office"})).collect();
            Reply::json(&json!({"data": data}))
        })
        .await
    }
}

fn spec() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).text("shop")
}

fn declared() -> Endpoint {
    get("/{partition}/orders").records("/data").partition("north", [("code", "n")]).partition("south", [("code", "s")])
}

fn listed() -> Endpoint {
    get("/{shop}/orders").records("/data").partitions_from(ParentConfig::new("/shops", "/id").variable("shop", "/id"))
}

fn engine(server: &Server, endpoint: Endpoint, spec: &StreamSpec, sink: &MemorySink) -> Engine {
    Engine::builder(MemoryStore::new(Arc::new(SystemClock::new())))
        .retry(RetryPolicy::new().base(Duration::from_millis(10)))
        .pipeline(Pipeline::new("shop", server.source(spec, endpoint), sink.clone()).stream(spec.clone()))
        .build()
        .unwrap()
}

fn rows(sink: &MemorySink) -> Vec<(i64, String)> {
    let rows = sink.rows("orders").into_iter();
    rows.map(|(key, values)| match (&key.values()[0], &values[1]) {
        (Value::Int(id), shop) => (*id, shop.to_string()),
        other => panic!("{other:?}"),
    })
    .collect()
}

fn of(shop: &str, ids: std::ops::RangeInclusive<i64>) -> Vec<(i64, String)> {
    ids.map(|id| (id, shop.to_owned())).collect()
}

#[tokio::test]
async fn a_reconcile_deletes_what_is_gone_from_one_partition_and_nothing_of_another() {
    for endpoint in [declared(), listed()] {
        let shops = Shops::new();
        let server = shops.serve().await;
        let sink = MemorySink::new();
        let engine = engine(&server, endpoint.partition_column("shop"), &spec(), &sink);
        engine.run("shop").await.unwrap().completed().unwrap();
        assert_eq!(rows(&sink), [of("north", 1..=4), of("south", 5..=8)].concat());
        engine.run_with("shop", RunOptions::reconcile()).await.unwrap().completed().unwrap();
        assert_eq!(rows(&sink), [of("north", 1..=4), of("south", 5..=8)].concat(), "nothing is gone");
        shops.0.lock().unwrap()[1].remove(0);
        engine.run_with("shop", RunOptions::reconcile()).await.unwrap().completed().unwrap();
        assert_eq!(rows(&sink), [of("north", 1..=4), of("south", 6..=8)].concat(), "row 5 is gone from the south");
    }
}

#[tokio::test]
async fn a_reconcile_of_one_partition_does_not_delete_the_rows_of_another() {
    let server = Shops::new().serve().await;
    let sink = MemorySink::new();
    let engine = engine(&server, declared(), &spec(), &sink);
    engine.run("shop").await.unwrap().completed().unwrap();
    let before = rows(&sink);
    assert_eq!(before.len(), 8);
    let report = engine.run_with("shop", RunOptions::reconcile()).await.unwrap();
    assert_eq!(rows(&sink), before, "nobody said which rows are whose: {report}");
}

#[tokio::test]
async fn a_snapshot_replaces_the_rows_of_its_own_partition() {
    let shops = Shops::new();
    let server = shops.serve().await;
    let sink = MemorySink::new();
    let snapshot = spec().disposition(Disposition::Snapshot);
    let engine = engine(&server, declared().partition_column("shop"), &snapshot, &sink);
    engine.run("shop").await.unwrap().completed().unwrap();
    shops.0.lock().unwrap()[0].pop();
    engine.run("shop").await.unwrap().completed().unwrap();
    assert_eq!(rows(&sink), [of("north", 1..=3), of("south", 5..=8)].concat());
}

#[tokio::test]
async fn the_scope_holds_the_value_that_every_row_of_the_partition_has() {
    let server = Server::start(|_| Reply::json(&json!([]))).await;
    let spec = StreamSpec::new("orders").key(["account", "id"]).int("account").date("day");
    let window = WindowConfig::new("day", "from", "to", "2026-03-01".parse().unwrap());
    let endpoint = get("/{account}/orders")
        .partition("north", [("account", "71")])
        .column("account", "{account}")
        .partition_column("account")
        .window(window);
    let source = server.source(&spec, endpoint);
    let days = |until: &str| RowScope::Range {
        column: "day".to_owned(),
        from: Some(Value::Date("2026-03-01".parse().unwrap())),
        until: Some(Value::Date(until.parse().unwrap())),
    };
    let outcome = read_as(&source, Partition::new("north"), None, Reading::Range(days("2026-03-03"))).await.good();
    let want = days("2026-03-03").within("account", 71);
    assert!(want.is_part());
    assert_eq!(outcome.batches[0].boundary, Boundary::Begins(want.clone()));
    let Boundary::Ends { scope, .. } = &outcome.batches.last().unwrap().boundary else { panic!() };
    assert_eq!(*scope, want);
}

#[tokio::test]
async fn a_column_that_cannot_tell_partitions_apart_is_refused_when_it_is_declared() {
    let server = Server::start(|_| Reply::json(&json!([]))).await;
    let refused = |spec: StreamSpec, endpoint: Endpoint| server.rest(&spec, endpoint).build().unwrap_err().to_string();
    let same = get("/{shop}").partition("a", [("shop", "1")]).partition("b", [("shop", "1")]);
    let cases = [
        (spec(), get("/orders").partition_column("shop"), "is for a stream with partitions"),
        (spec(), declared().partition_column("branch"), "\"branch\""),
        (spec(), declared().column("shop", "/shop").partition_column("shop"), "taken from the record"),
        (spec(), same.column("shop", "{shop}").partition_column("shop"), "same value"),
        (StreamSpec::new("orders").key(["id"]).int("shop"), declared().partition_column("shop"), "cannot hold"),
        (spec().disposition(Disposition::Snapshot), declared(), "`partition_column` is missing"),
        (spec(), get("/o").partition("a", [("partition", "b")]), "the adapter itself gives"),
    ];
    for (spec, endpoint, want) in cases {
        let error = refused(spec, endpoint);
        assert!(error.contains(want), "{want}: {error}");
    }
}
