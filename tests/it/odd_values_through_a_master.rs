//! Values that a database writes down otherwise, through a master and back: they are equal the second time.

use std::sync::Arc;

use sync_core::engine::{Engine, Pipeline, RunOptions};
use sync_core::memory::{Feeding, MemorySink, MemorySource, MemoryStore};
use sync_core::model::{Decimal, Outcome};
use sync_core::two_way::{Access, Hub, Replica, Table, Tables};
use sync_core::{Clock, Key, StreamSpec, SystemClock, Value};
use sync_master::{MasterSink, MasterSource};
use sync_sql::{MySqlReplica, PostgresReplica, SqliteReplica};
use sync_test_servers::{mariadb, postgres};

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn odd() -> StreamSpec {
    StreamSpec::new("odd")
        .decimal("id", 12, 4)
        .key(["id"])
        .float("weight")
        .timestamp("at")
        .decimal("price", 10, 2)
        .bytes("body")
        .json("more")
        .text("name")
}

fn tables() -> Tables {
    Tables::new([Table::new(odd())]).unwrap()
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn row(id: &str, weight: f64, price: &str, name: &str) -> Vec<Value> {
    let at = chrono::DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
    vec![
        decimal(id).into(),
        weight.into(),
        Value::Timestamp(at.into()),
        decimal(price).into(),
        Value::Bytes(vec![0, 255, 10].into()),
        Value::Json(r#"{"b": 1,  "a": [1.0, 2e3]}"#.into()),
        name.into(),
    ]
}

async fn assert_stays_as_it_is(replica: impl Replica + Clone + 'static, floats: &[f64]) {
    let master = (Hub::new(replica.clone(), clock()), Access::everything());
    let (source, copy) = (MemorySource::of([odd()]).feeding(Feeding::Log), MemorySink::new());
    let engine = Engine::builder(MemoryStore::new(clock()))
        .pipeline(Pipeline::new("in", source.clone(), MasterSink::new("in", master.clone(), &tables(), clock())))
        .pipeline(Pipeline::new("out", MasterSource::new("out", master.clone(), &tables()), copy.clone()))
        .build()
        .unwrap();
    for (n, float) in floats.iter().enumerate() {
        source.upsert("odd", row(&format!("{n}.5"), *float, "1.5", "name "));
    }
    source.upsert("odd", row("-0.0010", 1.0, "-0.00", ""));
    let all = floats.len() as u64 + 1;
    let report = engine.run("in").await.unwrap();
    assert_eq!(report.ledger().outcomes.count(Outcome::Created), all, "{report}");
    report.completed().unwrap();
    // The same, written otherwise.
    for (n, float) in floats.iter().enumerate() {
        source.upsert("odd", row(&format!("{n}.50"), *float, "1.50", "name "));
    }
    let report = engine.run_with("in", RunOptions::full()).await.unwrap();
    assert_eq!(report.ledger().outcomes.count(Outcome::Unchanged), all, "{report}");
    engine.run("out").await.unwrap().completed().unwrap();
    assert_eq!(copy.rows("odd").len() as u64, all);
    let report = engine.run_with("out", RunOptions::reconcile()).await.unwrap();
    assert_eq!(report.ledger().outcomes.count(Outcome::Deleted), 0, "{report}");
    // What does not fit is not made to fit, and holds nothing up.
    for n in 0..floats.len() {
        source.delete("odd", &Key::new([decimal(&format!("{n}.500"))]));
    }
    source.upsert("odd", row("7", 1.0, "1.505", "too exact"));
    for options in [RunOptions::default(), RunOptions::full()] {
        let report = engine.run_with("in", options).await.unwrap();
        assert_eq!(report.ledger().outcomes.count(Outcome::Parked), 1, "{report}");
        report.completed().unwrap();
    }
    engine.run("out").await.unwrap().completed().unwrap();
    assert_eq!(copy.rows("odd").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("master.db");
    let ddl =
        "CREATE TABLE odd (id text PRIMARY KEY, weight real, at text, price text, body blob, more text, name text)";
    rusqlite::Connection::open(&file).unwrap().execute_batch(ddl).unwrap();
    let replica = SqliteReplica::open(&file, "master", tables(), clock()).await.unwrap();
    assert_stays_as_it_is(replica, &[0.1, 1e300, -0.0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql() {
    let database = postgres().await.unwrap();
    let ddl = "CREATE TABLE odd (id numeric(12,4) PRIMARY KEY, weight double precision, at timestamptz, price numeric(10,2), body bytea, more json, name text)";
    database.client(ddl).await.unwrap();
    let replica = PostgresReplica::open(&database.url(), "master", tables(), clock()).await.unwrap();
    assert_stays_as_it_is(replica, &[0.1, 1e300, -0.0, f64::NAN, f64::INFINITY]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_mariadb() {
    let database = mariadb().await.unwrap();
    let ddl = "CREATE TABLE odd (id decimal(12,4) PRIMARY KEY, weight double, at datetime(6), price decimal(10,2), body blob, more json, name varchar(40)) COLLATE utf8mb4_nopad_bin";
    database.client(ddl).await.unwrap();
    let replica = MySqlReplica::open(&database.url(), "master", tables(), clock()).await.unwrap();
    assert_stays_as_it_is(replica, &[0.1, 1e300, -0.0]).await;
}
