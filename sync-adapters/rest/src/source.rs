//! The source: streams of one API.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use sync_core::model::{Partition, Rows};
use sync_core::source::{CursorKind, Estimate, Listing, RowOrder, SourceCapabilities};
use sync_core::{BatchStream, Error, Feed, ReadRequest, Result, Retry, Source, StreamSpec};

use crate::client::Client;
use crate::config::LimitsConfig;
use crate::evidence::Interrupted;
use crate::fan_out::{self, Discovered};
use crate::plan::StreamPlan;
use crate::position::Position;
use crate::reader::Reader;
use crate::slowness::Slowness;

/// The streams of one API, as declared. Made by [`Rest::build`](crate::Rest::build).
///
/// Each stream is a feed of its own. It yields errors with retry advice and never tries again by itself, but for one
/// replay after renewed credentials.
#[derive(Debug, Clone)]
pub struct RestSource {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) name: String,
    pub(crate) client: Client,
    pub(crate) limits: LimitsConfig,
    pub(crate) streams: BTreeMap<String, Arc<StreamPlan>>,
    pub(crate) strikes: Strikes,
    pub(crate) slowness: Slowness,
    pub(crate) interrupted: Interrupted,
    pub(crate) discovered: Discovered,
}

/// Answers that look permanently wrong get one more try, and then none: a captcha does not go away by asking.
#[derive(Debug, Default)]
pub(crate) struct Strikes(Mutex<HashMap<(String, Partition), ()>>);

impl Strikes {
    /// The error with advice to try again the first time, and not to the second.
    pub(crate) fn count(&self, stream: &str, partition: &Partition, error: Error) -> Error {
        let mut struck = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (stream.to_owned(), partition.clone());
        let retry = match struck.remove(&place) {
            Some(()) => Retry::Never,
            None => {
                struck.insert(place, ());
                Retry::Backoff
            }
        };
        error.with_retry(retry)
    }

    /// A good page: the next wrong answer is a first one again.
    pub(crate) fn clear(&self, stream: &str, partition: &Partition) {
        let mut struck = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !struck.is_empty() {
            struck.remove(&(stream.to_owned(), partition.clone()));
        }
    }
}

impl Inner {
    pub(crate) fn plan(&self, name: &str) -> Result<Arc<StreamPlan>> {
        let plan = self.streams.get(name).map(Arc::clone);
        plan.ok_or_else(|| {
            Error::config("the source has no such stream").with("source", &self.name).with("stream", name)
        })
    }
}

#[async_trait]
impl Source for RestSource {
    fn name(&self) -> &str {
        &self.inner.name
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        Ok(self.inner.streams.values().map(|plan| Feed::one(Arc::clone(&plan.spec))).collect())
    }

    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        match Reader::new(Arc::clone(&self.inner), &request) {
            Ok(reader) => {
                stream::try_unfold(
                    reader,
                    |mut reader| async move { Ok(reader.next().await?.map(|batch| (batch, reader))) },
                )
                .boxed()
            }
            Err(error) => stream::once(async move { Err(error) }).boxed(),
        }
    }

    /// The weakest of its streams.
    fn capabilities(&self) -> SourceCapabilities {
        let plans = || self.inner.streams.values();
        let marks = |plan: &StreamPlan| match () {
            () if plan.since.is_some() || plan.window.is_some() => CursorKind::Inclusive,
            () if plan.is_keyset() => CursorKind::Position,
            () => CursorKind::None,
        };
        let kinds: Vec<CursorKind> = plans().map(|plan| marks(plan)).collect();
        let cursor = match () {
            () if kinds.contains(&CursorKind::None) => CursorKind::None,
            () if kinds.contains(&CursorKind::Inclusive) => CursorKind::Inclusive,
            () => CursorKind::Position,
        };
        let mut capabilities = SourceCapabilities::replayable(cursor).listing(Listing::Rows);
        if plans().all(|plan| plan.endpoint.ordered_by_key) {
            capabilities = capabilities.order(RowOrder::Key);
        }
        if plans().all(|plan| plan.window.is_some()) { capabilities.ranges() } else { capabilities }
    }

    /// Asks for the first page of the first stream, or of the list of its partitions.
    async fn check(&self) -> Result<()> {
        let Some(plan) = self.inner.streams.values().next() else { return Ok(()) };
        let plan = plan.parent.as_ref().map_or(plan, |parent| &parent.plan);
        let partition = plan.endpoint.partitions.first().map(|known| known.name.clone()).unwrap_or_default();
        let variables = plan.variables(&partition)?;
        let now = self.inner.client.clock.now().into();
        let slice = plan.window.as_ref().and_then(|window| window.slices(window.begins(Some(now)), now, now).pop());
        let call = plan.call(&self.inner.client.base, &variables, &Position { slice, ..Position::default() })?;
        self.inner.client.call(&call, &plan.rules).await.map(drop).map_err(|refusal| refusal.error)
    }

    async fn partitions(&self, feed: &Feed) -> Result<Vec<Partition>> {
        let plan = self.inner.plan(feed.name())?;
        if let Some(parent) = &plan.parent {
            return fan_out::partitions(&self.inner, &plan, parent).await;
        }
        match plan.endpoint.partitions.as_slice() {
            [] => Ok(vec![Partition::default()]),
            declared => Ok(declared.iter().map(|known| Partition::new(known.name.clone())).collect()),
        }
    }

    async fn estimate(&self, request: &ReadRequest) -> Result<Option<Estimate>> {
        let _ = request;
        Ok(None)
    }

    fn revive(&self, stream: &StreamSpec, record: &[u8]) -> Result<Rows> {
        self.inner.plan(stream.name())?.reader.record(record)
    }
}
