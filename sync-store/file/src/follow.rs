//! Follows runs by their events, and says what each event changes in the file.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sync_core::ErrorKind;
use sync_core::event::Event;
use sync_core::model::{Outcome, Scope, Tally};
use sync_core::state::{RunId, RunStatus};

use crate::change::Change;
use crate::last_error;
use crate::state::State;

/// The least time between two writes that only move numbers.
const PROGRESS: Duration = Duration::from_secs(1);

/// Rows with these outcomes are not in the target yet, or need somebody.
const WAITING: [Outcome; 4] = [Outcome::Withheld, Outcome::Parked, Outcome::Missing, Outcome::Staged];

/// What is known of the runs of this process.
#[derive(Debug, Default)]
pub(crate) struct Follow {
    /// The runs under way, with what each scope expected to read. Dry runs are not among them: they leave no trace.
    runs: BTreeMap<RunId, BTreeMap<Scope, u64>>,
    /// How each pipeline's last run ended.
    ends: BTreeMap<String, (State, Option<String>)>,
    /// Rows that wait, by scope, where that is known.
    pending: BTreeMap<Scope, u64>,
    told: Option<Duration>,
}

impl Follow {
    /// What an event changes, if anything; `now` and `elapsed` are of the moment it happened.
    pub(crate) fn on(&mut self, event: &Event, now: DateTime<Utc>, elapsed: Duration) -> Option<Change> {
        let change = match event {
            Event::RunStarted { run, dry_run: false, .. } => {
                self.runs.insert(run.clone(), BTreeMap::new());
                Change { status: Some(State::Running), ..Change::at(now) }
            }
            Event::ScopeStarted { run, scope, estimate: Some(estimate) } => {
                self.runs.get_mut(run)?.insert(scope.clone(), estimate.rows);
                self.pending.insert(scope.clone(), estimate.rows);
                self.progress(now, elapsed)?
            }
            Event::Applied { run, scope, tally, .. } => {
                self.runs.get(run)?.get(scope)?;
                let pending = self.pending.get_mut(scope)?;
                *pending = pending.saturating_sub(settled(tally));
                self.progress(now, elapsed)?
            }
            Event::ScopeFinished { run, scope, status, ledger, .. } => {
                let expected = self.runs.get(run)?.get(scope).copied();
                let waiting = waiting(&ledger.outcomes);
                let pending = match (status, expected) {
                    (RunStatus::Completed, _) => Some(waiting),
                    (_, Some(rows)) => Some(rows.saturating_sub(settled(&ledger.outcomes)).max(waiting)),
                    (_, None) => (waiting > 0).then_some(waiting),
                };
                match pending {
                    Some(0) => drop(self.pending.remove(scope)),
                    Some(rows) => drop(self.pending.insert(scope.clone(), rows)),
                    None => {}
                }
                self.progress(now, elapsed)?
            }
            Event::RunFinished { run, pipeline, status, error, kind, .. } => {
                self.runs.remove(run)?;
                self.ended(pipeline, *status, error.as_deref(), *kind, now)
            }
            _ => return None,
        };
        self.told = Some(elapsed);
        Some(change)
    }

    /// What ended before no longer counts; runs under way do.
    pub(crate) fn forget(&mut self) {
        self.ends.clear();
        self.pending.clear();
    }

    fn progress(&self, now: DateTime<Utc>, elapsed: Duration) -> Option<Change> {
        let due = self.told.is_none_or(|told| elapsed.saturating_sub(told) >= PROGRESS);
        due.then(|| Change { pending: Some(self.pending_rows()), ..Change::at(now) })
    }

    fn pending_rows(&self) -> u64 {
        self.pending.values().fold(0, |sum, rows| sum.saturating_add(*rows))
    }

    /// A run ended. The file is as good as the worst pipeline, so that a failing one is not hidden by the next.
    fn ended(
        &mut self,
        pipeline: &str,
        status: RunStatus,
        error: Option<&str>,
        kind: Option<ErrorKind>,
        now: DateTime<Utc>,
    ) -> Change {
        let failed = status == RunStatus::Failed;
        let error = match status {
            RunStatus::Failed => Some(last_error::of(kind, error.unwrap_or("the run failed"))),
            RunStatus::Held => error.map(|error| last_error::of(kind, error)),
            RunStatus::Completed | RunStatus::Cancelled | RunStatus::Running => None,
        };
        self.ends.insert(pipeline.to_owned(), (State::from(status), error));
        // The pipeline that just ended speaks before others that ended the same way.
        let own = self.ends.get_key_value(pipeline);
        let worst = own.into_iter().chain(&self.ends).rev().max_by_key(|(_, (end, _))| end.rank());
        let (worst, error) =
            worst.map_or((State::from(status), None), |(_, (end, error))| (end.clone(), error.clone()));
        let in_step = worst == State::Success;
        let known = status == RunStatus::Completed || !self.pending.is_empty();
        Change {
            synced: in_step.then_some(now),
            pending: known.then(|| self.pending_rows()),
            // A cancelled run has no error of its own, and repairs none.
            error: (worst != State::Cancelled).then_some(error),
            succeeded: in_step,
            failures: u64::from(failed),
            status: Some(if self.runs.is_empty() { worst } else { State::Running }),
            ..Change::at(now)
        }
    }
}

fn waiting(tally: &Tally) -> u64 {
    WAITING.iter().map(|outcome| tally.count(*outcome)).sum()
}

fn settled(tally: &Tally) -> u64 {
    tally.total() - waiting(tally)
}
