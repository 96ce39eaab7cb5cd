//! The run loop: follows one scope from its checkpoint to the source's present end.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::select;
use tracing::Instrument;

use super::Inner;
use super::breaker::Strain;
use super::obsolete::LettersByKey;
use super::options::{Mode, RunOptions};
use super::pipeline::Pipeline;
use super::planted::Bug;
use super::poison;
use super::read_ahead::Fetched;
use super::targets::Known;
use super::unfilled::{Unfilled, Watch};
use super::unit::Gathered;
use crate::detect::Difference;
use crate::event::Event;
use crate::ledger::Ledger;
use crate::model::{Boundary, Disposition, Feed, Outcome, RowScope, Scope, Tally, Timestamp};
use crate::sink::{Altered, Stage, Step, Write, WriteMode};
use crate::source::{Listing, Receipt};
use crate::state::{Checkpoint, FencingToken, Lease, RunId, Spared};
use crate::{Error, Result};

/// Where a scope's checkpoint is kept: one place, chosen by what the sink can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// In the sink, in the same transaction as the rows.
    Sink,
    /// In the state store, after the rows.
    Store,
}

/// How following a scope ended.
#[derive(Debug)]
pub(super) enum Ending {
    Done,
    Cancelled,
    Held(Error),
}

/// One run of one scope.
#[derive(Debug)]
pub(super) struct ScopeRun<'a> {
    pub(super) inner: &'a Arc<Inner>,
    pub(super) pipeline: &'a Arc<Pipeline>,
    pub(super) options: &'a RunOptions,
    pub(super) run: &'a RunId,
    pub(super) scope: Scope,
    pub(super) feed: Feed,
    pub(super) known: Known,
    /// `None` on a dry run, which must leave no trace.
    pub(super) lease: Option<Lease>,
    pub(super) home: Home,
    pub(super) checkpoint: Checkpoint,
    pub(super) books: Books,
    pub(super) strain: Strain,
    /// A listing that writes as it goes, since nothing is inferred from what it does not name.
    pub(super) open_listing: bool,
    /// What a dry run of a listing keeps until the listing ends.
    pub(super) rehearsed: Vec<Step>,
    /// Rows that the open listing named and that went to the dead letters.
    pub(super) spared: Spared,
    /// Rows that earlier runs have staged.
    pub(super) carried: u64,
    /// Staged rows that a publish has refused.
    pub(super) refused_at_publish: u64,
    /// Whether the position stays where it is, since rows are left alone that an ordinary run must see.
    pub(super) stays: bool,
    /// How often a unit went to the sink or came back: odd while one is there.
    pub(super) at_the_sink: Arc<AtomicU64>,
    /// Dead letters by key, once a delete has asked for them.
    pub(super) letters: Option<LettersByKey>,
    /// Up to where the changes that came before this run were complete: those of the live lane, for a reconcile.
    pub(super) frontier_before: Option<Timestamp>,
    pub(super) may_sort: bool,
    /// How long the source asks to be left alone, whatever else ends the run before that is met.
    pub(super) asked_to_wait: Arc<OnceLock<Duration>>,
    /// Columns without a value so far, where everything is read from the beginning.
    pub(super) unfilled: Option<Watch>,
}

/// What one run of one scope counts.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) ledger: Ledger,
    /// Rows this run has staged and not published yet.
    pub(super) staged: u64,
    pub(super) wire_bytes: u64,
    pub(super) requests: u64,
    pub(super) late: u64,
    pub(super) lateness: Duration,
    /// Staged rows of a reconcile that may have changed since the last run of changes.
    pub(super) recent: u64,
    pub(super) missed: u64,
    pub(super) altered: Altered,
    /// Why rows that came before have no value in columns that were added.
    pub(super) hollow: Option<&'static str>,
    /// Why what a listing does not name was left alone.
    pub(super) unproven: Option<&'static str>,
    pub(super) unfilled: Vec<Unfilled>,
    /// What is wrong with the first row that was rejected.
    pub(super) first_rejected: Option<String>,
    pub(super) write_retries: u64,
    /// Why a write was tried again, the last time.
    pub(super) retried_for: Option<String>,
}

impl<'a> ScopeRun<'a> {
    #[expect(clippy::too_many_arguments, reason = "made in one place, from what a run is made of")]
    pub(super) fn new(
        inner: &'a Arc<Inner>,
        pipeline: &'a Arc<Pipeline>,
        options: &'a RunOptions,
        run: &'a RunId,
        scope: Scope,
        feed: Feed,
        known: Known,
        lease: Option<Lease>,
        home: Home,
        checkpoint: Checkpoint,
    ) -> Self {
        let frontier_before = checkpoint.frontier.map(|frontier| frontier.at);
        let spared = checkpoint.stage.as_ref().map(|stage| stage.spared.clone()).unwrap_or_default();
        let carried = checkpoint.stage.as_ref().map_or(0, |stage| stage.staged);
        Self {
            inner,
            pipeline,
            options,
            run,
            scope,
            feed,
            known,
            lease,
            home,
            checkpoint,
            books: Books::default(),
            strain: Strain::default(),
            open_listing: false,
            rehearsed: Vec::new(),
            spared,
            carried,
            stays: false,
            refused_at_publish: 0,
            at_the_sink: Arc::default(),
            letters: None,
            frontier_before,
            may_sort: false,
            asked_to_wait: Arc::default(),
            unfilled: None,
        }
    }

    pub(super) fn token(&self) -> FencingToken {
        self.lease.as_ref().map_or(FencingToken::default(), |lease| lease.token)
    }

    /// Follows the scope until the source has no more for now. Rows still staged at the end are in the ledger too,
    /// so that it balances however the run ends.
    pub(super) async fn follow(&mut self) -> Result<Ending> {
        let ending = self.follow_to_end().await;
        self.abandon();
        ending
    }

    async fn follow_to_end(&mut self) -> Result<Ending> {
        let mut reader = self.begin().await?;
        let (mut closed, mut open) = (Gathered::new(), Gathered::new());
        loop {
            let ready = if closed.rows < self.inner.settings.unit_rows { reader.ready() } else { None };
            let fetched = match ready {
                Some(fetched) => fetched,
                None => {
                    self.flush(std::mem::replace(&mut closed, Gathered::new())).await?;
                    select! {
                        biased;
                        () = self.options.cancel.cancelled() => return Ok(Ending::Cancelled),
                        fetched = reader.next() => fetched,
                    }
                }
            };
            match fetched {
                Fetched::Batch(batch, permit) => {
                    self.books.wire_bytes += batch.wire_bytes;
                    self.books.requests += batch.requests;
                    let boundary = batch.boundary.clone();
                    if let Some(unfilled) = &mut self.unfilled {
                        batch.writes.iter().for_each(|(stream, changes)| unfilled.note(stream, changes));
                    }
                    open.add(*batch, permit);
                    match boundary {
                        Boundary::Inside => open.release(),
                        Boundary::Resume(cursor) => {
                            open.cursor = Some(cursor);
                            closed.absorb(std::mem::replace(&mut open, Gathered::new()));
                            if self.is_start(&closed) {
                                self.flush(std::mem::replace(&mut closed, Gathered::new())).await?;
                            }
                        }
                        Boundary::Begins(rows) => {
                            closed.absorb(std::mem::replace(&mut open, Gathered::new()));
                            self.flush(std::mem::replace(&mut closed, Gathered::new())).await?;
                            self.begin_listing(rows).await?;
                        }
                        Boundary::Ends { scope, complete, resume } => {
                            closed.absorb(std::mem::replace(&mut open, Gathered::new()));
                            self.flush(std::mem::replace(&mut closed, Gathered::new())).await?;
                            let complete = complete || self.inner.settings.planted.has(Bug::DeleteFromPartialListing);
                            self.end_listing(scope, complete, resume).await?;
                        }
                    }
                }
                Fetched::Rewind => open = Gathered::new(),
                Fetched::Restart => {
                    // What was read comes again if it is still there: of what was deleted nobody will say it again.
                    self.flush(std::mem::replace(&mut closed, Gathered::new())).await?;
                    open = Gathered::new();
                    self.restart().await?;
                }
                Fetched::Failed(error) => {
                    self.flush(closed).await?;
                    return Err(error);
                }
                Fetched::Held(error) => {
                    self.flush(closed).await?;
                    return Ok(Ending::Held(error));
                }
                Fetched::End => {
                    self.flush(closed).await?;
                    self.finish().await?;
                    self.books.unfilled = self.not_filled().await;
                    return Ok(Ending::Done);
                }
            }
        }
    }

    /// Whether this is a position and no row yet, such as the one that a first load begins from. Where rows are durable
    /// before their position is, it must be saved before them: a load that began again, from a later position, would not
    /// name what was deleted in between.
    fn is_start(&self, gathered: &Gathered) -> bool {
        self.home == Home::Store && gathered.records == 0
    }

    /// Everything comes again from the beginning: the saved position is no longer valid at the source.
    async fn restart(&mut self) -> Result<()> {
        self.inner.tell(&Event::Resynchronising { run: self.run.clone(), scope: self.scope.clone() });
        self.open_listing = false;
        self.rehearsed.clear();
        // Everything comes again: no row of it is late.
        self.frontier_before = None;
        if self.checkpoint.stage.is_some() { self.discard_stage().await } else { Ok(()) }
    }

    /// Writes what was gathered, as one unit with its checkpoint, and adds it to the books.
    async fn flush(&mut self, mut gathered: Gathered) -> Result<()> {
        if self.stays {
            (gathered.cursor, gathered.frontier) = (None, None);
        }
        let moved = gathered.cursor.is_some() && gathered.cursor != self.checkpoint.cursor;
        if gathered.is_empty() || (gathered.records == 0 && !moved) {
            return Ok(());
        }
        if self.may_sort && gathered.rows > 0 {
            self.may_sort = false;
            // A listing has a stage of its own.
            if !gathered.ascending && self.checkpoint.stage.is_none() {
                self.open_stage(RowScope::All, true, false);
            }
        }
        let next = Checkpoint {
            cursor: gathered.cursor.clone().or_else(|| self.checkpoint.cursor.clone()),
            frontier: gathered.frontier.or(self.checkpoint.frontier),
            ..self.checkpoint.clone()
        };
        if next.stage.is_some() {
            gathered.rejects.iter().for_each(|reject| self.spared.add(reject.stream.name(), reject.key.as_ref()));
        }
        let letters =
            poison::letters_of_rejects(&self.scope, &gathered.rejects, self.checkpoint.seq, self.inner.clock.now());
        let steps = self.steps(gathered.writes);
        self.note_recent(&steps);
        if self.options.dry_run && next.stage.is_some() {
            self.books.staged += gathered.rows as u64;
            self.rehearsed.extend(steps);
            self.books.ledger.fetched += gathered.records;
            self.books.ledger.outcomes += gathered.dropped;
            self.checkpoint = next;
            return Ok(());
        }
        let acknowledged = gathered.cursor;
        let span = tracing::debug_span!("batch", seq = self.checkpoint.seq + 1, rows = gathered.rows);
        let settled = self.settle(steps, next, letters).instrument(span).await?;
        // What does not come so far comes again, as does what was read ahead: the books speak of what was settled.
        self.books.ledger.fetched += gathered.records;
        self.books.ledger.outcomes += gathered.dropped;
        self.count(settled.tally, gathered.records);
        if let Some(cursor) = acknowledged
            && !self.options.dry_run
        {
            self.acknowledge(cursor).await;
        }
        Ok(())
    }

    /// Adds outcomes to the books. Staged rows are not there yet: they are counted when they are published.
    fn count(&mut self, mut tally: Tally, records: u64) {
        let staged = tally.count(Outcome::Staged);
        self.books.staged += staged;
        if staged > 0 {
            tally = tally.iter().filter(|(outcome, _)| *outcome != Outcome::Staged).fold(
                Tally::new(),
                |mut rest, (outcome, rows)| {
                    rest.add(outcome, rows);
                    rest
                },
            );
        }
        if self.inner.settings.planted.has(Bug::LedgerBySubtraction) {
            let created = tally.count(Outcome::Created);
            tally = Tally::new();
            tally.add(Outcome::Created, created);
            tally.add(Outcome::Unchanged, records.saturating_sub(created).saturating_sub(staged));
        }
        self.books.ledger.outcomes += tally;
    }

    fn steps(&self, writes: Vec<(Arc<crate::StreamSpec>, crate::Changes)>) -> Vec<Step> {
        let staging = self.checkpoint.stage.as_ref();
        writes
            .into_iter()
            .map(|(stream, changes)| match staging {
                Some(open) => Step::Stage(Stage { stage: open.stage.clone(), stream, changes }),
                None => Step::Write(Write {
                    mode: self.write_mode(&stream),
                    guard: self.pipeline.guard(&stream).unwrap_or_default(),
                    difference: self.difference(),
                    expect: Vec::new(),
                    stream,
                    changes,
                }),
            })
            .collect()
    }

    /// How rows are compared where the sink does it.
    pub(super) fn difference(&self) -> Difference {
        if self.repairs() { Difference::Content } else { self.pipeline.difference().unwrap_or_default() }
    }

    /// Whether rows are compared by what they hold though the detector only looks at versions: whoever asks for more than what
    /// has changed does not want to rely on them.
    pub(super) fn repairs(&self) -> bool {
        self.options.mode != Mode::Incremental && self.pipeline.compares_versions()
    }

    pub(super) fn write_mode(&self, stream: &crate::StreamSpec) -> WriteMode {
        match stream.writes() {
            Disposition::Append => WriteMode::Append,
            Disposition::InsertOnly => WriteMode::InsertOnly,
            _ if self.options.new_only => WriteMode::InsertOnly,
            _ => WriteMode::Upsert,
        }
    }

    /// Tells the source what is durable. A lost acknowledgement does no harm: the next one covers it.
    async fn acknowledge(&self, cursor: crate::Cursor) {
        if let Err(error) = self.pipeline.source.acknowledge(&Receipt::new(self.scope.clone(), cursor)).await {
            tracing::warn!(%error, "the source did not take the acknowledgement; the next one covers it");
        }
    }

    /// The source has no more for now: what is still staged becomes visible, and side lanes are over.
    async fn finish(&mut self) -> Result<()> {
        if self.checkpoint.stage.as_ref().is_some_and(|stage| stage.first_load) {
            self.publish_first_load().await?;
        } else if self.checkpoint.stage.is_some() {
            return Err(Error::malformed("the source began a listing and did not end it")
                .with("source", self.pipeline.source.name()));
        }
        let side_lane = self.scope.lane != crate::model::Lane::Live;
        if side_lane && self.checkpoint.cursor.is_some() && !self.options.dry_run {
            let next = Checkpoint { cursor: None, ..self.checkpoint.clone() };
            self.settle(Vec::new(), next, Vec::new()).await?;
        }
        Ok(())
    }

    /// The run was dropped in the middle: what it had staged is still staged.
    pub(super) fn abandon(&mut self) {
        let staged = std::mem::take(&mut self.books.staged);
        self.books.ledger.outcomes.add(Outcome::Staged, staged);
    }

    /// Whether the listing that is read holds only keys.
    pub(super) fn lists_keys_only(&self) -> bool {
        self.options.mode == Mode::Reconcile && self.pipeline.source.capabilities().listing == Listing::Keys
    }
}
