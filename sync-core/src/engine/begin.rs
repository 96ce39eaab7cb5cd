//! How a run of a scope begins: what to read and from where, and then the targets, once the source has answered.

use super::claim::with_retries;
use super::options::Mode;
use super::pipeline::FirstLoad;
use super::scope_run::{Home, ScopeRun};
use crate::model::{Disposition, Lane, RowScope, Scope, StreamSpec};
use crate::source::{ReadRequest, Reading, RowOrder};
use crate::{Error, ErrorKind, Result};

impl ScopeRun<'_> {
    /// Gets the checkpoint ready, and says what to read.
    pub(super) async fn begin(&mut self) -> Result<ReadRequest> {
        self.check_targets().await?;
        let empty = self.checkpoint.cursor.is_none() && (self.options.dry_run || self.are_empty().await?);
        let afresh = match self.options.mode {
            // What an earlier listing named says nothing about rows that came since: it is never continued.
            Mode::Full | Mode::Reconcile => true,
            Mode::Incremental | Mode::Backfill { .. } => false,
        };
        if self.options.mode == Mode::Reconcile && !self.options.dry_run {
            self.look_at_the_changes().await?;
        }
        if afresh && self.checkpoint.stage.is_some() {
            self.discard_stage().await?;
        }
        let from = if afresh { None } else { self.checkpoint.cursor.clone() };
        // Where nothing is inferred from it, a listing that was interrupted goes on in the middle.
        self.open_listing = from.is_some() && !self.infers_deletes();
        let mut request = ReadRequest::new(self.feed.clone(), self.scope.partition.clone()).from(from).reading(
            match &self.options.mode {
                Mode::Reconcile => Reading::Listing,
                Mode::Backfill { rows, .. } => Reading::Range(rows.clone()),
                Mode::Full | Mode::Incremental => Reading::Changes,
            },
        );
        request.first_load = empty;
        self.stays = self.options.new_only && !empty;
        self.may_sort = empty
            && !self.options.dry_run
            && self.checkpoint.stage.is_none()
            && self.pipeline.first_load == FirstLoad::Auto
            && self.pipeline.source.capabilities().order != RowOrder::Key
            && self.pipeline.sink.capabilities().staging
            && self.feed.streams().iter().all(|stream| {
                stream.writes() == Disposition::Upsert
                    && self.pipeline.guard(stream).is_some()
                    && self.pipeline.difference().is_some()
            });
        Ok(request)
    }

    /// Makes the targets ready, once the source has answered: while it cannot be reached, nothing is made or altered.
    pub(super) async fn prepare_targets(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.prepared, true) && !self.options.dry_run {
            for stream in self.feed.streams() {
                self.prepare(stream).await?;
            }
        }
        Ok(())
    }

    async fn prepare(&self, stream: &StreamSpec) -> Result<()> {
        let prepared = with_retries(self.inner, || self.pipeline.sink.prepare(stream)).await;
        prepared.map_err(|error| error.with("stream", stream.name()))
    }

    /// Whether no target holds a row, which one that is not there does not.
    async fn are_empty(&self) -> Result<bool> {
        for stream in self.feed.streams() {
            if !with_retries(self.inner, || self.pipeline.sink.exists(stream)).await? {
                continue;
            }
            let count = || self.pipeline.sink.count(stream, &RowScope::All);
            let rows = match with_retries(self.inner, count).await {
                // It is there, or so says a sink that cannot tell.
                Err(error) if error.kind() == ErrorKind::Schema => {
                    self.prepare(stream).await?;
                    with_retries(self.inner, count).await?
                }
                rows => rows?,
            };
            if rows != Some(0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A target that is gone, although rows were brought into it, must not be followed by an empty one: they would be
    /// lost unseen. A full run brings them again, and what is read as a whole by every run comes again anyway.
    async fn check_targets(&self) -> Result<()> {
        if self.checkpoint.cursor.is_none() || self.options.mode == Mode::Full {
            return Ok(());
        }
        for stream in self.feed.streams().iter().filter(|stream| stream.writes() != Disposition::Snapshot) {
            if !with_retries(self.inner, || self.pipeline.sink.exists(stream)).await? {
                return Err(Error::new(
                    ErrorKind::Schema,
                    "the target is gone, although rows were brought into it: run it full once, and everything comes again",
                )
                .with("stream", stream.name())
                .with("target", self.pipeline.sink.name()));
            }
        }
        Ok(())
    }

    /// How far the changes have come that a reconcile compares with.
    ///
    /// Rows that a first load has staged are older than the listing: published after it, they would bring rows back that
    /// it has removed.
    async fn look_at_the_changes(&mut self) -> Result<()> {
        let live = Scope { lane: Lane::Live, ..self.scope.clone() };
        let standing = match self.home {
            Home::Sink => self.pipeline.sink.checkpoint(&live).await?,
            Home::Store => self.inner.store.checkpoint(&live).await?,
        };
        let Some(standing) = standing else { return Ok(()) };
        self.frontier_before = standing.frontier.map(|frontier| frontier.at);
        match standing.stage {
            Some(stage) if stage.first_load => Err(Error::config(
                "the first load has not come to its end: let an incremental run finish it, then reconcile",
            )
            .with("scope", &live)),
            _ => Ok(()),
        }
    }
}
