//! The engine, as a host would wire it: public API only.

use std::path::Path;
use std::time::Instant;

use sync_core::engine::Pipeline;
use sync_core::{Engine, StreamSpec};
use sync_rest::{Rest, get};
use sync_sql::Sqlite;
use sync_store_sql::SqlStore;

use crate::Result;
use crate::figures::Figures;
use crate::serve::PAGE;

/// Brings everything, or what has changed, from the API.
pub(crate) fn run(url: &str, db: &Path) -> Result<()> {
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let records = StreamSpec::new("records")
            .key(["id"])
            .text("name")
            .text("email")
            .text("city")
            .text("status")
            .text("note")
            .decimal("amount", 12, 2)
            .int("quantity")
            .int("score")
            .bool("active")
            .timestamp("created_at")
            .version("updated_at");
        let listing = get("/records")
            .records("/data")
            .cursor("/next")
            .page_param("cursor")
            .size("limit", PAGE)
            .since("updated_since");
        let source = Rest::at(url).stream(&records, listing).build()?;
        let (sink, store) = (Sqlite::open(db).await?, SqlStore::open_sqlite(db).await?);
        let engine = Engine::builder(store).owner("bench").pipeline(Pipeline::new("bench", source, sink)).build()?;
        let report = engine.run("bench").await?;
        let (fetched, requests) = (report.ledger().fetched, report.requests());
        report.completed()?;
        Figures::of(fetched, began.elapsed(), requests)?.print()
    })
}
