//! A change log that both a child process and the test that kills it can compute: changes come in generations, and within
//! one no row changes twice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use sync_core::model::{Changes, Disposition, Rows};
use sync_core::source::{CursorKind, SourceCapabilities};
use sync_core::{BatchStream, Feed, ReadRequest, Result, Source, StreamSpec, Value, pages};

/// Rows; each generation after the first changes a part of them.
pub const ROWS: u64 = 3000;
/// Changes in every generation after the first, which brings every row once.
pub const CHANGES: u64 = 1500;
/// Changes on a page, and so rows in a unit of an engine that makes small ones.
const PAGE: u64 = 250;

/// What the log holds.
pub fn stream() -> Arc<StreamSpec> {
    static STREAM: LazyLock<Arc<StreamSpec>> = LazyLock::new(|| {
        Arc::new(StreamSpec::new("records").key(["id"]).int("version").version("version").text("note"))
    });
    Arc::clone(&STREAM)
}

/// The same without a key: every change is a row of its own, and one that is written twice is there twice.
pub fn keyless() -> Arc<StreamSpec> {
    static STREAM: LazyLock<Arc<StreamSpec>> = LazyLock::new(|| {
        let columns = StreamSpec::new("records").int("id").int("version").text("note");
        Arc::new(columns.disposition(Disposition::Append))
    });
    Arc::clone(&STREAM)
}

/// How many changes there are up to a generation, the first being 0.
pub fn head(generation: u64) -> u64 {
    ROWS + generation * CHANGES
}

/// The row as the change at this position leaves it.
pub fn change(position: u64) -> Vec<Value> {
    let generation = position.checked_sub(ROWS).map_or(0, |later| 1 + later / CHANGES);
    let place = if generation == 0 { position } else { (position - ROWS) % CHANGES + generation * 677 };
    // An odd factor below is a permutation of the rows: keys come in an order of their own.
    let id = (place % ROWS) * 1009 % ROWS + 1;
    let version = position + 1;
    vec![id.cast_signed().into(), version.cast_signed().into(), format!("change {version}, {}", "x".repeat(100)).into()]
}

/// The change log as a source. Clones move on together.
#[derive(Debug, Clone)]
pub struct History {
    stream: Arc<StreamSpec>,
    generation: Arc<AtomicU64>,
}

impl History {
    /// The log up to a generation, of [`stream`] or [`keyless`].
    pub fn of(stream: Arc<StreamSpec>, generation: u64) -> Self {
        Self { stream, generation: Arc::new(generation.into()) }
    }

    /// Adds the changes of one more generation.
    pub fn move_on(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// The last generation that there is.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }
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
        Ok(vec![Feed::one(Arc::clone(&self.stream))])
    }

    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        pages(request, Arc::clone(&self.stream), move |after: Option<u64>| async move {
            let from = after.unwrap_or(0);
            let until = (from + PAGE).min(head(self.generation()));
            if from == until {
                return Ok(None);
            }
            let mut rows = Rows::new(Arc::clone(self.stream.schema()));
            for position in from..until {
                rows.push(change(position).iter().map(Value::as_ref))?;
            }
            Ok(Some((Changes::upserts(rows), until)))
        })
    }
}
