//! The process that `it/killed.rs` kills: one run of the real engine from a change log into SQLite.
//!
//! It tells on its output, a line each, when it begins to apply a unit and when the unit is durable, so that whoever
//! kills it knows where.

use std::io::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use sync_core::engine::Bug;
use sync_core::model::{Changes, Rows};
use sync_core::sink::{SinkCapabilities, StoredRow, WriteReport, WriteUnit};
use sync_core::source::{CursorKind, SourceCapabilities};
use sync_core::state::{Checkpoint, FencingToken};
use sync_core::{
    BatchStream, Engine, Feed, Key, Pipeline, ReadRequest, Result, Scope, Sink, Source, StreamSpec, Value, pages,
};
use sync_sql::Sqlite;
use sync_store_sql::SqlStore;
use sync_tests::history::{change, head, stream};

/// Changes on a page, and so rows in a unit.
const PAGE: u64 = 250;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(db), Some(generation)) = (arguments.next(), arguments.next().and_then(|text| text.parse().ok())) else {
        return Err(sync_core::Error::config("usage: killed-child DATABASE GENERATION [cursor-first]"));
    };
    let sink = Told(Sqlite::open(&db).await?);
    let mut engine = Engine::builder(SqlStore::open_sqlite(&db).await?).owner("killed child").unit_rows(1);
    if arguments.next().as_deref() == Some("cursor-first") {
        engine = engine.plant(Bug::CursorFirst);
    }
    let engine = engine.pipeline(Pipeline::new("history", History { generation }, sink)).build()?;
    engine.run("history").await?.completed()?;
    tell("done", 0);
    Ok(())
}

fn tell(what: &str, seq: u64) {
    let mut out = std::io::stdout().lock();
    // Nobody may be listening any more: then there is nobody to tell.
    let _ = writeln!(out, "{what} {seq}").and_then(|()| out.flush());
}

/// The change log up to a generation.
#[derive(Debug)]
struct History {
    generation: u64,
}

#[async_trait]
impl Source for History {
    fn name(&self) -> &str {
        "history"
    }

    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::replayable(CursorKind::Position)
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        Ok(vec![Feed::one(stream())])
    }

    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        pages(request, stream(), move |after: Option<u64>| async move {
            let from = after.unwrap_or(0);
            let until = (from + PAGE).min(head(self.generation));
            if from == until {
                return Ok(None);
            }
            let mut rows = Rows::new(std::sync::Arc::clone(stream().schema()));
            for position in from..until {
                rows.push(change(position).iter().map(Value::as_ref))?;
            }
            Ok(Some((Changes::upserts(rows), until)))
        })
    }
}

/// A sink that tells when it begins and when it is done. It takes its time before it says so, as a slow reply does.
#[derive(Debug)]
struct Told(Sqlite);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Sink for Told {
    fn name(&self) -> &str {
        self.0.name()
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        let Some(advance) = unit.advance else { return self.0.apply(unit).await };
        tell("begins", advance.expected);
        let report = self.0.apply(unit).await?;
        tell("durable", advance.expected + 1);
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok(report)
    }

    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        self.0.open(scope, token).await
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        self.0.checkpoint(scope).await
    }

    async fn prepare(&self, stream: &StreamSpec) -> Result<()> {
        self.0.prepare(stream).await
    }

    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        self.0.stored(stream, keys).await
    }

    async fn count(&self, stream: &StreamSpec, rows: &sync_core::model::RowScope) -> Result<Option<u64>> {
        self.0.count(stream, rows).await
    }

    fn capabilities(&self) -> SinkCapabilities {
        self.0.capabilities()
    }

    async fn check(&self) -> Result<()> {
        self.0.check().await
    }
}
