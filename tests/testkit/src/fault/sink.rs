//! A sink that goes wrong.

use async_trait::async_trait;
use sync_core::model::{Changes, RowScope};
use sync_core::sink::{Altered, SinkCapabilities, Step, StoredRow, WriteMode, WriteReport, WriteUnit};
use sync_core::state::{Checkpoint, FencingToken};
use sync_core::{Error, Key, Result, Scope, Sink, StreamSpec};

use super::plan::Blame;
use super::{Call, Faulty};

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Sink> Sink for Faulty<S> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        self.through(Call::Apply, async {
            self.refuse_poison(unit.steps)?;
            self.inner.apply(unit).await
        })
        .await
    }

    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        self.through(Call::Open, self.inner.open(scope, token)).await
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        self.through(Call::State, self.inner.checkpoint(scope)).await
    }

    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        self.through(Call::Prepare, self.inner.prepare(stream)).await
    }

    async fn lacking(&self, stream: &StreamSpec) -> Result<Altered> {
        self.through(Call::LookUp, self.inner.lacking(stream)).await
    }

    async fn exists(&self, stream: &StreamSpec) -> Result<bool> {
        self.inner.exists(stream).await
    }

    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        self.through(Call::LookUp, self.inner.stored(stream, keys)).await
    }

    async fn count(&self, stream: &StreamSpec, rows: &RowScope) -> Result<Option<u64>> {
        self.through(Call::LookUp, self.inner.count(stream, rows)).await
    }

    fn capabilities(&self) -> SinkCapabilities {
        self.inner.capabilities()
    }

    async fn check(&self) -> Result<()> {
        self.through(Call::Check, self.inner.check()).await
    }
}

impl<S: Sink> Faulty<S> {
    /// Refuses a unit that holds a poisoned row, as a target refuses a row that breaks its rules.
    fn refuse_poison(&self, steps: &[Step]) -> Result<()> {
        for (step, content) in steps.iter().enumerate() {
            let (stream, changes) = match content {
                Step::Write(write) if write.mode != WriteMode::Append => (&write.stream, &write.changes),
                Step::Stage(stage) => (&stage.stream, &stage.changes),
                _ => continue,
            };
            self.refuse_poisoned_rows(step, stream, changes)?;
        }
        Ok(())
    }

    fn refuse_poisoned_rows(&self, step: usize, stream: &StreamSpec, changes: &Changes) -> Result<()> {
        let keys = stream.key_indices();
        for (row, change) in changes.iter().enumerate() {
            let refused = Error::data("the target refuses a row, on purpose").with("stream", stream.name());
            match self.plan.blame(stream.name(), &change.key(&keys)) {
                Some(Blame::Named) => return Err(refused.at_row(step, row)),
                Some(Blame::Unnamed) => return Err(refused),
                None => {}
            }
        }
        Ok(())
    }
}
