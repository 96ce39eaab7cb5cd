//! Rows that come later than their source has said: measured when they come, and told when a reconcile had to find them.

use std::time::Duration;

use super::options::Mode;
use super::scope_run::ScopeRun;
use crate::ValueRef;
use crate::model::{Outcome, Tally};
use crate::sink::{Step, StepReport};

impl ScopeRun<'_> {
    /// Measures rows that changed before the last run's frontier and only arrive now. What a full run or a backfill brings
    /// again lies there by its nature.
    pub(super) fn measure_lateness(&mut self, steps: &[Step], reports: &[StepReport]) {
        let Some(frontier) = self.frontier_before.filter(|_| self.options.mode == Mode::Incremental) else { return };
        for (step, report) in steps.iter().zip(reports) {
            let (Step::Write(write), StepReport::Rows(outcomes)) = (step, report) else { continue };
            let Some(column) = write.stream.version_index() else { continue };
            for (row, outcome) in write.changes.rows().iter().zip(outcomes) {
                if let ValueRef::Timestamp(at) = row.at(column)
                    && at < frontier
                    && matches!(outcome, Outcome::Created | Outcome::Updated)
                {
                    self.books.late += 1;
                    let late = Duration::from_micros(frontier.micros().abs_diff(at.micros()));
                    self.books.lateness = self.books.lateness.max(late);
                }
            }
        }
    }

    /// Counts rows that a reconcile stages and that the next run of changes would have brought as well.
    pub(super) fn note_recent(&mut self, steps: &[Step]) {
        let Some(frontier) = self.frontier_before.filter(|_| self.options.mode == Mode::Reconcile) else { return };
        for step in steps {
            let Step::Stage(stage) = step else { continue };
            let column = stage.stream.version_index();
            let recent = |at: ValueRef<'_>| !matches!(at, ValueRef::Timestamp(at) if at <= frontier);
            let rows = stage.changes.rows().iter().filter(|row| column.is_none_or(|column| recent(row.at(column))));
            self.books.recent += rows.count() as u64;
        }
    }

    /// What a reconcile wrote beyond all that may be recent, was passed by: the sink does not say which rows it wrote, so
    /// this is the least there can be.
    pub(super) fn measure_missed(&mut self, published: &Tally) {
        if self.options.mode == Mode::Reconcile && self.frontier_before.is_some() {
            let written = published.count(Outcome::Created) + published.count(Outcome::Updated);
            self.books.missed += written.saturating_sub(std::mem::take(&mut self.books.recent));
        }
    }
}
