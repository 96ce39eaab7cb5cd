//! Settles a unit: writes it once in effect, whatever fails on the way.

use std::sync::atomic::Ordering;

use super::flags::Flags;
use super::planted::Bug;
use super::poison::Isolated;
use super::scope_run::{Home, ScopeRun};
use super::waiting::{watched, with_retries};
use crate::event::Event;
use crate::model::Tally;
use crate::retry::Verdict;
use crate::sink::{Intent, Step, StepReport, WriteReport, WriteUnit};
use crate::state::{Advance, Checkpoint, DeadLetter, Entry, FencingToken};
use crate::{Error, ErrorKind, Result, Retry};

/// What became of a unit.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) tally: Tally,
}

/// What one try brought.
struct Written {
    tally: Tally,
    /// `None` when the reply was lost and the checkpoint told that the unit was applied.
    reports: Option<Vec<StepReport>>,
}

impl ScopeRun<'_> {
    /// Writes the steps and moves the checkpoint, all or nothing, trying again as the policy allows. Rows that the
    /// sink does not accept go to the dead letters first, so that the position never passes a row that is nowhere.
    pub(super) async fn settle(
        &mut self,
        steps: Vec<Step>,
        next: Checkpoint,
        letters: Vec<DeadLetter>,
    ) -> Result<Settled> {
        let obsolete = self.letters_of_deleted(&steps).await?;
        self.note_rejected(&letters);
        let rejected = letters.len();
        if rejected > 0 {
            self.strain.note_spread(&self.inner.settings.breaker, rejected, super::poison::row_count(&steps))?;
        }
        self.bury(letters).await?;
        let mut settled = Settled::default();
        let mut parts = self.split_for_resolution(steps);
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            let stay = Checkpoint {
                cursor: self.checkpoint.cursor.clone(),
                frontier: self.checkpoint.frontier,
                ..next.clone()
            };
            settled.tally += self.settle_part(part, &stay, rejected > 0).await?;
        }
        settled.tally += self.settle_part(last, &next, rejected > 0).await?;
        self.close(self.not_buried_again(obsolete)).await?;
        Ok(settled)
    }

    /// `noted` says that the breaker knows of these rows already.
    async fn settle_part(&mut self, mut steps: Vec<Step>, next: &Checkpoint, noted: bool) -> Result<Tally> {
        let mut attempts = self.inner.settings.retry.start(self.inner.clock.elapsed());
        let mut tally = Tally::new();
        let mut flags = Flags::new(&steps);
        let mut in_doubt = None;
        loop {
            let tried = self.try_part(&steps, next, &mut in_doubt).await;
            let error = match tried {
                Ok(written) => {
                    if !noted || flags.any_rejected() {
                        self.strain.note(&self.inner.settings.breaker, flags.all())?;
                    }
                    if let Some(reports) = &written.reports {
                        self.measure_lateness(&steps, reports);
                    }
                    tally += written.tally;
                    self.inner.tell(&Event::Applied {
                        run: self.run.clone(),
                        scope: self.scope.clone(),
                        dry_run: self.options.dry_run,
                        seq: self.checkpoint.seq,
                        tally,
                    });
                    return Ok(tally);
                }
                Err(error) => error,
            };
            let error = match error.kind() {
                ErrorKind::Data if !steps.is_empty() => match self.isolate(&mut steps, error, &mut flags).await? {
                    Isolated::Out(out) => {
                        tally += out;
                        continue;
                    }
                    Isolated::Nothing(passed) => passed.with_retry(Retry::Backoff),
                },
                ErrorKind::Conflict => error.with_retry(Retry::Backoff),
                _ => error,
            };
            match attempts.next(&error, self.inner.clock.elapsed(), self.inner.clock.random()) {
                Verdict::Wait(wait) => {
                    self.inner.tell(&self.at_sink("write").retrying(&error, wait));
                    self.books.write_retries += 1;
                    self.books.retried_for = Some(error.to_string());
                    self.inner.clock.sleep(wait).await;
                }
                Verdict::Hold(_) | Verdict::GiveUp(_) => return Err(error.with("scope", &self.scope)),
            }
        }
    }

    /// `in_doubt` keeps what was decided by the first try of which nobody knows yet whether it was applied.
    async fn try_part(&mut self, steps: &[Step], next: &Checkpoint, in_doubt: &mut Option<Tally>) -> Result<Written> {
        let resolved = self.resolve(steps).await?;
        self.bury(resolved.parked.clone()).await?;
        let steps = resolved.steps.as_deref().unwrap_or(steps);
        let mut written = if self.options.dry_run {
            let rehearsed = self.rehearse(steps).await.map_err(|error| resolved.place(error))?;
            // The loop goes on as if the unit were written; nothing of this is saved.
            self.checkpoint = next.clone();
            rehearsed
        } else {
            match self.commit(steps, next).await {
                Ok(written) => written,
                Err(error) => {
                    if error.is_ambiguous() {
                        in_doubt.get_or_insert(resolved.decided);
                    }
                    return Err(resolved.place(error));
                }
            }
        };
        written.tally += match in_doubt.take() {
            Some(decided) if written.reports.is_none() => decided,
            _ => resolved.decided,
        };
        if resolved.steps.is_some() {
            // The steps that were written are not the ones that were given.
            written.reports = None;
        }
        Ok(written)
    }

    /// Gives the sink a unit; whoever waits long for it is told so.
    pub(super) async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        watched(self.inner, self.at_sink("write"), self.pipeline.sink.apply(unit)).await
    }

    async fn rehearse(&self, steps: &[Step]) -> Result<Written> {
        let unit = WriteUnit { scope: &self.scope, steps, advance: None, intent: Intent::Rehearse };
        let report = self.apply(&unit).await?;
        Ok(Written { tally: report.tally(), reports: Some(report.steps) })
    }

    async fn commit(&mut self, steps: &[Step], next: &Checkpoint) -> Result<Written> {
        let expected = self.checkpoint.seq;
        let mut next = Checkpoint { seq: expected + 1, tally: Tally::new(), ..next.clone() };
        if let Some(stage) = &mut next.stage {
            // Only here it is known which rows are left: others went to the dead letters.
            stage.staged += steps
                .iter()
                .map(|step| if let Step::Stage(stage) = step { stage.changes.len() as u64 } else { 0 })
                .sum::<u64>();
            stage.spared.clone_from(&self.spared);
        }
        let advance = Advance { token: self.token(), expected, next };
        if self.inner.settings.planted.has(Bug::CursorFirst) {
            return self.commit_cursor_first(steps, advance).await;
        }
        let written = match self.home {
            Home::Sink => self.commit_together(steps, &advance).await?,
            Home::Store => {
                let written = self.write_apart(steps).await?;
                self.save_checkpoint(&advance).await?;
                written
            }
        };
        self.checkpoint = advance.next;
        Ok(written)
    }

    /// Rows and checkpoint in one transaction of the sink.
    async fn commit_together(&self, steps: &[Step], advance: &Advance) -> Result<Written> {
        let unit = WriteUnit { scope: &self.scope, steps, advance: Some(advance), intent: Intent::Commit };
        self.at_the_sink.fetch_add(1, Ordering::Relaxed);
        let applied = self.apply(&unit).await;
        self.at_the_sink.fetch_add(1, Ordering::Relaxed);
        let error = match applied {
            Ok(report) => return Ok(Written { tally: report.tally(), reports: Some(report.steps) }),
            Err(error) => error,
        };
        let passed_already = error.kind() == ErrorKind::Fenced && error.fenced_by() == Some(advance.token);
        if !error.is_ambiguous() && !passed_already {
            return Err(error);
        }
        // The reply was lost: the checkpoint tells whether the unit was applied, and what became of its rows.
        let opening = self.pipeline.sink.open(&self.scope, advance.token);
        let stored =
            watched(self.inner, self.at_sink("position"), opening).await.map_err(|unknown| unknown.ambiguous())?;
        match stored {
            Some(stored) if stored.seq == advance.next.seq => Ok(Written { tally: stored.tally, reports: None }),
            Some(stored) if stored.seq > advance.next.seq => {
                Err(Error::fenced(advance.token, "the scope has moved on without us"))
            }
            _ if passed_already => Err(error),
            _ => Err(error.without_effect().with_retry(Retry::Backoff)),
        }
    }

    /// Rows first; the position follows in the store. A lost reply is only tried again where that does no harm.
    async fn write_apart(&self, steps: &[Step]) -> Result<Written> {
        if steps.is_empty() {
            return Ok(Written { tally: Tally::new(), reports: Some(Vec::new()) });
        }
        let unit = WriteUnit { scope: &self.scope, steps, advance: None, intent: Intent::Commit };
        match self.apply(&unit).await {
            Ok(report) => Ok(Written { tally: report.tally(), reports: Some(report.steps) }),
            Err(error) if error.is_ambiguous() && !self.pipeline.sink.capabilities().idempotent => {
                let lost = "rows may have been written, and this sink would double them if they were written again";
                Err(Error::new(error.kind(), lost).with("sink", self.pipeline.sink.name()).caused_by(error))
            }
            Err(error) if error.is_ambiguous() => Err(error.with_retry(Retry::Backoff)),
            Err(error) => Err(error),
        }
    }

    /// Saves the position in the store, and finds out after a lost reply whether it was saved.
    async fn save_checkpoint(&self, advance: &Advance) -> Result<()> {
        let entry = Entry::Checkpoint { scope: self.scope.clone(), advance: advance.clone() };
        let Err(error) = self.record(&[entry]).await else { return Ok(()) };
        let reading = self.inner.store.checkpoint(&self.scope);
        let stored = watched(self.inner, self.at_store("position"), reading).await?;
        if stored.is_some_and(|stored| stored.seq == advance.next.seq) { Ok(()) } else { Err(error) }
    }

    /// The planted bug that a simulation must catch: a crash between the two loses rows.
    async fn commit_cursor_first(&mut self, steps: &[Step], advance: Advance) -> Result<Written> {
        match self.home {
            Home::Sink => drop(self.commit_together(&[], &advance).await?),
            Home::Store => self.save_checkpoint(&advance).await?,
        }
        self.checkpoint = advance.next;
        let unit = WriteUnit { scope: &self.scope, steps, advance: None, intent: Intent::Commit };
        let report = self.apply(&unit).await?;
        Ok(Written { tally: report.tally(), reports: Some(report.steps) })
    }

    /// Writes dead letters to the store, before the unit they belong to.
    pub(super) async fn bury(&mut self, letters: Vec<DeadLetter>) -> Result<()> {
        let Some(first) = letters.first() else { return Ok(()) };
        if self.options.dry_run {
            return Ok(());
        }
        let event = Event::DeadLettered {
            run: self.run.clone(),
            scope: self.scope.clone(),
            rows: letters.len() as u64,
            reason: first.reason.clone(),
        };
        self.note_letters(&letters);
        let entries: Vec<Entry> = letters.into_iter().map(Entry::DeadLetter).collect();
        self.record(&entries).await?;
        self.inner.tell(&event);
        Ok(())
    }

    /// Writes entries to the store, trying again as the policy allows: entries have ids, so repeating does no harm.
    pub(super) async fn record(&self, entries: &[Entry]) -> Result<()> {
        let Some(lease) = &self.lease else { return Ok(()) };
        with_retries(self.inner, self.at_store("record"), || self.inner.store.record(lease, entries)).await
    }
}

/// Claims a scope at the sink, with a token high enough; after a lost store, tokens start above the sink's.
pub(super) fn floor_after(error: &Error, token: FencingToken) -> Option<FencingToken> {
    let by = error.fenced_by()?;
    (error.kind() == ErrorKind::Fenced && by >= token).then(|| FencingToken(by.0 + 1))
}
