//! A source that goes wrong.

use async_trait::async_trait;
use futures::{StreamExt, stream};
use sync_core::model::{Batch, Feed, Partition, Rows, Run};
use sync_core::source::{BatchStream, Estimate, ReadRequest, Receipt, SourceCapabilities};
use sync_core::{Result, Source, StreamSpec};

use super::{Call, Fault, Faulty};

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Source> Source for Faulty<S> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        self.through(Call::Feeds, self.inner.feeds()).await
    }

    /// A read that fails yields its error and ends, whatever the source within would still say.
    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        let reading = Reading { batches: self.inner.read(request), begun: false, over: false };
        stream::unfold(reading, move |mut reading| async move {
            if reading.over {
                return None;
            }
            let next = self.next(&mut reading).await;
            reading.over = !matches!(next, Some(Ok(_)));
            next.map(|batch| (batch, reading))
        })
        .boxed()
    }

    fn capabilities(&self) -> SourceCapabilities {
        self.inner.capabilities()
    }

    async fn check(&self) -> Result<()> {
        self.through(Call::Check, self.inner.check()).await
    }

    async fn partitions(&self, feed: &Feed) -> Result<Vec<Partition>> {
        self.through(Call::Feeds, self.inner.partitions(feed)).await
    }

    async fn estimate(&self, request: &ReadRequest) -> Result<Option<Estimate>> {
        self.inner.estimate(request).await
    }

    async fn acknowledge(&self, receipt: &Receipt) -> Result<()> {
        self.through(Call::Acknowledge, self.inner.acknowledge(receipt)).await
    }

    fn revive(&self, stream: &StreamSpec, record: &[u8]) -> Result<Rows> {
        self.inner.revive(stream, record)
    }
}

struct Reading<'a> {
    batches: BatchStream<'a>,
    begun: bool,
    over: bool,
}

impl<S: Source> Faulty<S> {
    async fn next(&self, reading: &mut Reading<'_>) -> Option<Result<Batch>> {
        if !std::mem::replace(&mut reading.begun, true)
            && let Err(error) = self.through(Call::Read, async { Ok(()) }).await
        {
            return Some(Err(error));
        }
        let fault = match self.plan.strike(Call::Batch) {
            Err(dead) => return Some(Err(dead)),
            Ok(fault) => fault,
        };
        match fault {
            None => reading.batches.next().await,
            Some(Fault::Slow(pause)) => {
                self.pause(pause).await;
                reading.batches.next().await
            }
            Some(Fault::Duplicate) => reading.batches.next().await.map(|batch| batch.map(doubled)),
            Some(Fault::Cut) => None,
            Some(fault) => Some(Err(self.plan.error(Call::Batch, fault))),
        }
    }
}

/// The batch with every change twice; those of one key in their order each time.
fn doubled(mut batch: Batch) -> Batch {
    let again: Vec<Run> = batch.runs.clone();
    batch.runs.extend(again);
    batch
}
