//! What counts as late: a row that the following of changes finds behind what it had been promised, and no other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use sync_core::memory::{MemorySink, MemoryStore};
use sync_core::model::{Changes, Frontier, FrontierProof, Rows, Timestamp};
use sync_core::source::{CursorKind, SourceCapabilities};
use sync_core::{
    BatchStream, Engine, Error, ErrorKind, Feed, Pipeline, ReadRequest, Result, RunOptions, Source, StreamSpec,
    SystemClock, Value, pages,
};

/// Says with each page that it is complete up to second 100, whatever follows.
#[derive(Debug)]
struct Assuming {
    stream: Arc<StreamSpec>,
    rows: Arc<Mutex<Vec<(i64, i64)>>>,
    /// Whether saved positions are no longer valid.
    forgets: Arc<AtomicBool>,
}

#[async_trait::async_trait]
impl Source for Assuming {
    fn name(&self) -> &str {
        "assuming"
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        Ok(vec![Feed::one(Arc::clone(&self.stream))])
    }

    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::replayable(CursorKind::Position)
    }

    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        if request.from.is_some() && self.forgets.load(Ordering::Relaxed) {
            let gone = Error::new(ErrorKind::Gone, "the position is too old");
            return futures::stream::once(async { Err(gone) }).boxed();
        }
        let page = pages(request, Arc::clone(&self.stream), move |after: Option<usize>| async move {
            let (all, from) = (self.rows.lock().unwrap().clone(), after.unwrap_or(0));
            let mut rows = Rows::new(Arc::clone(self.stream.schema()));
            for (id, second) in &all[from.min(all.len())..] {
                let row = [Value::from(*id), Value::Timestamp(Timestamp::from_micros(second * 1_000_000))];
                rows.push(row.iter().map(Value::as_ref))?;
            }
            Ok((!rows.is_empty()).then(|| (Changes::upserts(rows), all.len())))
        });
        let at = Timestamp::from_micros(100_000_000);
        page.map(move |batch| {
            let mut batch = batch?;
            batch.frontier = Some(Frontier { at, proof: FrontierProof::Assumed });
            Ok(batch)
        })
        .boxed()
    }
}

#[tokio::test]
async fn a_row_is_late_where_changes_are_followed_and_not_where_everything_is_read_again() {
    let stream = Arc::new(StreamSpec::new("orders").key(["id"]).timestamp("at").version("at"));
    let rows = Arc::new(Mutex::new(vec![(1, 10), (2, 90)]));
    let forgets = Arc::new(AtomicBool::new(false));
    let source = Assuming { stream, rows: Arc::clone(&rows), forgets: Arc::clone(&forgets) };
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let pipeline = Pipeline::new("shop", source, MemorySink::new());
    let engine = Engine::builder(store).pipeline(pipeline).build().unwrap();
    let late = async |options| {
        let report = engine.run_with("shop", options).await.unwrap();
        (report.ledger().fetched, report.scopes[0].late, report.scopes[0].lateness.as_secs())
    };
    assert_eq!(late(RunOptions::incremental()).await, (2, 0, 0), "a first load");
    rows.lock().unwrap().push((3, 40));
    assert_eq!(late(RunOptions::incremental()).await, (1, 1, 60), "a row behind what was promised");
    rows.lock().unwrap().push((4, 20));
    assert_eq!(late(RunOptions::full()).await, (4, 0, 0), "everything is read again");
    rows.lock().unwrap().push((5, 30));
    forgets.store(true, Ordering::Relaxed);
    assert_eq!(late(RunOptions::incremental()).await, (5, 0, 0), "everything comes again, since the position is gone");
}
