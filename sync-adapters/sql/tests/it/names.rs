//! Names that SQLite, or the sink, would take for others are refused before anything is written.

use sync_core::memory::MemorySource;
use sync_core::model::Absent;
use sync_core::state::RunStatus;
use sync_core::{RunOptions, StreamSpec, Value};

use crate::script::{Shop, orders};

#[tokio::test(flavor = "multi_thread")]
async fn streams_whose_names_differ_by_case_alone_are_refused() {
    let shop = Shop::new().await;
    let spec = |name: &str| StreamSpec::new(name).key(["id"]).text("note");
    let source = MemorySource::of([spec("Orders"), spec("orders")]);
    source.upsert("Orders", vec![Value::from(1), "upper".into()]);
    source.upsert("orders", vec![Value::from(1), "lower".into()]);
    for options in [RunOptions::incremental().dry_run(), RunOptions::incremental()] {
        let report = shop.attempt(source.clone(), options).await;
        assert_ne!(report.status, RunStatus::Completed, "{report}");
    }
    let refused = shop.refusal(source).await;
    assert!(refused.contains("Config") && refused.contains("\"Orders\" and \"orders\""), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_differ_by_case_alone_are_refused() {
    for stream in [orders().text("NOTE"), orders().absent(Absent::Mark("Note".into()))] {
        let shop = Shop::with("CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT);").await;
        let refused = shop.refusal(MemorySource::of([stream])).await;
        assert!(refused.contains("Config") && refused.to_lowercase().contains("\"note\" and \"note\""), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_called_like_tables_of_our_own_are_refused() {
    for name in ["_sync_checkpoint", "_SYNC_stage", "sqlite_master"] {
        let shop = Shop::new().await;
        let refused = shop.refusal(MemorySource::of([StreamSpec::new(name).key(["id"]).text("note")])).await;
        assert!(refused.contains("Config") && refused.contains("reserved") && refused.contains(name), "{refused}");
    }
}
