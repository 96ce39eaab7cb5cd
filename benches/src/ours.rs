//! The engine, as a host would wire it: public API only.

use std::sync::Arc;
use std::time::Instant;

use sync_core::engine::Pipeline;
use sync_core::{Engine, Sink, StreamSpec};
use sync_rest::{Rest, get};
use sync_sql::{MySql, Postgres, Sqlite};
use sync_store_sql::SqlStore;

use crate::Result;
use crate::figures::Figures;
use crate::serve::PAGE;

/// Brings everything, or what has changed, from the API: by a cursor, or by numbered pages, so many at once.
pub(crate) fn run(url: &str, to: &str, at_once: Option<usize>) -> Result<()> {
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
        let listing = get("/records").records("/data").size("limit", PAGE).since("updated_since");
        let listing = match at_once {
            None => listing.cursor("/next").page_param("cursor"),
            Some(pages) => listing.page("page").total("/total").concurrency(pages).stable(),
        };
        let source = Rest::at(url).stream(&records, listing).build()?;
        let Opened { sink, store, file } = Box::pin(open(to)).await?;
        let engine =
            Engine::builder(store.clone()).owner("bench").pipeline(Pipeline::new("bench", source, sink)).build()?;
        let report = engine.run("bench").await?;
        let (fetched, requests) = (report.ledger().fetched, report.requests());
        report.completed()?;
        if let Some(file) = file {
            // As the limit does within its time: the log is worked into the file.
            store.close().await;
            file.close().await;
        }
        Figures::of(fetched, began.elapsed(), requests)?.print()
    })
}

/// The database at a path or an address, which holds the engine's state as well.
struct Opened {
    sink: Arc<dyn Sink>,
    store: SqlStore,
    /// What must be closed, where it is a file.
    file: Option<Sqlite>,
}

async fn open(to: &str) -> Result<Opened> {
    Ok(match to.split_once("://") {
        Some(("postgres", _)) => {
            let (sink, store) = tokio::try_join!(Postgres::connect(to), SqlStore::connect(to))?;
            Opened { sink: Arc::new(sink), store, file: None }
        }
        Some(("mysql", _)) => {
            let (sink, store) = tokio::try_join!(MySql::connect(to), SqlStore::connect(to))?;
            Opened { sink: Arc::new(sink), store, file: None }
        }
        _ => {
            let (file, store) = (Sqlite::open(to).await?, SqlStore::open_sqlite(to).await?);
            Opened { sink: Arc::new(file.clone()), store, file: Some(file) }
        }
    })
}
