//! Reads ahead of the writer in a task of its own, bounded by bytes; retries reads, from the last boundary.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::Inner;
use super::pipeline::Pipeline;
use super::prepare::{Prepared, prepare};
use super::waiting::{Errand, watched};
use crate::event::Event;
use crate::model::{Boundary, Scope};
use crate::retry::Verdict;
use crate::source::{Listing, ReadRequest, Reading};
use crate::state::RunId;
use crate::{Error, ErrorKind, Result};

/// What the reader hands to the writer.
#[derive(Debug)]
pub(super) enum Fetched {
    /// A batch, and its share of the read-ahead budget.
    Batch(Box<Prepared>, OwnedSemaphorePermit),
    /// The read was cut; what came since the last boundary comes again.
    Rewind,
    /// The saved position is no longer valid: everything comes again from the beginning.
    Restart,
    /// Reading failed for good.
    Failed(Error),
    /// The source asks to be left alone.
    Held(Error),
    /// There is no more for now.
    End,
}

/// The reading side of one scope's run.
#[derive(Debug)]
pub(super) struct ReadAhead {
    batches: mpsc::Receiver<Fetched>,
    _task: AbortOnDropHandle<()>,
}

impl ReadAhead {
    pub(super) fn start(
        inner: &Arc<Inner>,
        pipeline: &Arc<Pipeline>,
        run: &RunId,
        scope: &Scope,
        request: ReadRequest,
        asked_to_wait: &Arc<OnceLock<Duration>>,
    ) -> Self {
        let (out, batches) = mpsc::channel(64);
        let reader = Reader {
            inner: Arc::clone(inner),
            pipeline: Arc::clone(pipeline),
            run: run.clone(),
            scope: scope.clone(),
            budget: Arc::new(Semaphore::new(inner.settings.read_ahead_bytes as usize)),
            out,
            asked_to_wait: Arc::clone(asked_to_wait),
        };
        let task = tokio::spawn(reader.read(request).in_current_span());
        Self { batches, _task: AbortOnDropHandle::new(task) }
    }

    /// What has come already, without waiting.
    pub(super) fn ready(&mut self) -> Option<Fetched> {
        self.batches.try_recv().ok()
    }

    /// The next thing that comes.
    pub(super) async fn next(&mut self) -> Fetched {
        self.batches
            .recv()
            .await
            .unwrap_or_else(|| Fetched::Failed(Error::internal("the source panicked while reading")))
    }
}

struct Reader {
    inner: Arc<Inner>,
    pipeline: Arc<Pipeline>,
    run: RunId,
    scope: Scope,
    budget: Arc<Semaphore>,
    out: mpsc::Sender<Fetched>,
    asked_to_wait: Arc<OnceLock<Duration>>,
}

impl Reader {
    /// Reads until the source has no more, the writer has gone, or trying again is no use.
    async fn read(self, mut request: ReadRequest) {
        let mut attempts = self.inner.settings.retry.start(self.inner.clock.elapsed());
        let mut restarted = false;
        loop {
            let error = match self.read_once(&mut request, &mut attempts).await {
                Ok(last) => return self.hand_over(last).await,
                Err(error) => error,
            };
            if error.kind() == ErrorKind::Gone && request.from.is_some() && !restarted {
                restarted = true;
                request.from = None;
                self.hand_over(Fetched::Restart).await;
                continue;
            }
            match attempts.next(&error, self.inner.clock.elapsed(), self.inner.clock.random()) {
                Verdict::Wait(wait) => {
                    self.inner.tell(&self.errand().retrying(&error, wait));
                    self.hand_over(Fetched::Rewind).await;
                    self.inner.clock.sleep(wait).await;
                }
                Verdict::Hold(wait) => {
                    // Whether or not the writer comes so far.
                    self.asked_to_wait.get_or_init(|| wait);
                    return self.hand_over(Fetched::Held(error)).await;
                }
                Verdict::GiveUp(_) => return self.hand_over(Fetched::Failed(error)).await,
            }
            if self.out.is_closed() {
                return;
            }
        }
    }

    /// Reads until the stream ends or fails, and remembers in the request where to continue.
    async fn read_once(&self, request: &mut ReadRequest, attempts: &mut crate::retry::Attempts) -> Result<Fetched> {
        let mut batches = self.pipeline.source.read(request.clone());
        let mut inside = false;
        while let Some(batch) = watched(&self.inner, self.errand(), batches.next()).await {
            let batch = batch?;
            inside = batch.boundary == Boundary::Inside;
            match &batch.boundary {
                Boundary::Resume(cursor) => request.from = Some(cursor.clone()),
                Boundary::Ends { resume, .. } => request.from = resume.clone(),
                Boundary::Inside | Boundary::Begins(_) => {}
            }
            if matches!(batch.boundary, Boundary::Resume(_) | Boundary::Ends { .. }) {
                attempts.reset(self.inner.clock.elapsed());
            }
            self.inner.tell(&Event::Fetched {
                run: self.run.clone(),
                scope: self.scope.clone(),
                rows: batch.records() as u64,
                wire_bytes: batch.wire_bytes,
                requests: batch.requests,
            });
            let share = u32::try_from(batch.size()).unwrap_or(u32::MAX).clamp(1, self.inner.settings.read_ahead_bytes);
            let keys_only =
                request.reading == Reading::Listing && self.pipeline.source.capabilities().listing == Listing::Keys;
            let prepared = Box::new(prepare(batch, &self.pipeline, keys_only, self.inner.settings.planted)?);
            let Ok(permit) = Arc::clone(&self.budget).acquire_many_owned(share).await else {
                return Ok(Fetched::End);
            };
            if self.out.send(Fetched::Batch(prepared, permit)).await.is_err() {
                return Ok(Fetched::End);
            }
        }
        if inside {
            return Err(Error::unavailable("the source ended in the middle of a group")
                .with("source", self.pipeline.source.name()));
        }
        Ok(Fetched::End)
    }

    fn errand(&self) -> Errand<'_> {
        Errand { run: Some(&self.run), scope: Some(&self.scope), doing: "read", on: self.pipeline.source.name() }
    }

    async fn hand_over(&self, fetched: Fetched) {
        // A writer that has gone needs nothing more.
        let _ = self.out.send(fetched).await;
    }
}
