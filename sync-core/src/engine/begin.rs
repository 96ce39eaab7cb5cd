//! How a run of a scope begins: the target is made ready, and the source is read from where the last run stopped.

use std::sync::Arc;

use super::options::Mode;
use super::pipeline::FirstLoad;
use super::read_ahead::ReadAhead;
use super::scope_run::{Home, ScopeRun};
use super::unfilled::Watch;
use super::waiting::with_retries;
use crate::event::Event;
use crate::model::{Disposition, RowScope, StreamSpec};
use crate::sink::Altered;
use crate::source::{CursorKind, ReadRequest, Reading, RowOrder};
use crate::{Error, ErrorKind, Result};

impl ScopeRun<'_> {
    /// Makes the targets ready and begins to read: both at once, where it is known beforehand what to read.
    pub(super) async fn begin(&mut self) -> Result<ReadAhead> {
        self.check_targets().await?;
        self.discard_stage_in_doubt().await?;
        let early = match self.empty_beforehand() {
            Some(empty) => Some(self.start(empty).await?),
            None => None,
        };
        let (empty, grown) = self.prepare_targets().await?;
        let reader = match early {
            Some(reader) => reader,
            None => self.start(empty).await?,
        };
        self.books.hollow = self.why_hollow(&grown);
        self.stays = self.options.new_only && !empty;
        self.may_sort = empty
            && !self.options.dry_run
            && matches!(self.options.mode, Mode::Incremental | Mode::Full)
            && self.checkpoint.stage.is_none()
            && self.sorts_first_load()
            && self.pipeline.source.capabilities().order != RowOrder::Key
            && self.feed.streams().iter().all(|stream| {
                stream.writes() == Disposition::Upsert
                    && self.pipeline.guard(stream).is_some()
                    && self.pipeline.difference().is_some()
            });
        Ok(reader)
    }

    /// Whether the targets hold nothing, where that is known before they are made ready.
    fn empty_beforehand(&self) -> Option<bool> {
        match self.options.mode {
            Mode::Incremental if self.checkpoint.cursor.is_some() => Some(false),
            Mode::Incremental if self.known.absent => Some(true),
            // What an earlier run has staged may have to go first.
            _ => None,
        }
    }

    /// Makes the targets ready, and says whether they hold nothing, and to which a column was added.
    async fn prepare_targets(&mut self) -> Result<(bool, Vec<Arc<StreamSpec>>)> {
        let (mut empty, mut grown) = (self.checkpoint.cursor.is_none(), Vec::new());
        for stream in self.feed.streams() {
            let altered = self.prepare_target(stream).await.map_err(|error| error.with("stream", stream.name()))?;
            if !altered.added.is_empty() {
                grown.push(Arc::clone(stream));
            }
            self.books.altered.extend(stream, altered);
            if self.options.dry_run {
                continue;
            }
            let counting = || self.pipeline.sink.count(stream, &RowScope::All);
            empty = empty && with_retries(self.inner, self.at_sink("target"), counting).await? == Some(0);
        }
        Ok((empty, grown))
    }

    /// What was changed in the target, or would be.
    async fn prepare_target(&self, stream: &StreamSpec) -> Result<Altered> {
        let sink = &self.pipeline.sink;
        if self.options.dry_run {
            with_retries(self.inner, self.at_sink("target"), || sink.lacking(stream)).await
        } else {
            with_retries(self.inner, self.at_sink("target"), || sink.prepare(stream)).await
        }
    }

    /// Begins to read.
    async fn start(&mut self, empty: bool) -> Result<ReadAhead> {
        let request = self.request(empty).await?;
        // Only here is it known where the reading begins. What goes wrong will be met, and told, by the reading itself.
        let estimate = self.pipeline.source.estimate(&request).await.unwrap_or_default();
        self.inner.tell(&Event::ScopeStarted { run: self.run.clone(), scope: self.scope.clone(), estimate });
        Ok(ReadAhead::start(self.inner, self.pipeline, self.run, &self.scope, request, &self.asked_to_wait))
    }

    /// Says what to read, and from where.
    async fn request(&mut self, empty: bool) -> Result<ReadRequest> {
        let afresh = match self.options.mode {
            // What an earlier listing named says nothing about rows that came since: it is never continued.
            Mode::Full | Mode::Reconcile => true,
            Mode::Incremental | Mode::Backfill { .. } => false,
        };
        if self.options.mode == Mode::Reconcile {
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
        // A source without a cursor reads everything each time, unless it goes on with a reading that was interrupted.
        let begins = request.from.is_none() || self.pipeline.source.capabilities().cursor == CursorKind::None;
        let whole = begins && !matches!(request.reading, Reading::Range(_)) && !self.lists_keys_only();
        self.unfilled = whole.then(|| Watch::over(&self.feed, request.from.is_some()));
        Ok(request)
    }

    /// Whether a first load of unordered keys is staged, and published in their order.
    fn sorts_first_load(&self) -> bool {
        let sink = self.pipeline.sink.capabilities();
        sink.staging
            && match self.pipeline.first_load {
                FirstLoad::Auto => sink.sorts_first_load,
                FirstLoad::Sorted => true,
                FirstLoad::Direct => false,
            }
    }

    /// A target that is gone, although rows were brought into it, must not be followed by an empty one: they would be
    /// lost unseen. A full run brings them again, and what is read as a whole by every run comes again anyway.
    async fn check_targets(&self) -> Result<()> {
        if self.options.mode == Mode::Full {
            return Ok(());
        }
        if let Some(gone) = &self.known.gone {
            return Err(self.gone(gone));
        }
        if self.known.looked || self.checkpoint.cursor.is_none() {
            return Ok(());
        }
        for stream in self.feed.streams().iter().filter(|stream| stream.writes() != Disposition::Snapshot) {
            if !with_retries(self.inner, self.at_sink("target"), || self.pipeline.sink.exists(stream)).await? {
                return Err(self.gone(stream.name()));
            }
        }
        Ok(())
    }

    fn gone(&self, stream: &str) -> Error {
        let what = format!(
            "the target of stream {stream:?} is gone, although rows were brought into it: run it full once, and everything comes again"
        );
        Error::new(ErrorKind::Schema, what)
            .with_remedy("run once with the option `full`, or bring the target back as it was")
            .with("stream", stream)
            .with("target", self.pipeline.sink.name())
    }

    /// How far the changes have come that a reconcile compares with.
    ///
    /// Rows that a first load has staged are older than the listing: published after it, they would bring rows back that
    /// it has removed.
    async fn look_at_the_changes(&mut self) -> Result<()> {
        let live = self.scope.live();
        let standing = match self.home {
            Home::Sink => {
                with_retries(self.inner, self.at_sink("position"), || self.pipeline.sink.checkpoint(&live)).await?
            }
            Home::Store => {
                with_retries(self.inner, self.at_store("position"), || self.inner.store.checkpoint(&live)).await?
            }
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
