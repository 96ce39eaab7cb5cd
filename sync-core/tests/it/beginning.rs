//! How a run begins: the source is asked while the target is made ready, and nothing is written before it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sync_core::engine::Pipeline;
use sync_core::memory::{MemorySink, MemorySource, MemoryStore};
use sync_core::model::{RowScope, Scope};
use sync_core::sink::{Altered, SinkCapabilities, WriteReport, WriteUnit};
use sync_core::source::SourceCapabilities;
use sync_core::state::{Checkpoint, FencingToken, RunStatus};
use sync_core::{
    BatchStream, Engine, Error, ErrorKind, Feed, ReadRequest, Result, Retry, Sink, Source, StreamSpec, SystemClock,
};

fn orders() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("version").version("version")
}

/// A source that counts how often it is read, and asks to be left alone if it is told to.
#[derive(Debug, Clone)]
struct Shop {
    source: MemorySource,
    asked: Arc<AtomicU64>,
    shy: Arc<AtomicBool>,
}

#[async_trait]
impl Source for Shop {
    fn name(&self) -> &str {
        "shop"
    }

    fn capabilities(&self) -> SourceCapabilities {
        self.source.capabilities()
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        self.source.feeds().await
    }

    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.shy.load(Ordering::SeqCst) {
            let hour = Retry::After(Duration::from_secs(3600));
            let error = Error::new(ErrorKind::Throttled, "come back in an hour").with_retry(hour);
            return Box::pin(futures::stream::once(async move { Err(error) }));
        }
        self.source.read(request)
    }
}

/// A sink that makes no target ready before the source has been asked for rows, and refuses it then if it is told to.
#[derive(Debug, Clone)]
struct Patient {
    sink: MemorySink,
    shop: Shop,
    refuses: Arc<AtomicBool>,
    /// How often the source had been asked when a target was ready last.
    ready: Arc<AtomicU64>,
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

    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        let asked = || self.shop.asked.load(Ordering::SeqCst);
        let begun = tokio::time::Instant::now();
        while asked() <= self.ready.load(Ordering::SeqCst) {
            if begun.elapsed() > Duration::from_millis(50) {
                return Err(Error::config("nobody asked the source"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.ready.store(asked(), Ordering::SeqCst);
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
    let shop = Shop { source, asked: Arc::default(), shy: Arc::default() };
    let sink = Patient { sink: MemorySink::new(), shop: shop.clone(), refuses: Arc::default(), ready: Arc::default() };
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let engine = Engine::builder(store).pipeline(Pipeline::new("shop", shop, sink.clone())).build().unwrap();
    (engine, sink)
}

#[tokio::test(start_paused = true)]
async fn the_source_is_asked_while_the_target_is_made_ready() {
    let (engine, patient) = world(35);
    engine.run("shop").await.unwrap().completed().unwrap();
    assert_eq!(patient.sink.rows("orders").len(), 35, "a first load");
    patient.shop.source.upsert("orders", [36.into(), 1.into()]);
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

#[tokio::test(start_paused = true)]
async fn a_source_that_asks_to_be_left_alone_is_left_alone_though_the_target_was_refused() {
    let (engine, patient) = world(5);
    patient.refuses.store(true, Ordering::SeqCst);
    patient.shop.shy.store(true, Ordering::SeqCst);
    let refused = engine.run("shop").await.unwrap();
    assert_eq!((refused.status, patient.shop.asked.load(Ordering::SeqCst)), (RunStatus::Failed, 1), "{refused}");
    patient.refuses.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let report = engine.run("shop").await.unwrap();
    let asked = patient.shop.asked.load(Ordering::SeqCst);
    assert_eq!((report.status, asked), (RunStatus::Held, 1), "not within the hour: {report}");
}
