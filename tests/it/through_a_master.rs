//! Pipelines into a master and out of one, over the databases that a master may stand on.

use std::collections::BTreeMap;
use std::sync::Arc;

use sync_core::engine::{Engine, Pipeline, RunOptions};
use sync_core::memory::{Feeding, MemorySink, MemorySource, MemoryStore};
use sync_core::model::Outcome;
use sync_core::two_way::{Access, Hub, Lookup, Replica, Table, Tables};
use sync_core::{Clock, Key, StreamSpec, SystemClock, Value};
use sync_master::{MasterSink, MasterSource};
use sync_sql::{MySqlReplica, PostgresReplica, SqliteReplica};
use sync_test_servers::{mariadb, postgres};

const DDL: &str = "CREATE TABLE products (id varchar(40) PRIMARY KEY, name varchar(40), stock bigint)";

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn products() -> StreamSpec {
    StreamSpec::new("products").text("id").key(["id"]).text("name").int("stock")
}

fn tables() -> Tables {
    Tables::new([Table::new(products()).counters(["stock"])]).unwrap()
}

fn product(id: &str, name: &str, stock: i64) -> Vec<Value> {
    vec![id.into(), name.into(), stock.into()]
}

async fn counted(engine: &Engine, pipeline: &str, options: RunOptions) -> [u64; 4] {
    let report = engine.run_with(pipeline, options).await.unwrap();
    let count = |outcome| report.ledger().outcomes.count(outcome);
    let counts = [Outcome::Created, Outcome::Updated, Outcome::Unchanged, Outcome::Deleted].map(count);
    report.completed().unwrap();
    counts
}

/// What comes in goes out, and what is equal goes nowhere.
async fn assert_rows_go_through(replica: impl Replica + Clone + 'static) {
    let master = (Hub::new(replica.clone(), clock()), Access::everything());
    let (suppliers, reports) = (MemorySource::of([products()]).feeding(Feeding::Log).page(500), MemorySink::new());
    let into = MasterSink::new("suppliers", master.clone(), &tables(), clock());
    let out = MasterSource::new("reports", master.clone(), &tables()).page_rows(400);
    let engine = Engine::builder(MemoryStore::new(clock()))
        .pipeline(Pipeline::new("in", suppliers.clone(), into))
        .pipeline(Pipeline::new("out", out, reports.clone()))
        .build()
        .unwrap();
    for n in 0..1200 {
        suppliers.upsert("products", product(&format!("p{n:04}"), "pear", n));
    }
    assert_eq!(counted(&engine, "in", RunOptions::default()).await, [1200, 0, 0, 0]);
    assert_eq!(counted(&engine, "out", RunOptions::default()).await, [1200, 0, 0, 0]);
    suppliers.upsert("products", product("p0007", "plum", 70));
    suppliers.upsert("products", product("ключ ' \"", "quince", -1));
    assert_eq!(counted(&engine, "in", RunOptions::full()).await, [1, 1, 1199, 0]);
    assert_eq!(counted(&engine, "out", RunOptions::default()).await, [1, 1, 0, 0]);
    suppliers.delete("products", &Key::new(["p0011"]));
    assert_eq!(counted(&engine, "in", RunOptions::default()).await, [0, 0, 0, 1]);
    assert_eq!(counted(&engine, "out", RunOptions::default()).await, [0, 0, 0, 1]);

    let mut look = replica.look().await.unwrap();
    let there = look.scan(tables().get("products").unwrap(), None, 10_000).await.unwrap();
    drop(look);
    let there: BTreeMap<Key, Vec<Value>> = there.into_iter().map(|(key, _, row)| (key, row)).collect();
    assert_eq!(reports.rows("products").into_iter().collect::<BTreeMap<_, _>>(), there);
    let [plum, quince] = ["p0007", "ключ ' \""].map(|id| there.get(&Key::new([id])).cloned());
    assert_eq!((plum, quince), (Some(product("p0007", "plum", 70)), Some(product("ключ ' \"", "quince", -1))));
    assert_eq!(there.len(), 1200);

    // Keys that are asked for twice, or that no row can have, hold nobody up.
    let keys = ["p0007", "none", "p0007", &"x".repeat(400)].map(|key| Key::new([key])).to_vec();
    let found = master.0.look_up(&Lookup { peer: None, table: "products".to_owned(), keys }, &Access::everything()).await.unwrap();
    let rows: Vec<_> = found.iter().map(|found| found.row.is_some()).collect();
    assert_eq!(rows, [true, false, true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_through_a_master_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("master.db");
    rusqlite::Connection::open(&file).unwrap().execute_batch(DDL).unwrap();
    assert_rows_go_through(SqliteReplica::open(&file, "master", tables(), clock()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_through_a_master_on_postgresql() {
    let database = postgres().await.unwrap();
    database.client(DDL).await.unwrap();
    assert_rows_go_through(PostgresReplica::open(&database.url(), "master", tables(), clock()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_through_a_master_on_mariadb() {
    let database = mariadb().await.unwrap();
    database.client(&format!("{DDL} COLLATE utf8mb4_nopad_bin")).await.unwrap();
    assert_rows_go_through(MySqlReplica::open(&database.url(), "master", tables(), clock()).await.unwrap()).await;
}
