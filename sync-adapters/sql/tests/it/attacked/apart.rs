//! A database that keeps no positions: they are in the store.

use std::sync::Arc;

use async_trait::async_trait;
use sync_core::model::RowScope;
use sync_core::sink::{Altered, SinkCapabilities, StoredRow, WriteReport, WriteUnit};
use sync_core::state::{Checkpoint, FencingToken};
use sync_core::{Key, Result, Scope, Sink, StreamSpec};

#[derive(Debug)]
pub(super) struct Apart(pub(super) Arc<dyn Sink>);

#[async_trait]
impl Sink for Apart {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn capabilities(&self) -> SinkCapabilities {
        let mut capabilities = self.0.capabilities();
        capabilities.atomic_checkpoint = false;
        capabilities
    }
    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        assert!(unit.advance.is_none());
        self.0.apply(unit).await
    }
    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        self.0.open(scope, token).await
    }
    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        self.0.prepare(stream).await
    }
    async fn lacking(&self, stream: &StreamSpec) -> Result<Altered> {
        self.0.lacking(stream).await
    }
    async fn exists(&self, stream: &StreamSpec) -> Result<bool> {
        self.0.exists(stream).await
    }
    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        self.0.stored(stream, keys).await
    }
    async fn count(&self, stream: &StreamSpec, rows: &RowScope) -> Result<Option<u64>> {
        self.0.count(stream, rows).await
    }
}
