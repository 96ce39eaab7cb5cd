//! Streams of different columns, reconciled one after the other over the same connection.

use std::sync::Arc;

use sync_core::memory::{MemorySource, MemoryStore};
use sync_core::model::Outcome;
use sync_core::source::Listing;
use sync_core::state::RunStatus;
use sync_core::{Engine, Key, Pipeline, RunOptions, Sink, StreamSpec, SystemClock};
use sync_sql::{MySql, Postgres, Sqlite};

use crate::script::count;

async fn stay_in_step(sink: impl Sink + 'static) {
    let customers = StreamSpec::new("customers").key(["id"]).text("name").bool("active");
    let orders = StreamSpec::new("orders").key(["id"]).int("customer").float("total").text("note");
    let source = MemorySource::of([customers, orders]).listing(Listing::Rows);
    for id in 1..=30_i64 {
        source.upsert("customers", vec![id.into(), "somebody".into(), true.into()]);
        source.upsert("orders", vec![id.into(), (id % 7).into(), 1.5.into(), "x".into()]);
    }
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let engine = Engine::builder(store).pipeline(Pipeline::new("shop", source.clone(), sink)).build().unwrap();
    engine.run("shop").await.unwrap().completed().unwrap();
    for round in 1..=2_i64 {
        source.delete("customers", &Key::new([round]));
        source.delete("orders", &Key::new([round]));
        let report = engine.run_with("shop", RunOptions::reconcile()).await.unwrap();
        assert_eq!((report.status, count(&report, Outcome::Deleted)), (RunStatus::Completed, 2), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_different_columns_are_reconciled_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    stay_in_step(Sqlite::open(folder.path().join("shop.db")).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_different_columns_are_reconciled_on_postgresql() {
    let database = sync_test_servers::postgres().await.unwrap();
    stay_in_step(Postgres::connect(&database.url()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_different_columns_are_reconciled_on_mariadb() {
    let database = sync_test_servers::mariadb().await.unwrap();
    stay_in_step(MySql::connect(&database.url()).await.unwrap()).await;
}
