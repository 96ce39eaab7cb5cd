//! How a run begins: the source is asked while the target is made ready, and nothing is written before it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sync_core::engine::Pipeline;
use sync_core::memory::{MemorySink, MemorySource, MemoryStore};
use sync_core::model::{RowScope, Scope};
use sync_core::sink::{SinkCapabilities, WriteReport, WriteUnit};
use sync_core::state::{Checkpoint, FencingToken};
use sync_core::{Engine, Error, Result, Sink, StreamSpec, SystemClock};

fn orders() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("version").version("version")
}

/// A sink that makes no target ready before the source has been asked for rows, and refuses it then if it is told to.
#[derive(Debug, Clone)]
struct Patient {
    sink: MemorySink,
    source: MemorySource,
    refuses: Arc<AtomicBool>,
}

#[async_trait]
impl Sink for Patient {
    fn name(&self) -> &str {
        "patient"
    }

    fn capabilities(&self) -> SinkCapabilities {
        self.sink.capabilities()
    }

    async fn exists(&self, stream: &StreamSpec) -> Result<bool> {
        self.sink.exists(stream).await
    }

    async fn prepare(&self, stream: &StreamSpec) -> Result<()> {
        let before = self.source.requests();
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if self.source.requests() > before {
                break;
            }
        }
        if self.source.requests() == before {
            return Err(Error::config("nobody asked the source"));
        }
        if self.refuses.load(Ordering::SeqCst) {
            return Err(Error::config("the target is of another shape"));
        }
        self.sink.prepare(stream).await
    }

    async fn count(&self, stream: &StreamSpec, rows: &RowScope) -> Result<Option<u64>> {
        self.sink.count(stream, rows).await
    }

    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        self.sink.open(scope, token).await
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        self.sink.checkpoint(scope).await
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        self.sink.apply(unit).await
    }
}

fn world(rows: i64) -> (Engine, Patient) {
    let source = MemorySource::of([orders()]).page(10);
    for id in 1..=rows {
        source.upsert("orders", [id.into(), 1.into()]);
    }
    let sink = Patient { sink: MemorySink::new(), source: source.clone(), refuses: Arc::default() };
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let engine = Engine::builder(store).pipeline(Pipeline::new("shop", source, sink.clone())).build().unwrap();
    (engine, sink)
}

#[tokio::test(start_paused = true)]
async fn the_source_is_asked_while_the_target_is_made_ready() {
    let (engine, patient) = world(35);
    engine.run("shop").await.unwrap().completed().unwrap();
    assert_eq!(patient.sink.rows("orders").len(), 35, "a first load");
    patient.source.upsert("orders", [36.into(), 1.into()]);
    engine.run("shop").await.unwrap().completed().unwrap();
    assert_eq!(patient.sink.rows("orders").len(), 36, "and one that goes on");
}

#[tokio::test(start_paused = true)]
async fn nothing_that_came_meanwhile_is_lost_when_the_target_is_refused() {
    let (engine, patient) = world(35);
    patient.refuses.store(true, Ordering::SeqCst);
    let refused = engine.run("shop").await.unwrap();
    let error = refused.completed().unwrap_err().to_string();
    assert!(error.contains("the target is of another shape"), "{error}");
    assert_eq!(patient.sink.rows("orders").len(), 0);
    patient.refuses.store(false, Ordering::SeqCst);
    let report = engine.run("shop").await.unwrap();
    assert_eq!(report.ledger().fetched, 35, "{report}");
    assert_eq!(patient.sink.rows("orders").len(), 35);
}
