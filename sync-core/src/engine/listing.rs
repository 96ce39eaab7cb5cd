//! Complete listings: staged out of sight, published at once, and only then is anything inferred from absence.

use std::sync::Arc;

use super::options::Mode;
use super::scope_run::{Home, ScopeRun};
use crate::event::Event;
use crate::model::{Absent, Changes, Cursor, Disposition, Key, Outcome, RowScope, Rows, StreamSpec, Tally};
use crate::sink::{Guard, MostDeletes, Publish, Stage, Step};
use crate::state::{Checkpoint, OpenStage, Spared, StageName};
use crate::{Error, Result};

impl ScopeRun<'_> {
    /// A listing of this scope begins. One that was interrupted before starts over.
    pub(super) async fn begin_listing(&mut self, rows: RowScope) -> Result<()> {
        if self.checkpoint.stage.is_some() {
            self.discard_stage().await?;
        }
        if self.infers_deletes() {
            if self.known.parts > 1 && !rows.is_part() {
                // It would remove what the other partitions have brought.
                return Err(Error::config("the listing of one partition speaks for the rows of all: name the column that tells their rows apart, so that only its own rows can be taken for gone")
                    .with("scope", &self.scope)
                    .with("source", self.pipeline.source.name()));
            }
            if !self.pipeline.sink.capabilities().staging {
                return Err(Error::config("finding deleted rows needs a sink that stages a listing")
                    .with("sink", self.pipeline.sink.name()));
            }
            self.open_stage(rows, false, self.lists_keys_only());
            self.lay_out().await?;
        } else {
            self.open_listing = true;
        }
        Ok(())
    }

    /// A listing is over. What it does not name is dealt with only when it is proven complete (P19).
    pub(super) async fn end_listing(&mut self, rows: RowScope, complete: bool, resume: Option<Cursor>) -> Result<()> {
        let resume = if self.stays { self.checkpoint.cursor.clone() } else { resume };
        if std::mem::take(&mut self.open_listing) {
            return self
                .settle(Vec::new(), Checkpoint { cursor: resume, ..self.checkpoint.clone() }, Vec::new())
                .await
                .map(drop);
        }
        let Some(stage) = self.checkpoint.stage.clone() else {
            return Err(Error::malformed("the source ended a listing that it did not begin")
                .with("source", self.pipeline.source.name()));
        };
        if stage.rows != rows {
            return Err(Error::malformed("the source ended another listing than it began")
                .with("source", self.pipeline.source.name()));
        }
        self.books.unproven = match (complete, self.spared.is_known()) {
            (true, true) => self.books.unproven,
            // Any of those that seem gone may be such a row.
            (_, false) => Some("rows were rejected whose keys cannot be read, or too many to remember"),
            (false, true) => Some("the source does not vouch that the listing names every row"),
        };
        let complete = complete && self.spared.is_known();
        if stage.keys_only && !complete {
            // Keys of a broken listing tell nothing: the next run lists again.
            return self.discard_stage().await;
        }
        self.publish(&stage, complete, resume).await
    }

    /// The rows of a first load, staged because they came unordered, become visible in key order.
    pub(super) async fn publish_first_load(&mut self) -> Result<()> {
        match self.checkpoint.stage.clone() {
            Some(stage) => self.publish(&stage, false, self.checkpoint.cursor.clone()).await,
            None => Ok(()),
        }
    }

    async fn publish(&mut self, stage: &OpenStage, infer: bool, resume: Option<Cursor>) -> Result<()> {
        let most = match () {
            () if self.options.confirm_deletes => MostDeletes::Any,
            // A list of nothing at all is more likely a fault than the truth (P19). A range of dates may well be empty.
            () if infer && self.carried + self.books.staged == 0 && !stage.rows.is_range() => {
                MostDeletes::Limited { rows: 0, share: 0.0 }
            }
            () => self.pipeline.most_deletes,
        };
        let steps: Vec<Step> = self
            .feed
            .streams()
            .iter()
            .map(|stream| {
                Step::Publish(Publish {
                    stage: stage.stage.clone(),
                    stream: Arc::clone(stream),
                    rows: stage.rows.clone(),
                    absent: if infer { stream.when_absent().clone() } else { Absent::Keep },
                    most,
                    // A policy that only the engine can ask is asked when rows come, not about what a listing holds:
                    // rows that exist stay as they are.
                    guard: self.pipeline.guard(stream).unwrap_or(Guard::Never),
                    difference: self.difference(),
                    mode: self.write_mode(stream),
                    keys_only: stage.keys_only,
                    skip: Vec::<Key>::new(),
                    spared: self.spared.keys_of(stream.name()),
                })
            })
            .collect();
        let steps = if self.options.dry_run {
            std::mem::take(&mut self.rehearsed).into_iter().chain(steps).collect()
        } else {
            steps
        };
        let next = Checkpoint { cursor: resume, stage: None, ..self.checkpoint.clone() };
        let settled = self.settle(steps, next, Vec::new()).await?;
        let mut tally = without_staged(settled.tally);
        if self.home == Home::Store {
            // Where a reply was lost, rows were staged twice, or published by the earlier try: then they are there.
            let told = tally.total() - absent_of(&tally, infer);
            let expected = self.carried + self.books.staged;
            tally.add(Outcome::Unchanged, expected.saturating_sub(told));
            self.carried += told.saturating_sub(expected);
        }
        self.measure_missed(&tally);
        self.books.ledger.absent += absent_of(&tally, infer);
        self.books.ledger.carried += std::mem::take(&mut self.carried);
        self.books.staged = 0;
        self.books.ledger.outcomes += tally;
        let withheld = tally.count(Outcome::Withheld);
        if infer && withheld == 0 && !stage.keys_only && !self.options.dry_run {
            let obsolete = self.letters_of_absent(&stage.rows).await?;
            self.close(obsolete).await?;
        }
        if withheld > 0 {
            self.inner.tell(&Event::Withheld { run: self.run.clone(), scope: self.scope.clone(), rows: withheld });
        }
        Ok(())
    }

    /// Creates the stage of every stream, empty: an empty listing can then be told from one that is published already.
    async fn lay_out(&mut self) -> Result<()> {
        let Some(open) = &self.checkpoint.stage else { return Ok(()) };
        let empty = |stream: &Arc<StreamSpec>| {
            let changes = Changes::upserts(Rows::new(Arc::clone(stream.schema())));
            Step::Stage(Stage { stage: open.stage.clone(), stream: Arc::clone(stream), changes })
        };
        let steps: Vec<Step> = self.feed.streams().iter().map(empty).collect();
        if self.options.dry_run {
            self.rehearsed.extend(steps);
            return Ok(());
        }
        self.settle(steps, self.checkpoint.clone(), Vec::new()).await.map(drop)
    }

    /// From now on rows are staged.
    pub(super) fn open_stage(&mut self, rows: RowScope, first_load: bool, keys_only: bool) {
        let scope = blake3::hash(self.scope.id().as_bytes());
        let stage = StageName::new(format!("{}_{}", &scope.to_hex()[..8], self.run));
        self.spared = Spared::default();
        let before = self.checkpoint.cursor.clone();
        self.checkpoint.stage =
            Some(OpenStage { stage, rows, staged: 0, before, first_load, keys_only, spared: Spared::default() });
    }

    /// Forgets what is staged where that may be published already though its position says that it is open: rows and position are not
    /// one transaction. Gone on with, it would hold the last pages alone, and the rows of the others would be taken for gone.
    pub(super) async fn discard_stage_in_doubt(&mut self) -> Result<()> {
        if self.home != Home::Store || self.checkpoint.stage.is_none() {
            return Ok(());
        }
        // What was staged comes again: no row of it is late.
        self.frontier_before = None;
        self.discard_stage().await
    }

    /// Forgets what is staged.
    pub(super) async fn discard_stage(&mut self) -> Result<()> {
        let Some(stage) = self.checkpoint.stage.clone() else { return Ok(()) };
        let discard =
            |stream: &Arc<StreamSpec>| Step::Discard { stage: stage.stage.clone(), stream: Arc::clone(stream) };
        let steps = self.feed.streams().iter().map(discard).collect();
        let next = Checkpoint { cursor: stage.before.clone(), stage: None, ..self.checkpoint.clone() };
        self.rehearsed.clear();
        self.spared = Spared::default();
        self.carried = 0;
        // They come again with the next listing.
        let forgotten = std::mem::take(&mut self.books.staged);
        self.books.ledger.outcomes.add(Outcome::Duplicate, forgotten);
        self.settle(steps, next, Vec::new()).await.map(drop)
    }

    /// Whether rows that a listing does not name are dealt with.
    pub(super) fn infers_deletes(&self) -> bool {
        let replaces =
            |stream: &Arc<StreamSpec>| matches!(stream.writes(), Disposition::Snapshot | Disposition::ReplaceWindow);
        self.options.mode == Mode::Reconcile || self.feed.streams().iter().any(replaces)
    }
}

/// How many rows a listing did not name. It stages no deletes, so these two outcomes can only be of such rows; a staged
/// first load may hold deletes, and infers nothing.
fn absent_of(tally: &Tally, infer: bool) -> u64 {
    if infer { tally.count(Outcome::Deleted) + tally.count(Outcome::Withheld) } else { 0 }
}

/// In a dry run the stage steps are rehearsed together with the publish, which counts the same rows again.
fn without_staged(tally: Tally) -> Tally {
    tally.iter().filter(|(outcome, _)| *outcome != Outcome::Staged).fold(Tally::new(), |mut rest, (outcome, rows)| {
        rest.add(outcome, rows);
        rest
    })
}
