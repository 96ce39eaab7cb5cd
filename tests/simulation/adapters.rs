//! What stands between the engine and its memory: a listing that breaks off, and a sink that ignores tokens.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::iter;
use sync_core::memory::{MemorySink, MemorySource};
use sync_core::model::{Batch, Boundary, Partition, RowScope, Rows};
use sync_core::sink::{Altered, SinkCapabilities, StoredRow, WriteReport, WriteUnit};
use sync_core::source::{Estimate, Reading, Receipt, SourceCapabilities};
use sync_core::state::{Advance, Checkpoint, FencingToken};
use sync_core::{BatchStream, Feed, Key, ReadRequest, Result, Scope, Sink, Source, StreamSpec};

/// A source whose listings end after some batches, and say so.
#[derive(Debug, Clone)]
pub(crate) struct BreaksOff {
    pub(crate) inner: MemorySource,
    /// So many batches of a listing come; `None` is all of them.
    pub(crate) after: Option<usize>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Source for BreaksOff {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> SourceCapabilities {
        self.inner.capabilities()
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        self.inner.feeds().await
    }

    async fn partitions(&self, feed: &Feed) -> Result<Vec<Partition>> {
        self.inner.partitions(feed).await
    }

    async fn estimate(&self, request: &ReadRequest) -> Result<Option<Estimate>> {
        self.inner.estimate(request).await
    }

    async fn acknowledge(&self, receipt: &Receipt) -> Result<()> {
        self.inner.acknowledge(receipt).await
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    fn revive(&self, stream: &StreamSpec, record: &[u8]) -> Result<Rows> {
        self.inner.revive(stream, record)
    }

    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        let (Some(after), Reading::Listing) = (self.after, &request.reading) else { return self.inner.read(request) };
        let end = Boundary::Ends { scope: RowScope::All, complete: false, resume: None };
        self.inner.read(request).take(after + 1).chain(iter([Ok(Batch::marker(end))])).boxed()
    }
}

/// A sink that may take every unit as if its holder were the present one.
#[derive(Debug, Clone)]
pub(crate) struct Careless {
    pub(crate) inner: MemorySink,
    pub(crate) careless: bool,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Sink for Careless {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        let (true, Some(advance)) = (self.careless, unit.advance) else { return self.inner.apply(unit).await };
        let stands = self.inner.checkpoint(unit.scope).await?.unwrap_or_default().seq;
        let forged = Advance {
            token: self.inner.claimed(unit.scope).unwrap_or_default(),
            expected: stands,
            next: Checkpoint { seq: stands + 1, ..advance.next.clone() },
        };
        self.inner
            .apply(&WriteUnit { advance: Some(&forged), scope: unit.scope, steps: unit.steps, intent: unit.intent })
            .await
    }

    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        self.inner.open(scope, token).await
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        self.inner.checkpoint(scope).await
    }

    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        self.inner.prepare(stream).await
    }

    async fn lacking(&self, stream: &StreamSpec) -> Result<Altered> {
        self.inner.lacking(stream).await
    }

    async fn exists(&self, stream: &StreamSpec) -> Result<bool> {
        self.inner.exists(stream).await
    }

    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        self.inner.stored(stream, keys).await
    }

    async fn count(&self, stream: &StreamSpec, rows: &RowScope) -> Result<Option<u64>> {
        self.inner.count(stream, rows).await
    }

    fn capabilities(&self) -> SinkCapabilities {
        self.inner.capabilities()
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }
}
